"""Whole gatherings, from local servers that stand in for the services: what is kept, left out, resumed and said."""

import errno
import io
import json
import os
import re
import subprocess
import sys
from collections import Counter
from hashlib import sha256

import pytest
from PIL import Image

import keensight
from keensight import cli
from keensight.care.gather import folder, loop, manifest
from keensight.care.gather.manifest import read_manifest, unconfirmed
from keensight.data.pixels import decode_picture
from keensight.errors import DataError, RunError, UsageError
from keensight.files import explained
from keensight.pipeline.watch import Watcher
from keensight.verbs import gather as gather_verb

SEARCH = "https://api.openverse.org/v1/images/"


class Notes(Watcher):
    """Keeps what is said."""

    def __init__(self):
        self.notes = []

    def note(self, text):
        self.notes.append(text)


def results(world, *queries, per_page=20, of=60, licence="by"):
    """Have Openverse find pictures: number n of the first query is pictures.example/n.jpg, of the next /100n.jpg."""

    def answer(asked):
        page, base = int(asked.query["page"]), 1000 * queries.index(asked.query["q"])
        some = range(base + per_page * (page - 1), base + min(of, per_page * page))
        found = [
            {
                "title": f"Picture {n}", "foreign_landing_url": f"https://example.org/{n}", "creator": f"Creator {n}",
                "url": f"https://pictures.example/{n}.jpg", "license": licence,
                "license_url": f"https://creativecommons.org/licenses/{licence}/2.0/",
            }
            for n in some
        ]  # fmt: skip
        return world.says({"results": found, "page_count": -(-of // per_page), "page": page})

    world.on(SEARCH, answer)


def gather(world, queries, out, **told):
    return keensight.gather(queries, out=out, network=world.network, **told)


class Here:
    """Decodes in this process: another one takes a third of a second to start, for each gathering."""

    def decode(self, picture, preprocessing, seconds):
        return decode_picture(picture, preprocessing)

    def close(self):
        pass


@pytest.fixture(autouse=True)
def decoded_here(monkeypatch, request):
    if "hostile" not in request.fixturenames:
        monkeypatch.setattr(loop, "Apart", Here)


@pytest.fixture
def hostile(pictures):
    return pictures


@pytest.fixture
def pets(pictures):
    results(pictures, "cat", "dog")
    return pictures


def test_pictures_come_with_all_that_is_known_of_them(pets, tmp_path):
    done = gather(pets, ["cat", "other=dog"], tmp_path / "pets", count=5, contact="me@example.org")
    assert done.labels == {"cat": 5, "other": 5}
    rows = [json.loads(line) for line in (tmp_path / "pets" / "manifest.jsonl").read_text().splitlines()]
    assert Counter(row["label"] for row in rows) == {"cat": 5, "other": 5}
    for row in rows:
        content = (tmp_path / "pets" / row["file"]).read_bytes()
        number = int(re.search(r"(\d+)\.jpg", row["url"])[1])
        assert content == pets.picture(number)
        assert row["sha256"] == sha256(content).hexdigest()
        assert row["query"] == ("dog" if row["label"] == "other" else "cat")
        assert row["landing_page"] == f"https://example.org/{number}"
        assert row["creator"] == f"Creator {number}"
        assert (row["licence"], row["licence_url"]) == ("by", "https://creativecommons.org/licenses/by/2.0/")
        assert row["state"] == "unconfirmed"
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", row["date"])
        assert (row["width"], row["height"]) == (160, 120)
    assert unconfirmed(done.manifest) == {row["sha256"]: row["label"] for row in rows}
    assert {each.headers["User-Agent"] for each in pets.asked} == {
        "keensight/0.1.0 (me@example.org; gathers pictures for a classifier)"
    }


def test_the_attribution_page_names_every_picture(pets, tmp_path):
    done = gather(pets, ["cat"], tmp_path, count=3)
    page = done.attribution.read_text()
    for row in read_manifest(done.manifest):
        assert (
            f"- `{row.file[4:]}`: [{row.title}](<{row.landing_page}>) by {row.creator}, "
            f"[CC BY 2.0](<https://creativecommons.org/licenses/by/2.0/>), from openverse, {row.date[:10]}"
        ) in page
    assert page.count("- `") == 3


def test_the_folder_and_the_manifest_are_data_as_they_are(pets, tmp_path):
    gather(pets, ["cat", "dog"], tmp_path / "pets", count=6)
    folder = keensight.open_dataset(tmp_path / "pets")
    listed = keensight.open_dataset(tmp_path / "pets" / "manifest.jsonl")
    assert folder.class_names == listed.class_names == ("cat", "dog")
    assert {(s.path, s.label, s.sha256) for s in folder.samples} == {
        (s.path, s.label, s.sha256) for s in listed.samples
    }
    notes = Notes()
    notes.skipped(folder)
    assert all(note.startswith("Beside the pictures of pets: ATTRIBUTION.md") for note in notes.notes), notes.notes


def test_the_same_command_again_asks_for_nothing(pets, tmp_path):
    gather(pets, ["cat", "dog"], tmp_path, count=5)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    pets.asked.clear()
    done = gather(pets, ["cat", "dog"], tmp_path, count=5)
    assert pets.asked == []
    assert (done.new, done.labels) == (0, {"cat": 5, "dog": 5})
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_more_are_gathered_later_without_a_second_request(pets, tmp_path):
    gather(pets, ["cat"], tmp_path, count=5)
    gather(pets, ["cat", "dog"], tmp_path, count=30)
    assert max(Counter(pets.paths("pictures.example")).values()) == 1
    searches = [(each.query["q"], each.query["page"]) for each in pets.asked if each.host == "api.openverse.org"]
    assert len(searches) == len(set(searches)) == 4
    assert Counter(row.label for row in read_manifest(tmp_path / "manifest.jsonl")) == {"cat": 30, "dog": 30}


def test_what_was_removed_or_moved_by_hand_stays_so(pets, tmp_path):
    gather(pets, ["cat", "dog"], tmp_path, count=4)
    gone, moved, *_ = sorted((tmp_path / "cat").iterdir())
    gone.unlink()
    moved.rename(tmp_path / "dog" / moved.name)
    pets.asked.clear()
    done = gather(pets, ["cat", "dog"], tmp_path, count=4)
    assert done.labels == {"cat": 4, "dog": 5}
    assert not gone.exists()
    assert not moved.exists()
    rows = {row.file: row for row in read_manifest(done.manifest)}
    assert rows[f"dog/{moved.name}"].label == "dog"
    assert len(rows) == 9
    assert done.left_out == {"removed from the folder": 1}
    assert len(pets.paths("pictures.example")) == 2  # in place of the two


def test_only_the_licences_that_are_wanted_are_fetched(pictures, tmp_path):
    licences = ["by", "by-nc", "cc0", "by-sa"]
    found = [{"url": f"https://pictures.example/{n}.jpg", "license": licences[n % 4]} for n in range(16)]
    pictures.on(SEARCH, {"results": found, "page_count": 1})
    done = gather(pictures, ["cat"], tmp_path, licence="cc0,by")
    assert done.labels == {"cat": 8}
    assert {row.licence for row in read_manifest(done.manifest)} == {"by", "cc0"}
    assert {int(path[1:-4]) % 4 for path in pictures.paths("pictures.example")} == {0, 2}


def test_sources_and_queries_take_turns(pictures, tmp_path):
    results(pictures, "cat", "kitten")
    observations = [
        {"id": 900 - n, "uri": "https://www.inaturalist.org/observations/1", "user": {"login": "jane"},
         "photos": [{"url": f"https://pictures.example/{5000 + n}/square.jpg", "license_code": "cc-by"}]}
        for n in range(9)
    ]  # fmt: skip
    pictures.on("https://api.inaturalist.org/v1/observations", {"results": observations})
    done = gather(pictures, ["cat=cat,kitten"], tmp_path, count=8, source=["openverse", "inaturalist"])
    rows = read_manifest(done.manifest)
    assert Counter((row.source, row.query) for row in rows) == {
        ("openverse", "cat"): 2,
        ("inaturalist", "cat"): 2,
        ("openverse", "kitten"): 2,
        ("inaturalist", "kitten"): 2,
    }


def lossy(content, **how):
    image = Image.open(io.BytesIO(content))
    if how.get("mirror"):
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if how.get("crop"):
        image = image.crop((8, 6, image.width - 8, image.height - 6))
    if how.get("size"):
        image = image.resize(how["size"])
    file = io.BytesIO()
    image.save(file, "JPEG", quality=how.get("quality", 95))
    return file.getvalue()


def test_copies_are_kept_once_and_replaced(pictures, tmp_path):
    """Of 1: the same file, at other sizes, mirrored, cut, saved with loss."""
    one = pictures.picture(1, 320, 240)
    copies = {
        2: one,
        3: lossy(one, size=(200, 150)),
        4: lossy(one, mirror=True),
        5: lossy(one, crop=True),
        6: lossy(one, quality=50),
    }
    results(pictures, "cat")
    pictures.on(
        "https://pictures.example/",
        lambda asked: pictures.says(
            one if (n := int(asked.path[1:-4])) == 1 else copies.get(n) or pictures.picture(n, 320, 240)
        ),
    )
    done = gather(pictures, ["cat"], tmp_path, count=10)
    rows = read_manifest(done.manifest)
    assert done.labels == {"cat": 10} == {"cat": len(rows)}
    kept = {int(row.url.rpartition("/")[2][:-4]) for row in rows}
    assert kept & {1, *copies} == {1}
    assert done.left_out == {"identical to another": 1, "nearly the same as another": 4}
    assert done.findings == ()
    assert len(list((tmp_path / "cat").iterdir())) == 10
    pictures.asked.clear()
    assert gather(pictures, ["cat"], tmp_path, count=10).new == 0
    assert pictures.asked == []


def test_copies_under_two_labels_are_findings_and_are_fetched_once(pictures, tmp_path):
    results(pictures, "cat", "dog")
    shared, near = pictures.picture(7, 320, 240), lossy(pictures.picture(3, 320, 240), mirror=True)
    bodies = {1003: near, 3: pictures.picture(3, 320, 240), 4: shared, 1004: shared}
    pictures.on(
        "https://pictures.example/",
        lambda asked: pictures.says(bodies.get(n := int(asked.path[1:-4])) or pictures.picture(n, 320, 240)),
    )
    done = gather(pictures, ["cat", "dog"], tmp_path, count=8)
    assert done.labels == {"cat": 8, "dog": 8}
    number = {row.file: int(row.url.rpartition("/")[2][:-4]) for row in read_manifest(done.manifest)}
    pairs = {finding.evidence["by"]: finding.evidence["pairs"] for finding in done.findings}
    assert {finding.kind for finding in done.findings} == {"label"}
    assert {by: {number[file] for pair in some for file, _ in pair} for by, some in pairs.items()} == {
        "bytes": {4, 1004},
        "likeness": {3, 1003},
    }


def test_one_address_under_two_labels_is_asked_for_once(pictures, tmp_path):
    pictures.on(SEARCH, {"results": [{"url": "https://pictures.example/1.jpg", "license": "by"}], "page_count": 1})
    done = gather(pictures, ["cat=animal", "dog=pet"], tmp_path)
    assert done.labels == {"cat": 1, "dog": 1}
    assert pictures.paths("pictures.example") == ["/1.jpg"]
    assert [finding.kind for finding in done.findings] == ["label"]


def test_unlike_pictures_are_not_taken_for_copies(pets, tmp_path):
    done = gather(pets, ["cat", "dog"], tmp_path, count=50)
    assert done.labels == {"cat": 50, "dog": 50}
    assert done.left_out == {}


def bomb(width, height):
    file = io.BytesIO()
    Image.new("1", (width, height)).save(file, "PNG")
    return file.getvalue()


HOSTILE = {
    "html": (b"<!DOCTYPE html><html>Not here</html>", "an HTML page"),
    "svg": (b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>", "SVG format"),
    "program": (b"\x7fELF" + bytes(100), "a program and not a picture"),
    "script": (b"#!/bin/sh\ntouch /tmp/executed\n", "text and not a picture"),
    "pickle": (b"\x80\x04\x95" + bytes(50), "a data file and not a picture"),
    "zip": (b"PK\x03\x04" + bytes(50), "a zip archive"),
    "empty": (b"", "an empty file"),
    "icon": ("small", "pixels large"),
    "bomb": (bomb(9000, 9000), "megapixels"),
    "cut": ("cut", "damaged or cut short"),
    "eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n", "text and not a picture"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_no_picture_is_left_out_whatever_it_says_it_is(hostile, pictures, tmp_path, name):
    content, why = HOSTILE[name]
    content = {"small": pictures.picture(1, 16, 16), "cut": pictures.picture(1)[:1500]}.get(content, content)
    results(pictures, "cat", of=4)
    types = {"Content-Type": "image/jpeg"}
    pictures.on(
        "https://pictures.example/",
        lambda asked: pictures.says(
            content if asked.path == "/1.jpg" else pictures.picture(int(asked.path[1:-4])), 200, types
        ),
    )
    done = gather(pictures, ["cat"], tmp_path)
    assert done.labels == {"cat": 3}
    (reason,) = done.left_out
    assert why in reason
    assert len(list((tmp_path / "cat").iterdir())) == 3
    pictures.asked.clear()
    assert gather(pictures, ["cat"], tmp_path).new == 0
    assert pictures.asked == []


@pytest.mark.parametrize("kind", ["PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "AVIF"])
def test_the_suffix_is_that_of_the_content(pictures, tmp_path, kind):
    results(pictures, "cat", of=1)
    pictures.on(
        "https://pictures.example/", pictures.says(pictures.picture(1, kind=kind), 200, {"Content-Type": "text/html"})
    )
    gather(pictures, ["cat"], tmp_path)
    (file,) = (tmp_path / "cat").iterdir()
    assert file.suffix == {"TIFF": ".tif"}.get(kind, f".{kind.lower()}")
    with Image.open(file) as image:
        assert image.format == kind


@pytest.mark.parametrize(
    "target",
    ["http://127.0.0.1/1.jpg", "http://169.254.169.254/latest/", "http://10.0.0.8/1.jpg", "http://[::1]/1.jpg",
     "file:///etc/passwd", "http://localhost:8000/1.jpg"],
)  # fmt: skip
def test_pictures_that_lead_into_private_networks_are_left_out(pictures, tmp_path, target):
    """Named by a service, or by a redirect."""
    found = [{"url": target, "license": "by"}, {"url": "https://hostile.example/1.jpg", "license": "by"},
             {"url": "https://pictures.example/1.jpg", "license": "by"}]  # fmt: skip
    pictures.on(SEARCH, {"results": found, "page_count": 1})
    pictures.on("https://hostile.example/", pictures.says(status=302, headers={"Location": target}))
    done = gather(pictures, ["cat"], tmp_path)
    assert done.labels == {"cat": 1}
    assert all("public" in why or "begin with http" in why or "port" in why for why in done.left_out), done.left_out
    assert sum(done.left_out.values()) == (1 if target.startswith("file") else 2)


def test_a_file_of_addresses(pictures, tmp_path):
    (tmp_path / "list.txt").write_text(
        "# huskies\nhttps://pictures.example/1.jpg\nnothusky\thttps://pictures.example/2.jpg\n\n"
        '{"url": "https://pictures.example/3.jpg", "label": "husky", "licence": "CC BY 4.0", "creator": "Jane"}\n'
    )
    done = gather(pictures, ["husky"], tmp_path / "out", urls=tmp_path / "list.txt")
    rows = {row.url[-5]: row for row in read_manifest(done.manifest)}
    assert {number: row.label for number, row in rows.items()} == {"1": "husky", "2": "nothusky", "3": "husky"}
    assert (rows["3"].creator, rows["3"].licence, rows["1"].licence) == ("Jane", "by", "unknown")
    assert "no licence known" in done.attribution.read_text()
    assert {each.host for each in pictures.asked} == {"pictures.example"}


def test_the_pictures_of_unsplash_are_reported_as_it_wants(pictures, tmp_path, monkeypatch):
    monkeypatch.setenv("UNSPLASH_ACCESS_KEY", "uns-key")
    here = "https://api.unsplash.com/photos/{}/download?ixid=1"
    found = [
        {"urls": {"regular": f"https://pictures.example/{n}.jpg"}, "links": {"download_location": here.format(n)}}
        for n in range(3)
    ]
    found[2]["links"]["download_location"] = "https://evil.example/steal"
    pictures.on("https://api.unsplash.com/search/photos", {"results": found, "total_pages": 1})
    pictures.on("https://api.unsplash.com/photos/", {"url": "..."})
    pictures.on("https://evil.example/", b"{}")
    done = gather(pictures, ["cat"], tmp_path, source=["unsplash"])
    assert done.labels == {"cat": 2}
    reports = [each for each in pictures.asked if each.path.endswith("/download")]
    assert sorted(each.path for each in reports) == ["/photos/0/download", "/photos/1/download"]
    assert {each.headers["Authorization"] for each in reports} == {"Client-ID uns-key"}
    assert pictures.paths("evil.example") == []
    assert not any("uns-key" in file.read_text() for file in tmp_path.glob("*.*"))


def test_a_days_limit_ends_the_run_and_the_next_one_goes_on(pets, tmp_path):
    limit = pets.says({"detail": "Request was throttled."}, 429, {"Retry-After": "40000"})
    original = pets.routes["api.openverse.org", "/v1/images/"]
    pets.on(SEARCH, lambda asked: original(asked) if asked.query["page"] == "1" else limit)
    notes = Notes()
    done = gather(pets, ["cat"], tmp_path, count=30, watcher=notes)
    assert done.labels == {"cat": 20}
    assert any("Openverse asks to wait 11 hours; the same command goes on then" in note for note in notes.notes)
    pets.on(SEARCH, original)
    pets.now += 40_000
    assert gather(pets, ["cat"], tmp_path, count=30).labels == {"cat": 30}
    assert max(Counter(pets.paths("pictures.example")).values()) == 1


def test_patience_waits_for_a_limit(pets, tmp_path):
    original, left = pets.routes["api.openverse.org", "/v1/images/"], [1]
    limit = pets.says({"detail": "Request was throttled."}, 429, {"Retry-After": "3000"})
    pets.on(SEARCH, lambda asked: limit if left and left.pop() else original(asked))
    assert gather(pets, ["cat"], tmp_path, count=3, patience="1h").labels == {"cat": 3}
    assert 3000 in pets.waits


def test_pictures_of_a_busy_host_come_next_time(pets, tmp_path):
    busy = pets.says(status=429, headers={"Retry-After": "600"})
    original = pets.routes["pictures.example", "/"]
    pets.on("https://pictures.example/", lambda asked: original(asked) if asked.path in ("/0.jpg", "/1.jpg") else busy)
    done = gather(pets, ["cat"], tmp_path, count=5)
    assert done.labels["cat"] <= 2
    assert any("pictures.example asks to wait 10 minutes" in note for note in done.notes)
    pets.on("https://pictures.example/", original)
    pets.now += 600
    assert gather(pets, ["cat"], tmp_path, count=5).labels == {"cat": 5}


def test_a_search_that_ends_early_keeps_what_it_found(pets, tmp_path):
    original = pets.routes["api.openverse.org", "/v1/images/"]
    beyond = pets.says({"detail": "Authentication is required to retrieve results beyond page 1"}, 401)
    pets.on(SEARCH, lambda asked: original(asked) if asked.query["page"] == "1" else beyond)
    done = gather(pets, ["cat", "dog"], tmp_path, count=30)
    assert done.labels == {"cat": 20, "dog": 20}
    assert any("beyond page 1" in note for note in done.notes)
    assert "fewer than wanted: cat has 20 of 30, dog has 20 of 30." in done.notes


def test_when_no_more_is_found_that_is_said(pictures, tmp_path):
    results(pictures, "cat", of=7)
    done = gather(pictures, ["cat"], tmp_path, count=30)
    assert done.notes == (
        "nothing more is found: cat has 7 of 30. Give more queries for a label, or another --source.",
    )


def test_the_full_disk_is_told_and_nothing_is_half_written(pets, tmp_path, monkeypatch):
    appended = manifest.append_line
    full = []

    def full_after_five(path, value):
        if path.name == "manifest.jsonl":
            full.append(path)
            if len(full) > 5:
                with explained(path):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        appended(path, value)

    monkeypatch.setattr(folder, "append_line", full_after_five)
    with pytest.raises(keensight.KeensightError, match=r"no space left.*The disk is full"):
        gather(pets, ["cat"], tmp_path / "out", count=20)
    monkeypatch.setattr(folder, "append_line", appended)
    assert len(read_manifest(tmp_path / "out" / "manifest.jsonl")) == 5
    assert gather(pets, ["cat"], tmp_path / "out", count=20).labels == {"cat": 20}


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full is Linux's")
def test_a_line_is_written_whole_or_the_disk_is_said_to_be_full(tmp_path):
    (tmp_path / "full.jsonl").symlink_to("/dev/full")
    with pytest.raises(keensight.KeensightError, match="The disk is full"):
        manifest.append_line(tmp_path / "full.jsonl", {"a": 1})


def test_nothing_is_left_where_nothing_could_be_asked(pets, tmp_path):
    pets.on(SEARCH, pets.says(raw=[b""]))
    with pytest.raises(
        keensight.KeensightError, match="No picture was gathered from Openverse. Openverse cannot be asked"
    ):
        gather(pets, ["cat"], tmp_path / "out")
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
        gather(pictures, ["cat"], tmp_path / "out", source=["pexels"])
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
        gather(world, queries, tmp_path / "out", **told)
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
        gather(world, queries, tmp_path / "out", urls=tmp_path / "list.txt")


def test_a_list_with_no_wanted_licence_and_a_source_beside_a_list_are_refused(world, tmp_path):
    (tmp_path / "list.txt").write_text("cat https://a.example/1.jpg\n")
    with pytest.raises(UsageError, match="No picture in .* has one of the licences by"):
        gather(world, [], tmp_path / "out", urls=tmp_path / "list.txt", licence="by")
    with pytest.raises(UsageError, match="a list is not searched"):
        gather(world, [], tmp_path / "out", urls=tmp_path / "list.txt", source=["commons"])
    with pytest.raises(DataError, match="no such file"):
        gather(world, [], tmp_path / "out", urls=tmp_path / "none.txt")


def test_a_folder_with_something_else_is_not_touched(pets, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(RunError, match="is not empty"):
        gather(pets, ["cat"], tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_folder_that_another_gathering_fills_is_refused(pets, tmp_path):
    gather(pets, ["cat"], tmp_path, count=2)
    script = "import sys; from filelock import FileLock; lock = FileLock(sys.argv[1]); lock.acquire(); print(); input()"
    words = [sys.executable, "-c", script, str(tmp_path / ".keensight.lock")]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        with pytest.raises(RunError, match="Another gathering is writing to"):
            gather(pets, ["cat"], tmp_path, count=3)
        other.communicate(b"\n")


@pytest.mark.parametrize("name", ["gather.jsonl", "manifest.jsonl"])
def test_a_damaged_file_of_ours_is_told_and_kept(pets, tmp_path, name):
    gather(pets, ["cat"], tmp_path, count=2)
    path = tmp_path / name
    path.write_text("{}\n" + path.read_text())
    before = path.read_bytes()
    with pytest.raises(DataError, match=re.escape(name)):
        gather(pets, ["cat"], tmp_path, count=3)
    assert path.read_bytes() == before


@pytest.mark.parametrize("name", ["gather.jsonl", "manifest.jsonl"])
def test_a_line_that_a_power_cut_left_half_written_is_mended(pets, tmp_path, name):
    gather(pets, ["cat"], tmp_path, count=4)
    path = tmp_path / name
    path.write_bytes(path.read_bytes()[:-20])
    pets.asked.clear()
    done = gather(pets, ["cat"], tmp_path, count=6)
    assert done.labels == {"cat": 6}
    assert len(read_manifest(done.manifest)) == 6
    assert len(pets.paths("pictures.example")) == 2


def test_interrupted_is_not_lost(pets, tmp_path):
    class Impatient(Watcher):
        def gathered(self, done, total):
            if done == 3:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match="the same command goes on where it stopped"):
        gather(pets, ["cat"], tmp_path, count=10, watcher=Impatient())
    assert len(read_manifest(tmp_path / "manifest.jsonl")) == 3
    assert (tmp_path / "ATTRIBUTION.md").read_text().count("- `") == 3
    assert gather(pets, ["cat"], tmp_path, count=10).labels == {"cat": 10}


KILLED = """
import json, os, signal, sys
import keensight, keensight.verbs.gather
from keensight import files
from keensight.care.gather import client, folder, manifest
from keensight.care.gather.network import Network

queries, port, hosts, out = json.loads(sys.argv[1])
client.Clock.wait = lambda self, seconds: None
steps = 0

def killed_at(step, function):
    def counting(*args, **told):
        global steps
        for when in ("before", "after"):
            if when == "after":
                answer = function(*args, **told)
            steps += 1
            if steps == step:
                os.kill(os.getpid(), signal.SIGKILL)
        return answer
    return counting

def gather(place, step):
    folder.append_line = killed_at(step, manifest.append_line)
    folder.write_atomically = killed_at(step, files.write_atomically)
    keensight.gather(queries, out=place, count=4, network=Network(stand_ins=dict.fromkeys(hosts, port)))

step, ended = 0, False
while not ended:
    step += 1
    place = f"{out}/{step}"
    pid = os.fork()
    if not pid:
        sys.stdout = sys.stderr = open(os.devnull, "w")
        gather(place, step)
        os._exit(0)
    ended = os.waitpid(pid, 0)[1] == 0
print(step)
"""


@pytest.mark.slow
def test_killed_at_any_step_the_next_command_goes_on_without_a_second_request(pets, tmp_path):
    """A process is killed before and after each of its writes; then the same is gathered again, in the same folder."""
    told = [["cat"], pets.port, sorted({host for host, _ in pets.routes}), str(tmp_path)]
    words = [sys.executable, "-c", KILLED, json.dumps(told)]
    steps = int(subprocess.run(words, capture_output=True, text=True, check=True, timeout=90).stdout)
    assert steps > 12
    for step in range(1, steps):
        there = {path.stem for path in (tmp_path / str(step)).glob("cat/*") if not path.name.startswith(".")}
        pets.asked.clear()
        done = gather(pets, ["cat"], tmp_path / str(step), count=4)
        rows = read_manifest(done.manifest)
        assert done.labels == {"cat": 4}
        assert len({row.sha256 for row in rows}) == len(rows) == 4
        files = sorted(
            path.relative_to(tmp_path / str(step)).as_posix() for path in (tmp_path / str(step)).glob("cat/*")
        )
        assert files == sorted(row.file for row in rows), step
        asked = {f"openverse-{sha256(f'https://pictures.example{path}'.encode()).hexdigest()[:16]}"
                 for path in pets.paths("pictures.example")}  # fmt: skip
        assert not asked & there, step
        for row in rows:
            assert sha256((tmp_path / str(step) / row.file).read_bytes()).hexdigest() == row.sha256


@pytest.mark.slow
@pytest.mark.parametrize("data", ["pets", "pets/manifest.jsonl"])
def test_train_and_audit_take_the_folder_and_the_manifest(pets, tmp_path, data):
    gather(pets, ["cat", "dog"], tmp_path / "pets", count=20)
    run = keensight.train(tmp_path / data, recipe="logistic", out=tmp_path / "run", set=["epochs=1"])
    assert keensight.predict(run.bundle, tmp_path / "pets" / "cat")[0].label in ("cat", "dog")
    assert keensight.audit(tmp_path / data, tmp_path / "audit").num_pictures == 40


def test_hostile_text_stays_text(pictures, tmp_path):
    nasty = "]<script>alert(1)</script>](javascript:alert(1)) \x1b[2J\u202e | `x`"
    found = {
        "url": "https://pictures.example/1.jpg", "license": "by", "creator": nasty, "title": nasty * 100,
        "creator_url": "javascript:alert(1)", "foreign_landing_url": "https://example.org/<b>", "license_url": "data:x",
    }  # fmt: skip
    pictures.on(SEARCH, {"results": [found], "page_count": 1})
    done = gather(pictures, ["cat"], tmp_path)
    (row,) = read_manifest(done.manifest)
    assert (row.creator_url, row.landing_page, row.licence_url) == (
        "",
        "",
        "https://creativecommons.org/licenses/by/4.0/",
    )
    assert len(row.title) <= 300
    page = done.attribution.read_text()
    assert not set(page + row.creator) & {"\x1b", "\u202e"}
    credit = next(line for line in page.splitlines() if line.startswith("- `"))
    shown = re.sub(r"\\.|`[^`]*`|\[CC BY 4.0\]|\(<https://[^<>]*>\)", "", credit)
    assert not set(shown) & set("<>`*()"), credit
    assert "script" in row.title + row.creator or "alert" in row.creator


def test_paths_are_ours_whatever_an_address_says(pictures, tmp_path):
    pictures.on(
        SEARCH,
        {
            "results": [{"url": "https://pictures.example/../../../etc/cron.d/1%2f..%2fx.sh", "license": "by"}],
            "page_count": 1,
        },
    )
    gather(pictures, ["cat"], tmp_path / "out")
    files = [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()]
    assert sorted(files)[0] == "out/ATTRIBUTION.md"
    assert len([file for file in files if re.fullmatch(r"out/cat/openverse-[0-9a-f]{16}\.jpg", file)]) == 1
    assert len(files) == 4


def test_what_clean_confirms_is_confirmed_and_train_counts_the_rest(pets, tmp_path):
    out = tmp_path / "pets"
    gather(pets, ["cat", "dog"], out, count=4)
    rows = read_manifest(out / "manifest.jsonl")
    cats = [row for row in rows if row.label == "cat"]
    decisions = [
        {"sha256": cats[0].sha256, "action": "confirm"},
        {"sha256": cats[1].sha256, "action": "relabel", "label": "dog"},
        {"sha256": cats[2].sha256, "action": "drop"},
    ]
    (tmp_path / "decisions.jsonl").write_text("".join(json.dumps(each) + "\n" for each in decisions))
    keensight.clean(out, tmp_path / "decisions.jsonl")
    notes = Notes()
    notes.found(keensight.open_dataset(out), "")
    assert any("5 of 7 labels are a search's guess" in note for note in notes.notes), notes.notes
    pets.asked.clear()
    gather(pets, ["cat", "dog"], out, count=4)
    states = {row.sha256: (row.label, row.state) for row in read_manifest(out / "manifest.jsonl")}
    assert states[cats[0].sha256] == ("cat", "confirmed")
    assert states[cats[1].sha256] == ("dog", "confirmed")
    assert cats[2].sha256 not in states
    assert cats[3].sha256 in unconfirmed(out / "manifest.jsonl")
    assert len(pets.paths("pictures.example")) == 2  # for the two cats that are lacking
    assert keensight.open_dataset(out / "manifest.jsonl").class_names == ("cat", "dog")


def test_data_that_nobody_gathered_has_no_such_note(draw, tmp_path):
    notes = Notes()
    notes.found(keensight.open_dataset(draw(tmp_path, ["a", "b"], 3, 0)), "")
    assert len(notes.notes) == 1


def test_without_the_journal_all_is_searched_anew_and_nothing_fetched_again(pets, tmp_path):
    gather(pets, ["cat"], tmp_path, count=4)
    (tmp_path / "gather.jsonl").unlink()
    pets.asked.clear()
    assert gather(pets, ["cat"], tmp_path, count=5).labels == {"cat": 5}
    assert len([each for each in pets.asked if each.host == "api.openverse.org"]) == 1
    assert len(pets.paths("pictures.example")) == 1


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
