"""Where shards and answers lie: a folder, or a URL of object storage such as ``s3://bucket/pets``.

pyarrow reads and writes both; what it does not know goes to fsspec, where that is installed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from keensight.errors import DataError, KeensightError, UsageError
from keensight.files import make_folder, write_atomically

if TYPE_CHECKING:
    from pyarrow import NativeFile
    from pyarrow.fs import FileSystem

URL = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,80}")  # of a file in a store: no folders, so no way out


class Found(NamedTuple):
    """A file's size in bytes, and when it was last changed, in nanoseconds; 0 where the store does not say."""

    size: int
    changed_ns: int


@dataclass(frozen=True, slots=True)
class Store:
    """A folder of files, on disk or elsewhere. Files appear whole or not at all. Names have no folders in them."""

    place: str
    files: FileSystem
    root: str
    is_local: bool

    def found(self) -> dict[str, Found]:
        """Return the files that are there. A folder that does not exist yet has none."""
        from pyarrow.fs import FileSelector, FileType

        with told(self.place, "read"):
            infos = self.files.get_file_info(FileSelector(self.root, allow_not_found=True))
            return {
                each.base_name: Found(each.size, each.mtime_ns or 0) for each in infos if each.type == FileType.File
            }

    def open(self, name: str) -> NativeFile:
        """Open a file for reading anywhere in it. Raises OSError, also for a link that leads out of a folder."""
        path = self._path(name)
        if self.is_local and os.path.dirname(os.path.realpath(path)) != os.path.realpath(self.root):  # noqa: PTH120
            raise OSError("it is a link that leads out of the folder")
        return self.files.open_input_file(path)

    def read(self, name: str, most: int) -> bytes:
        """Return a file's content. Raises DataError if it cannot be read, or is larger than `most` bytes."""
        with told(f"{self.place}/{name}", "read"), self.open(name) as file:
            if (size := file.size()) > most:
                raise DataError(f"{self.place}/{name} has {size:,} bytes; at most {most:,} are accepted.")
            return bytes(file.read(size))  # pyarrow takes as much memory as it is asked for, read or not

    def write(self, name: str, content: bytes) -> None:
        """Write a file, whole or not at all, over any of its name. Raises KeensightError."""
        if self.is_local:
            write_atomically(make_folder(Path(self.root)) / name, content)
            return
        with told(f"{self.place}/{name}", "written"):
            if not self.place.lower().startswith(("s3:", "gs:", "gcs:", "abfs")):  # which have no folders
                self.files.create_dir(self.root, recursive=True)
            with self.files.open_output_stream(self._path(name)) as file:
                file.write(content)

    def _path(self, name: str) -> str:
        if not NAME.fullmatch(name):
            raise DataError(f"{name!r} is no name of a file in {self.place}. Plain names without folders are accepted.")
        return f"{self.root.rstrip('/')}/{name}"


def is_url(place: str | Path) -> bool:
    """Say whether a place is an address such as ``s3://bucket/pets``, and no path.

    >>> is_url("s3://bucket/pets"), is_url("./pets"), is_url("C:/pets")
    (True, False, False)
    """
    return isinstance(place, str) and URL.match(place) is not None


def place_of(text: str) -> Path | str:
    """Return the place that a text names: a URL as it is, and a path as one."""
    return text if is_url(text) else Path(text)


def open_store(place: str | Path) -> Store:
    """Return the store at a path or URL. Raises KeensightError without pyarrow, and for a URL that nothing reads."""
    try:
        from pyarrow.fs import FileSystem, LocalFileSystem
    except ImportError as error:
        raise KeensightError(
            "Shards, and answers in parts, are Parquet files, which the package pyarrow reads and writes. It is not "
            'installed: pip install "keensight[scale]".'
        ) from error
    if not str(place) or (is_url(place) and not str(place).split("://", 1)[1].strip("/")):
        raise UsageError(f"'{place}' names no place. Give a folder, or a URL such as s3://bucket/pets.")
    if not is_url(place):
        path = os.path.abspath(place)  # noqa: PTH100  (resolve() would replace a link's name)
        return Store(str(place), LocalFileSystem(), path, is_local=True)
    address = str(place).rstrip("/")
    if "@" in address.split("://", 1)[1].split("/", 1)[0]:
        raise UsageError(
            "The URL has a user name or key before an @. It would be written into run folders and reports: give "
            "credentials by the environment, such as AWS_ACCESS_KEY_ID, and the URL without them."
        )
    shown, _, options = address.partition("?")
    if address.startswith("s3:") and "allow_delayed_open" not in options:  # a small file in one request, not three
        address += ("&" if options else "?") + "allow_delayed_open=true"
    with told(shown, "opened"):
        try:
            files, root = FileSystem.from_uri(address)
        except ValueError:  # pyarrow's own list is short
            files, root = FileSystem.from_uri(f"fsspec+{str(place).rstrip('/')}")
    return Store(shown, files, root, isinstance(files, LocalFileSystem))


@contextmanager
def told(place: str, what: str) -> Iterator[None]:
    """Turn a store's errors into a DataError that says what to look at."""
    try:
        yield
    except FileNotFoundError as error:
        raise DataError(f"{place} does not exist, or this user may not see it. Check its spelling.") from error
    except ImportError as error:
        raise DataError(
            f"{place} needs a package for its kind of address ({error}). Install it, or give a path or an s3:// URL."
        ) from error
    except (OSError, ValueError) as error:
        reason = str(error).partition("Detail: [errno")[0].splitlines()[0].rstrip(". ")[:300]
        raise DataError(
            f"{place} cannot be {what}: {reason}. Check the address, the network, and the credentials in the "
            "environment (for s3://, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_REGION)."
        ) from error
