"""Folders of pictures: walk them without leaving them, and read single files with care."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from keensight.data.hashing import Memo, hash_files, is_hash
from keensight.data.kinds import START_BYTES
from keensight.data.layout import arrange
from keensight.data.listing import KEPT_BY_SYSTEM, Listing, is_hidden, is_picture, problem_by_start
from keensight.errors import DataError, PictureError
from keensight.files import open_flags
from keensight.names import WESTERN, odd_name, readable
from keensight.values import Sample, Skipped

MAX_PICTURE_BYTES = 100 * 2**20
MAX_FILES = 5_000_000
LEADS_OUT = "a link that leads out of the folder"


@dataclass(slots=True)
class Contents:
    """What a folder or an archive holds, by POSIX path: pictures, unusable ones with the reason, and other files."""

    pictures: list[str] = field(default_factory=list)
    unusable: dict[str, str] = field(default_factory=dict)
    others: list[str] = field(default_factory=list)  # empty folders end in "/"
    skipped: list[Skipped] = field(default_factory=list)
    any_name: bool = False  # also one that could not be written into a run's files

    def add(self, path: str, problem: str | None, start: Callable[[], bytes]) -> bool:
        """Add a file to the pictures or to the rest, with the reason; say whether it is a picture that can be used.

        `start` returns its first bytes, which are asked where the suffix tells nothing.
        """
        if not self.any_name and (odd := odd_name(path)):
            self.skipped.append(Skipped(odd, "a name with control characters, or with bytes that are not UTF-8"))
            return False
        if not is_picture(path) and (problem := problem or problem_by_start(path, start)):
            self.others.append(path)
            self.skipped.append(Skipped(path, problem))
            return False
        if problem:
            self.unusable[path] = problem
            return False
        self.pictures.append(path)
        return True

    def hide(self, path: str) -> None:
        """Add a hidden file or folder, or one of a system."""
        self.skipped.append(Skipped(odd_name(path) or path, KEPT_BY_SYSTEM))


def list_folder(root: Path, pattern: str | None) -> Listing:
    """List and hash the pictures in a folder of split folders, of class folders, or (with `pattern`) of any shape.

    Links that stay inside the folder are followed; files over 100 MiB, empty files, links that lead out and special
    files (pipes, sockets) are left out, with the reason. Raises DataError for a folder that cannot be read, that
    holds no pictures, or whose layout does not tell the classes.
    """
    contents, statuses = walk(root)
    entries, skipped = arrange(
        [*contents.pictures, *contents.unusable], contents.others, str(root), pattern, contents.skipped
    )
    hashes, failed = hash_folder(
        root, {entry.path: statuses[entry.path] for entry in entries if entry.path in statuses}
    )
    unusable = contents.unusable | failed
    return Listing(root.name, root, "folder", entries, hashes, unusable, [*contents.skipped, *skipped])


def hash_folder(root: Path, statuses: dict[str, os.stat_result]) -> tuple[dict[str, str], dict[str, str]]:
    """Hash files below `root`, or take hashes from the memo; return hashes, and reasons of failures, by name.

    `statuses` must have been taken before this call, so that a file that changes meanwhile is read again next time.
    """
    memo = Memo(root)
    hashes = {path: value for path, status in statuses.items() if is_hash(value := memo.recall(path, status))}
    fresh, failed = hash_files(lambda path: read_file(root, path), [path for path in statuses if path not in hashes])
    for path, sha256 in fresh.items():
        memo.note(path, statuses[path], sha256)
    memo.save()
    return hashes | fresh, failed


def walk(root: Path, *, any_name: bool = False) -> tuple[Contents, dict[str, os.stat_result]]:
    """Find all files below `root`; return them as Contents, and the status of each usable picture."""
    contents = Contents(any_name=any_name)
    statuses: dict[str, os.stat_result] = {}
    real_root = os.path.realpath(root)
    waiting: list[tuple[str, tuple[str, ...]]] = [("", ())]  # folder, and the real folders above each link to it
    seen = 0
    while waiting:
        folder, chain = waiting.pop()
        entries = _entries(root, folder)
        seen += len(entries)
        if seen > MAX_FILES:
            raise DataError(
                f"The folder {root} holds more than {MAX_FILES:,} files, the most that are accepted. Split it up."
            )
        if not entries and folder:
            contents.others.append(f"{readable(folder)}/")
        for entry in entries:
            path = f"{folder}/{entry.name}" if folder else entry.name
            name = path if any_name else _name_of(root, path)
            if is_hidden(entry.name):
                contents.hide(name)
                continue
            target = os.path.realpath(entry.path) if entry.is_symlink() else ""
            if target and not _is_inside(target, real_root):
                _leave_out(contents, name, LEADS_OUT)
            elif target and not os.path.exists(target):  # noqa: PTH110  (dangling, or a loop of links)
                _leave_out(contents, name, "a link that leads nowhere")
            elif entry.is_dir():
                above = chain
                if target:
                    above = (*chain, os.path.realpath(os.path.dirname(entry.path)))  # noqa: PTH120
                    if any(_is_inside(link, target) for link in above):
                        _leave_out(contents, name, "a link that leads back to a folder above it")
                        continue
                waiting.append((path, above))
            else:
                _add_file(contents, statuses, name, entry)
    return contents, statuses


def _entries(root: Path, folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(root / folder) as found:
            return list(found)
    except OSError as error:
        raise DataError(
            f"The folder {root / folder} cannot be read: {_why(error)}. All folders below {root} must be readable; "
            "change its permissions, or move it elsewhere."
        ) from error


def _name_of(root: Path, path: str) -> str:
    """Return the name by which a file is known: readable, unless another file on disk is called so."""
    name = readable(path)
    return path if name != path and os.path.lexists(root / name) else name


def _add_file(contents: Contents, statuses: dict[str, os.stat_result], name: str, entry: os.DirEntry[str]) -> None:
    try:
        status = entry.stat()
    except OSError as error:
        contents.add(name, _why(error), bytes)
        return
    if contents.add(name, problem_of(status), lambda: read_start(entry.path)):
        statuses[name] = status


def problem_of(status: os.stat_result) -> str | None:
    """Say why a file with this status cannot be a picture, without opening it, or None if it can."""
    if not stat.S_ISREG(status.st_mode):
        return "not a regular file (a pipe, a socket or a device)"
    return size_problem(status.st_size)


def size_problem(size: int) -> str | None:
    """Say why a file of `size` bytes cannot be a picture, or None if it can."""
    if size == 0:
        return "an empty file (0 bytes)"
    if size > MAX_PICTURE_BYTES:
        return f"larger than {MAX_PICTURE_BYTES // 2**20} MiB ({size:,} bytes)"
    return None


def read_file(root: Path, path: str) -> bytes:
    """Return the content of one picture file; raises PictureError if it cannot be read or is too large."""
    try:
        with _opened(root, path) as file:
            status = os.fstat(file.fileno())
            if problem := problem_of(status):
                raise PictureError(f"{path}: {problem}")
            # a read of the accepted maximum would allocate 100 MiB and free them again, every time
            content = file.read(status.st_size + 1)
            if len(content) > status.st_size:  # it has grown meanwhile
                content += file.read(MAX_PICTURE_BYTES + 1 - len(content))
    except (OSError, ValueError) as error:
        raise PictureError(f"{path}: {_why(error)}") from error
    if problem := size_problem(len(content)):
        raise PictureError(f"{path}: {problem}")
    return content


def read_start(path: str) -> bytes:
    """Return the first bytes of a file, by which it can be told what it is; none if it cannot be read."""
    try:
        with open(path, "rb", opener=_open_without_waiting, buffering=0) as file:
            return file.read(START_BYTES)
    except (OSError, ValueError):
        return b""


def _opened(root: Path, path: str) -> BinaryIO:
    try:
        return open(f"{root}/{path}", "rb", opener=_open_without_waiting)  # joining Paths costs 5 µs of 27
    except FileNotFoundError:
        if path.isascii():
            raise
    return open(on_disk(root, path), "rb", opener=_open_without_waiting)


def on_disk(root: Path, path: str) -> str:
    """Return the file that is known as `path` below `root`, with the bytes of its name, which need not be UTF-8."""
    found = str(root)
    for part in path.split("/"):
        there = os.path.lexists(f"{found}/{part}")
        found += f"/{part if there else os.fsdecode(part.encode(WESTERN, 'replace'))}"
    return found


@contextmanager
def folder_reader(root: Path) -> Iterator[Callable[[Sample], bytes]]:
    """Yield a function that returns a sample's file content; it can be called from many threads at once."""
    yield lambda sample: read_file(root, sample.path)


def _open_without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | open_flags("O_NONBLOCK"))  # a pipe that replaced the file must not block us


def _is_inside(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def _leave_out(contents: Contents, path: str, reason: str) -> None:
    if is_picture(path):
        contents.add(path, reason, bytes)
    else:
        contents.skipped.append(Skipped(odd_name(path) or path, reason))


def _why(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error)).lower()
