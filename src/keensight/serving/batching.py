"""Micro-batching: pictures that arrive at the same time go through the model together.

Shape letters: N images, H height, W width, C channels.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from keensight.values import Prediction, Uint8Array

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Answered:
    """Predictions, one for each image, and how long they waited and took, in seconds."""

    predictions: list[Prediction]
    queue_s: float
    model_s: float


class Answer(Protocol):
    """The receiver of an answer: an `asyncio.Future`, or an object that acts like one."""

    def done(self) -> bool:
        """Whether the receiver no longer waits."""

    def set_result(self, answered: Answered, /) -> None:
        """Take the answer."""

    def set_exception(self, error: Exception, /) -> None:
        """Take the exception that the model raised."""


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    images_NHWC: Uint8Array
    since: float
    answer: Answer


class Batcher:
    """Gathers images for one model, which runs in threads of its own, `lanes` batches at a time.

    While all lanes are busy, the next batch fills up. With a free lane, a batch waits up to `wait_s` for images that
    are being decoded; a lone request never waits. Must be used from one event loop.

    Under load a batch for each core is faster than all cores on one batch: husky took 3.5 ms of a core for a picture
    in two batches of 8 side by side, and 4.0 in one of 24 (benchmarks/LOG.md). A lone request gets `run_alone`, which
    may use all cores.

    A model that `is_quick` runs in the event loop itself, once the loop has read what all clients sent: handing its
    batch to a thread would take longer than the model does.
    """

    def __init__(
        self,
        run: Callable[[Uint8Array], list[Prediction]],
        size: int,
        wait_s: float,
        observe: Callable[[int], None] = lambda size: None,
        *,
        is_quick: bool = False,
        lanes: int = 1,
        run_alone: Callable[[Uint8Array], list[Prediction]] | None = None,
    ) -> None:
        """`run` maps at most `size` images, uint8 NHWC, to N predictions; `observe` gets each batch's size."""
        self._run = run
        self._size = size
        self._wait_s = wait_s
        self._observe = observe
        self.is_quick = is_quick
        self._is_scheduled = False
        self._lanes = lanes
        self._run_alone = run_alone
        self._threads = ThreadPoolExecutor(lanes, thread_name_prefix="model")
        self._waiting: deque[_Waiting] = deque()
        self._coming = 0
        self._came = asyncio.Event()
        self._workers: set[asyncio.Task[None]] = set()
        self._running = 0

    @contextmanager
    def expecting(self) -> Iterator[None]:
        """Announce that images will be submitted inside the `with` block."""
        self._coming += 1
        try:
            yield
        finally:
            self._coming -= 1
            self._came.set()

    async def submit(self, images_NHWC: Uint8Array) -> Answered:
        """Return the answers for images uint8 NHWC, or raise what the model raised."""
        if not self.is_quick or len(images_NHWC) <= self._size:
            return await self._submit(images_NHWC)
        # a batch at a time, so that other requests get their turn in the event loop
        starts = range(0, len(images_NHWC), self._size)
        parts = [await self._submit(images_NHWC[first : first + self._size]) for first in starts]
        return Answered(
            [prediction for part in parts for prediction in part.predictions],
            sum(part.queue_s for part in parts),
            sum(part.model_s for part in parts),
        )

    async def _submit(self, images_NHWC: Uint8Array) -> Answered:
        answer: asyncio.Future[Answered] = asyncio.get_running_loop().create_future()
        self.put(images_NHWC, answer)
        return await answer

    def put(self, images_NHWC: Uint8Array, answer: Answer) -> None:
        """Queue images, uint8 NHWC; `answer` receives their answers."""
        self._waiting.append(_Waiting(images_NHWC, time.perf_counter(), answer))
        if self.is_quick:
            if not self._is_scheduled:
                self._is_scheduled = True
                asyncio.get_running_loop().call_soon(self.run_now)
        elif (
            sum(not worker.done() for worker in self._workers) < self._lanes
        ):  # finished workers are discarded a bit later
            worker = asyncio.create_task(self._work())
            self._workers.add(worker)
            worker.add_done_callback(self._workers.discard)

    def run_now(self) -> None:
        """Answer all waiting requests before returning. For a model that `is_quick`."""
        self._is_scheduled = False
        while batch := self._next(self._size):
            started = time.perf_counter()
            try:
                predictions = self._run_all(_images(batch), self._run)
            except Exception as error:
                _fail(batch, error)
            else:
                _tell(batch, predictions, started)

    async def _work(self) -> None:
        while self._waiting:
            await self._gather()
            share = -(-self._num_waiting() // (self._lanes - self._running))
            if batch := self._next(min(self._size, share)):
                await self._answer(batch)

    async def _gather(self) -> None:
        """Wait for expected images while the batch has room and time is left."""
        if not (self._wait_s and self._coming):
            return
        try:
            async with asyncio.timeout(self._wait_s):
                while self._coming and self._num_waiting() < self._size:
                    self._came.clear()
                    await self._came.wait()
        except TimeoutError:
            return

    async def _answer(self, batch: list[_Waiting]) -> None:
        started = time.perf_counter()
        loop = asyncio.get_running_loop()
        is_alone = not (self._running or self._waiting) and len(batch) == 1
        run = self._run_alone if is_alone and self._run_alone is not None else self._run
        self._running += 1
        try:
            predictions = await loop.run_in_executor(self._threads, self._run_all, _images(batch), run)
        except Exception as error:
            _fail(batch, error)
        else:
            _tell(batch, predictions, started)
        finally:
            self._running -= 1

    def _num_waiting(self) -> int:
        return sum(len(item.images_NHWC) for item in self._waiting)

    def _next(self, most: int) -> list[_Waiting]:
        batch: list[_Waiting] = []
        num = 0
        while self._waiting and (not batch or num + len(self._waiting[0].images_NHWC) <= most):
            item = self._waiting.popleft()
            if not item.answer.done():
                batch.append(item)
                num += len(item.images_NHWC)
        return batch

    def _run_all(self, images_NHWC: Uint8Array, run: Callable[[Uint8Array], list[Prediction]]) -> list[Prediction]:
        predictions = []
        for first in range(0, len(images_NHWC), self._size):
            part = images_NHWC[first : first + self._size]
            predictions += run(part)
            self._observe(len(part))
        return predictions


def _images(batch: list[_Waiting]) -> Uint8Array:
    return batch[0].images_NHWC if len(batch) == 1 else np.concatenate([item.images_NHWC for item in batch])


def _tell(batch: list[_Waiting], predictions: list[Prediction], started: float) -> None:
    model_s = time.perf_counter() - started
    first = 0
    for item in batch:
        mine = predictions[first : first + len(item.images_NHWC)]
        first += len(item.images_NHWC)
        if item.answer.done():  # its request may have run out of time
            continue
        try:
            item.answer.set_result(Answered(mine, started - item.since, model_s))
        except Exception as error:  # the rest of the batch still needs its answers
            _fail([item], error)


def _fail(batch: list[_Waiting], error: Exception) -> None:
    for item in batch:
        if not item.answer.done():
            try:
                item.answer.set_exception(error)
            except Exception:
                _log.exception("An answer could not be delivered.")
