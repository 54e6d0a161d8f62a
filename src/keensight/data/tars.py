"""Tar archives of pictures: read in place; a compressed one is first unpacked to a tar in the user's cache."""

from __future__ import annotations

import bz2
import functools
import gzip
import hashlib
import lzma
import os
import tarfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from io import BufferedIOBase
from pathlib import Path
from typing import IO, NamedTuple, cast

from keensight import files
from keensight.cached import cached, remove_others
from keensight.data.archives import (
    ARCHIVE_SUFFIX,
    ReadAt,
    bomb,
    check_amount,
    explained,
    file_members,
    list_archive,
    member_reader,
    member_starts,
    name_problem,
    unpacked_limit,
)
from keensight.data.folders import MAX_FILES, Contents, size_problem
from keensight.data.hashing import stamp
from keensight.data.kinds import START_BYTES
from keensight.data.listing import Listing
from keensight.names import readable
from keensight.values import Sample

MAX_HEADER_BYTES = 2**20
STREAMS: dict[bytes, Callable[[Path], BufferedIOBase]] = {  # first bytes of a compressed tar, and what opens it
    b"\x1f\x8b": gzip.GzipFile,
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\x00": lzma.LZMAFile,
}


class TarMember(NamedTuple):
    """Where a picture lies in its tar: `size` bytes from `offset` on."""

    offset: int
    size: int

    def content(self, read_at: ReadAt) -> bytes:
        """Return the picture's bytes. Raises ValueError if they do not match the archive's index."""
        content = read_at(self.offset, self.size)
        if len(content) != self.size:
            raise ValueError("not the size or checksum that the archive gives")
        return content

    def start(self, read_at: ReadAt) -> bytes:
        """Return its first START_BYTES bytes, or fewer."""
        return read_at(self.offset, min(self.size, START_BYTES))


def is_tar(path: Path) -> bool:
    """Say whether a path is named like a tar archive, compressed or not."""
    return path.suffix.lower() != ".zip" and ARCHIVE_SUFFIX.search(path.name) is not None


def list_tar(path: Path, pattern: str | None) -> Listing:
    """List and hash the pictures in a tar archive; a compressed one is first unpacked to a tar in the user's cache."""
    plain = plain_tar(path)
    return list_archive(path, "tar", plain, pattern, tar_members(plain, path))


def tar_members(plain: Path, path: Path) -> tuple[Contents, Mapping[str, TarMember]]:
    """Return what the tar `plain` holds, and where its usable pictures lie; messages call it `path`.

    What the tar used last holds is kept, as for a zip: its headers lie all over the file.
    """
    with explained(path):
        status = plain.stat()
    return _read_headers(plain, path, *stamp(status))


@functools.lru_cache(maxsize=1)
def _read_headers(plain: Path, path: Path, *_stamp: int) -> tuple[Contents, Mapping[str, TarMember]]:
    infos: list[tarfile.TarInfo] = []
    with explained(path), open(plain, "rb") as file:
        # tarfile silently stops at a damaged header, so check where it stopped.
        with tarfile.open(fileobj=cast(IO[bytes], _SmallReads(file)), mode="r:") as archive:
            while len(infos) <= MAX_FILES and (info := archive.next()):
                infos.append(info)
            file.seek(archive.offset)
            if len(infos) <= MAX_FILES and file.read(512) != bytes(512):
                raise tarfile.ReadError("it ends early or holds something that is not a tar header")
        length = plain.stat().st_size
        for info in infos:
            if info.isreg() and not info.issparse() and info.offset_data + info.size > length:
                raise tarfile.ReadError(f"it ends in the middle of {info.name}")
    check_amount(path, len(infos), sum(max(info.size, 0) for info in infos))
    contents, members = Contents(), dict[str, TarMember]()
    with member_starts(plain) as start_of:
        for name, info in file_members(path, infos, lambda info: readable(info.name), tarfile.TarInfo.isdir, contents):
            problem = name_problem(name)
            if info.issym() or info.islnk():
                problem = "a link (links in archives are not followed)"
            elif not info.isreg() or info.issparse():
                problem = "not a regular file (a device, a pipe or a sparse file)"
            member = TarMember(info.offset_data, info.size)
            if contents.add(name, problem or size_problem(info.size), functools.partial(start_of, member)):
                members[name] = member
    return contents, members


@contextmanager
def tar_reader(path: Path) -> Iterator[Callable[[Sample], bytes]]:
    """Yield a function that returns the content of a sample's member; it can be called from many threads at once."""
    plain = plain_tar(path)
    _, members = tar_members(plain, path)
    with member_reader(plain, members) as read:
        yield lambda sample: read(sample.path)


def plain_tar(path: Path) -> Path:
    """Return an uncompressed tar with the content of `path`: itself, or a copy in the user's cache.

    The copy is made once for each path, size and modification time, in place of that of an earlier state, and stops at
    the limits for hostile archives.
    """
    with explained(path):
        with open(path, "rb") as file:
            start = file.read(6)
        status = path.stat()
    opener = next((opener for magic, opener in STREAMS.items() if start.startswith(magic)), None)
    if opener is None:
        return path
    name, state = (
        hashlib.sha256(os.fsencode(text)).hexdigest()[:32]
        for text in (str(path.absolute()), f"{status.st_size}\n{status.st_mtime_ns}")
    )
    target = cached("archives", f"{name}-{state}.tar")
    if target.exists():
        return target
    files.remove_abandoned(target.parent)
    with files.replacing(target) as temporary, files.explained(target), open(temporary, "xb") as unpacked:
        for block in _unpacked(path, opener, unpacked_limit(status.st_size)):
            unpacked.write(block)
    remove_others("archives", f"{name}-*.tar", target)
    return target


def _unpacked(path: Path, opener: Callable[[Path], BufferedIOBase], limit: int) -> Iterator[bytes]:
    total = 0
    with explained(path):
        stream = opener(path)
    with stream:
        while True:
            with explained(path):
                block = stream.read(2**20)
            if not block:
                return
            total += len(block)
            if total > limit:
                raise bomb(path, f"more than {limit:,}", limit)
            yield block


class _SmallReads:
    """A file for tarfile that refuses huge header fields, with which a small hostile tar could fill the memory."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.seek, self.tell, self.close = file.seek, file.tell, file.close

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= MAX_HEADER_BYTES:
            raise tarfile.ReadError(f"a header field of {size:,} bytes")
        return self._file.read(size)
