import errno
import io
import os
import select
import signal
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from PIL import Image

from keensight.data import decoding
from keensight.data.cache import decode
from keensight.data.decoding import Helper, Target, decoders
from keensight.data.pixels import decode_picture
from keensight.data.sources import open_dataset, reader
from keensight.errors import KeensightError
from keensight.values import Preprocessing

SIZE = Preprocessing(8, 8, 3)


@pytest.fixture
def pets(folder):
    """Two classes of 150 pictures, two of which are damaged."""
    (folder / "cat/005.png").write_text("not a picture")
    (folder / "dog/149.png").write_bytes((folder / "dog/149.png").read_bytes()[:60])
    return folder


@pytest.fixture
def helped(monkeypatch):
    """Three cores, so that two processes help even where there are few pictures; what they were asked for."""
    asked = []

    class Watched(Helper):
        def __call__(self, first, samples):
            asked.append((self, first))
            return super().__call__(first, samples)

    monkeypatch.setattr(decoding, "MANY", 100)
    monkeypatch.setattr(decoding, "cores", lambda: 3)
    monkeypatch.setattr(decoding, "Helper", Watched)
    return asked


def by_itself(data, own_cache):
    """Return what this process alone makes of it."""
    pixels = decode(open_dataset(data), SIZE)
    for file in (own_cache / "pixels").rglob("*.*"):
        file.unlink()
    for folder in (own_cache / "pixels").iterdir():
        folder.rmdir()
    return np.array(pixels.images), pixels.dataset.skipped


@pytest.mark.parametrize("form", ["folder", "zip"])
def test_processes_give_what_one_gives(pets, tmp_path, own_cache, request, form):
    data = pets
    if form == "zip":
        data = tmp_path / "pets.zip"
        with zipfile.ZipFile(data, "w") as archive:
            for file in sorted(pets.rglob("*.png")):
                archive.write(file, file.relative_to(pets))
    images, skipped = by_itself(data, own_cache)
    asked = request.getfixturevalue("helped")
    heard = []
    pixels = decode(open_dataset(data), SIZE, lambda done, total: heard.append((done, total)))
    assert (pixels.images == images).all() and pixels.dataset.skipped == skipped
    assert [s.path for s in skipped] == ["cat/005.png", "dog/149.png"]
    assert heard == sorted(heard) and heard[-1] == (300, 300)
    assert asked and all(helper._process is None for helper, _ in asked)  # they took part, and have ended


def target(folder, samples):
    (folder / "images").write_bytes(b"head" + bytes(len(samples) * 8 * 8 * 3))
    return Target(folder / "images", 4, SIZE)


def test_a_helper_that_was_killed_is_done_without(pets, tmp_path):
    dataset = open_dataset(pets)
    with reader(dataset) as read:
        place = target(tmp_path, dataset.samples)
        helper = Helper("folder", pets, place, lambda first, samples: place.write(first, samples, read, decode_picture))
        assert helper(0, dataset.samples[:3]) == {}
        helper._process.kill()
        assert list(helper(3, dataset.samples[3:6])) == [5]
        assert list(helper(6, dataset.samples[6:])) == [299]
        helper.close()
        twin = tmp_path / "twin"
        twin.write_bytes(place.file.read_bytes()[:4] + bytes(300 * 8 * 8 * 3))
        Target(twin, 4, SIZE).write(0, dataset.samples, read, decode_picture)
    assert place.file.read_bytes() == twin.read_bytes()


@pytest.mark.thorough
def test_a_picture_that_takes_too_long_ends_its_helper_and_is_named(pets, tmp_path, monkeypatch):
    slow = io.BytesIO()
    Image.new("L", (3000, 3000)).save(slow, "JPEG", progressive=True)  # a hundred times what is given below
    for name in ("cat/002.png", "cat/006.png"):
        (pets / name).write_bytes(slow.getvalue())
    samples = open_dataset(pets).samples[:7]
    place = target(tmp_path, samples)
    command = decoding.own_python
    patient = "; from keensight.data import decoding; decoding.DECODE_S = 1e-3; take_orders"
    monkeypatch.setattr(
        decoding,
        "own_python",
        lambda *words: [word.replace("; take_orders", patient) for word in command(*words)],
    )
    helper = Helper("folder", pets, place, lambda *_: pytest.fail("it was decoded here"))
    reasons = helper(0, samples)
    helper.close()
    named = {row for row, reason in reasons.items() if reason.text == decoding.TOO_LONG}
    assert {1, 5} <= named  # on a slow machine others may be, too
    assert len(place.file.read_bytes()) == 4 + 7 * 8 * 8 * 3


@pytest.mark.parametrize("python", ["", "/nowhere/python", "/bin/false"])
def test_a_helper_that_cannot_start_is_done_without(pets, tmp_path, monkeypatch, python):
    monkeypatch.setattr(sys, "executable", python)
    samples = open_dataset(pets).samples
    helper = Helper("folder", pets, target(tmp_path, samples), lambda first, _: {first: "here"})
    assert helper(7, samples[:3]) == {7: "here"}
    helper.close()


def test_a_helper_says_what_it_cannot_write(pets, tmp_path):
    samples = open_dataset(pets).samples
    place = target(tmp_path, samples)
    place.file.unlink()
    helper = Helper("folder", pets, place, lambda *_: pytest.fail("it did not answer"))
    with pytest.raises(FileNotFoundError) as error:
        helper(0, samples[:3])
    assert error.value.errno == errno.ENOENT
    helper.close()


def test_what_a_helper_cannot_write_ends_it_all(pets, helped, monkeypatch, own_cache):
    def full(self, first, samples):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(decoding.Helper, "__call__", full)
    with pytest.raises(KeensightError, match="disk is full"):
        decode(open_dataset(pets), SIZE)
    assert os.listdir(own_cache / "pixels") == []


def test_arrays_and_few_pictures_need_no_helper(pets, tmp_path, helped, monkeypatch):
    def count(pictures, kind):
        with decoders(pictures, kind, pets, None, target(tmp_path, [])) as found:
            return sum(isinstance(decoder, Helper) for decoder in found), len(found)

    assert count(99, "folder") == (0, 3)
    assert count(199, "folder") == (1, 3)
    assert count(10_000, "folder") == (2, 3)
    assert count(10_000, "arrays") == (0, 3)
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    assert count(10_000, "folder") == (0, 3)


@pytest.mark.thorough
def test_no_helper_outlives_a_killed_program(pets, tmp_path):
    script = tmp_path / "program.py"  # without a main guard: a helper must not run it again
    script.write_text(f"""
import os, time
from pathlib import Path
from keensight.data.decoding import Helper, Target
from keensight.values import Preprocessing, Sample
Path({str(tmp_path / "images")!r}).write_bytes(bytes(300 * 192))
target = Target(Path({str(tmp_path / "images")!r}), 0, Preprocessing(8, 8, 3))
helper = Helper("folder", Path({str(pets)!r}), target, None)
assert helper(0, [Sample("cat/001.png", 0, "")]) == {{}}
print(helper._process.pid, flush=True)
time.sleep(60)
""")
    program = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    helper = os.pidfd_open(int(program.stdout.readline()))
    program.send_signal(signal.SIGKILL)
    program.communicate()
    readable, _, _ = select.select([helper], [], [], 60)  # once it has ended
    os.close(helper)
    assert readable


def test_what_lies_where_it_starts_is_not_imported(pets, tmp_path, monkeypatch):
    (tmp_path / "json.py").write_text("raise SystemExit")
    (tmp_path / "numpy.py").write_text("raise SystemExit")
    monkeypatch.chdir(tmp_path)
    samples = open_dataset(pets).samples
    helper = Helper("folder", pets, target(tmp_path, samples), lambda *_: pytest.fail("it did not start"))
    assert helper(0, samples[:3]) == {}
    helper.close()
