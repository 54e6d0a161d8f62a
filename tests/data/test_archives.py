"""What zips and tars have in common: names that are not trusted, damage, limits and the memo."""

import hashlib
import io
import os
import tarfile
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from keensight.data import archives, tars
from keensight.data.archives import safe_name
from keensight.data.listing import KEPT_BY_SYSTEM
from keensight.data.sources import open_dataset, reader
from keensight.errors import DataError, PictureError

METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2)


def test_an_archive_after_other_bytes_and_long_names(tmp_path, pets, png, make_zip, make_tar):
    members = pets | {f"pets/train/cat/{'n' * 200}/{'m' * 200}.png": png(9), f"pets/train/cat/{'x' * 300}.png": png(9)}
    inner = make_zip(tmp_path / "inner.zip", members).read_bytes()
    (tmp_path / "pets.zip").write_bytes(b"#!/bin/sh self-extracting\n" + inner)
    for path in (tmp_path / "pets.zip", make_tar(tmp_path / "pets.tar", members)):
        dataset = open_dataset(path)
        assert len(dataset.samples) == len(pets) + 1
        assert [s.reason for s in dataset.skipped] == ["a name of more than 255 characters"]


def test_reading_from_many_threads(tmp_path, make_zip, make_tar):
    members = {f"{label}/{i}.png": os.urandom(2000) for label in ("a", "b") for i in range(200)}
    for path in (make_zip(tmp_path / "x.zip", members), make_tar(tmp_path / "x.tar", members)):
        dataset = open_dataset(path)
        barrier = threading.Barrier(8)

        def read_all(_, dataset=dataset, barrier=barrier):
            barrier.wait()
            return all(read(s) == members[s.path] for s in dataset.samples)

        with reader(dataset) as read, ThreadPoolExecutor(8) as pool:
            assert all(pool.map(read_all, range(8)))


HOSTILE = [
    "../evil.png",
    "a/../../evil.png",
    "/etc/evil.png",
    "C:/evil.png",
    "c:evil.png",
    "..\\evil.png",
    "\\\\host\\evil.png",
    "a/..",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_zip_slip_is_refused(tmp_path, pets, png, make_zip, make_tar, name):
    for path in (
        make_zip(tmp_path / "x.zip", pets | {name: png(0)}),
        make_tar(tmp_path / "x.tar", pets | {name: png(0)}),
    ):
        with pytest.raises(DataError, match="zip slip") as caught:
            open_dataset(path)
        assert repr(name) in str(caught.value)
        assert "Only relative names" in str(caught.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x.tar", "x.zip"]


def test_backslashes_of_old_windows_tools_separate_folders():
    assert safe_name("train\\cat\\1.jpg", Path("x.zip")) == "train/cat/1.jpg"


def test_an_archive_is_listed_as_a_folder_is(tmp_path, pets, png, make_zip, make_tar):
    more = {"pets/train/cat/photo": png(7), "pets/val/dog/x.jpg_large": png(8), "pets/val/dog/x.JPG ": png(9)}
    junk = {
        "__MACOSX/pets/._1.png": b"x",
        "pets/.DS_Store": b"x",
        "pets/train/cat/.x.png": png(0),
        "pets/train/cat/@eaDir/1.png/THUMB.png": png(0),
        "#recycle/9.png": png(0),
        "pets/readme.txt": b"x",
        "pets/page.jpg_": b"<html>",
    }
    skipped = {
        **dict.fromkeys(
            ["__MACOSX", "pets/.DS_Store", "pets/train/cat/.x.png", "pets/train/cat/@eaDir", "#recycle"], KEPT_BY_SYSTEM
        ),
        "pets/readme.txt": "a .txt file and not a picture",
        "pets/page.jpg_": "an HTML page, as a failed download leaves, and not a picture",
    }
    members = pets | more | junk
    paths = [make_zip(tmp_path / f"{i}.zip", members, method) for i, method in enumerate(METHODS)]
    for path in (*paths, make_tar(tmp_path / "pets.tar", members)):
        dataset = open_dataset(path)
        assert {sample.path for sample in dataset.samples} == {*pets, *more}
        assert {each.path: each.reason for each in dataset.skipped} == skipped
        with reader(dataset) as read:
            assert all(read(sample) == members[sample.path] for sample in dataset.samples)


@pytest.mark.parametrize("keep", [0, 10, 600, 0.5, 0.9])
@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz", "tar.xz"])
def test_truncated_archives_are_refused(tmp_path, pets, make_zip, make_tar, kind, keep):
    whole = tmp_path / f"whole.{kind}"
    if kind == "zip":
        make_zip(whole, pets)
    else:
        make_tar(whole, {k: v + os.urandom(2000) for k, v in pets.items()}, "w" + kind[3:].replace(".", ":"))
    size = whole.stat().st_size
    path = tmp_path / f"cut.{kind}"
    path.write_bytes(whole.read_bytes()[: int(keep * size) if 0 < keep < 1 else keep])
    with pytest.raises(DataError, match=r"The archive .*cut.* cannot be read: .*copy or download it again"):
        open_dataset(path)


@pytest.mark.parametrize(
    ("kind", "name", "told"),
    [
        ("w:gz", "pets.zip", r"packed with gzip, as a \.tar\.gz is\. Give it a name that ends in \.tar\.gz,"),
        ("w:bz2", "pets.zip", r"packed with bzip2"),
        ("w:xz", "pets.zip", r"packed with xz"),
        ("w", "pets.zip", r"a tar archive\. Give it a name that ends in \.tar,"),
        ("zip", "pets.tar.gz", r"a zip archive\. Give it a name that ends in \.zip,"),
        ("zip", "pets.tar", r"a zip archive\. Give it a name that ends in \.zip,"),
    ],
)
def test_an_archive_with_the_name_of_another_kind_is_told(tmp_path, pets, make_zip, make_tar, kind, name, told):
    path = tmp_path / name
    if kind == "zip":
        make_zip(path, pets)
    else:
        make_tar(path, pets, kind)
    with pytest.raises(DataError, match=rf"pets\S+ is not what its name says: it is {told}"):
        open_dataset(path)


def test_an_archive_of_a_kind_that_is_not_read_is_told(tmp_path):
    for start, what in ((b"Rar!\x1a\x07\x01\0", "a RAR archive"), (b"7z\xbc\xaf\x27\x1c", "a 7z archive")):
        (tmp_path / "x.zip").write_bytes(start + bytes(600))
        with pytest.raises(DataError, match=f"it is {what}. Unpack it and give the folder"):
            open_dataset(tmp_path / "x.zip")


def test_not_an_archive_at_all(tmp_path):
    for name in ("x.zip", "x.tar", "x.tar.gz"):
        (tmp_path / name).write_text("hello " * 500)
        with pytest.raises(DataError, match="cannot be read"):
            open_dataset(tmp_path / name)


def test_names_listed_twice(tmp_path, png):
    warned = pytest.warns(UserWarning, match="Duplicate name")  # zipfile's own
    with warned, zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for name, value in [("a/1.png", 0), ("b/1.png", 1), ("a/1.png", 2)]:
            archive.writestr(name, png(value))
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        for name, value in [("a/1.png", 0), ("./b/1.png", 1), ("./a/1.png", 2)]:
            info = tarfile.TarInfo(name)
            info.size = len(png(value))
            archive.addfile(info, io.BytesIO(png(value)))
    for name in ("x.zip", "x.tar"):
        dataset = open_dataset(tmp_path / name)
        assert [s.path for s in dataset.samples] == ["a/1.png", "b/1.png"]
        assert dataset.samples[0].sha256 == hashlib.sha256(png(2)).hexdigest()
        assert [s.path for s in dataset.skipped] == ["a/1.png"]


def test_too_many_members(tmp_path, pets, make_zip, make_tar, monkeypatch):
    for module in (archives, tars):
        monkeypatch.setattr(module, "MAX_FILES", 5)
    for path in (make_zip(tmp_path / "x.zip", pets), make_tar(tmp_path / "x.tar", pets)):
        with pytest.raises(DataError, match="more than 5 members"):
            open_dataset(path)


def test_the_second_time_nothing_is_hashed(tmp_path, pets, make_zip, monkeypatch):
    path = make_zip(tmp_path / "pets.zip", pets)
    os.utime(path, (1e9, 1e9))
    first = open_dataset(path)
    monkeypatch.setattr(archives, "hash_files", lambda *_: pytest.fail("hashed again"))
    assert open_dataset(path) == first
    monkeypatch.undo()
    os.utime(path, (1e9 + 5, 1e9 + 5))
    assert open_dataset(path) == first


def test_an_archive_replaced_while_open(tmp_path, pets, png, make_zip):
    dataset = open_dataset(make_zip(tmp_path / "pets.zip", pets))
    make_zip(tmp_path / "pets.zip", {"other/1.png": png(0)})
    with reader(dataset) as read, pytest.raises(PictureError, match="no longer in the archive"):
        read(dataset.samples[0])


@pytest.mark.parametrize(("suffix", "module", "opened"), [("zip", zipfile, "ZipFile"), ("tar", tarfile, "open")])
def test_what_an_archive_holds_is_read_once_and_again_when_it_changes(
    tmp_path, pets, png, make_zip, make_tar, monkeypatch, suffix, module, opened
):
    path = {"zip": make_zip, "tar": make_tar}[suffix](tmp_path / f"pets.{suffix}", pets)
    real, times = getattr(module, opened), []

    def counted(*args, **options):
        times.append(1)
        return real(*args, **options)

    monkeypatch.setattr(module, opened, counted)
    dataset = open_dataset(path)
    for _ in range(2):
        with reader(dataset) as read:
            assert {s.path: read(s) for s in dataset.samples} == pets
    assert len(times) == 1
    monkeypatch.setattr(module, opened, real)
    more = pets | {"pets/train/cat/new.png": png(11)}
    {"zip": make_zip, "tar": make_tar}[suffix](path, more)
    assert len(open_dataset(path).samples) == len(more)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (
            b"<!doctype html><title>Not found</title>",
            "it is an HTML page, as a failed download leaves, and not an archive",
        ),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:00",
            "it is a Git LFS pointer and not the archive",
        ),
        (b"", "it is an empty file"),
        (b"Quota exceeded", "it is text and not an archive"),
    ],
)
@pytest.mark.parametrize("suffix", ["zip", "tar", "tar.gz"])
def test_what_a_failed_download_left_under_an_archives_name_is_told(tmp_path, content, told, suffix):
    (tmp_path / f"pets.{suffix}").write_bytes(content)
    with pytest.raises(DataError, match=told):
        open_dataset(tmp_path / f"pets.{suffix}")
