"""A run's list of pictures as DATA."""

import json

import pytest

from keensight.data.named import NAMES
from keensight.data.run_list import data_json
from keensight.data.sources import open_dataset
from keensight.errors import DataError


@pytest.fixture
def run(tmp_path, pets):
    """A run's list of the pets, which lie elsewhere."""
    for name, content in pets.items():
        file = tmp_path / "data" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    dataset = open_dataset(tmp_path / "data")
    folder = tmp_path / "runs" / "first"
    folder.mkdir(parents=True)
    rows = [
        {"split": s.split, "file": s.path, "label": dataset.class_names[s.label], "sha256": s.sha256}
        for s in dataset.samples
    ]
    (folder / "splits.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "data.json").write_text(json.dumps(data_json([tmp_path / "data"], None, NAMES)))
    return folder / "splits.jsonl", dataset, rows


def test_it_gives_the_same_pictures_labels_and_splits(run, everything):
    path, dataset, _ = run
    again = open_dataset(path)
    assert (again.samples, again.class_names, again.name) == (dataset.samples, dataset.class_names, "first")
    assert everything(again) == everything(dataset)


def test_what_was_edited_counts(run):
    path, _, rows = run
    rows[0]["label"] = "fox"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows[:-1]))
    again = open_dataset(path)
    assert len(again.samples) == len(rows) - 1
    assert {again.class_names[s.label] for s in again.samples if s.path == rows[0]["file"]} == {"fox"}


def test_pictures_that_went_away_are_named(run, tmp_path):
    path, _, rows = run
    (tmp_path / "data" / rows[0]["file"]).unlink()
    # its copy in the other split has the same bytes, so it is found by content
    assert len(open_dataset(path).samples) == len(rows) - 1
    for file in (tmp_path / "data").rglob("1.png"):
        file.unlink()
    with pytest.raises(DataError, match=r"names 4 pictures not found in .*/data: .*1\.png"):
        open_dataset(path)
    (tmp_path / "data").rename(tmp_path / "moved")
    with pytest.raises(DataError, match=r"cannot be read any more.*copy splits\.jsonl beside the pictures"):
        open_dataset(path)
