import gzip
import hashlib
import io
import os
import struct
import zipfile

import numpy as np
import pytest

from keensight.data import arrays
from keensight.data.arrays import find_idx, read_idx, to_uint8
from keensight.data.sources import open_dataset, reader
from keensight.errors import DataError, PictureError, UsageError

RNG = np.random.default_rng(0)
LABELS = np.array([0, 1, 2, 10, 1, 0], np.uint8)
IMAGES = RNG.integers(0, 256, (6, 5, 4), np.uint8)


def idx_bytes(array):
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def write_idx(folder, names=("train", "t10k"), dot="-", packed=True, *, labels=LABELS):
    folder.mkdir(exist_ok=True, parents=True)
    for name in names:
        for kind, array in ((f"images{dot}idx3", IMAGES), (f"labels{dot}idx1", labels)):
            content = idx_bytes(array)
            path = folder / f"{name}-{kind}-ubyte{'.gz' if packed else ''}"
            path.write_bytes(gzip.compress(content) if packed else content)
    return folder


def everything(dataset):
    with reader(dataset) as read:
        return [read(sample) for sample in dataset.samples]


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("names,dot", [(("train", "t10k"), "-"), (("train", "test"), ".")])
def test_idx_folders(tmp_path, names, dot, packed):
    dataset = open_dataset(write_idx(tmp_path / "my-digits", names, dot, packed))
    assert (dataset.name, dataset.kind) == ("my-digits", "arrays")
    assert dataset.class_names == ("0", "1", "2", "10")
    assert [s.where for s in dataset.samples] == [f"{s}[{i}]" for s in ("train", "test") for i in range(6)]
    assert [s.split for s in dataset.samples] == ["train"] * 6 + ["test"] * 6
    assert [int(dataset.class_names[s.label]) for s in dataset.samples] == LABELS.tolist() * 2
    for picture, expected in zip(everything(dataset), [*IMAGES, *IMAGES], strict=True):
        assert picture.dtype == np.uint8
        assert np.array_equal(picture, expected[..., None])
    expected = [hashlib.sha256(b"uint8 5x4\n" + image.tobytes()).hexdigest() for image in IMAGES]
    assert [s.sha256 for s in dataset.samples] == expected * 2


def test_the_hash_of_a_file_is_that_of_its_raw_content(tmp_path):
    for packed in (True, False):
        found = find_idx(write_idx(tmp_path / str(packed), packed=packed))
        array, sha256 = read_idx(found["train-images"], 3)
        assert sha256 == hashlib.sha256(idx_bytes(IMAGES)).hexdigest()
        assert np.array_equal(array, IMAGES)
        assert isinstance(array, np.memmap) != packed


HEADER = struct.pack(">4I", 0x803, 6, 5, 4)


@pytest.mark.parametrize(
    "content,message",
    [
        (b"", "shorter than an IDX header"),
        (HEADER, "it (has 0 bytes of data|does not hold)|promises"),
        (HEADER + bytes(119), "promises"),
        (HEADER + bytes(121), "promises"),
        (struct.pack(">4I", 0xD03, 6, 5, 4) + bytes(480), "begins with 0x00000d03"),
        (struct.pack(">4I", 0x803, 6, 0, 4), "sizes 6x0x4, and none may be 0"),
        (struct.pack(">4I", 0x803, 2**32 - 1, 2**32 - 1, 2**32 - 1) + bytes(9), "more than it can hold"),
        (struct.pack(">4I", 0x803, 2**16, 2**10, 2**6) + bytes(9), "more than it can hold"),
    ],
)
@pytest.mark.parametrize("packed", [True, False])
def test_idx_files_that_make_no_sense(tmp_path, content, message, packed):
    write_idx(tmp_path, packed=packed)
    path = find_idx(tmp_path)["train-images"]
    path.write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(
        DataError, match=rf"The IDX file .*train-images.* cannot be used: .*({message}).*download it again"
    ):
        open_dataset(tmp_path)


@pytest.mark.parametrize("cut", [5, 30, -3])
def test_a_truncated_or_false_gzip(tmp_path, cut):
    path = find_idx(write_idx(tmp_path))["train-images"]
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(DataError, match="cannot be used"):
        open_dataset(tmp_path)
    path.write_bytes(b"hello")
    with pytest.raises(DataError, match=r"(?i)cannot be used: not a gzipped file"):
        open_dataset(tmp_path)


def test_counts_and_pairs_must_match(tmp_path):
    write_idx(tmp_path, labels=LABELS[:5])
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte\.gz has 6 pictures but .* has 5 labels"):
        open_dataset(tmp_path)
    write_idx(tmp_path)
    find_idx(tmp_path)["test-labels"].unlink()
    with pytest.raises(DataError, match=r"but not test-labels\. Images and labels are accepted in pairs"):
        open_dataset(tmp_path)


def test_arrays_are_not_hashed_twice(tmp_path, monkeypatch):
    write_idx(tmp_path / "idx")
    np.savez(tmp_path / "a.npz", x=IMAGES, y=LABELS)
    for path in (*(tmp_path / "idx").iterdir(), tmp_path / "a.npz"):
        os.utime(path, (1e9, 1e9))
    first = [open_dataset(tmp_path / name) for name in ("idx", "a.npz")]
    monkeypatch.setattr(arrays, "hash_rows", lambda _: pytest.fail("hashed again"))
    assert [open_dataset(tmp_path / name) for name in ("idx", "a.npz")] == first


def test_mnist(shared):
    if not (shared / "mnist").is_dir():
        pytest.skip(f"{shared / 'mnist'} is missing")
    dataset = open_dataset(shared / "mnist")
    assert [sum(s.split == split for s in dataset.samples) for split in ("train", "test")] == [60_000, 10_000]
    assert dataset.class_names == tuple("0123456789")
    with gzip.open(shared / "mnist/train-images-idx3-ubyte.gz") as file, reader(dataset) as read:
        raw = file.read(16 + 784 * 3)
        assert read(dataset.samples[2]).tobytes() == raw[16 + 784 * 2 :]
    # published: the test set's first digits are 7 2 1 0 4
    assert [s.label for s in dataset.samples[60_000:60_005]] == [7, 2, 1, 0, 4]


def test_fashion_mnist_is_known_by_its_content():
    folder = arrays.Path("/usr/share/datasets/fashion-mnist")
    if not folder.is_dir():
        pytest.skip("Fashion-MNIST is missing: apt install dataset-fashion-mnist")
    dataset = open_dataset(folder)
    assert dataset.class_names == arrays.FASHION
    assert [s.label for s in dataset.samples[:3]] == [9, 0, 0]  # as published: ankle boot, T-shirt, T-shirt


# --- npz


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
def test_npz_keys(tmp_path, keys, splits):
    np.savez_compressed(
        tmp_path / "a.npz", **{k: LABELS[:, None] if "y" in k or "label" in k else IMAGES for k in keys}
    )
    dataset = open_dataset(tmp_path / "a.npz")
    assert [s.split for s in dataset.samples] == [split for split in splits for _ in range(6)]
    assert dataset.samples[1].where == f"{splits[0] or 'images'}[1]"
    assert dataset.class_names == ("0", "1", "2", "10")
    assert np.array_equal(np.stack(everything(dataset)), np.concatenate([IMAGES[..., None]] * len(splits)))


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
def test_images_that_cannot_be_used(tmp_path, images, message):
    np.savez(tmp_path / "a.npz", x=images, y=LABELS)
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
        (np.array(["a", "b", "", "a", "b", "a"]), {}, "the labels '', which are no classes"),
        (
            np.array([0, 1, 2, 0, -1, 1]),
            {"class_names": np.array(["a", "b"])},
            "the labels '-1', '2', which are no classes",
        ),
        (np.array(["a", "b", "c"] * 2), {"class_names": np.array(["a", "b"])}, "the labels 'c'"),
        (np.array([0, 1] * 3), {"class_names": np.array(["a", "b", "c"])}, "has no pictures of the class c"),
        (np.array([0, 1] * 3), {"class_names": np.array(["a", "a"])}, "names a class twice"),
        (np.array([0, 1] * 3), {"class_names": np.array([1, 2])}, "class_names in .* is of type int64"),
        (np.zeros(6, int), {}, r"only one class \('0'\)"),
    ],
)
def test_labels_that_cannot_be_used(tmp_path, labels, extra, message):
    np.savez(tmp_path / "a.npz", x=IMAGES, y=labels, **extra)
    with pytest.raises(DataError, match=message):
        open_dataset(tmp_path / "a.npz")


def test_class_names_give_the_order(tmp_path):
    np.savez(
        tmp_path / "a.npz", x=IMAGES, y=np.array([0, 1, 2, 2, 1, 0]), class_names=np.array(["zebra", "ape", "owl"])
    )
    np.savez(tmp_path / "b.npz", x=IMAGES, y=np.array(["10", "9", "b", "10", "9", "b"]))
    dataset = open_dataset(tmp_path / "a.npz")
    assert dataset.class_names == ("zebra", "ape", "owl")
    assert [s.label for s in dataset.samples] == [0, 1, 2, 2, 1, 0]
    assert open_dataset(tmp_path / "b.npz").class_names == ("9", "10", "b")


def test_pickled_objects_are_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "pwned"), "w"))

    np.savez(tmp_path / "a.npz", x=np.array([Evil()] * 6, object), y=LABELS)
    with pytest.raises(
        DataError, match=r"x\.npy holds Python objects; reading them would run a pickle, which is refused"
    ):
        open_dataset(tmp_path / "a.npz")
    assert not (tmp_path / "pwned").exists()


def test_objects_that_are_not_asked_for_do_no_harm(tmp_path):
    np.savez(tmp_path / "a.npz", x=IMAGES, y=LABELS, notes=np.array([{"by": "me"}]))
    assert len(open_dataset(tmp_path / "a.npz").samples) == 6


@pytest.mark.parametrize(
    "keys,message",
    [
        ({"a": LABELS}, r"has the arrays a\. These are accepted: images and labels"),
        ({}, r"has the arrays \(none\)"),
        ({"x_train": IMAGES, "y": LABELS}, "has the arrays x_train, y, but not y_train"),
        ({"x_val": IMAGES, "y_val": LABELS, "val_images": IMAGES, "val_labels": LABELS}, "each split once"),
    ],
)
def test_npz_keys_that_cannot_be_used(tmp_path, keys, message):
    np.savez(tmp_path / "a.npz", **keys)
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
    monkeypatch.setattr(arrays, "SMALL_NPZ_BYTES", 10**6)
    monkeypatch.setattr(arrays, "MAX_NPZ_RATIO", 100)
    np.savez_compressed(tmp_path / "a.npz", x=np.zeros((10_000, 20, 20), np.uint8), y=np.arange(10_000) % 2)
    with pytest.raises(DataError, match="zip bomb"):
        open_dataset(tmp_path / "a.npz")


@pytest.mark.parametrize("content", [b"", b"hello", None])
def test_a_damaged_npz(tmp_path, content):
    np.savez(tmp_path / "a.npz", x=IMAGES, y=LABELS)
    whole = bytearray((tmp_path / "a.npz").read_bytes())
    whole[200:210] = b"0123456789"  # within the pixels: the checksum tells
    (tmp_path / "a.npz").write_bytes(whole if content is None else content)
    with pytest.raises(DataError, match=r"The array file .*a\.npz cannot be used: .*numpy\.savez"):
        open_dataset(tmp_path / "a.npz")


def test_a_label_pattern_has_no_place_here(tmp_path):
    np.savez(tmp_path / "a.npz", x=IMAGES, y=LABELS)
    with pytest.raises(UsageError, match="A label pattern is for folders and archives"):
        open_dataset(tmp_path / "a.npz", label_pattern="{label}")


def test_digits_are_those_of_scikit_learn():
    datasets = pytest.importorskip("sklearn.datasets")
    expected, dataset = datasets.load_digits(), open_dataset("digits")
    assert [s.label for s in dataset.samples] == expected.target.tolist()
    assert dataset.class_names == tuple("0123456789")
    pictures = np.stack(everything(dataset))
    assert pictures.shape == (1797, 8, 8, 1)
    assert np.array_equal(np.rint(pictures[..., 0] * (16 / 255)), expected.images)
    assert pictures.max() == 255


def test_digits_without_scikit_learn(monkeypatch):
    monkeypatch.setitem(arrays.__dict__["__builtins__"], "__import__", _no_sklearn(__import__))
    with pytest.raises(DataError, match=r"pip install 'keensight\[train\]'"):
        open_dataset("digits")


def _no_sklearn(real):
    def fake(name, *args, **kwargs):
        if name.startswith("sklearn"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    return fake


def test_a_row_that_is_gone(tmp_path):
    np.savez(tmp_path / "a.npz", x=IMAGES, y=LABELS)
    dataset = open_dataset(tmp_path / "a.npz")
    np.savez(tmp_path / "a.npz", x=IMAGES[:2], y=LABELS[:2])
    with reader(dataset) as read, pytest.raises(PictureError, match=r"images\[5\]: no longer in"):
        read(dataset.samples[5])
