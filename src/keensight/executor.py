"""Maps a function over many items in parallel: the only way in which work is spread over cores.

A caller uses an `Executor` and does not know how it works. Here it has threads: NumPy, Pillow, torch and ONNX Runtime
release Python's lock while they work. Where that is not enough, as for decoding, each thread passes its work to a
process (`data/decoding.py`). The server's pools are separate: they answer single requests, which wait in asyncio.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from types import TracebackType
from typing import Protocol, TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class Executor(Protocol):
    """Maps a function over items in parallel."""

    def map(self, function: Callable[[Item], Answer], items: Iterable[Item]) -> Iterator[Answer]:
        """Yield `function` of each of `items`, in order.

        An error of the function is raised in place of its result. The remaining items are skipped after an error, and
        when the caller stops iterating (Ctrl-C).
        """


class Threads:
    """An executor with `count` threads of this process, for the length of a ``with`` block.

    Each thread calls `prepare` first, if there is one. At most twice as many items as threads are under way, so that
    neither a long list of items nor its answers fill the memory.

    >>> with Threads(2) as threads:
    ...     list(threads.map(abs, range(-3, 0)))
    [3, 2, 1]
    """

    def __init__(self, count: int, prepare: Callable[[], object] | None = None) -> None:
        self._count = count
        self._pool = ThreadPoolExecutor(count, initializer=prepare)

    def __enter__(self) -> Threads:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._pool.shutdown(cancel_futures=True)

    def map(self, function: Callable[[Item], Answer], items: Iterable[Item]) -> Iterator[Answer]:
        """Yield `function` of each of `items`, in order; see `Executor.map`."""
        remaining = iter(items)
        under_way: deque[Future[Answer]] = deque()
        try:
            while True:
                for item in islice(remaining, 2 * self._count - len(under_way)):
                    under_way.append(self._pool.submit(function, item))
                if not under_way:
                    return
                yield under_way.popleft().result()
        finally:
            for future in under_way:
                future.cancel()
