"""One piece of work at a time, in a process of its own, which tells its progress in lines of JSON.

The process outlives nothing: it ends with the studio, by a closed pipe. What it has written stays, and can be resumed.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from keensight.serving.limits import RefusalError

MOST_NOTES = 50
LINE_BYTES = 2**24
KILLED = -9  # the status of a process that was killed, as the kernel does where memory is short; Windows has none


@dataclass(slots=True)
class Job:
    """A piece of work as the page shows it. `status` is running, done, failed, crashed or stopped."""

    what: str
    about: dict[str, Any]
    status: str = "running"
    stage: str = "starting"
    done: int = 0
    total: int = 0
    notes: list[str] = field(default_factory=list)
    epochs: list[dict[str, Any]] = field(default_factory=list)
    num_epochs: int = 0
    trial: str = ""
    error: str = ""
    result: dict[str, Any] = field(default_factory=dict)

    def told(self) -> dict[str, Any]:
        """Return what the page gets."""
        return {name: getattr(self, name) for name in self.__slots__}


class Jobs:
    """Starts work, hears from it, and stops it. `changed` is called at every change."""

    def __init__(self, command: Sequence[str], changed: Callable[[], None]) -> None:
        self._command, self._changed = command, changed
        self.latest: Job | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def is_busy(self) -> bool:
        """Whether something is being worked on."""
        return self.latest is not None and self.latest.status == "running"

    async def start(self, what: str, asked: dict[str, Any], after: Callable[[Job], None]) -> Job:
        """Start work; `after` is called when it has ended. Raises RefusalError (409) while other work is under way."""
        if self.is_busy:
            raise RefusalError(409, "busy", "The studio is at work already. Wait until it has finished, or stop it.")
        self.latest = job = Job(what, dict(asked))
        self._process = process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            limit=LINE_BYTES,
        )
        assert process.stdin is not None
        process.stdin.write(json.dumps({"verb": what, **asked}).encode() + b"\n")
        self._keep(asyncio.create_task(self._listen(process, job, after)))
        self._changed()
        return job

    async def enough(self) -> None:
        """Ask the work to end early and keep what it has."""
        if self.is_busy and self._process is not None and self._process.stdin is not None and self.latest is not None:
            self._process.stdin.write(b"enough\n")
            self.latest.about["enough"] = True
            self._changed()

    async def end(self) -> None:
        """End the process, if there is one."""
        if self._process is not None and self._process.returncode is None:
            if self.latest is not None:
                self.latest.status = "stopped"
            self._process.terminate()
            await self._process.wait()

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _listen(self, process: asyncio.subprocess.Process, job: Job, after: Callable[[Job], None]) -> None:
        assert process.stdout is not None
        while line := await process.stdout.readline():
            try:
                hear(job, json.loads(line))
            except (ValueError, KeyError, TypeError):
                sys.stderr.write(f"studio: {line[:200]!r}\n")
            self._changed()
        await process.wait()
        if job.status == "running":
            job.status = "crashed"
            perhaps = ", perhaps for want of memory" if process.returncode == KILLED else ""
            job.error = f"The work stopped without a word{perhaps}: something ended its process."
        after(job)
        self._changed()


def hear(job: Job, line: dict[str, Any]) -> None:
    """Note one line that the process told. Raises KeyError for one that is not understood."""
    kind = line["event"]
    if kind == "note":
        job.notes = [*job.notes, str(line["text"])][-MOST_NOTES:]
    elif kind == "stage":
        job.stage, job.done, job.total = str(line["name"]), int(line.get("done", 0)), int(line.get("total", 0))
    elif kind == "trial":
        job.trial, job.epochs = str(line["text"]), []
    elif kind == "epoch":
        before = [] if line["epoch"]["number"] == 1 else job.epochs  # the next try begins
        job.epochs = [*before, line["epoch"]]
        job.num_epochs = int(line["epochs"])
    elif kind == "done":
        job.status, job.result = "done", dict(line["result"])
    elif kind == "failed":
        job.status, job.error = "failed", str(line["message"])
    else:
        raise KeyError(kind)
