"""The studio's folder: classes as folders of pictures, as `train` takes them, and runs beside them.

All names from a browser go through `class_folder` and `picture_file`, which let nothing out of the folder.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from keensight.data.folders import MAX_PICTURE_BYTES
from keensight.data.sources import open_dataset, reader
from keensight.errors import DataError, KeensightError, PictureError
from keensight.files import explained, make_folder, write_atomically
from keensight.names import natural_order, odd_name
from keensight.serving.limits import Limits, RefusalError
from keensight.serving.studio.thumbs import small_of
from keensight.serving.uploads import refusals, suffix_of, tidy
from keensight.workspace import RUN, RunFolder, is_finished, is_run

OWN = ".studio"  # for what is not pictures, where the folder itself has the classes
NOT_IN_NAMES = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f]')
LONGEST_NAME = 80
SUFFIXES = {".jpg", ".jpeg", ".png", ".gif", ".webp", ".bmp", ".avif", ".heic", ".tif", ".tiff", ".ppm", ".pgm"}

ENDINGS = tuple(SUFFIXES)


@dataclass(frozen=True, slots=True)
class Project:
    """`pictures` has a folder for each class; `own` has the runs, and what was removed."""

    pictures: Path
    own: Path

    @property
    def runs(self) -> Path:
        """Where the runs are, called 1, 2, ..."""
        return self.own / "runs"

    def classes(self) -> dict[str, int]:
        """Return the classes, and how many pictures each has."""
        folders = [each for each in self.pictures.iterdir() if each.is_dir() and not each.name.startswith(".")]
        return {name: len(self._listed(name)) for name in natural_order(each.name for each in folders)}

    def files(self, name: str) -> list[str]:
        """Return the names of a class's pictures, in natural order."""
        return natural_order(self._listed(name))

    def _listed(self, name: str) -> list[str]:
        with suppress(FileNotFoundError):
            names = os.listdir(self.class_folder(name))  # noqa: PTH208  (a Path for each of 20,000 takes long)
            return [each for each in names if each.lower().endswith(ENDINGS) and each[0] != "."]
        return []

    def class_folder(self, name: str) -> Path:
        """Return the folder of a class, there or not. Raises RefusalError for a name that no folder can have."""
        if not name.strip(" .") or name != name.strip() or len(name) > LONGEST_NAME or name.startswith("."):
            raise RefusalError(
                400, "bad_name", f"A class needs a name of 1 to {LONGEST_NAME} letters that does not begin with a dot."
            )
        if NOT_IN_NAMES.search(name) or odd_name(name):
            raise RefusalError(
                400, "bad_name", 'The name has a sign that folders cannot have, such as / \\ : * ? " < >.'
            )
        folder = self.pictures / name
        if folder.is_symlink():
            raise RefusalError(
                400, "bad_name", "This class is a link to another folder, which the studio leaves alone."
            )
        return folder

    def picture_file(self, path: str) -> Path:
        """Return the file of a picture, class/name. Raises RefusalError (404) if there is none."""
        name, _, file = path.partition("/")
        found = self.class_folder(name) / (file or "-")
        if "/" in file or "\\" in file or file.startswith(".") or not found.is_file() or found.is_symlink():
            raise RefusalError(404, "not_found", "This picture is not there any more.")
        return found

    def has_picture(self, path: str) -> bool:
        """Say whether a picture, class/name, is there."""
        try:
            return bool(self.picture_file(path))
        except RefusalError:
            return False

    def make_class(self, name: str) -> None:
        """Make a class. Raises RefusalError if there is one."""
        folder = self.class_folder(name)
        if any(name.casefold() == each.casefold() for each in self.classes()):
            raise RefusalError(409, "there_already", f"There is a class {name} already.")
        make_folder(folder)

    def rename_class(self, name: str, new: str) -> None:
        """Give a class another name. Raises RefusalError if that is taken, or there is no such class."""
        folder, target = self.class_folder(name), self.class_folder(new)
        if target.exists() or not folder.is_dir():
            raise RefusalError(409, "there_already", f"There is a class {new} already, or none called {name}.")
        with explained(target):
            folder.rename(target)

    def add(self, name: str, file: str, content: bytes, limits: Limits) -> str:
        """Write a picture into a class, under a free name, and return its path. Raises RefusalError if it is none."""
        folder = self.class_folder(name)
        with refusals(limits):
            small_of(content)
        stem = NOT_IN_NAMES.sub("_", tidy(file)).strip(" .") or "picture"
        suffix = suffix_of(content) or (Path(stem).suffix if Path(stem).suffix.lower() in SUFFIXES else ".png")
        base = Path(stem).stem[:100] or "picture"
        make_folder(folder)
        target = folder / f"{base}{suffix}"
        while target.exists():
            target = folder / f"{base}-{secrets.token_hex(3)}{suffix}"
        write_atomically(target, content)
        return f"{name}/{target.name}"

    def add_archive(self, archive: Path, name: str | None, limits: Limits) -> tuple[list[str], list[tuple[str, str]]]:
        """Add an archive's pictures to its own classes, or to one; return their paths, and what was refused and why."""
        added: list[str] = []
        refused: list[tuple[str, str]] = []
        try:
            with ExitStack() as opened:
                for label, path, read in _in_archive(archive, name, opened, refused):
                    try:
                        added.append(self.add(name or label, path.rpartition("/")[2], read, limits))
                    except (RefusalError, KeensightError) as error:
                        refused.append((path, str(error)))
        except DataError as error:
            raise RefusalError(400, "bad_archive", str(error)) from error
        return added, refused

    def remove(self, paths: list[str], number: int) -> None:
        """Move pictures that the studio wrote out of their classes, so that they can be put back."""
        for path in paths:
            with suppress(RefusalError):
                found = self.picture_file(path)
                target = make_folder(self.own / "removed" / str(number) / path.partition("/")[0]) / found.name
                with explained(target):
                    shutil.move(found, target)

    def finished_runs(self) -> list[Path]:
        """Return the folders of the runs that have a bundle, the latest last."""
        return [each for each in self._runs() if is_finished(each, RUN)]

    def unfinished_run(self) -> Path | None:
        """Return the latest run, if it was interrupted and can go on."""
        runs = self._runs()
        return runs[-1] if runs and not is_finished(runs[-1]) and RunFolder(runs[-1]).last.exists() else None

    def next_run(self) -> Path:
        """Return the folder of the next run."""
        taken = [int(each.name) for each in self.runs.iterdir() if each.name.isdigit()] if self.runs.is_dir() else []
        return self.runs / str(max(taken, default=0) + 1)

    def _runs(self) -> list[Path]:
        if not self.runs.is_dir():
            return []
        numbered = [each for each in self.runs.iterdir() if each.name.isdigit() and is_run(each)]
        return sorted(numbered, key=lambda each: int(each.name))


def open_project(folder: Path) -> Project:
    """Open or begin the studio's folder: with `pictures` in it, or with the classes themselves where it has some."""
    if folder.exists() and not folder.is_dir():
        raise KeensightError(
            f"{folder} is a file. Give a folder for the studio, new or with pictures in class folders."
        )
    make_folder(folder)
    folder = folder.resolve()
    has_classes = any(each.is_dir() and not each.name.startswith(".") for each in folder.iterdir())
    if has_classes and not (folder / "pictures").is_dir():
        return Project(folder, folder / OWN)
    return Project(make_folder(folder / "pictures"), folder)


def _in_archive(
    archive: Path, name: str | None, opened: ExitStack, refused: list[tuple[str, str]]
) -> Iterator[tuple[str, str, bytes]]:
    """Yield the label, the path and the content of each picture of an archive."""
    if name is not None:
        from keensight.data.places import pictures_in

        def skipped(_: str, some: object) -> None:
            refused.extend((each.path, each.reason) for each in some)  # type: ignore[attr-defined]

        for picture in pictures_in([archive], opened, skipped):
            path = str(picture.path.relative_to(archive)) if picture.path != archive else picture.path.name
            try:
                content = picture.read()
            except PictureError as error:
                refused.append((path, str(error)))
                continue
            if isinstance(content, bytes):
                yield name, path, content
        return
    dataset = open_dataset(archive)
    refused.extend((each.path, each.reason) for each in dataset.skipped)
    read = opened.enter_context(reader(dataset))
    for sample in dataset.samples:
        content = read(sample)
        if isinstance(content, bytes) and len(content) <= MAX_PICTURE_BYTES:
            yield dataset.class_names[sample.label], sample.path, content
