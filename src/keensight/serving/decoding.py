"""Processes that decode pictures which take long: the quicker ones first, each with a deadline."""

from __future__ import annotations

import math
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass, field

from keensight.data.apart import Apart, ApartError
from keensight.data.pixels import decode_picture
from keensight.errors import TooMuchWorkError
from keensight.machine import cores
from keensight.values import Preprocessing, Uint8Array

SMALL_WORK = 1_000_000  # pixels times passes: up to this, a thread of the server itself decodes, in 20 ms
DECODE_S = 10.0  # the most for one picture: 25 megapixels in ten scans take two
LARGE_WORK = 4_000_000  # pictures above this are decoded one at a time, for the memory and time that they take
WORK_A_SECOND = 30_000_000  # about
PATIENCE = 20  # seconds for which a picture lets later ones go first, for each second of its own work


@dataclass(slots=True, eq=False)
class Job:
    """A picture that waits for a process, and then for its pixels."""

    picture: bytes
    preprocessing: Preprocessing
    work: int
    until: float
    result: Future[Uint8Array] = field(default_factory=Future)
    came: float = field(default_factory=time.monotonic)
    apart: Apart | None = None

    @property
    def turn(self) -> float:
        """When it is due: the more work, the later. A picture that has waited long enough goes first."""
        return self.came + PATIENCE * self.work / WORK_A_SECOND


class Decoders:
    """One process for each core, two at least: they start with their first picture, and are replaced when they end."""

    def __init__(self, num_processes: int = 0, decode_s: float = DECODE_S) -> None:
        self._num = num_processes or max(2, cores())
        self._decode_s = decode_s
        self._waiting: list[Job] = []
        self._running: list[Job] = []
        self._changed = threading.Condition()
        self._threads: list[threading.Thread] = []
        self._is_closed = False

    def submit(self, picture: bytes, preprocessing: Preprocessing, work: int, until: float = math.inf) -> Job:
        """Have a picture decoded before the time `until`, by `time.monotonic`.

        Its result raises PictureError as `decode_picture` does, and TooMuchWorkError where it would take longer.
        """
        job = Job(picture, preprocessing, work, until)
        with self._changed:
            if self._is_closed:
                job.result.cancel()
                return job
            self._waiting.append(job)
            if len(self._threads) < min(self._num, len(self._waiting) + len(self._running)):
                thread = threading.Thread(target=self._work, name="decode apart", daemon=True)
                self._threads.append(thread)
                thread.start()
            self._changed.notify()
        return job

    def give_up(self, job: Job) -> None:
        """Stop decoding a picture: its client has left."""
        job.result.cancel()
        with self._changed:  # so that no other job begins with its process meanwhile
            if job.apart is not None and (job.result.cancelled() or not job.result.done()):
                job.apart.close()

    def close(self) -> None:
        """End all processes now, whatever they are doing."""
        with self._changed:
            self._is_closed = True
            jobs = [*self._waiting, *self._running]
            self._waiting.clear()
            self._changed.notify_all()
        for job in jobs:
            self.give_up(job)

    def _work(self) -> None:
        apart = Apart()
        while (job := self._next(apart)) is not None:
            try:
                if job.result.set_running_or_notify_cancel():
                    _finish(job, apart, self._decode_s)
            finally:
                with self._changed:
                    job.apart = None
                    self._running.remove(job)
                    self._changed.notify_all()
        apart.close()

    def _next(self, apart: Apart) -> Job | None:
        with self._changed:
            while not self._is_closed:
                has_large = any(job.work > LARGE_WORK for job in self._running)
                able = [job for job in self._waiting if not (has_large and job.work > LARGE_WORK)]
                if able:
                    job = min(able, key=lambda job: job.turn)
                    self._waiting.remove(job)
                    self._running.append(job)
                    job.apart = apart
                    return job
                self._changed.wait()
        return None


def _finish(job: Job, apart: Apart, decode_s: float) -> None:
    """Set a job's result."""
    seconds = min(decode_s, job.until - time.monotonic())
    try:
        if seconds <= 0:
            raise TooMuchWorkError("its turn to be decoded did not come in time; send it later")
        try:
            job.result.set_result(apart.decode(job.picture, job.preprocessing, seconds))
        except ApartError:
            job.result.set_result(decode_picture(job.picture, job.preprocessing))
    except Exception as error:
        job.result.set_exception(error)
