"""Run folders: claimed by one process at a time, and left as they were found where nothing came of it."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

from keensight.errors import RunError
from keensight.files import explained, make_folder

HOME = Path("runs")
LEFTOVER = re.compile(r"\.(.+\.[0-9a-f]{12}|bundle\.\d+)")  # what a killed process was writing, under a temporary name


@contextmanager
def claim(out: Path | None, name: str, resume: bool) -> Iterator[Path]:
    """Yield the folder of a run, locked against other processes.

    A new run gets `out`, which must not exist or be empty, or the first free name under ``runs/``. With `resume`, the
    folder is `out`, or the latest unfinished run of that name. A run that fails before its first checkpoint leaves
    nothing behind.

    Raises RunError where the folder is taken, finished, or not a run.
    """
    folder, made = _find(out, name) if resume else _create(out, name)
    handle = _lock(folder)
    try:
        if resume:
            _remove([child for child in folder.iterdir() if LEFTOVER.fullmatch(child.name)])
        else:
            _check_empty(folder)
        try:
            yield folder
        except BaseException:
            if not resume and not (folder / "last.safetensors").exists():
                _remove(folder.iterdir())
                for parent in made:
                    with suppress(OSError):  # someone else uses it by now
                        parent.rmdir()
            raise
    finally:
        os.close(handle)


def is_finished(folder: Path) -> bool:
    """Tell whether the run in a folder came to its end."""
    return (folder / "bundle" / "bundle.json").exists()


def _create(out: Path | None, name: str) -> tuple[Path, list[Path]]:
    """Make the folder of a new run; return it, and all folders that had to be made for it, the innermost first."""
    if out is not None:
        with explained(out):
            missing = _missing(out)
        return make_folder(out), missing
    for number in count(1):
        folder = HOME / (_safe(name) if number == 1 else f"{_safe(name)}-{number}")
        missing = _missing(folder)
        with explained(folder), suppress(FileExistsError):
            folder.mkdir(parents=True)
            break
    return folder, missing


def _missing(folder: Path) -> list[Path]:
    return [path for path in (folder, *folder.parents) if not path.exists()]


def _find(out: Path | None, name: str) -> tuple[Path, list[Path]]:
    if out is not None:
        if not (out / "recipe.toml").exists():
            raise RunError(f"There is no run to resume in {out}: it has no recipe.toml. Train without --resume first.")
        return out, []
    pattern = re.compile(re.escape(_safe(name)) + r"(-\d+)?")
    runs = [
        folder
        for folder in (HOME.iterdir() if HOME.is_dir() else ())
        if pattern.fullmatch(folder.name) and (folder / "recipe.toml").exists() and not is_finished(folder)
    ]
    if not runs:
        raise RunError(
            f"There is no unfinished run of {name} under {HOME}. Name its folder with --out, or train without --resume."
        )
    return max(runs, key=lambda folder: folder.stat().st_mtime), []


def _lock(folder: Path) -> int:
    """Return a descriptor of `folder` that locks it until it is closed."""
    taken = RunError(f"Another run is writing to {folder} right now. Wait for it, or choose another folder with --out.")
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:  # a run that has just failed took its folder away
        raise taken from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(handle), folder.stat()):
            return handle
        raise taken
    except (BlockingIOError, FileNotFoundError, RunError):
        os.close(handle)
        raise taken from None


def _remove(children: Iterable[Path]) -> None:
    for child in children:
        if child.is_dir():
            shutil.rmtree(child, ignore_errors=True)
        else:
            child.unlink(missing_ok=True)


def _safe(name: str) -> str:
    return re.sub(r"[^\w.-]+", "-", name).strip(".-") or "run"


def _check_empty(folder: Path) -> None:
    if is_finished(folder):
        raise RunError(f"{folder} holds a finished run already. Choose another folder with --out.")
    if (folder / "recipe.toml").exists():
        raise RunError(f"{folder} holds an unfinished run. Go on with it with --resume, or choose another --out.")
    if any(folder.iterdir()):
        raise RunError(f"{folder} is not empty. Choose a new or empty folder with --out, so that nothing is lost.")
