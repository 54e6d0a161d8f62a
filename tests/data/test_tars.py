"""Tars: members that are no files, headers that lie, and compressed ones that are unpacked first."""

import io
import os
import tarfile

import pytest

from keensight import cached
from keensight.data import archives, tars
from keensight.data.sources import open_dataset
from keensight.data.tars import plain_tar
from keensight.errors import DataError, KeensightError


@pytest.mark.parametrize(
    "suffix,mode", [("tar", "w"), ("tar.gz", "w:gz"), ("TGZ", "w:gz"), ("tar.bz2", "w:bz2"), ("tar.xz", "w:xz")]
)
@pytest.mark.parametrize("format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_tar_archives(tmp_path, pets, make_tar, check_pets, suffix, mode, format, monkeypatch):
    monkeypatch.setattr(tarfile, "DEFAULT_FORMAT", format)
    check_pets(open_dataset(make_tar(tmp_path / f"pets.{suffix}", pets, mode)), "pets", "tar")


def test_links_devices_and_sparse_members_in_a_tar_are_skipped(tmp_path, pets, make_tar):
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
    dataset = open_dataset(make_tar(tmp_path / "pets.tar", pets, extra=extra))
    link, device = (
        "a link (links in archives are not followed)",
        "not a regular file (a device, a pipe or a sparse file)",
    )
    assert {s.path[15:]: s.reason for s in dataset.skipped} == {
        "soft.png": link,
        "hard.png": link,
        "pipe.png": device,
        "dev.png": device,
    }
    assert len(dataset.samples) == len(pets)


def test_a_compressed_tar_stops_unpacking_at_the_limit(tmp_path, make_tar, monkeypatch, own_cache):
    monkeypatch.setattr(archives, "MAX_TOTAL_BYTES", 10_000_000)
    path = make_tar(tmp_path / "x.tar.gz", {f"{c}/1.png": bytes(9_000_000) for c in "ab"}, "w:gz")
    with pytest.raises(DataError, match="zip bomb"):
        open_dataset(path)
    assert list((own_cache / "archives").iterdir()) == []


def test_a_tar_damaged_in_the_middle_is_refused_not_cut_short(tmp_path, pets, make_tar):
    path = make_tar(tmp_path / "x.tar", pets)
    content = bytearray(path.read_bytes())
    content[4 * 512 + 1024 : 4 * 512 + 2048] = b"\x55" * 1024
    path.write_bytes(content)
    with pytest.raises(DataError, match="ends early or holds something that is not a tar header"):
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


def test_a_compressed_tar_is_unpacked_once(tmp_path, pets, make_tar, own_cache):
    path = make_tar(tmp_path / "pets.tar.gz", pets, "w:gz")
    first = plain_tar(path)
    stamp = first.stat()
    assert plain_tar(path) == first
    assert first.stat() == stamp
    os.utime(path, (1e9, 1e9))
    assert plain_tar(path) != first
    assert not [p for p in (own_cache / "archives").iterdir() if p.suffix != ".tar"]


def test_a_full_disk_while_unpacking_leaves_nothing(tmp_path, pets, make_tar, own_cache, monkeypatch):
    def full(*_):
        yield b"x"
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tars, "_unpacked", full)
    with pytest.raises(KeensightError, match="The disk is full"):
        open_dataset(make_tar(tmp_path / "pets.tar.gz", pets, "w:gz"))
    assert list((own_cache / "archives").iterdir()) == []


def test_names_in_latin_1_are_read(tmp_path, make_tar, png):
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT, encoding="latin-1") as archive:
        for name in ("Äpfel/1.png", "Öl/1.png"):
            info = tarfile.TarInfo(name)
            info.size = len(png(1))
            archive.addfile(info, io.BytesIO(png(1)))
    assert [sample.path for sample in open_dataset(path).samples] == ["Äpfel/1.png", "Öl/1.png"]


def test_one_state_of_an_archive_is_kept_unpacked(tmp_path, pets, make_tar, own_cache):
    file = make_tar(tmp_path / "pets.tar.gz", pets, "w:gz")
    for day in (1, 2, 3):
        os.utime(file, (86_400 * day, 86_400 * day))
        open_dataset(file)
        cached._leave()  # as at the end of a process: what a running one uses stays
        assert len(list((own_cache / "archives").iterdir())) == 1
