"""Run folders: claimed by one process at a time, and left as they were found where nothing came of it."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from keensight.errors import RunError
from keensight.files import explained, make_folder

LEFTOVER = re.compile(r"\.(.+\.[0-9a-f]{12}|bundle\.\d+)")  # what a killed process was writing, under a temporary name


@dataclass(frozen=True, slots=True)
class Kind:
    """What makes a folder a run's: where such folders lie, and which of their files say how far it came."""

    word: str  # what messages call it
    again: str  # how to begin one
    home: Path
    begun: str  # is there once it has begun
    kept: str  # is there once there is something to go on with
    finished: str  # is there once nothing is left to do; empty where more can always be asked for


RUN = Kind(
    "run", "Train", home=Path("runs"), begun="recipe.toml", kept="last.safetensors", finished="bundle/bundle.json"
)


@contextmanager
def claim(out: Path | None, name: str, resume: bool, kind: Kind = RUN) -> Iterator[Path]:
    """Yield the folder of a run, locked against other processes.

    A new run gets `out`, which must not exist or be empty, or the first free name under ``runs/``. With `resume`, the
    folder is `out`, or the latest unfinished run of that name. A run that fails before its first checkpoint leaves
    nothing behind. Another `kind` has other files and another home.

    Raises RunError where the folder is taken, finished, or not a run.
    """
    folder, made = _find(out, name, kind) if resume else _create(out, name, kind)
    handle = _lock(folder, kind)
    try:
        leftovers = [child for child in folder.iterdir() if LEFTOVER.fullmatch(child.name)]
        if not resume:
            _check_empty(folder, kind, len(leftovers))
        _remove(leftovers)
        try:
            yield folder
        except BaseException:
            if not resume and not (folder / kind.kept).exists():
                _remove(folder.iterdir())
                for parent in made:
                    with suppress(OSError):  # someone else uses it by now
                        parent.rmdir()
            raise
    finally:
        os.close(handle)


def is_finished(folder: Path, kind: Kind = RUN) -> bool:
    """Tell whether the run in a folder came to its end."""
    return bool(kind.finished) and (folder / kind.finished).exists()


def _create(out: Path | None, name: str, kind: Kind) -> tuple[Path, list[Path]]:
    """Make the folder of a new run; return it, and all folders that had to be made for it, the innermost first."""
    if out is not None:
        with explained(out):
            missing = _missing(out)
        return make_folder(out), missing
    for number in count(1):
        folder = kind.home / (_safe(name) if number == 1 else f"{_safe(name)}-{number}")
        missing = _missing(folder)
        with explained(folder), suppress(FileExistsError):
            folder.mkdir(parents=True)
            break
    return folder, missing


def _missing(folder: Path) -> list[Path]:
    return [path for path in (folder, *folder.parents) if not path.exists()]


def _find(out: Path | None, name: str, kind: Kind) -> tuple[Path, list[Path]]:
    if out is not None:
        if not (out / kind.begun).exists():
            raise RunError(
                f"There is no {kind.word} to resume in {out}: it has no {kind.begun}. {kind.again} without --resume "
                "first."
            )
        return out, []
    pattern = re.compile(re.escape(_safe(name)) + r"(-\d+)?")
    runs = [
        folder
        for folder in (kind.home.iterdir() if kind.home.is_dir() else ())
        if pattern.fullmatch(folder.name) and (folder / kind.begun).exists() and not is_finished(folder, kind)
    ]
    if not runs:
        what = f"unfinished {kind.word}" if kind.finished else kind.word
        raise RunError(
            f"There is no {what} of {name} under {kind.home}. Name its folder with --out, or "
            f"{kind.again.lower()} without --resume."
        )
    return max(runs, key=lambda folder: folder.stat().st_mtime), []


def _lock(folder: Path, kind: Kind) -> int:
    """Return a descriptor of `folder` that locks it until it is closed."""
    taken = RunError(
        f"Another {kind.word} is writing to {folder} right now. Wait for it, or choose another folder with --out."
    )
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


def _check_empty(folder: Path, kind: Kind, num_leftovers: int) -> None:
    if is_finished(folder, kind):
        raise RunError(f"{folder} holds a finished {kind.word} already. Choose another folder with --out.")
    if (folder / kind.begun).exists():
        raise RunError(
            f"{folder} holds an unfinished {kind.word}. Go on with it with --resume, or choose another --out."
        )
    if len(list(folder.iterdir())) > num_leftovers:
        raise RunError(f"{folder} is not empty. Choose a new or empty folder with --out, so that nothing is lost.")
