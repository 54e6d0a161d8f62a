"""Workers that answer orders: processes of this machine here, actors of a cluster in `scale/hired.py`.

A worker is made once by a function of this program, found by its name, and keeps what it opened. Orders and answers are
JSON. A worker that dies is replaced, and its order is given to another; so orders must be ones that can be repeated.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from queue import SimpleQueue
from types import TracebackType
from typing import Any, NamedTuple, Protocol, TextIO, TypeAlias

from keensight.data.apart import own_python
from keensight.errors import KeensightError, RunError
from keensight.executor import Threads

Json: TypeAlias = Any
Work: TypeAlias = Callable[[Json], Json]  # from an order to its answer
ATTEMPTS = 3  # of an order whose worker dies


class Recipe(NamedTuple):
    """How a worker is made: the function `name` of `module` is called with `settings`, and returns what answers."""

    module: str
    name: str
    settings: Json

    def make(self) -> Work:
        """Make a worker here."""
        work: Work = getattr(importlib.import_module(self.module), self.name)(self.settings)
        return work


class Workers(Protocol):
    """Some workers, for the length of a ``with`` block."""

    def __enter__(self) -> Workers: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None: ...

    def map(self, orders: Iterable[Json]) -> Iterator[Json]:
        """Yield the answer to each order, in any order, with few under way. Raises what a worker raised."""


Hire = Callable[[int, Recipe], Workers]  # so many workers, made like this


class Processes:
    """Workers that are processes of this machine. They end with the block, and when this process is killed."""

    def __init__(self, count: int, recipe: Recipe) -> None:
        self._count = count
        self._free: SimpleQueue[_Process] = SimpleQueue()
        self._all = [_Process(recipe) for _ in range(count)]
        for each in self._all:
            self._free.put(each)

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        for each in self._all:
            each.close()

    def map(self, orders: Iterable[Json]) -> Iterator[Json]:
        """Yield the answer to each order; see `Workers.map`."""
        with Threads(self._count) as threads:
            try:
                yield from threads.map(self._ask, orders)
            except BaseException:
                for each in self._all:  # the threads wait for them
                    each.close()
                raise

    def _ask(self, order: Json) -> Json:
        process = self._free.get()
        try:
            return process.ask(order)
        finally:
            self._free.put(process)


class _Process:
    """One worker, for one thread at a time."""

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self._process: subprocess.Popen[str] | None = None
        self._is_closed = False

    def ask(self, order: Json) -> Json:
        for _ in range(ATTEMPTS):
            try:
                process = self._started()
                assert process.stdin is not None and process.stdout is not None
                process.stdin.write(json.dumps(order) + "\n")
                process.stdin.flush()
                kind, value = json.loads(process.stdout.readline())
            except (OSError, ValueError):
                if self._is_closed:
                    break
                self._end()
                continue
            if kind == "answer":
                return value
            raise _raised(*value)
        raise RunError(
            f"A worker died {ATTEMPTS} times at {json.dumps(order)}. Most often memory ran out: try fewer workers. "
            "What is done is kept; the same command goes on."
        )

    def close(self) -> None:
        self._is_closed = True
        self._end()

    def _started(self) -> subprocess.Popen[str]:
        if self._is_closed:
            raise OSError("closed")
        if self._process is None:
            self._process = subprocess.Popen(  # noqa: S603  (this Python, with this program)
                own_python(__name__, "take_orders"),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                encoding="utf-8",
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                start_new_session=True,  # Ctrl-C reaches only this process, which ends the other
            )
            assert self._process.stdin is not None
            self._process.stdin.write(json.dumps(self._recipe) + "\n")
        return self._process

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            with suppress(OSError), process:  # closes the pipes; the last output may be lost
                process.kill()


def _raised(text: str, status: int) -> KeensightError:
    error = KeensightError(text)
    error.exit_status = status
    return error


def take_orders(orders: Iterator[str], answers: TextIO) -> None:
    """Be a worker of `Processes`, until its orders end."""
    sys.stdout = sys.stderr  # what a library prints is no answer
    recipe, work = Recipe(*json.loads(next(orders))), None
    for order in orders:
        try:
            work = work or recipe.make()
            answer = ["answer", work(json.loads(order))]
        except KeensightError as error:
            answer = ["error", [str(error), error.exit_status]]
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
