"""Folders as Hugging Face's imagefolder has them: a metadata file beside the pictures gives the labels."""

import json

import numpy as np
import pytest
from PIL import Image

import keensight
from keensight.errors import DataError


@pytest.fixture
def root(tmp_path):
    """Eight pictures in train and test, none in a folder of its class."""
    for i in range(8):
        home = tmp_path / "pets" / ("train", "test")[i % 2]
        home.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((9, 9), 20 * i, np.uint8)).save(home / f"{i}.png")
    return tmp_path / "pets"


def metadata(names, kind, labels=True):
    """A metadata file as `datasets` writes it: 0, 1, 4, 5 are cats."""
    rows = [
        {"file_name": name, "label": "dog" if int(name[-5]) // 2 % 2 else "cat", "caption": "x, y"} for name in names
    ]
    rows = [row if labels else {k: v for k, v in row.items() if k != "label"} for row in rows]
    if kind == "jsonl":
        return "".join(json.dumps(row) + "\n" for row in rows)
    head = list(rows[0])
    return "\n".join(",".join(f'"{row[key]}"' for key in head) for row in [{key: key for key in head}, *rows])


def read(root):
    dataset = keensight.open_dataset(root)
    return {s.path: (dataset.class_names[s.label], s.split) for s in dataset.samples}


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
@pytest.mark.parametrize("each_split", [True, False])
def test_labels_come_from_the_metadata(root, kind, each_split):
    for split in ("train", "test"):
        names = [file.name for file in sorted((root / split).glob("*.png"))]
        if each_split:
            (root / split / f"metadata.{kind}").write_text(metadata(names, kind))
    if not each_split:
        names = [f"{file.parent.name}/{file.name}" for file in sorted(root.rglob("*.png"))]
        (root / f"metadata.{kind}").write_text(metadata(names, kind))
    expected = {
        f"{split}/{i}.png": ("dog" if i // 2 % 2 else "cat", split if each_split else None)
        for i in range(8)
        for split in [("train", "test")[i % 2]]
    }
    assert read(root) == expected


def test_metadata_without_labels_leave_them_to_the_folders(draw, tmp_path):
    root = draw(tmp_path / "pets", ["cat", "dog"], 3, 0)
    (root / "metadata.csv").write_text(metadata(["cat/0-0.png"], "csv", labels=False))
    assert {label for label, _ in read(root).values()} == {"cat", "dog"}


def test_a_name_that_is_not_there_is_told(root):
    (root / "metadata.csv").write_text(metadata(["train/0.png", "train/9.png"], "csv"))
    with pytest.raises(DataError, match=r"names 1 file not found in .*pets: train/9.png \(line 3\)"):
        keensight.open_dataset(root)


def test_such_a_folder_is_cleaned_by_a_file_beside_it(root, tmp_path):
    names = [f"{file.parent.name}/{file.name}" for file in sorted(root.rglob("*.png"))]
    (root / "metadata.csv").write_text(metadata(names, "csv"))
    before = {file: file.read_bytes() for file in root.rglob("*") if file.is_file()}
    some = keensight.open_dataset(root).samples
    lines = [
        {"sha256": some[0].sha256, "action": "relabel", "label": "dog", "file": some[0].path},
        {"sha256": some[1].sha256, "action": "drop", "file": some[1].path},
    ]
    (tmp_path / "d.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert keensight.clean(root, tmp_path / "d.jsonl").moved == 0
    assert {file: file.read_bytes() for file in root.rglob("*") if file.is_file()} == before
    now = read(root)
    assert now[some[0].path][0] == "dog" and some[1].path not in now
