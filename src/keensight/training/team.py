"""The workers that train one network together, as the loop sees them: whose turn is what, and sums over all.

A batch is cut into pieces. Each worker has some neighbouring ones, and adds their sums along one binary tree of pieces
that is the same however many workers there are. Sums of floats depend on their order, and so the order never changes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeVar

import torch

Sum = TypeVar("Sum")
Node = tuple[int, int]  # of the tree: the first of its pieces, and the first that is no longer one of them


class Team(Protocol):
    """Some workers, of which this is the one with the number `rank` of `size`."""

    @property
    def rank(self) -> int:
        """The number of this worker, from 0."""

    @property
    def size(self) -> int:
        """The number of workers."""

    def total(self, sums: Sequence[Sequence[torch.Tensor]], count: int) -> Sequence[torch.Tensor]:
        """Return the sum over all `count` pieces, with the same bits for each worker.

        `sums` are this worker's, one for each of its `whole_nodes`: tensors of the same shapes in all of them.
        """

    def gather(self, own: torch.Tensor) -> torch.Tensor:
        """Return what all workers give, one after the other in their order, joined along the first dimension.

        The first dimension may differ from worker to worker, and be 0; all others are the same.
        """


class Alone:
    """A team of one."""

    rank, size = 0, 1

    def total(self, sums: Sequence[Sequence[torch.Tensor]], count: int) -> Sequence[torch.Tensor]:
        """Return the only sum; see `Team.total`."""
        (only,) = sums
        return only

    def gather(self, own: torch.Tensor) -> torch.Tensor:
        """Return what it is given; see `Team.gather`."""
        return own


ALONE = Alone()


def share(count: int, rank: int, size: int) -> range:
    """Return which of `count` things a worker has: neighbours, as many as the others have, or one more.

    >>> [share(5, rank, 3) for rank in range(3)]
    [range(0, 2), range(2, 4), range(4, 5)]
    """
    least, more = divmod(count, size)
    first = rank * least + min(rank, more)
    return range(first, first + least + (rank < more))


def whole_nodes(own: range, count: int) -> list[Node]:
    """Return the largest nodes of the tree over `count` pieces that lie in a worker's own pieces.

    >>> whole_nodes(range(0, 3), 4), whole_nodes(range(0, 4), 4)
    ([(0, 2), (2, 3)], [(0, 4)])
    """

    def walk(first: int, end: int) -> list[Node]:
        if end <= own.start or own.stop <= first:
            return []
        if own.start <= first and end <= own.stop:
            return [(first, end)]
        return walk(first, _middle(first, end)) + walk(_middle(first, end), end)

    return walk(0, count)


def add_up(node: Node, known: Mapping[Node, Sum], add: Callable[[Sum, Sum], Sum]) -> Sum:
    """Return a node's sum, from those of `known` nodes below it, added along the tree.

    >>> add_up((0, 3), {(0, 1): "a", (1, 2): "b", (2, 3): "c"}, lambda one, other: f"({one}{other})")
    '((ab)c)'
    """
    if node in known:
        return known[node]
    first, end = node
    middle = _middle(first, end)
    return add(add_up((first, middle), known, add), add_up((middle, end), known, add))


def _middle(first: int, end: int) -> int:
    return first + (end - first + 1) // 2
