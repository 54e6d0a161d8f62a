"""Decodes pictures, each within a time: here where their work is known to be little, and else in other processes.

A server has an order of its own for the pictures that wait (`serving/decoding.py`), and thousands of pictures have
helpers (`decoding.py`). This is for all the rest: predicting, explaining, few pictures to learn from.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import TypeVar

from keensight.data.apart import Apart, ApartError
from keensight.data.pixels import decode_and_compare, decode_if_quick, decode_picture, level_range, read_header
from keensight.errors import PictureError
from keensight.values import Preprocessing, Uint8Array

HERE_WORK = 100_000_000  # pixels times passes: up to this it takes a second or two, and to start a process takes 0.2
DECODE_S = 60.0  # for one picture; the slowest that are accepted take ten seconds
Answer = TypeVar("Answer")


class InTime:
    """Decodes for the threads of one piece of work; each may have a process, all of which end with the block."""

    def __init__(self, seconds: float = DECODE_S, here_work: int = HERE_WORK) -> None:
        self._seconds, self._here_work = seconds, here_work
        self._lock = threading.Lock()
        self._free: list[Apart] = []
        self._busy: list[Apart] = []
        self._is_over = False

    def __enter__(self) -> InTime:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        with self._lock:
            self._is_over = True
            for apart in (*self._free, *self._busy):
                apart.close()

    def decode(self, picture: bytes | Uint8Array, preprocessing: Preprocessing) -> Uint8Array:
        """Return what `decode_picture` does.

        Raises PictureError as it does, TooMuchWorkError where it takes too long; its cause is as `Apart.decode` says.
        """
        if not isinstance(picture, bytes):
            return decode_picture(picture, preprocessing)
        here = decode_if_quick(picture, preprocessing, self._here_work)
        if here is not None:
            return here
        return self._apart(
            lambda apart: apart.decode(picture, preprocessing, self._seconds),
            lambda: decode_picture(picture, preprocessing),
        )

    def decode_and_compare(self, picture: bytes | Uint8Array, preprocessing: Preprocessing) -> tuple[Uint8Array, bool]:
        """Return what `decode` does, and whether a quick picture shows something else where pixels are not averaged."""
        here = decode_and_compare(picture, preprocessing, self._here_work) if isinstance(picture, bytes) else None
        return here or (self.decode(picture, preprocessing), False)

    def level_range(self, picture: bytes) -> tuple[float, float]:
        """Return what `level_range` does, and raise as `decode`."""
        header = read_header(picture)
        if header.is_bounded and header.work <= self._here_work:
            return level_range(picture)
        return self._apart(lambda apart: apart.level_range(picture, self._seconds), lambda: level_range(picture))

    def _apart(self, there: Callable[[Apart], Answer], here: Callable[[], Answer]) -> Answer:
        with self._lock:
            if self._is_over:  # it was interrupted
                raise PictureError("it was not decoded")
            apart = self._free.pop() if self._free else Apart()
            self._busy.append(apart)
        try:
            return there(apart)
        except ApartError:
            return here()
        finally:
            with self._lock:
                self._busy.remove(apart)
                self._free.append(apart)
                if self._is_over:
                    apart.close()
