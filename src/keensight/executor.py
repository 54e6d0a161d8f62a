"""One function over many items, side by side: the only way in which work is spread over cores.

Whoever has items to work through asks an `Executor` and does not know what is behind it. Here it is threads: NumPy,
Pillow, torch and ONNX Runtime let go of Python's lock while they work. Where that is not enough, as for decoding, a
thread has a process of its own to ask (`data/decoding.py`). A server's pools are something else: they answer one
request at a time, which waits in asyncio.
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
    """What works through items side by side."""

    def map(self, function: Callable[[Item], Answer], items: Iterable[Item]) -> Iterator[Answer]:
        """Yield what `function` answers for each of `items`, in order.

        An error of the function is raised where its answer would come. Items that nobody waits for any more are left
        out: after an error, and where the caller stops asking (Ctrl-C).
        """


class Threads:
    """An executor of `count` threads of this process, from ``with`` on until its block ends.

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
        """Yield what `function` answers for each of `items`, in order; see `Executor.map`."""
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
