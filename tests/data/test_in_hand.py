import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pictures
from sklearn.datasets import load_digits

import keensight
from keensight.data.sources import reader
from keensight.errors import DataError, UsageError

RNG = np.random.default_rng(0)
PIXELS = [RNG.integers(0, 256, (5 + i % 3, 7, *((3,) if i % 2 else ())), np.uint8) for i in range(8)]
NAMES = ["no/slash", "Ä, quoted"]


class Image:
    """Called as a column's type in `datasets`."""


class ClassLabel:
    """Called as a column's type in `datasets`."""

    names = NAMES


class Columns:
    """With the interface of a `datasets.Dataset`."""

    def __init__(self, features=None):
        self.features = features or {"id": None, "picture": Image(), "kind": ClassLabel()}

    def __len__(self):
        return len(PIXELS)

    def __getitem__(self, row):
        return {"id": row, "picture": Pictures.fromarray(PIXELS[row]), "kind": row % 2}


class Pairs:
    """With the interface of a torch `Dataset` such as torchvision's."""

    classes = NAMES

    def __init__(self, pictures=PIXELS, labels=(0, 1) * 4):
        self.pictures, self.labels = pictures, labels

    def __len__(self):
        return len(self.pictures)

    def __getitem__(self, row):
        return self.pictures[row], self.labels[row]


@pytest.mark.parametrize("given", [Columns(), Pairs()])
def test_what_is_in_hand_is_a_dataset_with_the_same_pixels_labels_and_hashes(given):
    dataset = keensight.open_dataset(given)
    again = keensight.open_dataset(Pairs())  # the same content, however it is given
    assert [sample.sha256 for sample in dataset.samples] == [sample.sha256 for sample in again.samples]
    assert dataset.root == again.root and len(dataset.samples) == len(PIXELS) and not dataset.skipped
    with reader(dataset) as read:
        for sample in dataset.samples:
            row = int(sample.path.removesuffix(".png"))
            with Pictures.open(io.BytesIO(read(sample))) as picture:
                np.testing.assert_array_equal(np.asarray(picture), PIXELS[row])
            assert dataset.class_names[sample.label] == NAMES[row % 2]
    assert keensight.open_dataset(Pairs(labels=(1, 0) * 4)).root != dataset.root


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (Pairs(labels=(0, 2) * 4), "Row 1 of the Pairs has the label 2; accepted are 0 to 1"),
        (Pairs(labels=(0, None) * 4), "has the label None"),
        (Pairs([each.astype(np.float32) for each in PIXELS]), "row 0 of the Pairs cannot be used.*float32.*transform"),
        (Pairs(["a.jpg"] * 8), "a path for a picture"),
        (Columns({"text": None}), "columns text .NoneType.*select_columns"),
    ],
)
def test_what_cannot_be_used_is_told_by_its_row_and_nothing_is_written(given, said, tmp_path, monkeypatch):
    monkeypatch.setenv("KEENSIGHT_CACHE", str(tmp_path))
    with pytest.raises(DataError, match=said):
        keensight.open_dataset(given)
    assert not list(tmp_path.glob("datasets/*"))


def test_a_mapping_of_splits_keeps_them():
    first, last = Pairs(PIXELS[:6], (0, 1) * 3), Pairs(PIXELS[6:], (0, 1))
    dataset = keensight.open_dataset({"train": first, "test": last})
    assert [sample.path for sample in dataset.samples if sample.split == "test"] == ["test-0.png", "test-1.png"]
    assert [sample.split for sample in dataset.samples].count("train") == 6
    with reader(dataset) as read, Pictures.open(io.BytesIO(read(dataset.samples[-1]))) as picture:
        assert any(np.array_equal(np.asarray(picture), pixels) for pixels in PIXELS)
    alone = keensight.open_dataset({"train": Pairs(), "validation": last})
    assert {sample.split for sample in alone.samples} == {"train", "val"}
    for wrong in ({"train": first, "unsupervised": last}, {"val": first, "validation": last}):
        with pytest.raises(DataError, match=r"The dict has the splits .*Accepted are train, validation and test"):
            keensight.open_dataset(wrong)


@pytest.mark.thorough
def test_a_bundle_is_measured_and_attacked_on_what_is_in_hand():
    digits, bundle = load_digits(), Path(__file__).parents[1] / "bundle" / "frozen" / "bundle"

    class Digits(Pairs):
        classes = tuple(map(str, range(10)))

    given = Digits((digits.images[:40] * 15.9375).astype(np.uint8), digits.target[:40].tolist())
    measured = keensight.evaluate(bundle, given)
    answers = keensight.load(bundle)(list(given.pictures))
    right = np.mean([answer.label == str(label) for answer, label in zip(answers, given.labels, strict=True)])
    assert measured.metrics.accuracy == right and measured.metrics.n == 40 and measured.split == "all"
    attacked = keensight.attack(bundle, {"test": given}, eps=[0.1], steps=2)
    assert (attacked.n, attacked.split) == (40, "test")


def test_what_is_neither_pictures_in_hand_nor_a_path_is_refused():
    with pytest.raises(UsageError, match="DATA is of the type range. Accepted are a Hugging Face Dataset"):
        keensight.open_dataset(range(3))
    with pytest.raises(UsageError, match="DATA is of the type int"):
        keensight.open_dataset(["digits", 3])


@pytest.mark.thorough
def test_a_run_on_what_is_in_hand_is_resumed_and_read_again(tmp_path, brief):
    bright = [np.full((8, 8), 40 + 150 * (i % 2) + i, np.uint8) for i in range(40)]
    given = Pairs(bright, (0, 1) * 20)
    run = keensight.train(given, out=tmp_path / "run", recipe="logistic", set=["epochs=2"])
    (place,) = json.loads((run.folder / "data.json").read_text())["data"]
    assert place.endswith("in-hand.csv")
    assert keensight.train(given, out=tmp_path / "run", resume=True).report.test == run.report.test
    assert len(keensight.open_dataset(run.folder / "splits.jsonl").samples) == 40
