"""NumPy's .npz: the keys and values that are accepted, and files that lie, burst or carry a pickle."""

import io
import zipfile

import numpy as np
import pytest

from keensight.data import npz
from keensight.data.npz import to_uint8
from keensight.data.sources import open_dataset
from keensight.errors import DataError

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    "keys,splits",
    [
        (("images", "labels"), [None]),
        (("x", "y"), [None]),
        (("X", "y"), [None]),
        (("x_train", "y_train", "x_test", "y_test"), ["train", "test"]),
        (("train_images", "train_labels", "val_images", "val_labels"), ["train", "val"]),
        (("X_train", "y_train", "x_validation", "y_validation"), ["train", "val"]),
    ],
)
def test_npz_keys(tmp_path, images, labels, everything, keys, splits):
    np.savez_compressed(
        tmp_path / "a.npz", **{k: labels[:, None] if "y" in k or "label" in k else images for k in keys}
    )
    dataset = open_dataset(tmp_path / "a.npz")
    assert [s.split for s in dataset.samples] == [split for split in splits for _ in range(6)]
    assert dataset.samples[1].path == f"{splits[0] or 'images'}[1]"
    assert dataset.class_names == ("0", "1", "2", "10")
    assert np.array_equal(np.stack(everything(dataset)), np.concatenate([images[..., None]] * len(splits)))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f4", bool, np.uint8])
@pytest.mark.parametrize("shape", [(7, 3, 2), (7, 3, 2, 1), (7, 3, 2, 3)])
def test_images_become_bytes(dtype, shape):
    exact = RNG.integers(0, 2, shape) if dtype is bool else RNG.integers(0, 256, shape)
    images = exact.astype(dtype) if dtype in (bool, np.uint8) else (exact / 255).astype(dtype)
    expected = exact * 255 if dtype is bool else exact
    result = to_uint8(images, "x")
    assert result.dtype == np.uint8
    assert np.array_equal(result, expected.reshape(7, 3, 2, -1))


def with_value(value, count=1):
    images = np.full((6, 5, 4), 0.5, np.float32)
    images.reshape(-1)[:count] = value
    return images


@pytest.mark.parametrize(
    "images,message",
    [
        (with_value(np.nan, 3), r"x in .*a\.npz has 3 values that are NaN or infinite.*nan_to_num"),
        (with_value(-np.inf), "has 1 values that are NaN or infinite"),
        (with_value(1.5), r"floats from 0 to 1\.5\. Floats from 0 to 1 are accepted; scale"),
        (with_value(-2), r"floats from -2 to 1\."),
        (np.zeros((6, 5, 4), np.int64), r"of type int64\. uint8 from 0 to 255, bool, and floats"),
        (np.zeros((6, 5, 4), complex), "of type complex128"),
        (np.zeros((6, 5, 4, 4), np.uint8), r"the shape 6x5x4x4\. .*with 1 or 3 channels last.*alpha channel"),
        (np.zeros((6, 3, 5, 4), np.uint8), "the shape 6x3x5x4"),
        (np.zeros((6, 20), np.uint8), "the shape 6x20"),
        (np.zeros((6, 0, 4), np.uint8), "the shape 6x0x4"),
        (np.zeros((7, 5, 4), np.uint8), "x has 7 pictures but y has 6 labels"),
        (np.uint8(3), "x has 0 pictures but y has 6 labels"),
    ],
)
def test_images_that_cannot_be_used(tmp_path, labels, images, message):
    np.savez(tmp_path / "a.npz", x=images, y=labels)
    with pytest.raises(DataError, match=message):
        open_dataset(tmp_path / "a.npz")


def test_the_last_chunk_is_checked_too():
    images = np.zeros((3000, 1, 1), np.float32)
    images[-1] = np.nan
    with pytest.raises(DataError, match="1 values"):
        to_uint8(images, "x")
    images[-1] = 2
    with pytest.raises(DataError, match="from 0 to 2"):
        to_uint8(images, "x")


@pytest.mark.parametrize(
    "labels,extra,message",
    [
        (np.zeros(6), {}, r"y in .* is of type float64 and shape 6.*\.astype\(int\)"),
        (np.eye(6, dtype=int), {}, r"shape 6x6.*\.argmax\(1\)"),
        (np.array([True] * 6), {}, "of type bool"),
        (np.array(["a", "b", "", "a", "b", "a"]), {}, "the labels '', which are not classes"),
        (
            np.array([0, 1, 2, 0, -1, 1]),
            {"class_names": np.array(["a", "b"])},
            "the labels '-1', '2', which are not classes",
        ),
        (np.array(["a", "b", "c"] * 2), {"class_names": np.array(["a", "b"])}, "the labels 'c'"),
        (np.array([0, 1] * 3), {"class_names": np.array(["a", "b", "c"])}, "has no pictures of the class c"),
        (np.array([0, 1] * 3), {"class_names": np.array(["a", "a"])}, "names a class twice"),
        (np.array([0, 1] * 3), {"class_names": np.array([1, 2])}, "class_names in .* is of type int64"),
        (np.zeros(6, int), {}, r"only one class \('0'\)"),
    ],
)
def test_labels_that_cannot_be_used(tmp_path, images, labels, extra, message):
    np.savez(tmp_path / "a.npz", x=images, y=labels, **extra)
    with pytest.raises(DataError, match=message):
        open_dataset(tmp_path / "a.npz")


def test_class_names_give_the_order(tmp_path, images):
    np.savez(
        tmp_path / "a.npz", x=images, y=np.array([0, 1, 2, 2, 1, 0]), class_names=np.array(["zebra", "ape", "owl"])
    )
    np.savez(tmp_path / "b.npz", x=images, y=np.array(["10", "9", "b", "10", "9", "b"]))
    dataset = open_dataset(tmp_path / "a.npz")
    assert dataset.class_names == ("zebra", "ape", "owl")
    assert [s.label for s in dataset.samples] == [0, 1, 2, 2, 1, 0]
    assert open_dataset(tmp_path / "b.npz").class_names == ("9", "10", "b")


def test_pickled_objects_are_refused(tmp_path, labels):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "pwned"), "w"))

    np.savez(tmp_path / "a.npz", x=np.array([Evil()] * 6, object), y=labels)
    with pytest.raises(
        DataError, match=r"x\.npy holds Python objects; reading them would run a pickle, which is refused"
    ):
        open_dataset(tmp_path / "a.npz")
    assert not (tmp_path / "pwned").exists()


def test_objects_that_are_not_asked_for_do_no_harm(tmp_path, images, labels):
    np.savez(tmp_path / "a.npz", x=images, y=labels, notes=np.array([{"by": "me"}]))
    assert len(open_dataset(tmp_path / "a.npz").samples) == 6


@pytest.mark.parametrize(
    "keys,message",
    [
        (["a"], r"has the arrays a\. These are accepted: images and labels"),
        ([], r"has the arrays \(none\)"),
        (["x_train", "y"], "has the arrays x_train, y, but not y_train"),
        (["x_val", "y_val", "val_images", "val_labels"], "each split once"),
    ],
)
def test_npz_keys_that_cannot_be_used(tmp_path, keys, message):
    np.savez(tmp_path / "a.npz", **dict.fromkeys(keys, np.zeros(6, np.uint8)))
    with pytest.raises(DataError, match=message):
        open_dataset(tmp_path / "a.npz")


def npy(shape, content=b"", dtype="|u1"):
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": dtype, "fortran_order": False, "shape": shape})
    return file.getvalue() + content


def test_headers_that_lie_about_the_size(tmp_path):
    for shape in ((2**40, 8, 8), (1, 8, 8), (-1, 8, 8)):
        with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
            archive.writestr("x.npy", npy(shape, bytes(100)))
            archive.writestr("y.npy", npy((1,), b"0"))
        with pytest.raises(DataError, match=r"the header of x\.npy does not fit its size"):
            open_dataset(tmp_path / "a.npz")


def test_a_bomb_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(npz, "SMALL_NPZ_BYTES", 10**6)
    monkeypatch.setattr(npz, "MAX_NPZ_RATIO", 100)
    np.savez_compressed(tmp_path / "a.npz", x=np.zeros((10_000, 20, 20), np.uint8), y=np.arange(10_000) % 2)
    with pytest.raises(DataError, match="zip bomb"):
        open_dataset(tmp_path / "a.npz")


@pytest.mark.parametrize("content", [b"", b"hello", None])
def test_a_damaged_npz(tmp_path, images, labels, content):
    np.savez(tmp_path / "a.npz", x=images, y=labels)
    whole = bytearray((tmp_path / "a.npz").read_bytes())
    whole[200:210] = b"0123456789"  # within the pixels: the checksum tells
    (tmp_path / "a.npz").write_bytes(whole if content is None else content)
    with pytest.raises(DataError, match=r"The array file .*a\.npz cannot be used: .*numpy\.savez"):
        open_dataset(tmp_path / "a.npz")
