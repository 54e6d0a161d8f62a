"""A process that decodes pictures for this one, and that the kernel ends when one takes too long.

A decoder is C code that no exception stops: a thread in one cannot be ended, a process can.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from typing import BinaryIO

import numpy as np

from keensight.data.pixels import decode_picture, level_range
from keensight.errors import PictureError, TooMuchWorkError
from keensight.machine import RARELY, bound_memory
from keensight.values import Preprocessing, Uint8Array

# A picture of 25 megapixels takes 100 MB, of 100 megapixels 400 MB, and some steps hold three copies. What asks for
# more is refused by this process, before the kernel ends another one for it.
MOST_BYTES = 2**31
TIME_IS_UP = 124  # a process's status, where the kernel sends no signal for that


class ApartError(Exception):
    """No process can be started."""


def own_python(module: str, function: str) -> list[str]:
    """Return the command that calls a function of this program in a Python beside it, with standard input and output.

    It is isolated, so that nothing in the folder where it starts is imported; then it gets this process's own path. It
    looks for garbage as rarely as the command line does.
    """
    call = (
        f"import gc, sys; gc.set_threshold({RARELY}); sys.path[:] = sys.argv[1:]; from {module} import {function}; "
        f"{function}(sys.stdin, sys.stdout)"
    )
    return [sys.executable, "-I", "-c", call, *map(str, sys.path)]


@contextmanager
def ends_after(seconds: float) -> Iterator[None]:
    """Have the kernel end this process if the block takes longer; on Windows a thread of its own does."""
    if not hasattr(signal, "setitimer"):
        timer = threading.Timer(seconds, os._exit, (TIME_IS_UP,))
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
        return
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # whatever was inherited
    signal.setitimer(signal.ITIMER_REAL, max(0.001, seconds))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def took_too_long(process: subprocess.Popen[bytes] | subprocess.Popen[str]) -> bool:
    """Say whether a process that has gone was ended by `ends_after`."""
    with suppress(subprocess.TimeoutExpired):
        return process.wait(10) in (TIME_IS_UP, -getattr(signal, "SIGALRM", -TIME_IS_UP))
    return False


class Apart:
    """A process that decodes one picture at a time. It starts with the first, and again after one that ended it."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def decode(self, picture: bytes, preprocessing: Preprocessing, seconds: float) -> Uint8Array:
        """Return what `decode_picture` does.

        Raises PictureError as it does, and if the process ends with it; TooMuchWorkError when the time is up;
        ApartError if no process can be started. The cause of what may pass is an OSError with a number, or MemoryError.
        """
        shape = (preprocessing.height, preprocessing.width, preprocessing.channels)
        return np.frombuffer(self._ask(picture, preprocessing, seconds), np.uint8).reshape(shape)

    def level_range(self, picture: bytes, seconds: float) -> tuple[float, float]:
        """Return what `level_range` does. Raises as `decode`."""
        low, high = json.loads(self._ask(picture, None, seconds))
        return low, high

    def _ask(self, picture: bytes, preprocessing: Preprocessing | None, seconds: float) -> bytes:
        process = self._started()
        assert process.stdin is not None and process.stdout is not None
        try:
            size = None if preprocessing is None else asdict(preprocessing)
            process.stdin.write(json.dumps([len(picture), seconds, size]).encode() + b"\n")
            process.stdin.write(picture)
            process.stdin.flush()
            reason, is_short, num_bytes = json.loads(process.stdout.readline())
            answer = process.stdout.read(num_bytes)
            if len(answer) != num_bytes:
                raise OSError("it was ended while it answered")
        except (OSError, ValueError):
            slow = took_too_long(process)
            self.close()
            if slow:
                raise TooMuchWorkError(
                    f"decoding it takes more than {seconds:.3g} seconds; save it again, as a plain JPEG or PNG"
                ) from TimeoutError(errno.ETIMEDOUT, "too slow")
            raise PictureError("the process that decoded it has ended; save it again") from ChildProcessError(
                errno.ECHILD, "ended"
            )
        if reason is not None:
            raise PictureError(reason) from (MemoryError() if is_short else None)
        return answer

    def close(self) -> None:
        """End the process, whatever it is doing; from any thread."""
        process = self._process
        if process is not None:
            with suppress(OSError):
                process.kill()

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is None:
            return self._process
        self._forget()
        if getattr(sys, "frozen", False):
            raise ApartError("this program was made into one file, so there is no Python to start")
        try:
            self._process = subprocess.Popen(  # noqa: S603  (this Python, with this program)
                own_python(__name__, "decode_for_another"),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for this process, which closes that one
            )
        except OSError as error:
            raise ApartError(str(error)) from error
        return self._process

    def _forget(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            with suppress(OSError), process:  # which closes the pipes, and waits
                process.kill()

    def __del__(self) -> None:
        self._forget()


def decode_for_another(orders: object, answers: object) -> None:
    """Be the process behind an Apart, until its orders end."""
    reader: BinaryIO = orders.buffer  # type: ignore[attr-defined]
    writer: BinaryIO = answers.buffer  # type: ignore[attr-defined]
    with suppress(OSError, AttributeError):
        os.nice(5)  # what answers comes before what decodes
    bound_memory(MOST_BYTES)
    while line := reader.readline():
        length, seconds, size = json.loads(line)
        picture = reader.read(length)
        if len(picture) != length:
            return
        reason, is_short, answer = None, False, b""
        with ends_after(seconds):
            try:
                if size is None:
                    answer = json.dumps(level_range(picture)).encode()
                else:
                    answer = decode_picture(picture, Preprocessing(**size)).tobytes()
            except PictureError as error:
                reason, is_short = str(error), isinstance(error.__cause__, MemoryError)
            except MemoryError:
                reason, is_short = "there is not enough memory to decode it", True
        writer.write(json.dumps([reason, is_short, len(answer)]).encode() + b"\n" + answer)
        writer.flush()
