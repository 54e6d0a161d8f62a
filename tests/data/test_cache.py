import errno
import os
import time

import numpy as np
import pytest
from PIL import Image

from keensight.data import cache, decoding
from keensight.data.cache import choose_preprocessing, decode, fingerprint
from keensight.data.pixels import decode_picture
from keensight.data.sources import open_dataset
from keensight.errors import DataError, KeensightError, PictureError
from keensight.values import Preprocessing, Recipe


def test_the_cache_holds_what_decoding_one_by_one_gives(folder):
    size = Preprocessing(8, 8, 3)
    pixels = decode(open_dataset(folder), size)
    for i in (0, 63, 64, 150, 299):
        alone = decode_picture((folder / pixels.dataset.samples[i].path).read_bytes(), size)
        assert (pixels.images[pixels.rows[i]] == alone).all()
    assert isinstance(pixels.images, np.memmap)


def test_a_second_time_nothing_is_decoded(folder, monkeypatch):
    size = Preprocessing(8, 8, 3)
    first = decode(open_dataset(folder), size)
    monkeypatch.setattr(decoding, "decode_picture", None)
    assert (decode(open_dataset(folder), size).images == first.images).all()


def test_other_content_or_preprocessing_is_decoded_again(folder):
    one = decode(open_dataset(folder), Preprocessing(8, 8, 3))
    assert decode(open_dataset(folder), Preprocessing(8, 8, 3, "crop")).images.shape == one.images.shape
    Image.new("RGB", (10, 14)).save(folder / "cat" / "000.png")
    assert not decode(open_dataset(folder), Preprocessing(8, 8, 3)).images[0].any()


def test_unreadable_pictures_are_named_and_left_out(folder):
    (folder / "cat" / "005.png").write_text("not a picture")
    (folder / "dog" / "007.png").write_bytes((folder / "dog" / "007.png").read_bytes()[:60])
    for _ in range(2):  # decoded, and then from the cache
        pixels = decode(open_dataset(folder), Preprocessing(8, 8, 3))
        assert len(pixels.dataset.samples) == len(pixels.rows) == 298
        assert [s.path for s in pixels.dataset.skipped] == ["cat/005.png", "dog/007.png"]
        where = [s.path for s in pixels.dataset.samples]
        i = where.index("dog/008.png")
        alone = decode_picture((folder / "dog/008.png").read_bytes(), Preprocessing(8, 8, 3))
        assert (pixels.images[pixels.rows[i]] == alone).all()


def test_what_could_not_be_read_for_a_reason_that_passes_is_read_again(folder, monkeypatch):
    """Permissions, a drive that is away, memory: none is a verdict on the picture, and the cache keeps none."""
    size, whole = Preprocessing(8, 8, 3), open_dataset(folder)
    away, heavy, still = folder / "cat/005.png", folder / "dog/007.png", folder / "dog/009.png"
    light = heavy.read_bytes()
    for file in (away, still):
        file.rename(file.with_suffix(".away"))

    def short_of_memory(picture, preprocessing):
        if picture == light:
            raise PictureError("it is damaged or cut short (MemoryError)") from MemoryError()
        return decode_picture(picture, preprocessing)

    with monkeypatch.context() as patched:
        patched.setattr(decoding.InTime, "decode", lambda _, *given: short_of_memory(*given))
        first = decode(whole, size)
    named = {skipped.path: skipped.reason for skipped in first.dataset.skipped}
    assert named.keys() == {"cat/005.png", "dog/007.png", "dog/009.png"}
    assert "no such file" in named["cat/005.png"]
    away.with_suffix(".away").rename(away)
    second = decode(whole, size)
    assert [skipped.path for skipped in second.dataset.skipped] == ["dog/009.png"]
    still.with_suffix(".away").rename(still)
    third = decode(whole, size)
    assert third.dataset.skipped == () and len(third.rows) == 300
    for i, sample in enumerate(whole.samples):
        assert (third.images[third.rows[i]] == decode_picture((folder / sample.path).read_bytes(), size)).all()
    monkeypatch.setattr(decoding, "decode_picture", None)
    decode(whole, size)  # from the cache alone


def test_a_class_without_a_readable_picture_is_refused(folder):
    for file in (folder / "cat").iterdir():
        file.write_text("not a picture")
    with pytest.raises(DataError, match=r"no readable picture of class cat: 150 could not be read.*not a picture"):
        decode(open_dataset(folder), Preprocessing(8, 8, 3))


def test_a_full_disk_leaves_nothing_behind(folder, own_cache, monkeypatch):
    def full(file, *_):
        file.write(b"half a header")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(cache, "_write_images", full)
    with pytest.raises(KeensightError, match="disk is full"):
        decode(open_dataset(folder), Preprocessing(8, 8, 3))
    assert os.listdir(own_cache / "pixels") == []


def test_what_a_killed_process_left_is_removed_a_day_later(folder, own_cache):
    for name, age_s in ((".filling-old", 2 * 24 * 3600), (".filling-new", 60)):
        (own_cache / "pixels" / name).mkdir(parents=True)
        os.utime(own_cache / "pixels" / name, times=(time.time() - age_s,) * 2)
    decode(open_dataset(folder), Preprocessing(8, 8, 3))
    assert not (own_cache / "pixels" / ".filling-old").exists() and (own_cache / "pixels" / ".filling-new").exists()


def test_progress_reaches_the_end(folder):
    heard = []
    decode(open_dataset(folder), Preprocessing(8, 8, 3), lambda done, total: heard.append((done, total)))
    assert heard[-1] == (300, 300) and heard == sorted(heard)


def test_size_and_channels_are_chosen_from_the_pictures(folder, tmp_path):
    assert choose_preprocessing(open_dataset(folder), Recipe()) == Preprocessing(10, 14, 3)
    assert choose_preprocessing(open_dataset(folder), Recipe().having(size=32, channels=1)) == Preprocessing(32, 32, 1)
    assert choose_preprocessing(open_dataset("digits"), Recipe()) == Preprocessing(8, 8, 1)
    for i, file in enumerate(sorted(folder.rglob("*.png"))):
        Image.new("L", (300 + i, 200)).save(file)
    assert choose_preprocessing(open_dataset(folder), Recipe()) == Preprocessing(64, 64, 1)


def test_one_colour_picture_among_many_greys_makes_a_colour_model(tmp_path):
    for label in "ab":
        (tmp_path / "d" / label).mkdir(parents=True)
        for i in range(100):
            colour = (9, 8, 7) if (label, i) == ("b", 56) else i
            Image.new("L" if colour == i else "RGB", (8, 8), colour).save(tmp_path / "d" / label / f"{i:03}.png")
    assert choose_preprocessing(open_dataset(tmp_path / "d"), Recipe()) == Preprocessing(8, 8, 3)


@pytest.mark.parametrize(
    ("lowest", "highest", "levels"),
    [(0, 1, (0, 1)), (0, 200, (0, 255)), (3, 5000, (0, 65535)), (-1000, 3000, (-1000, 3000)), (0, 1e6, (0, 1e6))],
)
@pytest.mark.parametrize("kind", [np.float32, np.int32])
def test_greys_that_declare_no_range_have_that_of_them_all(tmp_path, kind, lowest, highest, levels):
    for label, values in {"a": (lowest, highest), "b": ((lowest + highest) / 4, highest / 2)}.items():
        (tmp_path / "d" / label).mkdir(parents=True)
        for i, value in enumerate(values):
            image = Image.fromarray(np.full((4, 4), value, kind))
            image.save(tmp_path / "d" / label / f"{i}.tif")
    dataset = open_dataset(tmp_path / "d")
    size = choose_preprocessing(dataset, Recipe())
    if (kind, highest) == (np.int32, 1):
        return  # a quarter of 1 is 0, and two pictures are one
    assert size == Preprocessing(4, 4, 1, levels=levels)
    pixels = decode(dataset, size)
    black, white = levels
    for row, sample in enumerate(pixels.dataset.samples):
        value = np.asarray(Image.open(tmp_path / "d" / sample.path))[0, 0]
        assert abs(pixels.images[pixels.rows[row], 0, 0, 0] - (value - black) / (white - black) * 255) <= 0.51


def test_the_fingerprint_knows_content_and_labels_but_not_names(folder, tmp_path):
    before = fingerprint(open_dataset(folder))
    (folder / "cat" / "000.png").rename(folder / "cat" / "zzz.png")
    assert fingerprint(open_dataset(folder)) == before
    (folder / "cat" / "zzz.png").rename(folder / "dog" / "zzz.png")
    assert fingerprint(open_dataset(folder)) != before
