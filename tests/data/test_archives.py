import hashlib
import io
import os
import tarfile
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from keensight.data import archives
from keensight.data.archives import plain_tar, safe_name
from keensight.data.sources import open_dataset, reader
from keensight.errors import DataError, KeensightError, PictureError


def png(value):
    file = io.BytesIO()
    Image.fromarray(np.full((4, 4), value, np.uint8)).save(file, "png")
    return file.getvalue()


PETS = {
    f"pets/{split}/{name}/{i}.png": png(i) for split in ("train", "val") for name in ("cat", "dog") for i in range(3)
}


def make_zip(path, members, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def make_tar(path, members, mode="w", extra=()):
    with tarfile.open(path, mode) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for info in extra:
            archive.addfile(info)
    return path


def check_pets(dataset, name, kind):
    assert (dataset.name, dataset.kind, dataset.class_names) == (name, kind, ("cat", "dog"))
    assert {s.where: s.sha256 for s in dataset.samples} == {k: hashlib.sha256(v).hexdigest() for k, v in PETS.items()}
    for sample in dataset.samples:
        _, split, label, _ = sample.where.split("/")
        assert (sample.split, dataset.class_names[sample.label]) == (split, label)
    with reader(dataset) as read:
        assert {s.where: read(s) for s in dataset.samples} == PETS


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
def test_zip_archives(tmp_path, compression):
    check_pets(open_dataset(make_zip(tmp_path / "my.pets.zip", PETS, compression)), "my.pets", "zip")


@pytest.mark.parametrize(
    "suffix,mode", [("tar", "w"), ("tar.gz", "w:gz"), ("TGZ", "w:gz"), ("tar.bz2", "w:bz2"), ("tar.xz", "w:xz")]
)
@pytest.mark.parametrize("format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_tar_archives(tmp_path, suffix, mode, format, monkeypatch):
    monkeypatch.setattr(tarfile, "DEFAULT_FORMAT", format)
    check_pets(open_dataset(make_tar(tmp_path / f"pets.{suffix}", PETS, mode)), "pets", "tar")


def test_an_archive_after_other_bytes_and_long_names(tmp_path):
    members = PETS | {f"pets/train/cat/{'n' * 200}/{'m' * 200}.png": png(9), f"pets/train/cat/{'x' * 300}.png": png(9)}
    inner = make_zip(tmp_path / "inner.zip", members).read_bytes()
    (tmp_path / "pets.zip").write_bytes(b"#!/bin/sh self-extracting\n" + inner)
    for path in (tmp_path / "pets.zip", make_tar(tmp_path / "pets.tar", members)):
        dataset = open_dataset(path)
        assert len(dataset.samples) == len(PETS) + 1
        assert [s.reason for s in dataset.skipped] == ["a name of more than 255 characters"]


def test_reading_from_many_threads(tmp_path):
    members = {f"{label}/{i}.png": os.urandom(2000) for label in ("a", "b") for i in range(200)}
    for path in (make_zip(tmp_path / "x.zip", members), make_tar(tmp_path / "x.tar", members)):
        dataset = open_dataset(path)
        barrier = threading.Barrier(8)

        def read_all(_, dataset=dataset, barrier=barrier):
            barrier.wait()
            return all(read(s) == members[s.where] for s in dataset.samples)

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
def test_zip_slip_is_refused(tmp_path, name):
    for path in (
        make_zip(tmp_path / "x.zip", PETS | {name: png(0)}),
        make_tar(tmp_path / "x.tar", PETS | {name: png(0)}),
    ):
        with pytest.raises(DataError, match="zip slip") as caught:
            open_dataset(path)
        assert repr(name) in str(caught.value)
        assert "Only relative names" in str(caught.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x.tar", "x.zip"]


def test_backslashes_of_old_windows_tools_separate_folders():
    assert safe_name("train\\cat\\1.jpg", archives.Path("x.zip")) == "train/cat/1.jpg"


def test_links_devices_and_sparse_members_in_a_tar_are_skipped(tmp_path):
    extra = []
    for name, kind in [
        ("soft", tarfile.SYMTYPE),
        ("hard", tarfile.LNKTYPE),
        ("pipe", tarfile.FIFOTYPE),
        ("dev", tarfile.CHRTYPE),
    ]:
        info = tarfile.TarInfo(f"pets/train/cat/{name}.png")
        info.type, info.linkname = kind, "/etc/passwd"
        extra.append(info)
    dataset = open_dataset(make_tar(tmp_path / "pets.tar", PETS, extra=extra))
    link, device = (
        "a link (links in archives are not followed)",
        "not a regular file (a device, a pipe or a sparse file)",
    )
    assert {s.where[15:]: s.reason for s in dataset.skipped} == {
        "soft.png": link,
        "hard.png": link,
        "pipe.png": device,
        "dev.png": device,
    }
    assert len(dataset.samples) == len(PETS)


def test_links_and_empty_members_in_a_zip_are_skipped(tmp_path):
    link = zipfile.ZipInfo("pets/train/cat/link.png")
    link.external_attr = 0o120777 << 16
    path = make_zip(tmp_path / "pets.zip", PETS | {"pets/train/cat/empty.png": b""})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(link, "/etc/passwd")
    assert {s.where[15:]: s.reason for s in open_dataset(path).skipped} == {
        "link.png": "a link (links in archives are not followed)",
        "empty.png": "an empty file (0 bytes)",
    }


def test_what_systems_leave_behind_is_ignored(tmp_path):
    junk = {
        "__MACOSX/pets/._1.png": b"x",
        "pets/.DS_Store": b"x",
        "pets/train/cat/.x.png": b"x",
        "pets/readme.txt": b"x",
    }
    for path in (make_zip(tmp_path / "pets.zip", PETS | junk), make_tar(tmp_path / "pets.tar", PETS | junk)):
        assert len(open_dataset(path).samples) == len(PETS)
        assert open_dataset(path).skipped == ()


def test_encrypted_members_are_refused(tmp_path):
    path = make_zip(tmp_path / "x.zip", {"cat/1.png": png(0)}, zipfile.ZIP_STORED)
    content = bytearray(path.read_bytes())
    for signature, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + at] |= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"is encrypted \(cat/1\.png needs a password\).*give the folder instead"):
        open_dataset(path)


def test_a_zip_bomb_is_refused_by_its_index(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MAX_TOTAL_BYTES", 10_000_000)
    path = make_zip(tmp_path / "x.zip", {f"{c}/{i}.png": bytes(4_000_000) for c in "ab" for i in range(2)})
    with pytest.raises(DataError, match=r"unpack to 16,000,000 \(a 'zip bomb'\)\. Up to 10,000,000 bytes are accepted"):
        open_dataset(path)


def test_a_large_member_is_skipped(tmp_path):
    path = make_zip(tmp_path / "x.zip", {"a/1.png": png(0), "b/1.png": png(1), "b/big.png": bytes(100 * 2**20 + 1)})
    assert [(s.where, s.reason) for s in open_dataset(path).skipped] == [
        ("b/big.png", "larger than 100 MiB (104,857,601 bytes)")
    ]


def test_a_compressed_tar_stops_unpacking_at_the_limit(tmp_path, monkeypatch, own_cache):
    monkeypatch.setattr(archives, "MAX_TOTAL_BYTES", 10_000_000)
    path = make_tar(tmp_path / "x.tar.gz", {f"{c}/1.png": bytes(9_000_000) for c in "ab"}, "w:gz")
    with pytest.raises(DataError, match="zip bomb"):
        open_dataset(path)
    assert list((own_cache / "archives").iterdir()) == []


def test_a_member_that_unpacks_to_more_than_it_declares_is_skipped(tmp_path):
    path = make_zip(tmp_path / "x.zip", {"a/1.png": png(0), "b/1.png": png(1), "b/bomb.png": bytes(1_000_000)})
    content = bytearray(path.read_bytes())
    entry = content.rindex(b"PK\x01\x02")
    content[entry + 24 : entry + 28] = (1000).to_bytes(4, "little")
    path.write_bytes(content)
    asked = []
    deflate = archives.UNPACKERS[zipfile.ZIP_DEFLATED]
    try:
        archives.UNPACKERS[zipfile.ZIP_DEFLATED] = lambda packed, most: asked.append(most) or deflate(packed, most)
        dataset = open_dataset(path)
    finally:
        archives.UNPACKERS[zipfile.ZIP_DEFLATED] = deflate
    assert 1001 in asked
    assert [s.where for s in dataset.skipped] == ["b/bomb.png"]
    assert "not the size or checksum" in dataset.skipped[0].reason


def test_a_damaged_member_is_skipped_and_others_stay(tmp_path):
    for compression in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        path = make_zip(
            tmp_path / "x.zip", {"a/1.png": png(0), "b/1.png": png(1), "b/2.png": os.urandom(999)}, compression
        )
        content = bytearray(path.read_bytes())
        start = content.index(b"b/2.png") + 100
        content[start : start + 100] = bytes(100)
        path.write_bytes(content)
        dataset = open_dataset(path)
        assert [s.where for s in dataset.samples] == ["a/1.png", "b/1.png"]
        assert "damaged in the archive" in dataset.skipped[0].reason


def test_an_index_that_points_nowhere_is_damage(tmp_path):
    path = make_zip(tmp_path / "x.zip", {"a/1.png": png(0), "b/1.png": png(1), "b/2.png": png(2)})
    content = bytearray(path.read_bytes())
    entry = content.rindex(b"PK\x01\x02")
    content[entry + 42 : entry + 46] = (7).to_bytes(4, "little")
    path.write_bytes(content)
    assert "no file header" in open_dataset(path).skipped[0].reason


@pytest.mark.parametrize("keep", [0, 10, 600, 0.5, 0.9])
@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz", "tar.xz"])
def test_truncated_archives_are_refused(tmp_path, kind, keep):
    whole = tmp_path / f"whole.{kind}"
    if kind == "zip":
        make_zip(whole, PETS)
    else:
        make_tar(whole, {k: v + os.urandom(2000) for k, v in PETS.items()}, "w" + kind[3:].replace(".", ":"))
    size = whole.stat().st_size
    path = tmp_path / f"cut.{kind}"
    path.write_bytes(whole.read_bytes()[: int(keep * size) if 0 < keep < 1 else keep])
    with pytest.raises(DataError, match=r"The archive .*cut.* cannot be read: .*copy or download it again"):
        open_dataset(path)


def test_a_tar_damaged_in_the_middle_is_refused_not_cut_short(tmp_path):
    path = make_tar(tmp_path / "x.tar", PETS)
    content = bytearray(path.read_bytes())
    content[4 * 512 + 1024 : 4 * 512 + 2048] = b"\x55" * 1024
    path.write_bytes(content)
    with pytest.raises(DataError, match="ends early or holds something that is no tar header"):
        open_dataset(path)


def test_a_huge_tar_header_is_not_read_into_memory(tmp_path):
    info = tarfile.TarInfo("pax")
    info.type, info.size = tarfile.XHDTYPE, 2**31
    path = tmp_path / "x.tar"
    with open(path, "wb") as file:
        file.write(info.tobuf(tarfile.USTAR_FORMAT))
        file.truncate(2**31 + 10_240)
    with pytest.raises(DataError, match="a header field of 2,147,483,648 bytes"):
        open_dataset(path)


def test_not_an_archive_at_all(tmp_path):
    for name in ("x.zip", "x.tar", "x.tar.gz"):
        (tmp_path / name).write_text("hello " * 500)
        with pytest.raises(DataError, match="cannot be read"):
            open_dataset(tmp_path / name)


def test_names_listed_twice(tmp_path):
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
        assert [s.where for s in dataset.samples] == ["a/1.png", "b/1.png"]
        assert dataset.samples[0].sha256 == hashlib.sha256(png(2)).hexdigest()
        assert [s.where for s in dataset.skipped] == ["a/1.png"]


def test_too_many_members(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MAX_FILES", 5)
    for path in (make_zip(tmp_path / "x.zip", PETS), make_tar(tmp_path / "x.tar", PETS)):
        with pytest.raises(DataError, match="more than 5 members"):
            open_dataset(path)


def test_a_compressed_tar_is_unpacked_once(tmp_path, own_cache):
    path = make_tar(tmp_path / "pets.tar.gz", PETS, "w:gz")
    first = plain_tar(path)
    stamp = first.stat()
    assert plain_tar(path) == first
    assert first.stat() == stamp
    os.utime(path, (1e9, 1e9))
    assert plain_tar(path) != first
    assert not [p for p in (own_cache / "archives").iterdir() if p.suffix != ".tar"]


def test_a_full_disk_while_unpacking_leaves_nothing(tmp_path, own_cache, monkeypatch):
    def full(*_):
        yield b"x"
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(archives, "_unpacked", full)
    with pytest.raises(KeensightError, match="The disk is full"):
        open_dataset(make_tar(tmp_path / "pets.tar.gz", PETS, "w:gz"))
    assert list((own_cache / "archives").iterdir()) == []


def test_the_second_time_nothing_is_hashed(tmp_path, monkeypatch):
    path = make_zip(tmp_path / "pets.zip", PETS)
    os.utime(path, (1e9, 1e9))
    first = open_dataset(path)
    monkeypatch.setattr(archives, "hash_files", lambda *_: pytest.fail("hashed again"))
    assert open_dataset(path) == first
    monkeypatch.undo()
    os.utime(path, (1e9 + 5, 1e9 + 5))
    assert open_dataset(path) == first


def test_an_archive_replaced_while_open(tmp_path):
    dataset = open_dataset(make_zip(tmp_path / "pets.zip", PETS))
    make_zip(tmp_path / "pets.zip", {"other/1.png": png(0)})
    with reader(dataset) as read, pytest.raises(PictureError, match="no longer in the archive"):
        read(dataset.samples[0])


def test_huskies(shared):
    path = shared / "huskies.zip"
    if not path.exists():
        pytest.skip(f"{path} is missing")
    dataset = open_dataset(path)
    counts = {}
    for sample in dataset.samples:
        key = sample.split, dataset.class_names[sample.label]
        counts[key] = counts.get(key, 0) + 1
    assert counts == {
        ("train", "husky"): 218,
        ("train", "nothusky"): 610,
        ("val", "husky"): 55,
        ("val", "nothusky"): 163,
    }
    with zipfile.ZipFile(path) as archive, reader(dataset) as read:
        for sample in dataset.samples[::50]:
            assert read(sample) == archive.read(sample.where)


def test_planesnet(shared):
    path = shared / "planesnet.zip"
    if not path.exists():
        pytest.skip(f"{path} is missing")
    dataset = open_dataset(path, label_pattern="{label}__*")
    assert dataset.class_names == ("0", "1")
    assert (len(dataset.samples), sum(s.label for s in dataset.samples)) == (32_000, 8_000)
    assert dataset.skipped == ()
