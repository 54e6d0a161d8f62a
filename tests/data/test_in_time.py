import io
import threading

import numpy as np
import pytest
from PIL import Image

from keensight.data import in_time
from keensight.data.apart import ApartError
from keensight.data.in_time import InTime
from keensight.data.pixels import decode_picture, level_range
from keensight.errors import PictureError, TooMuchWorkError
from keensight.values import Preprocessing

SIZE = Preprocessing(20, 30, 3)


def encode(image, kind="JPEG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


PHOTOGRAPH = encode(Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)))
SLOW = encode(Image.new("L", (8000, 8000)), progressive=True)  # as much work as is accepted: seconds


def test_what_is_little_is_decoded_here(monkeypatch):
    monkeypatch.setattr(in_time, "Apart", lambda: pytest.fail("it needs no process"))
    with InTime() as decoders:
        np.testing.assert_array_equal(decoders.decode(PHOTOGRAPH, SIZE), decode_picture(PHOTOGRAPH, SIZE))
        pixels = np.zeros((4, 4, 3), np.uint8)
        assert decoders.decode(pixels, SIZE).shape == (20, 30, 3)


@pytest.mark.parametrize("options", [{"compression": "tiff_lzw"}, {}])
def test_the_rest_is_decoded_elsewhere_and_the_same(options):
    picture = encode(Image.fromarray(np.linspace(-1, 1, 48, dtype=np.float32).reshape(6, 8)), "TIFF", **options)
    with InTime(here_work=10**6 if options else 0) as decoders:  # LZW is not bounded by its pixels
        np.testing.assert_array_equal(decoders.decode(picture, SIZE), decode_picture(picture, SIZE))
        assert decoders.level_range(picture) == level_range(picture) == (-1.0, 1.0)
        assert decoders._free[0]._process is not None
        with pytest.raises(PictureError, match="cut short|damaged"):
            decoders.decode(picture[:-30], SIZE)


def test_what_takes_too_long_is_ended_and_that_may_pass():
    with InTime(seconds=0.02) as decoders:
        with pytest.raises(TooMuchWorkError, match=r"more than 0.02 seconds; save it again") as error:
            decoders.decode(SLOW, SIZE)
        assert isinstance(error.value.__cause__, OSError) and error.value.__cause__.errno
        assert decoders.decode(PHOTOGRAPH, SIZE).shape == (20, 30, 3)


def test_whoever_leaves_waits_for_no_decoder():
    """Ctrl-C ends `predict` at once."""
    begun, caught = threading.Event(), []

    class Endless:
        def __init__(self):
            self.ended = threading.Event()

        def decode(self, *_):
            begun.set()
            assert self.ended.wait(60)
            raise PictureError("it was ended")

        def close(self):
            self.ended.set()

    def decode(decoders):
        with pytest.raises(PictureError) as error:
            decoders.decode(SLOW, SIZE)
        caught.append(str(error.value))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(in_time, "Apart", Endless)
        with InTime() as decoders:
            thread = threading.Thread(target=decode, args=[decoders])
            thread.start()
            assert begun.wait(60)
        thread.join(60)
        assert caught == ["it was ended"]
        with pytest.raises(PictureError, match="not decoded"):
            decoders.decode(SLOW, SIZE)


def test_where_no_process_can_start_it_is_decoded_here(monkeypatch):
    def none(*_):
        raise ApartError("no")

    monkeypatch.setattr(in_time.Apart, "decode", none)
    monkeypatch.setattr(in_time.Apart, "level_range", none)
    with InTime(here_work=0) as decoders:
        np.testing.assert_array_equal(decoders.decode(PHOTOGRAPH, SIZE), decode_picture(PHOTOGRAPH, SIZE))
        grey = encode(Image.new("L", (4, 4), 7), "PNG")
        assert decoders.level_range(grey) == (7.0, 7.0)
