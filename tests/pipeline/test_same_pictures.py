"""Which pictures several bundles are compared on."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import keensight
from keensight.bundle.info import BundleInfo
from keensight.bundle.read import Bundle
from keensight.data.cache import fingerprint
from keensight.data.polarity import Borders
from keensight.data.sources import only
from keensight.data.splits import Listed, split
from keensight.errors import DataError
from keensight.pipeline.same_pictures import same_pictures
from keensight.pipeline.watch import Watcher
from keensight.values import Preprocessing


def bundle(dataset, labels=None, size=8, trained_on_it=True, test_fraction=0.2, seed=0):
    labels = tuple(labels or dataset.class_names)
    sha256 = fingerprint(only(dataset, labels)) if trained_on_it else "others"
    data = {"sha256": sha256, "val_fraction": 0.2, "test_fraction": test_fraction, "seed": seed}
    seen = {"preprocessing": Preprocessing(size, size, 1), "borders": Borders(0, 1)}
    return Bundle(Path("runs/some/bundle"), BundleInfo(labels=labels, **seen, abstain_below=0.0, recipe={}, data=data))


@pytest.fixture(scope="module")
def digits():
    return keensight.open_dataset("digits")


def held_out(dataset, seed, test_fraction=0.2):
    pixels = keensight.decode(dataset, Preprocessing(8, 8, 1))
    return set(split(pixels, val_fraction=0.2, test_fraction=test_fraction, seed=seed).test.paths)


def found(dataset, bundles, wanted=None):
    return same_pictures(dataset, bundles, wanted, Watcher())


def test_bundles_that_drew_alike_share_their_test_split(digits):
    name, parts, notes = found(digits, [bundle(digits), bundle(digits)])
    assert name == "test" and notes == []
    assert set(parts[0].paths) == set(parts[1].paths) == held_out(digits, 0)
    name, parts, _ = found(digits, [bundle(digits), bundle(digits)], "val")
    assert name == "val" and not set(parts[0].paths) & held_out(digits, 0)


def test_other_sizes_and_label_orders_are_the_same_pictures(digits):
    reversed_names = digits.class_names[::-1]
    name, (one, other), _ = found(digits, [bundle(digits), bundle(digits, reversed_names, size=6)])
    assert name == "test" and one.paths == other.paths
    assert one.images.shape[1:] == (8, 8, 1) and other.images.shape[1:] == (6, 6, 1)
    names = [digits.class_names[label] for label in one.labels]
    assert names == [reversed_names[label] for label in other.labels]
    small = np.asarray(Image.fromarray(one.images[one.rows[5], :, :, 0]).resize((6, 6), Image.Resampling.BILINEAR))
    np.testing.assert_allclose(other.images[other.rows[5], :, :, 0].astype(int), small.astype(int), atol=40)


def test_bundles_that_drew_differently_keep_what_all_held_out(digits):
    bundles = [bundle(digits, seed=seed) for seed in (0, 1)]
    name, parts, (note,) = found(digits, bundles)
    both = held_out(digits, 0) & held_out(digits, 1)
    assert name == "test" and set(parts[0].paths) == set(parts[1].paths) == both
    assert "different test splits of digits" in note and f"the {len(both)} pictures in all of these splits" in note


def test_another_order_of_classes_is_another_draw(digits):
    """Splits are drawn class by class, so the order counts; what both held out is learnt by neither."""
    part = only(digits, ("0", "1"))
    pixels = [keensight.decode(only(part, order), Preprocessing(8, 8, 1)) for order in ("01", "10")]
    tests = [set(split(each, val_fraction=0.2, test_fraction=0.2).test.paths) for each in pixels]
    name, parts, (note,) = found(part, [bundle(part), bundle(part, "10")])
    assert name == "test" and set(parts[0].paths) == tests[0] & tests[1] != tests[0]
    assert "the order of classes" in note


def test_one_that_never_saw_the_data_takes_what_the_other_held_out(digits):
    bundles = [bundle(digits, trained_on_it=False), bundle(digits, seed=3)]
    name, parts, notes = found(digits, bundles)
    assert name == "test" and notes == [] and set(parts[0].paths) == held_out(digits, 3)


def test_strangers_take_everything(digits):
    bundles = [bundle(digits, trained_on_it=False)] * 2
    name, parts, _ = found(digits, bundles)
    assert name == "all" and len(parts[0]) == 1797
    with pytest.raises(DataError, match="digits has no test split: it has no splits of its own.*Leave --split out"):
        found(digits, bundles, "test")


def test_splits_with_nothing_in_common_are_refused(digits):
    few = replace(digits, samples=digits.samples[:60])
    seed = next(seed for seed in range(1, 99) if not held_out(few, 0, 0.1) & held_out(few, seed, 0.1))
    bundles = [bundle(few, test_fraction=0.1, seed=seed) for seed in (0, seed)]
    with pytest.raises(DataError, match="different test splits of digits .* no picture that all of them held out"):
        found(few, bundles)


def test_the_datas_own_splits_count(digits):
    names = np.array(["train", "test"])[np.arange(len(digits.samples)) % 2]
    own = replace(digits, samples=tuple(replace(s, split=n) for s, n in zip(digits.samples, names, strict=True)))
    name, parts, notes = found(own, [bundle(own, seed=0), bundle(own, seed=1), bundle(own, trained_on_it=False)])
    assert name == "test" and notes == [] and len(parts[0]) == (names == "test").sum()
    with pytest.raises(DataError, match="no val split: it has the splits test, train"):
        found(own, [bundle(own), bundle(own, trained_on_it=False)], "val")


def test_what_one_has_learnt_is_noted(digits, tmp_path):
    (tmp_path / "bundle").mkdir()
    lines = [json.dumps(Listed("train", s.path, "a", s.sha256)._asdict()) for s in digits.samples[:50]]
    (tmp_path / "splits.jsonl").write_text("\n".join(lines))
    other = replace(bundle(digits, trained_on_it=False), path=tmp_path / "bundle")
    _, _, notes = found(digits, [bundle(digits, trained_on_it=False), other])
    assert len(notes) == 1 and f"{tmp_path / 'bundle'} learnt from 50 of 1,797 pictures" in notes[0]


def test_pictures_that_cannot_be_read_are_left_out_for_all(tmp_path):
    rng = np.random.default_rng(0)
    for label in ("cat", "dog"):
        (tmp_path / "pets" / label).mkdir(parents=True)
        for i in range(4):
            Image.fromarray(rng.integers(0, 256, (9, 9), np.uint8)).save(tmp_path / "pets" / label / f"{i}.png")
    (tmp_path / "pets" / "cat" / "1.png").write_bytes(b"no picture")
    pets = keensight.open_dataset(tmp_path / "pets")
    heard = []

    class Ears(Watcher):
        def note(self, text):
            heard.append(text)

    strangers = [bundle(pets, trained_on_it=False, size=size) for size in (9, 5)]
    _, (one, other), _ = same_pictures(pets, strangers, None, Ears())
    assert one.paths == other.paths and len(one) == 7 and "cat/1.png" not in one.paths
    assert len(heard) == 1 and "cat/1.png" in heard[0]
    for part, size in ((one, 9), (other, 5)):
        for row, where in zip(part.rows, part.paths, strict=True):
            picture = Image.open(tmp_path / "pets" / where).resize((size, size), Image.Resampling.BILINEAR)
            np.testing.assert_allclose(part.images[row, :, :, 0].astype(int), np.asarray(picture).astype(int), atol=1)
