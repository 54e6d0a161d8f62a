"""Run folders: claimed by one process at a time, and left as they were found where nothing came of it."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

from keensight.errors import RunError
from keensight.files import explained, make_folder

HOME = Path("runs")
CHECKPOINTS = ("last.safetensors", "best.safetensors")


@contextmanager
def claim(out: Path | None, name: str, resume: bool) -> Iterator[Path]:
    """Yield the folder of a run, locked against other processes.

    A new run gets `out`, which must not exist or be empty, or the first free name under ``runs/``. With `resume`, the
    folder is `out`, or the latest unfinished run of that name. A run that fails before its first checkpoint leaves
    nothing behind.

    Raises RunError where the folder is taken, finished, or not a run.
    """
    folder, is_new = _find(out, name) if resume else _create(out, name)
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunError(
                f"Another run is writing to {folder} right now. Wait for it, or choose another folder with --out."
            ) from None
        if not resume:
            _check_empty(folder)
        try:
            yield folder
        except BaseException:
            if not resume and not any((folder / checkpoint).exists() for checkpoint in CHECKPOINTS):
                _empty(folder)
                if is_new:
                    folder.rmdir()
            raise
    finally:
        os.close(handle)


def is_finished(folder: Path) -> bool:
    """Tell whether the run in a folder came to its end."""
    return (folder / "bundle" / "bundle.json").exists()


def _create(out: Path | None, name: str) -> tuple[Path, bool]:
    if out is not None:
        is_new = not out.exists()
        return make_folder(out), is_new
    make_folder(HOME)
    for number in count(1):
        folder = HOME / (_safe(name) if number == 1 else f"{_safe(name)}-{number}")
        with explained(folder), suppress(FileExistsError):
            folder.mkdir()
            break
    return folder, True


def _find(out: Path | None, name: str) -> tuple[Path, bool]:
    if out is not None:
        if not (out / "recipe.toml").exists():
            raise RunError(f"There is no run to resume in {out}: it has no recipe.toml. Train without --resume first.")
        return out, False
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
    return max(runs, key=lambda folder: folder.stat().st_mtime), False


def _empty(folder: Path) -> None:
    for child in folder.iterdir():
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
