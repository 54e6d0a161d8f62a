"""IDX files: named as MNIST's are, gzipped or not, and damaged in every way."""

import gzip
import hashlib
import os
import struct
from pathlib import Path

import numpy as np
import pytest

from keensight.data.idx import FASHION, find_idx, read_idx
from keensight.data.sources import open_dataset, reader
from keensight.errors import DataError

HEADER = struct.pack(">4I", 0x803, 6, 5, 4)  # of six pictures of 5x4


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("names,dot", [(("train", "t10k"), "-"), (("train", "test"), ".")])
def test_idx_folders(tmp_path, images, labels, write_idx, everything, names, dot, packed):
    dataset = open_dataset(write_idx(tmp_path / "my-digits", names, dot, packed))
    assert (dataset.name, dataset.kind) == ("my-digits", "arrays")
    assert dataset.class_names == ("0", "1", "2", "10")
    assert [s.path for s in dataset.samples] == [f"{s}[{i}]" for s in ("train", "test") for i in range(6)]
    assert [s.split for s in dataset.samples] == ["train"] * 6 + ["test"] * 6
    assert [int(dataset.class_names[s.label]) for s in dataset.samples] == labels.tolist() * 2
    for picture, expected in zip(everything(dataset), [*images, *images], strict=True):
        assert picture.dtype == np.uint8
        assert np.array_equal(picture, expected[..., None])
    expected = [hashlib.sha256(b"uint8 5x4\n" + image.tobytes()).hexdigest() for image in images]
    assert [s.sha256 for s in dataset.samples] == expected * 2


def test_the_hash_of_a_file_is_that_of_its_raw_content(tmp_path, images, write_idx):
    for packed in (True, False):
        found = find_idx(write_idx(tmp_path / str(packed), packed=packed))
        array, sha256 = read_idx(found["train-images"], 3)
        assert sha256 == hashlib.sha256(HEADER + images.tobytes()).hexdigest()
        assert np.array_equal(array, images)
        assert isinstance(array, np.memmap) != packed


def test_what_was_unpacked_is_kept_until_the_file_changes(tmp_path, images, write_idx):
    path = find_idx(write_idx(tmp_path, packed=True))["train-images"]
    os.utime(path, (1e9, 1e9))
    first, _ = read_idx(path, 3)
    assert read_idx(path, 3)[0] is first and not first.flags.writeable
    path.write_bytes(gzip.compress(HEADER + (255 - images).tobytes()))  # just now: it may change again in this tick
    for changed in (None, (1e9 + 1, 1e9 + 1)):
        if changed:
            os.utime(path, changed)
        assert np.array_equal(read_idx(path, 3)[0], 255 - images)


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
def test_idx_files_that_make_no_sense(tmp_path, write_idx, content, message, packed):
    write_idx(tmp_path, packed=packed)
    path = find_idx(tmp_path)["train-images"]
    path.write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(
        DataError, match=rf"The IDX file .*train-images.* cannot be used: .*({message}).*download it again"
    ):
        open_dataset(tmp_path)


@pytest.mark.parametrize("cut", [5, 30, -3])
def test_a_truncated_or_false_gzip(tmp_path, write_idx, cut):
    path = find_idx(write_idx(tmp_path))["train-images"]
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(DataError, match="cannot be used"):
        open_dataset(tmp_path)
    path.write_bytes(b"hello")
    with pytest.raises(DataError, match=r"(?i)cannot be used: not a gzipped file"):
        open_dataset(tmp_path)


def test_counts_and_pairs_must_match(tmp_path, labels, write_idx):
    write_idx(tmp_path, labels=labels[:5])
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte\.gz has 6 pictures but .* has 5 labels"):
        open_dataset(tmp_path)
    write_idx(tmp_path)
    find_idx(tmp_path)["test-labels"].unlink()
    with pytest.raises(DataError, match=r"but not test-labels\. Images and labels are accepted in pairs"):
        open_dataset(tmp_path)


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
    folder = Path("/usr/share/datasets/fashion-mnist")
    if not folder.is_dir():
        pytest.skip("Fashion-MNIST is missing: apt install dataset-fashion-mnist")
    dataset = open_dataset(folder)
    assert dataset.class_names == FASHION
    assert [s.label for s in dataset.samples[:3]] == [9, 0, 0]  # as published: ankle boot, T-shirt, T-shirt
