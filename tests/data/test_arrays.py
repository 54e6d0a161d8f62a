"""What IDX files and .npz have in common, and scikit-learn's digits."""

import os

import numpy as np
import pytest

from keensight.data import arrays, of_sklearn
from keensight.data.sources import open_dataset, reader
from keensight.errors import DataError, PictureError, UsageError


def test_arrays_are_not_hashed_twice(tmp_path, images, labels, write_idx, monkeypatch):
    write_idx(tmp_path / "idx")
    np.savez(tmp_path / "a.npz", x=images, y=labels)
    for path in (*(tmp_path / "idx").iterdir(), tmp_path / "a.npz"):
        os.utime(path, (1e9, 1e9))
    first = [open_dataset(tmp_path / name) for name in ("idx", "a.npz")]
    monkeypatch.setattr(arrays, "hash_rows", lambda _: pytest.fail("hashed again"))
    assert [open_dataset(tmp_path / name) for name in ("idx", "a.npz")] == first


def test_a_label_pattern_has_no_place_here(tmp_path, images, labels):
    np.savez(tmp_path / "a.npz", x=images, y=labels)
    with pytest.raises(UsageError, match="A label pattern is for folders and archives"):
        open_dataset(tmp_path / "a.npz", label_pattern="{label}")


def test_a_row_that_is_gone(tmp_path, images, labels):
    np.savez(tmp_path / "a.npz", x=images, y=labels)
    dataset = open_dataset(tmp_path / "a.npz")
    np.savez(tmp_path / "a.npz", x=images[:2], y=labels[:2])
    with reader(dataset) as read, pytest.raises(PictureError, match=r"images\[5\]: no longer in"):
        read(dataset.samples[5])


def test_digits_are_those_of_scikit_learn(everything):
    datasets = pytest.importorskip("sklearn.datasets")
    expected, dataset = datasets.load_digits(), open_dataset("digits")
    assert [s.label for s in dataset.samples] == expected.target.tolist()
    assert dataset.class_names == tuple("0123456789")
    pictures = np.stack(everything(dataset))
    assert pictures.shape == (1797, 8, 8, 1)
    assert np.array_equal(np.rint(pictures[..., 0] * (16 / 255)), expected.images)
    assert pictures.max() == 255


def test_digits_without_scikit_learn(monkeypatch):
    monkeypatch.setattr(of_sklearn, "find_spec", lambda _: None)
    with pytest.raises(DataError, match=r'pip install "keensight\[all\]"'):
        open_dataset("digits")
