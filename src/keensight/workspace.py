"""Run folders: their files, and a lock that gives each to one process at a time. A failed run leaves no folder."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from keensight.errors import RunError
from keensight.files import explained, make_folder, write_atomically
from keensight.values import Epoch

if TYPE_CHECKING:
    from filelock import BaseFileLock

RECIPE = "recipe.toml"  # the recipe of a run, or of a search
BUNDLE = "bundle"
BUNDLE_FILE = "bundle.json"  # a folder with this file is a bundle
LOCK = ".keensight.lock"  # exists while a process writes to the folder, and after a kill
# leftovers of a killed process: its lock, and a file under a temporary name
LEFTOVER = re.compile(r"\.(keensight\.lock|.+\.[0-9a-f]{12}|bundle\.\d+)")


class RunFolder:
    """The path of each file of a run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.recipe = path / RECIPE
        self.splits = path / "splits.jsonl"
        self.data = path / "data.json"  # which DATA it was given: splits.jsonl names the pictures in these
        self.history = path / "history.jsonl"
        self.curves = path / "history.svg"
        self.last = path / "last.safetensors"  # weights, optimiser and history after the last epoch
        self.best = path / "best.safetensors"  # weights of the best epoch
        self.report = path / "report.json"
        self.page = path / "report.html"
        self.bundle = path / BUNDLE


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of run folder: where such folders lie, and which of their files show its progress."""

    word: str  # its name in messages
    again: str  # how to start one
    home: Path
    begun: str  # exists once it has begun
    kept: str  # exists once it can be resumed
    finished: str  # exists once it is finished; empty if it can always be extended


RUN = Kind(
    "run", "Train", home=Path("runs"), begun=RECIPE, kept=RunFolder(Path()).last.name,
    finished=f"{BUNDLE}/{BUNDLE_FILE}",
)  # fmt: skip


def is_run(path: Path) -> bool:
    """Say whether a folder is a run's, finished or not."""
    run = RunFolder(path)
    return _is_there(run.recipe) and (_is_there(run.splits) or _is_there(run.history))


def bundle_in(path: Path, *others: str) -> Path | None:
    """Return the bundle's folder, given that or the run folder around it, or None.

    A bundle is recognised by its bundle.json, or by one of the files `others`.
    """
    homes = (path, path / BUNDLE)
    return next((home for home in homes if any(_is_there(home / name) for name in (BUNDLE_FILE, *others))), None)


def run_name(bundle: Path) -> str:
    """Return the name of a bundle's run: that of the run folder, or of the bundle's own folder outside a run."""
    path = bundle.resolve()
    return path.parent.name if path.name == BUNDLE else path.name


def _is_there(path: Path) -> bool:
    return os.path.lexists(path)  # a dangling link counts; for a name that is too long, Path would raise


def write_history(run: RunFolder, history: Sequence[Epoch]) -> None:
    """Write the epochs of a run, one JSON line each."""
    write_atomically(run.history, "".join(json.dumps(asdict(epoch)) + "\n" for epoch in history))


def read_history(run: RunFolder) -> list[Epoch]:
    """Return the epochs that a run wrote. Raises RunError if there is none, or the file is damaged."""
    try:
        lines = run.history.read_text(encoding="utf-8").splitlines() if run.history.exists() else []
        history = [Epoch(**json.loads(line)) for line in lines]
    except (ValueError, TypeError) as error:
        raise RunError(
            f"{run.history} is not a history that a run wrote ({error}). Train again, into another folder."
        ) from None
    if not any(epoch.best for epoch in history):
        raise RunError(f"{run.history} holds no epoch yet. Wait for the first, or go on with --resume.")
    return history


@contextmanager
def claim(out: Path | None, name: str, resume: bool, kind: Kind = RUN) -> Iterator[Path]:
    """Yield the folder of a run, locked against other processes.

    A new run gets `out`, which must be new or empty, or the first free name under ``runs/``. With `resume`, the folder
    is `out`, or the latest unfinished run of that name. A run that fails before its first checkpoint leaves nothing
    behind. Another `kind` has other files and another home.

    Raises RunError if the folder is taken, finished, or not a run.
    """
    folder, made = _find(out, name, kind) if resume else _create(out, name, kind)
    lock = _lock(folder, kind)
    undone: list[Path] = []
    try:
        leftovers = [child for child in folder.iterdir() if LEFTOVER.fullmatch(child.name)]
        if not resume:
            _check_empty(folder, kind, leftovers)
        _remove(child for child in leftovers if child.name != LOCK)
        try:
            yield folder
        except BaseException:
            if not resume and not (folder / kind.kept).exists():
                _remove(child for child in folder.iterdir() if child.name != LOCK)
                undone = made
            raise
    finally:
        # before the release: afterwards, the file may belong to another process. Windows removes it by itself
        with suppress(OSError):
            (folder / LOCK).unlink()
        lock.release()
        for parent in undone:
            with suppress(OSError):  # someone else uses it by now
                parent.rmdir()


def is_finished(folder: Path, kind: Kind = RUN) -> bool:
    """Say whether the run in a folder is finished."""
    return bool(kind.finished) and (folder / kind.finished).exists()


def _create(out: Path | None, name: str, kind: Kind) -> tuple[Path, list[Path]]:
    """Make the folder of a new run; return it, and all folders that were made for it, the innermost first."""
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


def _lock(folder: Path, kind: Kind) -> BaseFileLock:
    """Return a lock on `folder`, which ends with this process. Raises RunError if another process has it."""
    from filelock import FileLock, Timeout  # the import takes 40 ms, and `keensight info` needs no lock

    lock = FileLock(folder / LOCK, blocking=False)
    with explained(folder / LOCK):
        try:
            lock.acquire()
        except Timeout:
            raise RunError(
                f"Another {kind.word} is writing to {folder} right now. Wait for it, or choose another folder with "
                "--out."
            ) from None
    return lock


def _remove(children: Iterable[Path]) -> None:
    for child in children:
        if child.is_dir():
            shutil.rmtree(child, ignore_errors=True)
        else:
            child.unlink(missing_ok=True)


def _safe(name: str) -> str:
    return re.sub(r"[^\w.-]+", "-", name).strip(".-") or "run"


def _check_empty(folder: Path, kind: Kind, leftovers: Sequence[Path]) -> None:
    if is_finished(folder, kind):
        raise RunError(f"{folder} holds a finished {kind.word} already. Choose another folder with --out.")
    if (folder / kind.begun).exists():
        raise RunError(
            f"{folder} holds an unfinished {kind.word}. Go on with it with --resume, or choose another --out."
        )
    if any(child not in leftovers for child in folder.iterdir()):
        raise RunError(f"{folder} is not empty. Choose a new or empty folder with --out, so that nothing is lost.")
