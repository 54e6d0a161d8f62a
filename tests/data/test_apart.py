import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keensight.data import apart
from keensight.data.apart import Apart, ApartError
from keensight.data.pixels import decode_picture
from keensight.errors import PictureError, TooMuchWorkError
from keensight.values import Preprocessing

SIZE = Preprocessing(20, 30, 3)


def encode(image, kind="JPEG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


PHOTOGRAPH = encode(Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)))


@pytest.fixture
def process():
    made = Apart()
    yield made
    made.close()


def test_it_gives_what_this_process_gives(process):
    for size in (SIZE, Preprocessing(8, 8, 1, "letterbox")):
        pixels = process.decode(PHOTOGRAPH, size, 60)
        np.testing.assert_array_equal(pixels, decode_picture(PHOTOGRAPH, size))
    for bad in (b"", b"noise", PHOTOGRAPH[:5000]):
        with pytest.raises(PictureError) as here:
            decode_picture(bad, SIZE)
        with pytest.raises(PictureError) as there:
            process.decode(bad, SIZE, 60)
        assert str(here.value) == str(there.value)
    assert process.decode(PHOTOGRAPH, SIZE, 60).shape == (20, 30, 3)


def test_it_is_ended_by_its_deadline_and_replaced(process):
    process.decode(PHOTOGRAPH, SIZE, 60)
    before = process._process.pid
    slow = encode(Image.new("L", (8000, 8000)), progressive=True)  # as much work as is accepted: seconds
    with pytest.raises(TooMuchWorkError, match=r"more than 0.02 seconds; save it again"):
        process.decode(slow, SIZE, 0.02)
    assert process.decode(PHOTOGRAPH, SIZE, 60).shape == (20, 30, 3)
    assert process._process.pid != before


def test_where_there_is_no_alarm_a_thread_ends_it():
    code = (
        "import io, signal; from PIL import Image; del signal.setitimer; from keensight.data.apart import ends_after\n"
        "file = io.BytesIO(); Image.new('L', (8000, 8000)).save(file, 'JPEG', progressive=True)\n"
        "with ends_after(60): pass\n"
        "with ends_after(0.02): Image.open(file).load()"
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    assert apart.took_too_long(process)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux alone can bound it")
def test_its_memory_is_bounded(process):
    import resource

    process.decode(PHOTOGRAPH, SIZE, 60)
    soft, _ = resource.prlimit(process._process.pid, resource.RLIMIT_DATA)
    assert apart.MOST_BYTES < soft < apart.MOST_BYTES + 2**31
    resource.prlimit(process._process.pid, resource.RLIMIT_DATA, (2**20, -1))  # less than it has
    large = encode(Image.new("RGB", (6000, 4000)), "PNG")
    with pytest.raises(PictureError, match="there is not enough memory to decode it"):
        process.decode(large, SIZE, 60)


def test_one_that_was_killed_is_replaced(process):
    process.decode(PHOTOGRAPH, SIZE, 60)
    os.kill(process._process.pid, signal.SIGSTOP)  # so that it is killed while it is asked
    first = process._process
    os.kill(first.pid, signal.SIGKILL)
    try:
        process.decode(PHOTOGRAPH, SIZE, 60)
    except PictureError as error:
        assert "has ended" in str(error)  # it was not yet gone
    assert process.decode(PHOTOGRAPH, SIZE, 60).shape == (20, 30, 3)
    assert process._process is not first


@pytest.mark.parametrize("python", ["/nowhere/python", "frozen"])
def test_where_none_can_start_is_said(process, monkeypatch, python):
    monkeypatch.setattr(apart.sys, "executable", python)
    if python == "frozen":
        monkeypatch.setattr(apart.sys, "frozen", True, raising=False)
    with pytest.raises(ApartError):
        process.decode(PHOTOGRAPH, SIZE, 60)
