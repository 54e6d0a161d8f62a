"""The studio's state: the folder, the acts, the work, and a number that every change raises, for which pages wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from keensight.data.folders import MAX_PICTURE_BYTES
from keensight.serving.limits import Limits
from keensight.serving.studio.acts import Acts
from keensight.serving.studio.jobs import Jobs
from keensight.serving.studio.models import models_of
from keensight.serving.studio.project import Project

WAIT_S = 20.0
BUDGETS = ("1m", "5m", "20m", "1h")


@dataclass(frozen=True, slots=True)
class Doing:
    """What the studio can do beyond files, given by the verb: verbs lie above this floor."""

    clean: Callable[..., object]
    sign: Callable[[Path, Path], Path]  # a bundle, with a key in this folder; returns the public key
    work: Sequence[str]  # the command of the process that works
    containers: Callable[[Path, Path, Path], None]  # a bundle, its public key, the folder to write
    page: Callable[[Path, Path, Path], Path]  # the same; returns the file


@dataclass(slots=True, eq=False)
class Studio:
    """The folder, the acts, the work, and the number of the state."""

    project: Project
    doing: Doing
    limits: Limits = field(default_factory=lambda: Limits(max_bytes=MAX_PICTURE_BYTES, max_pixels=80_000_000))
    number: int = 1
    is_over: bool = False
    findings: list[dict[str, Any]] | None = None
    compared: dict[str, Any] | None = None
    gathered: dict[str, Any] | None = None  # the last search: its class, and each picture's licence
    acts: Acts = field(init=False)
    jobs: Jobs = field(init=False)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.acts = Acts(self.project, self.doing.clean)
        self.jobs = Jobs(self.doing.work, self.change)

    def change(self) -> None:
        """Give the state a new number; whoever waits for it hears of it."""
        self.number += 1
        self._changed.set()
        self._changed = asyncio.Event()

    def leave(self) -> None:
        """Let nobody wait any longer: the studio ends."""
        self.is_over = True
        self.change()

    async def wait_after(self, number: int) -> None:
        """Wait until the state has another number than this, or for twenty seconds."""
        if number == self.number and not self.is_over:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), WAIT_S)

    def state(self) -> dict[str, Any]:
        """Return all that the page shows, but for the pictures."""
        unfinished = None if self.jobs.is_busy else self.project.unfinished_run()
        return {
            "number": self.number,
            "folder": str(self.project.pictures),
            "classes": [{"name": name, "count": count} for name, count in self.project.classes().items()],
            "job": None if self.jobs.latest is None else self.jobs.latest.told(),
            "models": models_of(self.project),
            "unfinished": None if unfinished is None else unfinished.name,
            "undo": self.acts.done[-1].title if self.acts.done else None,
            "findings": self._findings(),
            "compared": self.compared,
            "gathered": self.gathered,
            "budgets": BUDGETS,
        }

    def _findings(self) -> list[dict[str, Any]] | None:
        """Return the findings, each with what was decided about its pictures."""
        if self.findings is None:
            return None
        decided = [self.acts.decided_in(each["number"]) for each in self.findings]
        return [
            each | {"decided": {file: done[file] for file in each["samples"] if file in done}}
            for each, done in zip(self.findings, decided, strict=True)
        ]
