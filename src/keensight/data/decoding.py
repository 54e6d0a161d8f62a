"""Decoders: the threads of this process and, for many pictures, helper processes.

Threads alone wait for each other: Pillow releases Python's lock while it decodes, but takes it about ten times per
picture. Each process reads, decodes and writes by itself; its pipes carry only the pictures' numbers and the errors. It
is not a child of `multiprocessing`, which would run the user's own script again to find its functions.
"""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple, TextIO, TypeAlias

import numpy as np

from keensight.data.apart import ends_after, own_python, took_too_long
from keensight.data.in_time import DECODE_S, InTime
from keensight.data.pixels import decode_picture
from keensight.data.sources import Read, open_places
from keensight.data.stores import place_of
from keensight.errors import PictureError
from keensight.machine import cores, keep_memory
from keensight.values import DatasetKind, Part, Preprocessing, Sample, Uint8Array

MANY = 2000  # pictures for each helper process: starting it takes 0.2 s, as long as decoding 300
TOO_LONG = f"decoding it takes more than {DECODE_S:g} seconds; save it again, as a plain JPEG or PNG"


class Reason(NamedTuple):
    """Why a picture could not be read, and whether that may pass: a permission, a lack of memory, no verdict on it."""

    text: str
    passes: bool


Reasons: TypeAlias = dict[int, Reason]  # by the row of the picture
Decode: TypeAlias = Callable[[int, Sequence[Sample]], Reasons]
DecodeOne: TypeAlias = Callable[[bytes | Uint8Array, Preprocessing], Uint8Array]


@dataclass(frozen=True, slots=True)
class Target:
    """Where the pixels go: from byte `start` of `file` on, one picture after another."""

    file: Path
    start: int
    preprocessing: Preprocessing

    def write(self, first: int, samples: Sequence[Sample], read: Read, decode_one: DecodeOne) -> Reasons:
        """Decode pictures and write them as the rows from `first` on; those that cannot be read become black."""
        reasons = {}
        with open(self.file, "r+b") as file:
            file.seek(self._place(first))
            for row, sample in enumerate(samples, first):
                found = _decoded(sample, self.preprocessing, read, decode_one)
                if isinstance(found, Reason):
                    reasons[row] = found
                    found = self._black()
                # at once, while the processor's caches have it: 64 at a time took a tenth longer
                file.write(found.data)
        return reasons

    def blacken(self, first: int) -> None:
        """Write a black picture as the row `first`."""
        with open(self.file, "r+b") as file:
            file.seek(self._place(first))
            file.write(self._black().data)

    def _place(self, row: int) -> int:
        size = self.preprocessing
        return self.start + row * size.height * size.width * size.channels

    def _black(self) -> Uint8Array:
        return np.zeros((self.preprocessing.height, self.preprocessing.width, self.preprocessing.channels), np.uint8)


def _decoded(sample: Sample, preprocessing: Preprocessing, read: Read, decode_one: DecodeOne) -> Uint8Array | Reason:
    """Return a picture as it is wanted, or why it cannot be had."""
    try:
        picture = read(sample)
    except PictureError as error:  # it could be, when it was hashed
        return Reason(str(error), passes=True)
    try:
        found = np.ascontiguousarray(decode_one(picture, preprocessing))
    except PictureError as error:
        return Reason(str(error), _passes(error.__cause__))
    except MemoryError:
        return Reason("memory ran out while it was decoded", passes=True)
    assert found.shape == (preprocessing.height, preprocessing.width, preprocessing.channels), "or all rows would move"
    return found


def _passes(cause: BaseException | None) -> bool:
    # the system's errors have a number; Pillow raises OSError without one for a picture that is cut short
    return isinstance(cause, MemoryError | ImportError) or (isinstance(cause, OSError) and cause.errno is not None)


def by_turns(decoders: Sequence[Decode]) -> Decode:
    """Return a function for as many threads as there are decoders: each call uses a free one."""
    free: SimpleQueue[Decode] = SimpleQueue()
    for decoder in decoders:
        free.put(decoder)

    def decode(first: int, samples: Sequence[Sample]) -> Reasons:
        decoder = free.get()
        try:
            return decoder(first, samples)
        finally:
            free.put(decoder)

    return decode


@contextmanager
def decoders(
    count: int, kind: DatasetKind, root: Path | str, read: Read, target: Target, parts: Sequence[Part] = ()
) -> Iterator[list[Decode]]:
    """Yield a function for each core, for `count` pictures of a dataset; each may be used by one thread at a time.

    The helper processes end with the block, and also if this process is killed.
    """

    in_time = InTime()

    def here(first: int, samples: Sequence[Sample]) -> Reasons:
        return target.write(first, samples, read, in_time.decode)

    # arrays need hardly any decoding, and a program frozen into one file has no Python to start
    apart = 0 if kind == "arrays" or getattr(sys, "frozen", False) else min(cores() - 1, count // MANY)
    with ExitStack() as ends, in_time:
        helpers = [ends.enter_context(closing(Helper(kind, root, target, here, parts))) for _ in range(apart)]
        yield [*helpers, *[here] * (cores() - apart)]


class Helper:
    """A process that decodes; if it fails, its pictures are decoded here, except one that took too long."""

    def __init__(
        self, kind: DatasetKind, root: Path | str, target: Target, instead: Decode, parts: Sequence[Part] = ()
    ) -> None:
        self._instead = instead
        self._order = (kind, root, target, [(part.name, str(part.root), part.kind) for part in parts])
        self._process: subprocess.Popen[str] | None = None
        self._start()

    def _start(self) -> None:
        kind, root, target, parts = self._order
        with suppress(OSError):
            self._process = subprocess.Popen(  # noqa: S603  (this Python, with this program)
                own_python(__name__, "take_orders"),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                encoding="ascii",
                start_new_session=True,  # Ctrl-C reaches only this process, which ends the other
            )
            self._send(kind, str(root), parts, str(target.file), target.start, asdict(target.preprocessing))

    def __call__(self, first: int, samples: Sequence[Sample]) -> Reasons:
        """Let the process decode pictures. Raises OSError if they cannot be written."""
        if self._process is None or self._process.stdout is None:
            return self._instead(first, samples)
        try:
            self._send(first, [sample.path for sample in samples])
            code, reasons = json.loads(self._process.stdout.readline())
        except (OSError, ValueError):
            was_slow = took_too_long(self._process)
            self.close()
            if not was_slow:  # killed for memory perhaps
                return self._instead(first, samples)
            self._start()
            return self._without_the_slow(first, samples)
        if code:
            raise OSError(code, os.strerror(code))
        return {int(row): Reason(*reason) for row, reason in reasons.items()}

    def _without_the_slow(self, first: int, samples: Sequence[Sample]) -> Reasons:
        if len(samples) == 1:
            self._order[2].blacken(first)
            return {first: Reason(TOO_LONG, passes=True)}  # on a busy machine, perhaps
        half = len(samples) // 2
        return {**self(first, samples[:half]), **self(first + half, samples[half:])}

    def close(self) -> None:
        """End the process at once."""
        process, self._process = self._process, None
        if process is not None:
            with suppress(OSError), process:  # closes the pipes; the last output may be lost
                process.kill()

    def _send(self, *words: object) -> None:
        assert self._process is not None and self._process.stdin is not None
        self._process.stdin.write(json.dumps(words) + "\n")
        self._process.stdin.flush()


def _or_end(picture: bytes | Uint8Array, preprocessing: Preprocessing) -> Uint8Array:
    """Return what `decode_picture` does; one that takes too long ends this process."""
    with ends_after(DECODE_S):
        return decode_picture(picture, preprocessing)


def take_orders(orders: Iterator[str], answers: TextIO) -> None:
    """Run as the process of a Helper, until its orders end."""
    keep_memory()
    kind, root, places, file, start, size = json.loads(next(orders))
    parts = [Part(name, place_of(place), form) for name, place, form in places]
    target = Target(Path(file), start, Preprocessing(**size))
    with open_places(kind, place_of(root), parts) as read:
        for order in orders:
            first, names = json.loads(order)
            try:
                answer = (0, target.write(first, [Sample(name, 0, "") for name in names], read, _or_end))
            except OSError as error:
                answer = (error.errno or errno.EIO, {})
            answers.write(json.dumps(answer) + "\n")
            answers.flush()
