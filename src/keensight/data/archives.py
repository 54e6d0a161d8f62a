"""Zip and tar archives of pictures: listed and read in place, never extracted, and trusted in nothing."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
import os
import re
import secrets
import stat
import struct
import tarfile
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from io import BufferedIOBase
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

from keensight import files
from keensight.data.folders import MAX_FILES, MAX_PICTURE_BYTES, Contents, size_problem
from keensight.data.hashing import Memo, hash_files, known_hashes
from keensight.data.labels import Listing, arrange, is_hidden, is_picture
from keensight.errors import DataError, PictureError
from keensight.values import DatasetKind, Sample, Skipped

MAX_TOTAL_BYTES = 2 * 2**30  # all members together, unless 100 times the archive's own size is more
MAX_RATIO = 100
MAX_HEADER_BYTES = 2**20
MAX_NAME = 255  # per folder or file name, as on every common file system
ARCHIVE_SUFFIX = re.compile(r"\.(zip|tar|tgz|tbz2?|txz|tar\.(gz|bz2|xz))$", re.IGNORECASE)

_IN_TAR = -1
UNPACKERS: dict[int, Callable[[bytes, int], bytes]] = {  # by zip's number for the method; at most `most` bytes come out
    _IN_TAR: lambda packed, most: packed,
    zipfile.ZIP_STORED: lambda packed, most: packed[:most],
    zipfile.ZIP_DEFLATED: lambda packed, most: zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, most),
    zipfile.ZIP_BZIP2: lambda packed, most: bz2.BZ2Decompressor().decompress(packed, most),
}
STREAMS: dict[bytes, Callable[[Path], BufferedIOBase]] = {  # how a compressed tar begins, and what opens it
    b"\x1f\x8b": gzip.GzipFile,
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\x00": lzma.LZMAFile,
}
_DAMAGE = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError)
_MALFORMED = (ValueError, struct.error, NotImplementedError, OverflowError, LookupError, RecursionError, TypeError)


class Member(NamedTuple):
    """Where a picture lies in its archive: `packed` bytes from `offset` on, which become `size` bytes."""

    offset: int
    packed: int
    size: int
    method: int
    crc: int


def is_zip(path: Path) -> bool:
    """Say whether a path is named like a zip archive."""
    return path.suffix.lower() == ".zip"


def is_tar(path: Path) -> bool:
    """Say whether a path is named like a tar archive, compressed or not."""
    return not is_zip(path) and ARCHIVE_SUFFIX.search(path.name) is not None


def list_zip(path: Path, pattern: str | None) -> Listing:
    """List and hash the pictures in a zip archive. Raises DataError for one that is damaged, hostile or encrypted."""
    return _listing(path, "zip", path, pattern, zip_members(path))


def list_tar(path: Path, pattern: str | None) -> Listing:
    """List and hash the pictures in a tar archive; a compressed one is first unpacked to a tar in the user's cache."""
    plain = plain_tar(path)
    return _listing(path, "tar", plain, pattern, tar_members(plain, path))


def _listing(
    path: Path, kind: DatasetKind, plain: Path, pattern: str | None, held: tuple[Contents, dict[str, Member]]
) -> Listing:
    contents, members = held
    pictures = [*contents.pictures, *contents.unusable]
    entries, skipped = arrange(pictures, contents.others, str(path), pattern)
    names = [entry.where for entry in entries if entry.where in members]
    memo, status = Memo(path), path.stat()
    hashes = known_hashes(remembered := memo.recall("", status), names)
    failed: dict[str, str] = {}
    if len(hashes) < len(names):
        with _reading(plain, members) as read:
            fresh, failed = hash_files(read, [name for name in names if name not in hashes])
        hashes |= fresh
        memo.note("", status, (remembered if isinstance(remembered, dict) else {}) | hashes)
        memo.save()
    name = ARCHIVE_SUFFIX.sub("", path.name)
    return Listing(name, path, kind, entries, hashes, contents.unusable | failed, [*contents.skipped, *skipped])


def zip_members(path: Path) -> tuple[Contents, dict[str, Member]]:
    """Return what a zip archive holds, and where its usable pictures lie."""
    with _explained(path), zipfile.ZipFile(path) as archive:
        infos = archive.infolist()
    _check_amount(path, len(infos), sum(info.file_size for info in infos))
    contents, members = Contents(), {}
    for info in _last_of_each_name(path, infos, lambda info: info.filename, contents):
        where = safe_name(info.filename, path)
        if info.is_dir() or not is_picture(where) or _is_hidden(where):
            _add_other(contents, where, info.is_dir())
            continue
        if info.flag_bits & 0x1:
            raise DataError(
                f"{path} is encrypted ({where} needs a password). Archives without a password are accepted; unpack it "
                "and give the folder instead."
            )
        problem = _name_problem(where) or size_problem(info.file_size)
        if stat.S_ISLNK(info.external_attr >> 16):
            problem = "a link (links in archives are not followed)"
        elif info.compress_type not in UNPACKERS:
            problem = problem or f"compressed by a method that is not read here (number {info.compress_type})"
        elif info.compress_size > MAX_PICTURE_BYTES + 2**20:
            problem = problem or f"larger than {MAX_PICTURE_BYTES // 2**20} MiB in its compressed form"
        contents.add(where, problem)
        if not problem:
            members[where] = Member(
                info.header_offset, info.compress_size, info.file_size, info.compress_type, info.CRC
            )
    return contents, members


def tar_members(plain: Path, path: Path) -> tuple[Contents, dict[str, Member]]:
    """Return what the tar `plain` holds, and where its usable pictures lie; messages call it `path`."""
    infos: list[tarfile.TarInfo] = []
    with _explained(path), open(plain, "rb") as file:
        # tarfile stops without a word at a damaged header, so look at what it stopped at.
        with tarfile.open(fileobj=cast(IO[bytes], _SmallReads(file)), mode="r:") as archive:
            while len(infos) <= MAX_FILES and (info := archive.next()):
                infos.append(info)
            file.seek(archive.offset)
            if len(infos) <= MAX_FILES and file.read(512) != bytes(512):
                raise tarfile.ReadError("it ends early or holds something that is no tar header")
        length = plain.stat().st_size
        for info in infos:
            if info.isreg() and not info.issparse() and info.offset_data + info.size > length:
                raise tarfile.ReadError(f"it ends in the middle of {info.name}")
    _check_amount(path, len(infos), sum(max(info.size, 0) for info in infos))
    contents, members = Contents(), {}
    for info in _last_of_each_name(path, infos, lambda info: info.name, contents):
        where = safe_name(info.name, path)
        if info.isdir() or not is_picture(where) or _is_hidden(where):
            _add_other(contents, where, info.isdir())
            continue
        problem = _name_problem(where)
        if info.issym() or info.islnk():
            problem = "a link (links in archives are not followed)"
        elif not info.isreg() or info.issparse():
            problem = "not a regular file (a device, a pipe or a sparse file)"
        problem = problem or size_problem(info.size)
        contents.add(where, problem)
        if not problem:
            members[where] = Member(info.offset_data, info.size, info.size, _IN_TAR, 0)
    return contents, members


def plain_tar(path: Path) -> Path:
    """Return an uncompressed tar with the content of `path`: itself, or a copy in the user's cache.

    The copy is made once for each path, size and modification time, and stops at the limits for hostile archives.
    """
    with _explained(path):
        with open(path, "rb") as file:
            start = file.read(6)
        status = path.stat()
    opener = next((opener for magic, opener in STREAMS.items() if start.startswith(magic)), None)
    if opener is None:
        return path
    stamp = f"{path.absolute()}\n{status.st_size}\n{status.st_mtime_ns}"
    target = files.cache_folder("archives") / f"{hashlib.sha256(os.fsencode(stamp)).hexdigest()}.tar"
    if target.exists():
        return target
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(6)}")
    try:
        with files.explained(target), open(temporary, "xb") as unpacked:
            for block in _unpacked(path, opener, _limit(status.st_size)):
                unpacked.write(block)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    return target


def _unpacked(path: Path, opener: Callable[[Path], BufferedIOBase], limit: int) -> Iterator[bytes]:
    total = 0
    with _explained(path):
        stream = opener(path)
    with stream:
        while True:
            with _explained(path):
                block = stream.read(2**20)
            if not block:
                return
            total += len(block)
            if total > limit:
                raise _bomb(path, f"more than {limit:,}", limit)
            yield block


@contextmanager
def archive_reader(path: Path) -> Iterator[Callable[[Sample], bytes]]:
    """Yield a function that returns the content of a sample's member; it can be called from many threads at once."""
    plain = path if is_zip(path) else plain_tar(path)
    _, members = zip_members(path) if is_zip(path) else tar_members(plain, path)
    with _reading(plain, members) as read:
        yield lambda sample: read(sample.where)


@contextmanager
def _reading(plain: Path, members: dict[str, Member]) -> Iterator[Callable[[str], bytes]]:
    # zipfile's own reader needs 15 µs for a PNG of 1 kB, this one 4 (32,000 of them); all threads share a file.
    lock = threading.Lock()
    with _explained(plain):
        file = open(plain, "rb")  # noqa: SIM115  (closed below)

    def read_at(offset: int, size: int) -> bytes:
        with lock:
            file.seek(offset)
            return file.read(size)

    def read(where: str) -> bytes:
        member = members.get(where)
        if member is None:
            raise PictureError(f"{where}: no longer in the archive")
        try:
            content = _content(member, read_at)
        except (*_DAMAGE, ValueError) as error:
            raise PictureError(f"{where}: damaged in the archive ({str(error) or type(error).__name__})") from error
        if len(content) != member.size or (member.method != _IN_TAR and zlib.crc32(content) != member.crc):
            raise PictureError(f"{where}: damaged in the archive (not the size or checksum that the archive gives)")
        return content

    with file:
        yield read


def _content(member: Member, read_at: Callable[[int, int], bytes]) -> bytes:
    offset = member.offset
    if member.method != _IN_TAR:
        header = read_at(offset, 30)
        if len(header) < 30 or header[:4] != b"PK\x03\x04":
            raise ValueError("no file header where the archive's index says")
        offset += 30 + sum(struct.unpack("<HH", header[26:30]))  # the lengths of its name and extra field
    return UNPACKERS[member.method](read_at(offset, member.packed), member.size + 1)


def safe_name(name: str, path: Path) -> str:
    """Return a member's name as a clean relative POSIX path; raises DataError for one that would leave the archive.

    >>> safe_name("./cats//tom.jpg", Path("pets.zip"))
    'cats/tom.jpg'
    """
    plain = name.replace("\\", "/")  # some old zip tools on Windows write backslashes
    parts = plain.split("/")
    if plain.startswith("/") or ".." in parts or re.match("[A-Za-z]:", plain):
        raise DataError(
            f"{path} is refused: its member {name!r} would be written outside the folder that the archive is unpacked "
            "to (a 'zip slip'). Only relative names without '..' are accepted; get the archive from a source you trust."
        )
    return "/".join(part for part in parts if part not in ("", "."))


class _SmallReads:
    """A file for tarfile that refuses the huge header fields with which a small hostile tar could fill the memory."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.seek, self.tell, self.close = file.seek, file.tell, file.close

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= MAX_HEADER_BYTES:
            raise tarfile.ReadError(f"a header field of {size:,} bytes")
        return self._file.read(size)


def _last_of_each_name(
    path: Path, infos: Iterable[Any], name_of: Callable[[Any], str], contents: Contents
) -> list[Any]:
    last: dict[str, Any] = {}
    for info in infos:
        where = safe_name(name_of(info), path)
        if where in last and is_picture(where):
            contents.skipped.append(Skipped(where, "the archive holds this name again later, and the last one counts"))
        last[where] = info
    return list(last.values())


def _is_hidden(where: str) -> bool:
    return any(map(is_hidden, where.split("/")))


def _add_other(contents: Contents, where: str, folder: bool) -> None:
    if where and not _is_hidden(where):
        contents.others.append(f"{where}/" if folder else where)


def _name_problem(where: str) -> str | None:
    return f"a name of more than {MAX_NAME} characters" if max(map(len, where.split("/"))) > MAX_NAME else None


def _limit(size: int) -> int:
    return max(MAX_TOTAL_BYTES, MAX_RATIO * size)


def _check_amount(path: Path, count: int, total: int) -> None:
    if count > MAX_FILES:
        raise DataError(f"{path} holds more than {MAX_FILES:,} members; that many are accepted. Split it up.")
    limit = _limit(path.stat().st_size)
    if total > limit:
        raise _bomb(path, f"{total:,}", limit)


def _bomb(path: Path, total: str, limit: int) -> DataError:
    return DataError(
        f"{path} is refused: its {path.stat().st_size:,} bytes unpack to {total} (a 'zip bomb'). Up to {limit:,} bytes "
        "are accepted for an archive of this size; if you trust it, unpack it and give the folder instead."
    )


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except (*_DAMAGE, *_MALFORMED) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
        raise DataError(
            f"The archive {path} cannot be read: {why[0].lower()}{why[1:].rstrip('.')}. A whole .zip, or a .tar that "
            "is plain or packed with gzip, bzip2 or xz, is accepted; it may be damaged or cut short, so copy or "
            "download it again."
        ) from error
