import os
import subprocess
import sys

import pytest

from keensight import cached as under_test
from keensight.cached import cached, entries, limit, remove_others, trim
from keensight.errors import KeensightError

HOLD = """
import sys
from keensight.cached import cached
cached("pixels", sys.argv[1])
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache of five entries of 1000 bytes each, which no process uses; the first was not used for longest."""
    monkeypatch.setenv("KEENSIGHT_CACHE", str(tmp_path / "cache"))
    for i, place in enumerate(
        ("pixels/a/images.npy", "archives/b.tar", "features/c.npy", "pixels/d/x", "hashes/e.json")
    ):
        file = tmp_path / "cache" / place
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(bytes(1000))
        for each in (file, file.parent) if "pixels" in place else (file,):
            os.utime(each, (1_000_000 + i, 1_000_000 + i))
    (tmp_path / "cache" / "mine.txt").write_text("not ours")
    return tmp_path / "cache"


def names():
    return [each.path.name for each in entries()]


def test_what_was_not_used_for_longest_goes_first(cache):
    assert names() == ["a", "b.tar", "c.npy", "d", "e.json"]
    assert [each.path.name for each in trim(3000)] == ["a", "b.tar"]
    assert names() == ["c.npy", "d", "e.json"] and trim(3000) == []
    assert (cache / "mine.txt").exists()


def test_use_makes_an_entry_the_last_to_go(cache):
    cached("pixels", "a")
    assert names() == ["b.tar", "c.npy", "d", "e.json", "a"]


def test_what_a_running_process_uses_stays(cache):
    words = [sys.executable, "-c", HOLD, "a"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "ready\n"
        assert {each.path.name for each in entries() if each.in_use} == {"a"}
        trim(0)
        assert names() == ["a"]
        remove_others("pixels", "*", cache / "pixels" / "b")
        assert names() == ["a"]
        other.stdin.close()
    assert not entries()[0].in_use
    trim(0)
    assert names() == [] and list((cache / ".in-use").iterdir()) == []


def test_links_are_removed_and_not_followed(cache, tmp_path):
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").write_text("mine")
    (cache / "pixels" / "link").symlink_to(tmp_path / "precious")
    trim(0)
    assert (tmp_path / "precious" / "file").read_text() == "mine" and names() == []


def test_a_process_that_adds_an_entry_brings_the_cache_within_its_size(cache):
    add = "from keensight.cached import cached; cached('features', 'new.npy').write_bytes(bytes(1500))"
    subprocess.run([sys.executable, "-c", add], check=True, env=os.environ | {"KEENSIGHT_CACHE_SIZE": "2.5kB"})
    assert names() == ["e.json", "new.npy"]


@pytest.mark.parametrize(("text", "size"), [("", 20e9), ("500 MB", 5e8), ("1.5tb", 1.5e12), ("2GiB", 2**31),
                                            ("1000000", 1e6), ("0", 0)])  # fmt: skip
def test_sizes_are_read(text, size, monkeypatch):
    monkeypatch.setenv("KEENSIGHT_CACHE_SIZE", text)
    assert limit() == size


@pytest.mark.parametrize("text", ["20", "much", "-5GB", "5 XB", "GB"])
def test_other_texts_are_refused_before_anything_is_added(text, cache, monkeypatch):
    monkeypatch.setenv("KEENSIGHT_CACHE_SIZE", text)
    with pytest.raises(KeensightError, match=r"KEENSIGHT_CACHE_SIZE is .* such as 500MB"):
        cached("pixels", f"new-{text}")


@pytest.fixture(autouse=True)
def forget(monkeypatch):
    """Each test's process begins with nothing in use."""
    monkeypatch.setattr(under_test, "_used", set())
    monkeypatch.setattr(under_test, "_lists", lists := {})
    yield
    for file in lists.values():
        file.close()
