"""A download: http and https alone, no longer and no larger than was said, with a bar on a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from keensight.errors import KeensightError

if TYPE_CHECKING:
    from urllib.request import OpenerDirector

TIMEOUT_S = 20.0  # for each read
DEADLINE_S = 600.0  # for all that one command downloads


def receive(url: str, write: Callable[[bytes], Any], most: int, deadline: float) -> str | None:
    """Download a URL piece by piece, at most `most` bytes, until `deadline` of `time.monotonic`.

    Returns None, or what went wrong. Raises KeensightError where `write` cannot write.
    """
    from http.client import HTTPException  # with urllib.request 10 ms, which pictures that are here need not wait for
    from urllib.error import HTTPError

    try:
        with _opener().open(url, timeout=TIMEOUT_S) as response:
            expected = int(response.headers.get("Content-Length") or -1)
            if expected > most:
                return f"it sends {expected:,} bytes, and at most {most:,} are accepted"
            received = 0
            with _progress(url, expected) as advance:
                # read1 returns after one packet, so that a mirror that sends single bytes hits the deadline
                while block := response.read1(2**16):
                    received += len(block)
                    if received > most:
                        return f"it sends more than the {most:,} bytes that are accepted"
                    if time.monotonic() > deadline:
                        return f"it took longer than {DEADLINE_S / 60:g} minutes"
                    try:
                        write(block)
                    except OSError as error:
                        raise KeensightError(
                            f"The download of {url} cannot be written: {(error.strerror or str(error)).lower()}. Free "
                            "some space, or set KEENSIGHT_CACHE to a folder on another disk."
                        ) from error
                    advance(len(block))
    except HTTPError as error:
        error.close()
        return f"HTTP status {error.code}"
    except (OSError, HTTPException, ValueError) as error:  # URLError and timeouts are OSErrors
        reason = getattr(error, "reason", None) or error
        return str(getattr(reason, "strerror", None) or reason).lower() or type(error).__name__
    if 0 <= expected != received:
        return f"cut short: {received:,} of {expected:,} bytes"
    return None


def _opener() -> OpenerDirector:
    """Return an opener that knows http and https only, also after a redirect: no files, no ftp."""
    import urllib.request

    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPRedirectHandler,
        urllib.request.HTTPErrorProcessor,
        urllib.request.UnknownHandler,
    ):
        opener.add_handler(handler())
    opener.addheaders = [("User-Agent", "keensight")]
    return opener


def _progress(url: str, total: int) -> AbstractContextManager[Callable[[int], None]]:
    if not sys.stderr.isatty():
        return nullcontext(lambda _: None)
    return _progress_bar(url, total)


@contextmanager
def _progress_bar(url: str, total: int) -> Iterator[Callable[[int], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(url.rpartition("/")[2], total=total if total >= 0 else None)
        yield lambda num_bytes: bar.advance(task, num_bytes)
