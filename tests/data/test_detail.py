import numpy as np
import pytest
from PIL import Image

from keensight.data.detail import blown_up, loss
from keensight.data.sources import open_dataset
from keensight.pages.findings import sentence

RANDOM = np.random.default_rng(0)


def scene(side):
    """Edges and grain at every scale, as in photographs: the amplitude falls with the frequency."""
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None])
    spectrum = np.fft.rfft2(RANDOM.normal(size=(side, side))) / np.maximum(frequency, 1 / side)
    grey = np.fft.irfft2(spectrum, (side, side))
    grey = (grey - grey.mean()) / grey.std()
    return Image.fromarray((128 + 50 * grey).clip(0, 255).astype(np.uint8))


def write(folder, make, count=12):
    for label in ("a", "b"):
        (folder / label).mkdir(parents=True)
        for i in range(count):
            make().convert("RGB").save(folder / label / f"{i}.jpg", quality=90)
    return open_dataset(folder)


def up(small, how):
    return lambda: scene(256).resize((small, small), Image.Resampling.BOX).resize((200, 200), how)


@pytest.mark.parametrize("how", [Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS])
def test_pictures_that_were_blown_up_are_noticed(tmp_path, how):
    finding = blown_up(write(tmp_path, up(32, how)))
    assert finding is not None and finding.kind == "quality"
    assert finding.evidence["side"] == 200 and finding.evidence["detail"] <= 100
    assert "200 pixels" in sentence(finding) and "blown up" in sentence(finding)


def test_sharp_pictures_small_ones_and_too_few_are_not(tmp_path):
    assert blown_up(write(tmp_path / "sharp", lambda: scene(200))) is None
    assert blown_up(write(tmp_path / "smaller", lambda: scene(400).resize((200, 200), Image.Resampling.BOX))) is None
    assert blown_up(write(tmp_path / "chips", lambda: up(16, Image.Resampling.BICUBIC)().resize((40, 40)))) is None
    assert blown_up(write(tmp_path / "few", up(32, Image.Resampling.BICUBIC), count=3)) is None


def test_a_picture_that_cannot_be_read_is_no_reason_to_stop(tmp_path):
    write(tmp_path, up(32, Image.Resampling.BICUBIC))
    (tmp_path / "a" / "0.jpg").write_bytes(b"\xff\xd8\xff nonsense")
    assert blown_up(open_dataset(tmp_path)) is not None


def test_the_loss_is_what_the_coarser_picture_lacks():
    plain = np.repeat(np.repeat(RANDOM.integers(0, 256, (8, 8), np.uint8), 8, 0), 8, 1)
    stripes = np.tile(np.array([0, 255], np.uint8), (64, 32))
    assert loss(stripes, 2) == pytest.approx(1, abs=0.01), "all of its contrast"
    assert loss(plain, 2) < loss(plain, 8) < loss(stripes, 2)
    assert loss(np.full((64, 64), 7, np.uint8), 4) == 0


@pytest.mark.slow
@pytest.mark.parametrize(("name", "is_blown"), [("flowers", True), ("catsdogs", False), ("huskies", False)])
def test_real_photographs(shared, name, is_blown):
    assert (blown_up(open_dataset(shared / f"{name}.zip")) is not None) is is_blown
