"""A gathering goes on where it stopped, whatever stopped it, and asks for nothing twice."""

import errno
import json
import os
import re
import subprocess
import sys
from collections import Counter
from hashlib import sha256

import pytest

import keensight
from keensight.care.gather import folder, manifest
from keensight.care.gather.manifest import read_manifest
from keensight.errors import DataError
from keensight.files import explained
from keensight.pipeline.watch import Watcher

SEARCH = "https://api.openverse.org/v1/images/"
pytestmark = pytest.mark.usefixtures("decoded_here")


def test_the_same_command_again_asks_for_nothing(pets, tmp_path):
    pets.gather(["cat", "dog"], tmp_path, count=5)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    pets.asked.clear()
    done = pets.gather(["cat", "dog"], tmp_path, count=5)
    assert pets.asked == []
    assert (done.new, done.labels) == (0, {"cat": 5, "dog": 5})
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_more_are_gathered_later_without_a_second_request(pets, tmp_path):
    pets.gather(["cat"], tmp_path, count=5)
    pets.gather(["cat", "dog"], tmp_path, count=30)
    assert max(Counter(pets.paths("pictures.example")).values()) == 1
    searches = [(each.query["q"], each.query["page"]) for each in pets.asked if each.host == "api.openverse.org"]
    assert len(searches) == len(set(searches)) == 4
    assert Counter(row.label for row in read_manifest(tmp_path / "manifest.jsonl")) == {"cat": 30, "dog": 30}


def test_what_was_removed_or_moved_by_hand_stays_so(pets, tmp_path):
    pets.gather(["cat", "dog"], tmp_path, count=4)
    gone, moved, *_ = sorted((tmp_path / "cat").iterdir())
    gone.unlink()
    moved.rename(tmp_path / "dog" / moved.name)
    pets.asked.clear()
    done = pets.gather(["cat", "dog"], tmp_path, count=4)
    assert done.labels == {"cat": 4, "dog": 5}
    assert not gone.exists()
    assert not moved.exists()
    rows = {row.file: row for row in read_manifest(done.manifest)}
    assert rows[f"dog/{moved.name}"].label == "dog"
    assert len(rows) == 9
    assert done.left_out == {"removed from the folder": 1}
    assert len(pets.paths("pictures.example")) == 2  # in place of the two


def test_a_days_limit_ends_the_run_and_the_next_one_goes_on(pets, tmp_path, notes):
    limit = pets.says({"detail": "Request was throttled."}, 429, {"Retry-After": "40000"})
    original = pets.routes["api.openverse.org", "/v1/images/"]
    pets.on(SEARCH, lambda asked: original(asked) if asked.query["page"] == "1" else limit)
    done = pets.gather(["cat"], tmp_path, count=30, watcher=notes)
    assert done.labels == {"cat": 20}
    assert any("Openverse asks to wait 11 hours; the same command goes on then" in note for note in notes.notes)
    pets.on(SEARCH, original)
    pets.now += 40_000
    assert pets.gather(["cat"], tmp_path, count=30).labels == {"cat": 30}
    assert max(Counter(pets.paths("pictures.example")).values()) == 1


def test_patience_waits_for_a_limit(pets, tmp_path):
    original, left = pets.routes["api.openverse.org", "/v1/images/"], [1]
    limit = pets.says({"detail": "Request was throttled."}, 429, {"Retry-After": "3000"})
    pets.on(SEARCH, lambda asked: limit if left and left.pop() else original(asked))
    assert pets.gather(["cat"], tmp_path, count=3, patience="1h").labels == {"cat": 3}
    assert 3000 in pets.waits


def test_pictures_of_a_busy_host_come_next_time(pets, tmp_path):
    busy = pets.says(status=429, headers={"Retry-After": "600"})
    original = pets.routes["pictures.example", "/"]
    pets.on("https://pictures.example/", lambda asked: original(asked) if asked.path in ("/0.jpg", "/1.jpg") else busy)
    done = pets.gather(["cat"], tmp_path, count=5)
    assert done.labels["cat"] <= 2
    assert any("pictures.example asks to wait 10 minutes" in note for note in done.notes)
    pets.on("https://pictures.example/", original)
    pets.now += 600
    assert pets.gather(["cat"], tmp_path, count=5).labels == {"cat": 5}


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
        pets.gather(["cat"], tmp_path / "out", count=20)
    monkeypatch.setattr(folder, "append_line", appended)
    assert len(read_manifest(tmp_path / "out" / "manifest.jsonl")) == 5
    assert pets.gather(["cat"], tmp_path / "out", count=20).labels == {"cat": 20}


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full is Linux's")
def test_a_line_is_written_whole_or_the_disk_is_said_to_be_full(tmp_path):
    (tmp_path / "full.jsonl").symlink_to("/dev/full")
    with pytest.raises(keensight.KeensightError, match="The disk is full"):
        manifest.append_line(tmp_path / "full.jsonl", {"a": 1})


@pytest.mark.parametrize("name", ["gather.jsonl", "manifest.jsonl"])
def test_a_damaged_file_of_ours_is_told_and_kept(pets, tmp_path, name):
    pets.gather(["cat"], tmp_path, count=2)
    path = tmp_path / name
    path.write_text("{}\n" + path.read_text())
    before = path.read_bytes()
    with pytest.raises(DataError, match=re.escape(name)):
        pets.gather(["cat"], tmp_path, count=3)
    assert path.read_bytes() == before


@pytest.mark.parametrize("name", ["gather.jsonl", "manifest.jsonl"])
def test_a_line_that_a_power_cut_left_half_written_is_mended(pets, tmp_path, name):
    pets.gather(["cat"], tmp_path, count=4)
    path = tmp_path / name
    path.write_bytes(path.read_bytes()[:-20])
    pets.asked.clear()
    done = pets.gather(["cat"], tmp_path, count=6)
    assert done.labels == {"cat": 6}
    assert len(read_manifest(done.manifest)) == 6
    assert len(pets.paths("pictures.example")) == 2


def test_interrupted_is_not_lost(pets, tmp_path):
    class Impatient(Watcher):
        def gathered(self, done, total):
            if done == 3:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match="the same command goes on where it stopped"):
        pets.gather(["cat"], tmp_path, count=10, watcher=Impatient())
    assert len(read_manifest(tmp_path / "manifest.jsonl")) == 3
    assert (tmp_path / "ATTRIBUTION.md").read_text().count("- `") == 3
    assert pets.gather(["cat"], tmp_path, count=10).labels == {"cat": 10}


def test_without_the_journal_all_is_searched_anew_and_nothing_fetched_again(pets, tmp_path):
    pets.gather(["cat"], tmp_path, count=4)
    (tmp_path / "gather.jsonl").unlink()
    pets.asked.clear()
    assert pets.gather(["cat"], tmp_path, count=5).labels == {"cat": 5}
    assert len([each for each in pets.asked if each.host == "api.openverse.org"]) == 1
    assert len(pets.paths("pictures.example")) == 1


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


@pytest.mark.thorough
def test_killed_at_any_step_the_next_command_goes_on_without_a_second_request(pets, tmp_path):
    """A process is killed before and after each of its writes; then the same is gathered again, in the same folder."""
    told = [["cat"], pets.port, sorted({host for host, _ in pets.routes}), str(tmp_path)]
    words = [sys.executable, "-c", KILLED, json.dumps(told)]
    steps = int(subprocess.run(words, capture_output=True, text=True, check=True, timeout=90).stdout)
    assert steps > 12
    for step in range(1, steps):
        there = {path.stem for path in (tmp_path / str(step)).glob("cat/*") if not path.name.startswith(".")}
        pets.asked.clear()
        done = pets.gather(["cat"], tmp_path / str(step), count=4)
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
