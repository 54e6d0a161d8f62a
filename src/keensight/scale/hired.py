"""Workers that answer orders as actors of a Ray cluster: what `pipeline/workers.py` has on one machine. No torch here.

Each actor has one order at a time, so a slow machine holds nobody up and no more is under way than can be worked on. An
actor that is lost is replaced as soon as the cluster has a processor for another, and its order is given to the next
one that is free. Ray's own ActorPool takes a dead actor for one that is free, and forgets its order.
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import ExitStack
from functools import partial
from types import TracebackType
from typing import Any

from keensight.errors import KeensightError, RunError
from keensight.pipeline.workers import ATTEMPTS, Hire, Json, Recipe, Work
from keensight.scale.cluster import (
    LostError,
    about_here,
    answer_of,
    check_versions,
    connected,
    hire,
    processors,
    stop,
    wait_for_processors,
)

LOOK_S = 2.0  # after which it is seen whether the cluster has more processors


def hire_on(cluster: str, same: Collection[str], note: Callable[[str], None]) -> Hire:
    """Return what hires workers of the cluster at an address, for a ``with`` block; `note` is told of those lost.

    `same` names the packages whose versions must be those that are here. See `connected` and `Actors` for the errors.
    """
    return partial(Actors, cluster=cluster, same=same, note=note)


class Worker:
    """One worker, in a process of Ray's."""

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = Recipe(*recipe)
        self._work: Work | None = None

    def about(self) -> dict[str, Any]:
        """Return the versions here."""
        return about_here()

    def ask(self, order: Json) -> Json:
        """Return the answer to an order. Raises KeensightError with the machine's name where it cannot begin."""
        try:
            self._work = self._work or self._recipe.make()
        except KeensightError as error:
            told = KeensightError(f"The machine {socket.gethostname()} cannot begin. {error}")
            told.exit_status = error.exit_status
            raise told from None
        return self._work(order)


class Actors:
    """Up to `count` actors on a cluster, as `Workers`.

    Raises:
        RunError: nobody answers at the address, versions differ, an order's workers are lost again and again.
        KeensightError: what a worker raised.
    """

    def __init__(
        self, count: int, recipe: Recipe, cluster: str, same: Collection[str], note: Callable[[str], None]
    ) -> None:
        self._count, self._recipe, self._same, self._note = count, recipe, same, note
        self._stack = ExitStack()
        self._ray = self._stack.enter_context(connected(cluster, count, "--cluster"))
        self._starting: dict[Any, Any] = {}  # what an actor will say of itself, to the actor
        self._busy: dict[Any, tuple[Any, Json]] = {}  # an answer to come, to the actor and its order
        self._free: deque[Any] = deque()

    def __enter__(self) -> Actors:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        for actor in [*self._starting.values(), *(actor for actor, _ in self._busy.values()), *self._free]:
            stop(self._ray, actor)
        self._stack.close()

    def map(self, orders: Iterable[Json]) -> Iterator[Json]:
        """Yield the answer to each order; see `Workers.map`."""
        left, again, losses = iter(orders), deque[Json](), dict[str, int]()
        is_over = False
        while True:
            while self._free and not is_over:
                try:
                    order = again.popleft() if again else next(left)
                except StopIteration:
                    is_over = True
                    break
                actor = self._free.popleft()
                self._busy[actor.ask.remote(order)] = (actor, order)
            if is_over and not self._busy:
                return
            self._hire()
            ready, _ = self._ray.wait([*self._busy, *self._starting], num_returns=1, timeout=LOOK_S)
            for ref in ready:
                if ref in self._starting:
                    self._welcome(ref)
                    continue
                actor, order = self._busy.pop(ref)
                try:
                    answer = answer_of(self._ray, ref)
                except LostError as error:
                    stop(self._ray, actor)
                    self._count_loss(losses, order, error)
                    again.append(order)
                    is_over = False
                    continue
                except BaseException:
                    self._free.append(actor)  # to be stopped with the others
                    raise
                self._free.append(actor)
                yield answer

    def _hire(self) -> None:
        """Start as many actors as are missing and the cluster has processors for."""
        there = len(self._starting) + len(self._busy) + len(self._free)
        found = processors(self._ray)
        if not found and there == len(self._starting):
            _, found = wait_for_processors(self._ray, self._note)
        for _ in range(min(self._count, found) - there):
            actor = hire(self._ray, Worker, tuple(self._recipe))
            self._starting[actor.about.remote()] = actor

    def _welcome(self, ref: Any) -> None:
        """Take an actor that has started, if its versions are those of here."""
        actor = self._starting.pop(ref)
        try:
            known = answer_of(self._ray, ref)
        except LostError:
            stop(self._ray, actor)  # another will be hired
            return
        except BaseException:
            stop(self._ray, actor)
            raise
        self._free.append(actor)
        check_versions([known], self._same)

    def _count_loss(self, losses: dict[str, int], order: Json, error: LostError) -> None:
        """Tell of a lost worker. Raises RunError where its order is hopeless."""
        losses[repr(order)] = losses.get(repr(order), 0) + 1
        if losses[repr(order)] == ATTEMPTS:
            raise RunError(
                f"Workers were lost {ATTEMPTS} times at {order!r:.200}, the last time with: {error}. Most often memory "
                "ran out: try fewer workers. What is done is kept; the same command goes on."
            ) from error
        self._note(f"A worker is lost ({error}); another one does its work.")
