import numpy as np
import pytest
from PIL import Image

from keensight import decode, open_dataset
from keensight.care.copies import Copy, copies, findings_of_copies, torn_groups
from keensight.pages.findings import sentence
from keensight.values import Preprocessing, Sample


@pytest.fixture
def folder(photos, tmp_path):
    """Sixteen pictures in two splits and two classes: copies of four of them are added by the tests."""
    for i, photo in enumerate(photos[:16]):
        home = tmp_path / ("val" if i >= 12 else "train") / "ab"[i % 2]
        home.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photo).save(home / f"{i}.png")
    return tmp_path


def findings(folder):
    pixels = decode(open_dataset(folder), Preprocessing(64, 64, 3))
    return list(findings_of_copies(pixels, copies(pixels)))


def mirrored(file):
    return Image.open(file).transpose(Image.Transpose.FLIP_LEFT_RIGHT)


def test_without_copies_nothing_is_found(folder):
    assert findings(folder) == []


def test_leaks_are_found_by_bytes_by_pixels_and_by_likeness(folder):
    (folder / "val/a/bytes.png").write_bytes((folder / "train/a/0.png").read_bytes())
    Image.open(folder / "train/a/2.png").save(folder / "val/a/pixels.bmp")
    mirrored(folder / "train/a/4.png").save(folder / "val/a/likeness.png")
    found = findings(folder)
    assert [(each.kind, each.evidence["by"]) for each in found] == [
        ("leak", "bytes"), ("leak", "pixels"), ("leak", "likeness"),
    ]  # fmt: skip
    for each in found:
        number = {"bytes": 0, "pixels": 2, "likeness": 4}[each.evidence["by"]]
        (pair,) = each.evidence["pairs"]
        assert sorted(pair)[0] == f"train/a/{number}.png"
        assert (each.evidence["held_out"], each.evidence["of"], each.evidence["share"]) == (1, 7, 1 / 7)
        assert "1 picture is in two splits" in sentence(each) and "up to 14.3 points" in sentence(each)
    assert found[-1].evidence["how"] == ["mirrored"]
    assert found[-1].score < 1 == found[0].score


def test_a_large_jpeg_saved_again_as_png_has_the_same_pixels(folder):
    """Each is made small in a way of its own, so they differ a little where a model sees them."""
    large = Image.open(folder / "train/a/0.png").resize((640, 600))
    large.save(folder / "train/a/large.jpg", quality=90)
    Image.open(folder / "train/a/large.jpg").save(folder / "train/a/large.png")
    large.save(folder / "train/a/other.png")  # before the loss of JPEG
    by = {tuple(sorted(pair)): each.evidence["by"] for each in findings(folder) for pair in each.evidence["pairs"]}
    assert by["train/a/large.jpg", "train/a/large.png"] == "pixels"
    assert {by for pair, by in by.items() if "train/a/other.png" in pair} == {"likeness"}


def test_a_copy_under_another_label_is_a_wrong_label(folder):
    mirrored(folder / "train/a/0.png").save(folder / "train/b/copy.png")
    (found,) = findings(folder)
    assert found.kind == "label"
    assert {tuple(each) for each in found.evidence["pairs"][0]} == {("train/a/0.png", "a"), ("train/b/copy.png", "b")}
    assert "1 picture appears twice, nearly the same, with different labels" in sentence(found)


def test_copies_in_one_class_and_split_count_twice(folder):
    (folder / "train/a/again.png").write_bytes((folder / "train/a/0.png").read_bytes())
    Image.open(folder / "train/a/2.png").resize((50, 50)).save(folder / "train/a/small.png")
    identical, near = findings(folder)
    assert (identical.kind, near.kind) == ("identical", "near-duplicate")
    assert "in these data twice, byte for byte: train/a/0.png = train/a/again.png" in sentence(identical)
    assert set(near.samples) == {"train/a/2.png", "train/a/small.png"}


def test_of_small_pictures_it_is_less_sure():
    digits = open_dataset("digits")
    pixels = decode(digits, Preprocessing(8, 8, 1))
    (found,) = findings_of_copies(pixels, [Copy(0, 10, "likeness", 0.995)])
    assert (found.kind, found.score) == ("near-duplicate", 0.5)


def test_blank_pictures_are_not_copies_of_each_other(folder):
    for size in (9, 20, 31):
        Image.fromarray(np.zeros((size, size, 3), np.uint8)).save(folder / f"train/a/black{size}.png")
    assert findings(folder) == []


def test_a_group_in_two_splits_is_a_leak():
    rows = [("train", "a"), ("val", "a"), ("train", "b"), ("val", "c"), ("train", None), (None, "b")]
    samples = [Sample(f"{i}.png", 0, "", split, group) for i, (split, group) in enumerate(rows)]
    (found,) = torn_groups(samples)
    assert found.samples == ("0.png", "1.png") and found.evidence == {"groups": ["a"], "share": 0.5}
    assert "1 group is in two of the given splits: a" in sentence(found)
    assert list(torn_groups(samples[2:])) == []
