"""Who was where in an earlier run, kept by content."""

import io

import numpy as np
import pytest
from PIL import Image

from keensight.data.cache import decode
from keensight.data.kept import keep_splits, list_of
from keensight.data.sources import open_dataset
from keensight.data.splits import read_splits, split, splits_jsonl
from keensight.errors import RunError
from keensight.values import SPLIT_NAMES, Preprocessing

SIZE = Preprocessing(8, 8, 3)


def write(folder, count, seed, labels=("cat", "dog")):
    rng = np.random.default_rng(seed)
    for label in labels:
        for i in range(count):
            file = folder / label / f"{seed}-{i}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).save(file)
    return folder


def homes(dataset, splits):
    contents = {sample.path: sample.sha256 for sample in dataset.samples}
    return {contents[path]: name for name in SPLIT_NAMES for path in getattr(splits, name).paths}


@pytest.fixture
def grown(tmp_path):
    """Old pictures with their splits in a file, and the folder after more came, and all were renamed."""
    folder = write(tmp_path / "pets", 20, 1)
    pixels = decode(open_dataset(folder), SIZE)
    splits = split(pixels, seed=3)
    (tmp_path / "splits.jsonl").write_text(splits_jsonl(pixels, splits))
    before = homes(pixels.dataset, splits)
    for file in folder.rglob("*.png"):
        file.rename(file.with_name(f"renamed-{file.name}"))
    return write(folder, 20, 2), tmp_path / "splits.jsonl", before


def test_old_pictures_stay_where_they_were_and_new_ones_are_drawn(grown):
    folder, listed, before = grown
    pixels = decode(keep_splits(open_dataset(folder), listed), SIZE)
    splits = split(pixels, seed=9)
    after = homes(pixels.dataset, splits)
    assert {content: after[content] for content in before} == before
    new = [name for content, name in after.items() if content not in before]
    assert [new.count(name) for name in SPLIT_NAMES] == [28, 6, 6]
    assert any(f.evidence == {"kept": 40, "drawn": 40} for f in splits.findings)


def test_a_test_picture_saved_again_stays_in_test(grown):
    folder, listed, before = grown
    dataset = open_dataset(folder)
    tested = next(sample for sample in dataset.samples if before.get(sample.sha256) == "test")
    file = io.BytesIO()
    Image.open(folder / tested.path).save(file, "bmp")
    (folder / tested.path).with_name("again.bmp").write_bytes(file.getvalue())
    pixels = decode(keep_splits(open_dataset(folder), listed), SIZE)
    assert any(path.endswith("again.bmp") for path in split(pixels).test.paths)


def test_a_run_its_bundle_and_its_list_are_accepted(tmp_path):
    (tmp_path / "bundle").mkdir()
    (tmp_path / "splits.jsonl").write_text("")
    assert {list_of(path) for path in (tmp_path, tmp_path / "bundle", tmp_path / "splits.jsonl")} == {
        tmp_path / "splits.jsonl"
    }


def test_lists_that_do_not_help_are_refused(grown, tmp_path):
    folder, listed, _ = grown
    with pytest.raises(RunError, match="no list of pictures"):
        keep_splits(open_dataset(folder), tmp_path / "none.jsonl")
    with pytest.raises(RunError, match="None of the 40 pictures"):
        keep_splits(open_dataset(write(tmp_path / "other", 3, 5)), listed)
    assert len(read_splits(listed)) == 40
