"""Zips: their index may lie, and each member is unpacked on its own."""

import os
import struct
import zipfile
import zlib

import pytest

from keensight.data import archives, zips
from keensight.data.sources import open_dataset, reader
from keensight.errors import DataError
from keensight.names import eastern


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
def test_zip_archives(tmp_path, pets, make_zip, check_pets, compression):
    check_pets(open_dataset(make_zip(tmp_path / "my.pets.zip", pets, compression)), "my.pets", "zip")


def test_links_and_empty_members_in_a_zip_are_skipped(tmp_path, pets, make_zip):
    link = zipfile.ZipInfo("pets/train/cat/link.png")
    link.external_attr = 0o120777 << 16
    path = make_zip(tmp_path / "pets.zip", pets | {"pets/train/cat/empty.png": b""})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(link, "/etc/passwd")
    assert {s.path[15:]: s.reason for s in open_dataset(path).skipped} == {
        "link.png": "a link (links in archives are not followed)",
        "empty.png": "an empty file (0 bytes)",
    }


def test_encrypted_members_are_refused(tmp_path, png, make_zip):
    path = make_zip(tmp_path / "x.zip", {"cat/1.png": png(0)}, zipfile.ZIP_STORED)
    content = bytearray(path.read_bytes())
    for signature, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + at] |= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"is encrypted \(cat/1\.png needs a password\).*give the folder instead"):
        open_dataset(path)


def test_a_zip_bomb_is_refused_by_its_index(tmp_path, make_zip, monkeypatch):
    monkeypatch.setattr(archives, "MAX_TOTAL_BYTES", 10_000_000)
    path = make_zip(tmp_path / "x.zip", {f"{c}/{i}.png": bytes(4_000_000) for c in "ab" for i in range(2)})
    with pytest.raises(DataError, match=r"unpack to 16,000,000 \(a 'zip bomb'\)\. Up to 10,000,000 bytes are accepted"):
        open_dataset(path)


def test_a_large_member_is_skipped(tmp_path, png, make_zip):
    path = make_zip(tmp_path / "x.zip", {"a/1.png": png(0), "b/1.png": png(1), "b/big.png": bytes(100 * 2**20 + 1)})
    assert [(s.path, s.reason) for s in open_dataset(path).skipped] == [
        ("b/big.png", "larger than 100 MiB (104,857,601 bytes)")
    ]


def test_a_member_that_unpacks_to_more_than_it_declares_is_skipped(tmp_path, png, make_zip):
    path = make_zip(tmp_path / "x.zip", {"a/1.png": png(0), "b/1.png": png(1), "b/bomb.png": bytes(1_000_000)})
    content = bytearray(path.read_bytes())
    entry = content.rindex(b"PK\x01\x02")
    content[entry + 24 : entry + 28] = (1000).to_bytes(4, "little")
    path.write_bytes(content)
    asked = []
    deflate = zips.UNPACKERS[zipfile.ZIP_DEFLATED]
    try:
        zips.UNPACKERS[zipfile.ZIP_DEFLATED] = lambda packed, most: asked.append(most) or deflate(packed, most)
        dataset = open_dataset(path)
    finally:
        zips.UNPACKERS[zipfile.ZIP_DEFLATED] = deflate
    assert 1001 in asked
    assert [s.path for s in dataset.skipped] == ["b/bomb.png"]
    assert "not the size or checksum" in dataset.skipped[0].reason


def test_a_damaged_member_is_skipped_and_others_stay(tmp_path, png, make_zip):
    for compression in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        path = make_zip(
            tmp_path / "x.zip", {"a/1.png": png(0), "b/1.png": png(1), "b/2.png": os.urandom(999)}, compression
        )
        content = bytearray(path.read_bytes())
        start = content.index(b"b/2.png") + 100
        content[start : start + 100] = bytes(100)
        path.write_bytes(content)
        dataset = open_dataset(path)
        assert [s.path for s in dataset.samples] == ["a/1.png", "b/1.png"]
        assert "damaged in the archive" in dataset.skipped[0].reason


def test_an_index_that_points_nowhere_is_damage(tmp_path, png, make_zip):
    path = make_zip(tmp_path / "x.zip", {"a/1.png": png(0), "b/1.png": png(1), "b/2.png": png(2)})
    content = bytearray(path.read_bytes())
    entry = content.rindex(b"PK\x01\x02")
    content[entry + 42 : entry + 46] = (7).to_bytes(4, "little")
    path.write_bytes(content)
    assert "no file header" in open_dataset(path).skipped[0].reason


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
            assert read(sample) == archive.read(sample.path)


def test_planesnet(shared):
    path = shared / "planesnet.zip"
    if not path.exists():
        pytest.skip(f"{path} is missing")
    dataset = open_dataset(path, label_pattern="{label}__*")
    assert dataset.class_names == ("0", "1")
    assert (len(dataset.samples), sum(s.label for s in dataset.samples)) == (32_000, 8_000)
    assert dataset.skipped == ()


def test_a_member_without_a_name_is_no_crash(tmp_path, pets, make_zip):
    """zipfile cannot write one, so a name is cut by hand: its byte becomes an (invalid, ignored) extra field."""
    path = make_zip(tmp_path / "pets.zip", pets | {"?": b""}, zipfile.ZIP_STORED)
    content = bytearray(path.read_bytes())
    entry = content.rindex(b"PK\x01\x02")
    assert content[entry + 28 : entry + 30] == b"\x01\x00" and content[entry + 46 : entry + 47] == b"?"
    content[entry + 28 : entry + 34] = b"\x00\x00\x00\x00\x01\x00"  # name 0, extra 0, comment 1
    path.write_bytes(content)
    assert len(open_dataset(path).samples) == len(pets)


def renamed(path, names, system=3, extra=lambda raw: b""):
    """Write a zip whose names are these bytes, without the flag for UTF-8, and with an extra field for each."""
    entries, index = b"", b""
    for raw in names:
        content = raw + b" is no picture"
        field = extra(raw)
        head = struct.pack(
            "<HHHHHIIIHH", 20, 0, 0, 0, 33, zlib.crc32(content), *[len(content)] * 2, len(raw), len(field)
        )
        index += b"PK\1\2" + bytes([20, system]) + head
        index += struct.pack("<HHHII", 0, 0, 0, 0, len(entries)) + raw + field
        entries += b"PK\3\4" + head + raw + field + content
    end = struct.pack("<HHHHIIH", 0, 0, len(names), len(names), len(index), len(entries), 0)
    path.write_bytes(entries + index + b"PK\5\6" + end)
    return path


LABELS = ("Äpfel", "Öl")
UTF8, OLD, WESTERN = ([f"{label}/{i}.png".encode(code) for label in LABELS for i in range(2)] for code in
                      ("utf-8", "cp437", "latin-1"))  # fmt: skip


EASTERN = [
    ("cp932", ("猫", "犬")), ("cp932", ("ねこ", "いぬ")), ("cp932", ("ソファ", "テーブル")), ("gbk", ("猫", "狗")),
    ("gbk", ("苹果", "香蕉")), ("big5", ("貓", "狗")), ("cp866", ("кошка", "собака")), ("cp866", ("Коты", "Псы")),
    ("cp949", ("고양이", "강아지")), ("cp949", ("꽃", "나무")), ("cp949", ("정상", "불량")),
    ("cp949", ("사과 1", "바나나")),
    ("gbk", ("正常", "缺陷")), ("gbk", ("香蕉", "鸡蛋")), ("gbk", ("飞机", "汽车")),
    ("gbk", ("合格", "不合格")), ("gbk", ("向日葵", "玫瑰", "郁金香")),
]  # fmt: skip


@pytest.mark.parametrize("system", [0, 3])
@pytest.mark.parametrize("code,labels", EASTERN, ids=str)
def test_names_of_the_east_are_read_as_they_were_meant(tmp_path, code, labels, system):
    names = [f"{label}/{label}{i}.png".encode(code) for label in labels for i in range(2)]
    dataset = open_dataset(renamed(tmp_path / "x.zip", [*names, b"readme.txt"], system))
    assert set(dataset.class_names) == set(labels)
    # another archive in the same run, which is not of the east
    assert set(open_dataset(renamed(tmp_path / "y.zip", OLD, 0)).class_names) == set(LABELS)
    with reader(dataset) as read:
        assert {read(sample) for sample in dataset.samples} == {raw + b" is no picture" for raw in names}


def test_odd_bytes_behind_eastern_names_do_no_harm(tmp_path):
    names = [f"{label}/{i}.png".encode("cp932") + b"\xff\x81" * i for label in ("ねこ", "いぬ") for i in range(2)]
    assert len(open_dataset(renamed(tmp_path / "x.zip", [*names, *names[:1]], 0)).skipped) >= 1


WEST = ("Äpfel", "Öl", "über", "Häuser", "façade", "élève", "Ñandú", "jalapeño", "Straße", "crème brûlée", "ä")


@pytest.mark.parametrize("code", ["cp437", "latin-1"])
def test_names_of_the_west_are_not_taken_for_eastern_ones(code):
    for label in WEST[:-1]:
        assert eastern([f"{label}/1.png".encode(code), b"dog/1.png"]) is None, label
    assert eastern(f"{label}/1.png".encode(code) for label in WEST) is None


def unicode_path(raw, crc=0):
    text = raw.decode("latin-1").encode()
    return struct.pack("<HHBI", 0x7075, 5 + len(text), 1, zlib.crc32(raw) + crc) + text


@pytest.mark.parametrize(
    "names,system,extra",
    [
        (UTF8, 3, lambda raw: b""),  # macOS
        (UTF8, 0, lambda raw: b""),
        (OLD, 0, lambda raw: b""),  # DOS, Windows
        (WESTERN, 3, lambda raw: b""),  # Unix of old
        (WESTERN, 0, unicode_path),  # Info-ZIP, WinRAR, 7-Zip
        (OLD, 0, lambda raw: unicode_path(raw, 1)),  # of another name, and so passed over
        (OLD, 0, lambda raw: b"\x75\x70\xff"),
    ],
)
def test_names_without_the_flag_for_utf_8(tmp_path, names, system, extra):
    dataset = open_dataset(renamed(tmp_path / "x.zip", names, system, extra))
    assert dataset.class_names == tuple(sorted(LABELS))
    with reader(dataset) as read:
        contents = {read(sample) for sample in dataset.samples}
    assert contents == {raw + b" is no picture" for raw in names}
