"""Zip archives of pictures: their index, and reading a member from where it lies."""

from __future__ import annotations

import bz2
import functools
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from keensight.data.archives import (
    ReadAt,
    check_amount,
    explained,
    file_members,
    list_archive,
    member_reader,
    member_starts,
    name_problem,
)
from keensight.data.folders import MAX_PICTURE_BYTES, Contents, size_problem
from keensight.data.hashing import stamp
from keensight.data.kinds import START_BYTES
from keensight.data.listing import Listing
from keensight.errors import DataError
from keensight.names import WESTERN, decoded, eastern
from keensight.values import Sample

UTF8_FLAG = 0x800
UNICODE_PATH = 0x7075
DOS_SYSTEMS = (0, 10, 11)  # the maker of a member: DOS, or Windows
UNPACKERS: dict[int, Callable[[bytes, int], bytes]] = {  # by zip's number for the method; (data, most bytes out)
    zipfile.ZIP_STORED: lambda packed, most: packed[:most],
    zipfile.ZIP_DEFLATED: lambda packed, most: zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, most),
    zipfile.ZIP_BZIP2: lambda packed, most: bz2.BZ2Decompressor().decompress(packed, most),
}


class ZipMember(NamedTuple):
    """Where a picture lies in its zip: `packed` bytes after the header at `offset`, which unpack to `size` bytes."""

    offset: int
    packed: int
    size: int
    method: int
    crc: int

    def content(self, read_at: ReadAt) -> bytes:
        """Return the picture's bytes. Raises ValueError if they do not match the archive's index."""
        header = read_at(self.offset, 30)
        if len(header) < 30 or header[:4] != b"PK\x03\x04":
            raise ValueError("no file header where the archive's index says")
        start = self.offset + 30 + sum(struct.unpack("<HH", header[26:30]))  # the lengths of its name and extra field
        content = UNPACKERS[self.method](read_at(start, self.packed), self.size + 1)
        if len(content) != self.size or zlib.crc32(content) != self.crc:
            raise ValueError("not the size or checksum that the archive gives")
        return content

    def start(self, read_at: ReadAt) -> bytes:
        """Return its first START_BYTES bytes, or fewer."""
        header = read_at(self.offset, 30)
        start = self.offset + 30 + sum(struct.unpack("<HH", header[26:30]))
        # bzip2 gives nothing before the end of a block
        packed = read_at(start, min(self.packed, 2**20 if self.method == zipfile.ZIP_BZIP2 else 2 * START_BYTES))
        return UNPACKERS[self.method](packed, START_BYTES)


def is_zip(path: Path) -> bool:
    """Say whether a path is named like a zip archive."""
    return path.suffix.lower() == ".zip"


def list_zip(path: Path, pattern: str | None) -> Listing:
    """List and hash the pictures in a zip archive. Raises DataError for one that is damaged, hostile or encrypted."""
    return list_archive(path, "zip", path, pattern, zip_members(path))


def zip_members(path: Path) -> tuple[Contents, Mapping[str, ZipMember]]:
    """Return what a zip archive holds, and where its usable pictures lie.

    The index of the archive used last is kept: it is listed, looked at for a picture size, and read, one after another.
    """
    with explained(path):
        status = path.stat()
    return _read_index(path, *stamp(status))


@functools.lru_cache(maxsize=1)
def _read_index(path: Path, *_stamp: int) -> tuple[Contents, Mapping[str, ZipMember]]:
    with explained(path), zipfile.ZipFile(path) as archive:
        infos = archive.infolist()
    check_amount(path, len(infos), sum(info.file_size for info in infos))
    contents, members = Contents(), dict[str, ZipMember]()
    old = (info.orig_filename.encode("cp437") for info in infos if _is_of_old(info))
    name_of = functools.partial(_name, east=eastern(old))
    with member_starts(path) as start_of:
        for name, info in file_members(path, infos, name_of, _is_folder, contents):
            if info.flag_bits & 0x1:
                raise DataError(
                    f"{path} is encrypted ({name} needs a password). Archives without a password are accepted; unpack "
                    "it and give the folder instead."
                )
            problem = name_problem(name) or size_problem(info.file_size)
            if stat.S_ISLNK(info.external_attr >> 16):
                problem = "a link (links in archives are not followed)"
            elif info.compress_type not in UNPACKERS:
                problem = problem or f"compressed by a method that is not read here (number {info.compress_type})"
            elif info.compress_size > MAX_PICTURE_BYTES + 2**20:
                problem = problem or f"larger than {MAX_PICTURE_BYTES // 2**20} MiB in its compressed form"
            member = ZipMember(info.header_offset, info.compress_size, info.file_size, info.compress_type, info.CRC)
            if contents.add(name, problem, functools.partial(start_of, member)):
                members[name] = member
    return contents, members


@contextmanager
def zip_reader(path: Path) -> Iterator[Callable[[Sample], bytes]]:
    """Yield a function that returns the content of a sample's member; it can be called from many threads at once."""
    _, members = zip_members(path)
    with member_reader(path, members) as read:
        yield lambda sample: read(sample.path)


def _is_of_old(info: zipfile.ZipInfo) -> bool:
    return not (info.flag_bits & UTF8_FLAG or info.orig_filename.isascii())


def _name(info: zipfile.ZipInfo, east: str | None) -> str:
    """Return a member's name: as its Unicode path field says, in UTF-8 with or without the flag for it, or as of old.

    The names of old are in `east`, if all of the archive's are; else in DOS' cp437 where DOS or Windows wrote them, and
    in Latin-1 elsewhere.
    """
    if not _is_of_old(info):
        return info.filename
    raw = info.orig_filename.encode("cp437")  # as zipfile has decoded it
    name = _unicode_path(info.extra, raw)
    if name is None and east is not None:
        name = raw.decode(east)
    elif name is None:
        name = decoded(raw, "cp437" if info.create_system in DOS_SYSTEMS else WESTERN)
    return name.partition("\0")[0]


def _unicode_path(extra: bytes, raw: bytes) -> str | None:
    """Return what the Info-ZIP Unicode Path field (APPNOTE 4.6.9) says, if there is one and it is for this name."""
    while len(extra) >= 4:
        kind, length = struct.unpack_from("<HH", extra)
        content, extra = extra[4 : 4 + length], extra[4 + length :]
        if kind == UNICODE_PATH and content[:5] == struct.pack("<BI", 1, zlib.crc32(raw)):
            return decoded(content[5:], WESTERN)
    return None


def _is_folder(info: zipfile.ZipInfo) -> bool:
    return info.filename.endswith("/")  # ZipInfo.is_dir of Python 3.11 fails for an empty name
