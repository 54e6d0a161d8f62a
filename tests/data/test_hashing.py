import hashlib
import json
import os

import numpy as np
import pytest

from keensight.data import folders
from keensight.data.hashing import Memo, hash_files, hash_rows
from keensight.errors import PictureError


@pytest.fixture
def old_file(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(b"one")
    os.utime(path, (1e9, 1e9))
    return path


def test_row_hashes_follow_from_shape_and_pixels():
    images = np.random.default_rng(0).integers(0, 256, (5, 4, 3, 1), np.uint8)
    expected = [hashlib.sha256(b"uint8 4x3x1\n" + image.tobytes()).hexdigest() for image in images]
    assert hash_rows(images) == expected
    assert hash_rows(images[::-1]) == expected[::-1]  # not contiguous
    assert set(hash_rows(images.reshape(5, 3, 4, 1))).isdisjoint(expected)


def test_files_are_hashed_and_failures_named():
    def read(name):
        if name == "bad":
            raise PictureError("bad: permission denied")
        return name.encode()

    names = [str(i) for i in range(1000)]
    hashes, failed = hash_files(read, [*names, "bad"])
    assert hashes == {name: hashlib.sha256(name.encode()).hexdigest() for name in names}
    assert failed == {"bad": "permission denied"}


def test_the_memo_saves_reading(old_file, tmp_path, monkeypatch):
    statuses = {"a.jpg": old_file.stat()}
    first = folders.hash_folder(tmp_path, statuses)
    assert first == ({"a.jpg": hashlib.sha256(b"one").hexdigest()}, {})
    monkeypatch.setattr(folders, "read_file", lambda *_: pytest.fail("read again"))
    assert folders.hash_folder(tmp_path, statuses) == first


@pytest.mark.parametrize("change", ["size", "time", "inode"])
def test_a_changed_file_is_read_again(old_file, tmp_path, change):
    folders.hash_folder(tmp_path, {"a.jpg": old_file.stat()})
    if change == "inode":
        (tmp_path / "b.jpg").write_bytes(b"two")
        (tmp_path / "b.jpg").rename(old_file)
    else:
        old_file.write_bytes(b"three" if change == "size" else b"two")
    os.utime(old_file, (2e9, 2e9) if change == "time" else (1e9, 1e9))
    hashes, _ = folders.hash_folder(tmp_path, {"a.jpg": old_file.stat()})
    assert hashes == {"a.jpg": hashlib.sha256(old_file.read_bytes()).hexdigest()}


def test_a_file_written_just_now_is_not_remembered(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"one")
    folders.hash_folder(tmp_path, {"a.jpg": (tmp_path / "a.jpg").stat()})
    assert Memo(tmp_path).recall("a.jpg", (tmp_path / "a.jpg").stat()) is None


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"[]", b"\xff", b"[" * 100_000,
        b'{"a.jpg": 3}', b'{"a.jpg": [1, 2]}', b'{"a.jpg": [3, 1000000000000000000, 0, 7]}',
    ],
)  # fmt: skip
def test_a_damaged_memo_is_passed_over(old_file, tmp_path, own_cache, content):
    folders.hash_folder(tmp_path, {"a.jpg": old_file.stat()})
    (memo,) = (own_cache / "hashes").iterdir()
    memo.write_bytes(content)
    hashes, _ = folders.hash_folder(tmp_path, {"a.jpg": old_file.stat()})
    assert hashes == {"a.jpg": hashlib.sha256(b"one").hexdigest()}
    assert list(json.loads(memo.read_bytes())) == ["a.jpg"]


def test_a_cache_that_cannot_be_written_is_passed_over(old_file, tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("KEENSIGHT_CACHE", str(tmp_path / "file"))
    hashes, _ = folders.hash_folder(tmp_path, {"a.jpg": old_file.stat()})
    assert hashes == {"a.jpg": hashlib.sha256(b"one").hexdigest()}


def test_files_that_are_gone_are_forgotten(old_file, tmp_path, own_cache):
    (tmp_path / "b.jpg").write_bytes(b"two")
    os.utime(tmp_path / "b.jpg", (1e9, 1e9))
    folders.hash_folder(tmp_path, {name: (tmp_path / name).stat() for name in ("a.jpg", "b.jpg")})
    (tmp_path / "c.jpg").write_bytes(b"six")
    os.utime(tmp_path / "c.jpg", (1e9, 1e9))
    folders.hash_folder(tmp_path, {name: (tmp_path / name).stat() for name in ("a.jpg", "c.jpg")})
    (memo,) = (own_cache / "hashes").iterdir()
    assert set(json.loads(memo.read_bytes())) == {"a.jpg", "c.jpg"}
