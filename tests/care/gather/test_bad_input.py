"""What cannot work is told in one paragraph, before anything is asked where that is possible, and leaves nothing."""

import json
import re
import subprocess
import sys

import pytest

import keensight
from keensight import cli
from keensight.errors import DataError, RunError, UsageError
from keensight.verbs import gather as gather_verb

SEARCH = "https://api.openverse.org/v1/images/"
pytestmark = pytest.mark.usefixtures("decoded_here")


def test_nothing_is_left_where_nothing_could_be_asked(pets, tmp_path):
    pets.on(SEARCH, pets.says(raw=[b""]))
    with pytest.raises(
        keensight.KeensightError, match="No picture was gathered from Openverse. Openverse cannot be asked"
    ):
        pets.gather(["cat"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_without_a_network_that_is_said(tmp_path, monkeypatch, world):
    import socket

    def no_network(*_, **__):
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    with pytest.raises(keensight.KeensightError) as told:
        keensight.gather(["cat"], out=tmp_path / "out")
    assert "api.openverse.org has no address (temporary failure in name resolution)" in str(told.value)
    assert "Check the network; the same command goes on" in str(told.value)


def test_a_refused_key_is_told_without_the_key(pictures, tmp_path, monkeypatch):
    monkeypatch.setenv("PEXELS_API_KEY", "p3xels-key")
    pictures.on("https://api.pexels.com/v1/search", pictures.says({"error": "p3xels-key is wrong"}, 401))
    with pytest.raises(keensight.KeensightError, match=r"Pexels does not accept the key.*Check PEXELS_API_KEY") as told:
        pictures.gather(["cat"], tmp_path / "out", source=["pexels"])
    assert "p3xels" not in str(told.value)


@pytest.mark.parametrize(
    ("queries", "told", "why"),
    [
        ([], {}, "No query was given"),
        ([""], {}, "empty query"),
        (["husky="], {}, "empty query"),
        (["=dog"], {}, "cannot be a folder's name"),
        (["a/b=dog"], {}, "cannot be a folder's name"),
        (["..=dog"], {}, "cannot be a folder's name"),
        ([".git=dog"], {}, "cannot be a folder's name"),
        (["x" * 101], {}, "cannot be a folder's name"),
        (["a\x1b=dog"], {}, "cannot be a folder's name"),
        (["dog,cat"], {}, "several queries and no label"),
        (["Manifest.jsonl=dog"], {}, "a file that gathering writes"),
        (["cat", "ATTRIBUTION.md=dog"], {}, "a file that gathering writes"),
        (["train", "test"], {}, "name of a split"),
        (["Cat=a", "cat=b"], {}, "capital letters"),
        (["cat"], {"source": ["bing"]}, "There is no source 'bing'"),
        (["cat"], {"source": ["flickr"]}, "FLICKR_API_KEY is not set"),
        (["cat"], {"source": ["none.toml"]}, "cannot be read"),
        (["cat"], {"licence": "gpl"}, "There is no licence 'gpl'"),
        (["cat"], {"licence": "pexels"}, "Openverse has none of the licences pexels"),
        (["cat"], {"count": 0}, "A count of 0"),
        (["cat"], {"patience": "soon"}, "'soon'"),
        (["cat"], {"contact": "me\r\nX: y"}, "The contact is"),
    ],
)
def test_wrong_usage_is_told_before_anything_is_asked(world, tmp_path, monkeypatch, queries, told, why):
    monkeypatch.delenv("FLICKR_API_KEY", raising=False)
    with pytest.raises(UsageError, match=re.escape(why)):
        world.gather(queries, tmp_path / "out", **told)
    assert world.asked == []
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "queries", "error", "why"),
    [
        ("https://a.example/1.jpg\n", [], DataError, "has no label for https://a.example/1.jpg"),
        ("cat ftp://a.example/1.jpg\n", [], DataError, "Line 1 of"),
        ("\n# x\n{}\n", ["cat"], DataError, "Line 3 of"),
        ('{"url": 7}\n', ["cat"], DataError, "Line 1 of"),
        ("", ["cat"], DataError, "has no address in it"),
        ("cat https://a.example/1.jpg\n", ["a", "b"], UsageError, "one label is accepted"),
        ("../x https://a.example/1.jpg\n", [], UsageError, "cannot be a folder's name"),
        ("\udcff", ["cat"], DataError, "is not UTF-8 text"),
    ],
)
def test_what_is_wrong_in_a_list_is_said(world, tmp_path, text, queries, error, why):
    (tmp_path / "list.txt").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(error, match=re.escape(why)):
        world.gather(queries, tmp_path / "out", urls=tmp_path / "list.txt")


def test_a_list_with_no_wanted_licence_and_a_source_beside_a_list_are_refused(world, tmp_path):
    (tmp_path / "list.txt").write_text("cat https://a.example/1.jpg\n")
    with pytest.raises(UsageError, match="No picture in .* has one of the licences by"):
        world.gather([], tmp_path / "out", urls=tmp_path / "list.txt", licence="by")
    with pytest.raises(UsageError, match="a list is not searched"):
        world.gather([], tmp_path / "out", urls=tmp_path / "list.txt", source=["commons"])
    with pytest.raises(DataError, match="no such file"):
        world.gather([], tmp_path / "out", urls=tmp_path / "none.txt")


def test_a_folder_with_something_else_is_not_touched(pets, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(RunError, match="is not empty"):
        pets.gather(["cat"], tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_folder_that_another_gathering_fills_is_refused(pets, tmp_path):
    pets.gather(["cat"], tmp_path, count=2)
    script = "import sys; from filelock import FileLock; lock = FileLock(sys.argv[1]); lock.acquire(); print(); input()"
    words = [sys.executable, "-c", script, str(tmp_path / ".keensight.lock")]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        with pytest.raises(RunError, match="Another gathering is writing to"):
            pets.gather(["cat"], tmp_path, count=3)
        other.communicate(b"\n")


@pytest.fixture
def command(pets, monkeypatch, capsys, tmp_path):
    """Run the command line here, with the local servers."""
    client = gather_verb.Client
    monkeypatch.setattr(gather_verb, "Client", lambda contact, patience, _: client(contact, patience, pets.network))
    monkeypatch.chdir(tmp_path)

    def command(*words):
        with pytest.raises(SystemExit) as end:
            cli.main(["gather", *words])
        said = capsys.readouterr()
        return end.value.code, said.out, said.err

    return command


def test_the_command_says_what_it_did(command):
    status, out, err = command("cat", "other=dog", "--out", "pets", "--count", "3", "--json")
    assert status == 0
    said = json.loads(out)
    assert set(said) == {"out", "manifest", "attribution", "new", "labels", "left_out", "findings", "notes"}
    assert (said["labels"], said["new"], said["out"]) == ({"cat": 3, "other": 3}, 6, "pets")
    assert "note: no request says who you are. Give --contact" in err
    assert "Openverse, https://docs.openverse.org/terms_of_service.html" in err
    status, out, _ = command("cat", "--out", "pets", "--count", "4", "--contact", "me@example.org")
    assert status == 0
    assert out.splitlines()[0] == "cat: 4 pictures"
    assert "next             keensight audit pets" in out


def test_wrong_commands_end_with_2_and_failed_ones_with_1(command, pets):
    status, out, err = command("--out", "pets")
    assert (status, out) == (2, "")
    assert "No query was given" in err
    assert command("cat")[0] == 2
    assert command("cat", "--out", "pets", "--source", "flikr")[0] == 2
    pets.on(SEARCH, pets.says({"results": [], "page_count": 0}))
    status, out, err = command("cat", "--out", "pets")
    assert (status, out) == (1, "")
    assert "No picture was gathered from Openverse. Nothing more is found: cat has 0 of 100." in err
    assert err.count("keensight:") == 1
