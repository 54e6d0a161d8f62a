"""What a person did to the pictures, and how it is taken back, the last act first.

Dropping and moving are decisions that `keensight clean` carries out, which notes who decided what. Where it cannot (a
class that would be empty, or is), and for what the studio itself wrote, files are moved by the studio.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from keensight.errors import DataError, counted
from keensight.files import explained, make_folder, to_json_line, write_atomically
from keensight.serving.limits import RefusalError
from keensight.serving.studio.project import Project

Clean = Callable[..., object]  # `keensight.clean`
ActName = Literal["drop", "relabel", "keep"]
KEPT = "kept"


@dataclass(frozen=True, slots=True)
class Act:
    """One act: what to call it on the button, and what takes it back."""

    title: str
    undo: Callable[[], object]
    decided: dict[str, str] = field(default_factory=dict)  # what was done, by the picture's path before
    finding: int | None = None


@dataclass(slots=True)
class Acts:
    """The acts of this session, the last one last."""

    project: Project
    clean: Clean
    done: list[Act] = field(default_factory=list)
    count: int = 0

    def added(self, paths: list[str]) -> None:
        """Note that pictures were added."""
        if paths:
            self.count += 1
            number = self.count
            self.done.append(
                Act(f"adding {counted(len(paths), 'picture')}", lambda: self.project.remove(paths, number))
            )

    def renamed(self, old: str, new: str) -> None:
        """Note that a class has another name."""
        self.done.append(Act(f"renaming {old}", lambda: self.project.rename_class(new, old)))

    def decide(
        self, action: ActName, files: Sequence[str], label: str | None, why: str, finding: int | None = None
    ) -> None:
        """Carry out a decision about pictures, perhaps for a finding. Raises RefusalError if it cannot be."""
        found = {path: self.project.picture_file(path) for path in dict.fromkeys(files)}
        if action == "relabel" and label is None:
            raise RefusalError(400, "bad_request", "Moving a picture needs the class that it belongs to.")
        lines = [
            {"sha256": _sha256(file), "action": action, "label": label, "file": path, "why": why}
            for path, file in found.items()
        ]
        title = {"drop": "removing", "relabel": f"moving to {label}", "keep": "keeping"}[action]
        done = {"drop": "removed", "relabel": f"moved to {label}", "keep": KEPT}[action]
        self.count += 1
        decisions = make_folder(self.project.own / "decisions") / f"{self.count}-{len(lines)}.jsonl"
        write_atomically(decisions, "".join(to_json_line(each) + "\n" for each in lines))
        try:
            self.clean(self.project.pictures, decisions)
        except DataError as error:
            if action == "keep":
                raise RefusalError(409, "not_possible", str(error)) from error
            to = self.project.class_folder(label) if label and action == "relabel" else None
            undo = self._move(list(found), to)
        else:
            undo = lambda: self.clean(self.project.pictures, undo=True)  # noqa: E731
        decided = dict.fromkeys(found, done)
        self.done.append(Act(f"{title} ({counted(len(found), 'picture')})", undo, decided, finding))

    def decided_in(self, finding: int) -> dict[str, str]:
        """Return what was done to pictures, by their paths before. Those kept for another finding are left out."""
        return {
            file: what
            for act in self.done
            for file, what in act.decided.items()
            if what != KEPT or act.finding == finding
        }

    def undo(self) -> str:
        """Take the last act back, and return what it was. Raises RefusalError if there is none."""
        if not self.done:
            raise RefusalError(409, "nothing", "There is nothing to undo.")
        act = self.done.pop()
        act.undo()
        return act.title

    def _move(self, paths: list[str], to: Path | None) -> Callable[[], object]:
        """Move pictures to another class, or out of all classes; return what moves them back."""
        moves = []
        for path in paths:
            name, _, file = path.partition("/")
            folder = to or self.project.own / "removed" / str(self.count) / name
            moves.append((self.project.picture_file(path), _free(make_folder(folder) / file)))
        _shift(moves)
        back = [(new, old) for old, new in moves]
        return lambda: _shift(back)


def _shift(moves: list[tuple[Path, Path]]) -> None:
    for old, new in moves:
        with explained(new):
            shutil.move(old, new)


def _free(path: Path) -> Path:
    free, number = path, 1
    while free.exists():
        number += 1
        free = path.with_stem(f"{path.stem}-{number}")
    return free


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
