"""What zip and tar archives share: pictures are listed and read in place, never extracted; archives are not trusted."""

from __future__ import annotations

import lzma
import re
import struct
import tarfile
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol, TypeAlias, TypeVar

from keensight.data.folders import MAX_FILES, Contents
from keensight.data.hashing import Memo, hash_files, known_hashes
from keensight.data.kinds import START_BYTES, what_is
from keensight.data.layout import arrange
from keensight.data.listing import Listing, hidden_part
from keensight.errors import DataError, PictureError
from keensight.values import DatasetKind, Skipped

MAX_TOTAL_BYTES = 2 * 2**30  # all members together, unless 100 times the archive's own size is more
MAX_RATIO = 100
MAX_NAME = 255  # characters of a folder or file name, as on every common file system
ARCHIVE_SUFFIX = re.compile(r"\.(zip|tar|tgz|tbz2?|txz|tar\.(gz|bz2|xz))$", re.IGNORECASE)

SIGNATURES = (  # of archives: bytes, their place, what it is, and the ending that its name should have
    (b"PK\x03\x04", 0, "a zip archive", ".zip"),
    (b"\x1f\x8b", 0, "packed with gzip, as a .tar.gz is", ".tar.gz"),
    (b"BZh", 0, "packed with bzip2, as a .tar.bz2 is", ".tar.bz2"),
    (b"\xfd7zXZ\0", 0, "packed with xz, as a .tar.xz is", ".tar.xz"),
    (b"ustar", 257, "a tar archive", ".tar"),
    (b"Rar!", 0, "a RAR archive", ""),
    (b"7z\xbc\xaf\x27\x1c", 0, "a 7z archive", ""),
)
_DAMAGE = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError)
_MALFORMED = (ValueError, struct.error, NotImplementedError, OverflowError, LookupError, RecursionError, TypeError)

Info = TypeVar("Info")  # zipfile's or tarfile's description of a member
ReadAt: TypeAlias = Callable[[int, int], bytes]  # (offset, number of bytes) to bytes


class Member(Protocol):
    """Where a picture lies in its archive."""

    def content(self, read_at: ReadAt) -> bytes:
        """Return the picture's bytes. Raises ValueError if they do not match the archive's index."""

    def start(self, read_at: ReadAt) -> bytes:
        """Return its first START_BYTES bytes, or fewer."""


def list_archive(
    path: Path, kind: DatasetKind, plain: Path, pattern: str | None, held: tuple[Contents, Mapping[str, Member]]
) -> Listing:
    """List and hash what the archive `path` holds: its contents, and where in `plain` its usable pictures lie.

    `plain` is the file that is read: the archive itself, or an unpacked copy of a compressed tar.
    """
    contents, members = held
    pictures = [*contents.pictures, *contents.unusable]
    entries, skipped = arrange(pictures, contents.others, str(path), pattern, contents.skipped)
    names = [entry.path for entry in entries if entry.path in members]
    memo, status = Memo(path), path.stat()
    hashes = known_hashes(remembered := memo.recall("", status), names)
    failed: dict[str, str] = {}
    if len(hashes) < len(names):
        with member_reader(plain, members) as read:
            fresh, failed = hash_files(read, [name for name in names if name not in hashes])
        hashes |= fresh
        memo.note("", status, (remembered if isinstance(remembered, dict) else {}) | hashes)
        memo.save()
    name = ARCHIVE_SUFFIX.sub("", path.name)
    return Listing(name, path, kind, entries, hashes, contents.unusable | failed, [*contents.skipped, *skipped])


def file_members(
    path: Path,
    infos: Iterable[Info],
    name_of: Callable[[Info], str],
    is_folder: Callable[[Info], bool],
    contents: Contents,
) -> Iterator[tuple[str, Info]]:
    """Yield each file's clean path and its member, the last of each name; list all else in `contents`."""
    last: dict[str, Info] = {}
    for info in infos:
        name = safe_name(name_of(info), path)
        if name in last and not is_folder(info):
            contents.skipped.append(Skipped(name, "the archive holds this name again later, and the last one counts"))
        last[name] = info
    hidden: dict[str, None] = {}
    for name, info in last.items():
        if top := hidden_part(name):
            hidden[top] = None
        elif is_folder(info):
            contents.others.extend([f"{name}/"] if name else [])
        elif name:
            yield name, info
    for name in hidden:
        contents.hide(name)


@contextmanager
def member_starts(plain: Path) -> Iterator[Callable[[Member], bytes]]:
    """Yield a function that returns the first bytes of a member, by which it can be told what it is."""
    with explained(plain):
        file = open(plain, "rb")  # noqa: SIM115  (closed below)

    def read_at(offset: int, size: int) -> bytes:
        file.seek(offset)
        return file.read(size)

    def start(member: Member) -> bytes:
        try:
            return member.start(read_at)
        except (*_DAMAGE, *_MALFORMED):
            return b""

    with file:
        yield start


@contextmanager
def member_reader(plain: Path, members: Mapping[str, Member]) -> Iterator[Callable[[str], bytes]]:
    """Yield a function that returns a picture's content by its path; it can be called from many threads at once."""
    # zipfile's own reader needs 15 µs for a PNG of 1 kB, this one 4 (32,000 of them); all threads share a file.
    lock = threading.Lock()
    with explained(plain):
        file = open(plain, "rb")  # noqa: SIM115  (closed below)

    def read_at(offset: int, size: int) -> bytes:
        with lock:
            file.seek(offset)
            return file.read(size)

    def read(name: str) -> bytes:
        member = members.get(name)
        if member is None:
            raise PictureError(f"{name}: no longer in the archive")
        try:
            return member.content(read_at)
        except (*_DAMAGE, ValueError) as error:
            raise PictureError(f"{name}: damaged in the archive ({str(error) or type(error).__name__})") from error

    with file:
        yield read


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


def name_problem(name: str) -> str | None:
    """Say why a picture cannot have this path, or None if it can."""
    return f"a name of more than {MAX_NAME} characters" if max(map(len, name.split("/"))) > MAX_NAME else None


def unpacked_limit(size: int) -> int:
    """Return how many bytes an archive of `size` bytes may unpack to."""
    return max(MAX_TOTAL_BYTES, MAX_RATIO * size)


def check_amount(path: Path, count: int, total: int) -> None:
    """Raise DataError for an archive of more than MAX_FILES members, or of more bytes than it may unpack to."""
    if count > MAX_FILES:
        raise DataError(f"{path} holds more than {MAX_FILES:,} members, the most that are accepted. Split it up.")
    limit = unpacked_limit(path.stat().st_size)
    if total > limit:
        raise bomb(path, f"{total:,}", limit)


def bomb(path: Path, total: str, limit: int) -> DataError:
    """Return the error for an archive that unpacks to `total` bytes, where `limit` is accepted."""
    return DataError(
        f"{path} is refused: its {path.stat().st_size:,} bytes unpack to {total} (a 'zip bomb'). Up to {limit:,} bytes "
        "are accepted for an archive of this size; if you trust it, unpack it and give the folder instead."
    )


def _other_kind(path: Path) -> str:
    """Say what a file is whose name says that it is another kind of archive; "" if it is what its name says."""
    try:
        with open(path, "rb") as file:
            start = file.read(START_BYTES)
    except OSError:
        return ""
    for magic, at, what, name in SIGNATURES:
        if start[at : at + len(magic)] == magic:
            is_named_so = (what == "a zip archive") == (path.suffix.lower() == ".zip")
            if not name:
                return f"it is {what}. Unpack it and give the folder"
            return "" if is_named_so else f"it is {what}. Give it a name that ends in {name}, and try again"
    return ""


def _what_instead(path: Path) -> str:
    """Say what a file is that is no archive, such as the page of HTML that a failed download leaves; "" if unknown."""
    with suppress(OSError), open(path, "rb") as file:
        what = what_is(file.read(START_BYTES))
        if what and "archive" not in what:  # one that is damaged is told by what is wrong with it
            return f"it is {what}".replace("not a picture", "not an archive").replace("the picture", "the archive")
    return ""


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn the errors that zipfile and tarfile raise for a damaged archive into a DataError that says what to do."""
    try:
        yield
    except (*_DAMAGE, *_MALFORMED) as error:
        if other := _other_kind(path):
            raise DataError(f"The archive {path} is not what its name says: {other}.") from error
        why = error.strerror if isinstance(error, OSError) else _what_instead(path)
        why = why or str(error) or type(error).__name__
        raise DataError(
            f"The archive {path} cannot be read: {why[0].lower()}{why[1:].rstrip('.')}. A whole .zip, or a .tar that "
            "is plain or packed with gzip, bzip2 or xz, is accepted; it may be damaged or cut short, so copy or "
            "download it again."
        ) from error
