"""Training on a cluster of Ray's: the same generator of epochs as `fit`, with workers in processes anywhere.

Ray starts the workers, carries pictures and checkpoints, and notices who is gone. A worker that is lost takes its team
with it; all are stopped, and as many as the cluster now has room for go on from the last checkpoint. Since the bits do
not depend on how many there are, nothing else needs to be said. The state is here, in the process that was started:
workers keep no files, so nothing has to be shared between machines.

These are Ray's actors. Ray Train's own controller took 15 to 25 s to start, made every checkpoint wait for its poll,
and kept a failed team's processors until its process ended.
"""

from __future__ import annotations

import queue
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from keensight.errors import RunError
from keensight.machine import keep_memory
from keensight.models.features import OnProgress
from keensight.scale.cluster import (
    SAME_TO_TRAIN,
    START_S,
    LostError,
    about_here,
    answer_of,
    check_versions,
    connected,
    free_processors,
    hire,
    processors,
    stop,
    wait_for_processors,
)
from keensight.scale.gathered import Gathered, joined
from keensight.training.checkpoint import bytes_of, load_state_bytes
from keensight.training.loop import OnStep, Pauses, State, start
from keensight.training.trainers import fit_any, fresh
from keensight.values import Epoch, Recipe, Split, Splits

LOOK_S = 1.0  # between two looks at how many processors the cluster still has
SETTLE_S = 2.0  # after a loss, before the cluster is looked at again
ATTEMPTS = 8  # in a row that end before a checkpoint
STEPS_S = 0.5  # between two words about progress


@dataclass(frozen=True, slots=True)
class Work:
    """What all workers need to know: the same for every attempt."""

    splits: Splits
    recipe: Recipe
    every_s: float | None
    fast: bool


def fit_on_ray(
    state: State,
    splits: Splits,
    recipe: Recipe,
    on_step: OnStep,
    on_progress: OnProgress,
    *,
    pauses: Pauses | None,
    workers: int,
    cluster: str | None = None,
    fast: bool = False,
    note: Callable[[str], None] = lambda text: None,
) -> Iterator[Epoch]:
    """Train with `workers` processes of the cluster at an address, or of this machine, with the interface of `fit`.

    Where the cluster has fewer processors, or loses some, fewer workers do it; more, when there are more again, from
    the next checkpoint on. `note` is told. With `fast`, see `Gathered`.

    Raises:
        UsageError: Ray is not installed.
        RunError: nobody answers at the address, versions differ, or workers fail again and again.
        KeensightError: what a worker raised.
    """
    with connected(cluster, workers) as ray:
        work = ray.put(Work(_without_test(splits), recipe, pauses.every_s if pauses else None, fast))
        failures, before = 0, 0
        while not _is_over(state):
            kept, crew = False, None
            try:
                crew = Crew(ray, workers, note)
                if crew.size != before and (before or crew.size < workers):
                    note(f"Of the {workers} workers asked for, {crew.size} can train now.")
                before = crew.size
                for kind, *told in crew.train(work, bytes_of(state)):
                    if kind == "step":
                        on_step(*told)
                    elif kind == "features":
                        on_progress(*told)
                    else:
                        load_state_bytes(told[0], state)
                        kept = True
                        if kind == "epoch":
                            yield state.history[-1]
                        elif pauses:
                            pauses.keep()
                        if crew.size < workers and free_processors(ray, crew.kind) and not _is_over(state):
                            break  # more workers take over from this checkpoint
            except LostError as error:
                failures = 1 if kept else failures + 1
                note(f"A worker is lost ({error}). Going on from the last checkpoint.")
                if failures == ATTEMPTS:
                    raise RunError(
                        f"The workers were lost {ATTEMPTS} times in a row before a checkpoint, the last time with: "
                        f"{error}. Mend the cluster, then go on with --resume; --checkpoint-every 1m loses less."
                    ) from error
                time.sleep(SETTLE_S)
            finally:
                if crew:
                    crew.dismiss()


class Crew:
    """The workers of one attempt, in their processes."""

    def __init__(self, ray: Any, most: int, note: Callable[[str], None]) -> None:
        self._ray = ray
        self.kind, count = wait_for_processors(ray, note)
        actors = [hire(ray, Worker, kind=self.kind) for _ in range(min(most, count))]
        try:
            self._actors, known = self._present(actors)
            check_versions(known, SAME_TO_TRAIN)
        except BaseException:
            self._actors = actors
            self.dismiss()
            raise
        for actor in set(actors) - set(self._actors):
            stop(ray, actor)
        self.size = len(self._actors)
        self._address = known[0]["address"]

    def train(self, work: Any, content: bytes) -> Iterator[tuple[Any, ...]]:
        """Yield what the first worker tells, to the end. Raises LostError where the team falls apart."""
        first, *others = self._actors
        stream = first.lead.remote(self.size, self._address, work, content)
        waiting = [actor.follow.remote(i, self.size, self._address, work, content) for i, actor in enumerate(others, 1)]
        while True:
            ready, _ = self._ray.wait([stream, *waiting], timeout=None)
            for each in ready:
                if each is not stream:
                    answer_of(self._ray, each)
                    waiting.remove(each)
                    continue
                try:
                    ref = next(stream)
                except StopIteration:
                    return
                yield answer_of(self._ray, ref)

    def dismiss(self) -> None:
        """Stop all workers."""
        for actor in self._actors:
            stop(self._ray, actor)

    def _present(self, actors: list[Any]) -> tuple[list[Any], list[dict[str, Any]]]:
        """Return the workers that started, and what they say of themselves.

        Those of a machine that is lost meanwhile are not waited for: Ray would start them when there is another.
        """
        refs = {actor.about.remote(): actor for actor in actors}
        ready: list[Any] = []
        begin = time.monotonic()
        while len(ready) < min(len(refs), processors(self._ray, self.kind)) and time.monotonic() - begin < START_S:
            ready, _ = self._ray.wait(list(refs), num_returns=len(refs), timeout=LOOK_S)
        present, known = [], []
        for ref in ready:
            try:
                known.append(answer_of(self._ray, ref))
                present.append(refs[ref])
            except LostError as error:
                lost = error
        if not present:
            raise lost if ready else LostError(f"no worker started within {START_S:g} s")
        return present, known


class Worker:
    """One worker, in a process of Ray's."""

    def about(self) -> dict[str, Any]:
        """Return the versions here, and an address at which others can meet this worker."""
        known = about_here()
        with socket.socket() as probe:
            probe.bind((known["host"], 0))
            port = probe.getsockname()[1]
        return {**known, "address": f"{known['host']}:{port}"}

    def lead(self, size: int, address: str, work: Work, content: bytes) -> Iterator[tuple[Any, ...]]:
        """Train as the first of a team; yield progress, and the state at each checkpoint."""
        told: queue.Queue[tuple[Any, ...] | None] = queue.Queue()
        failed: list[BaseException] = []
        last = 0.0

        def now(kind: str, done: int, total: int) -> None:
            nonlocal last
            if done == total or time.monotonic() - last > STEPS_S:
                last = time.monotonic()
                told.put((kind, done, total))

        def run() -> None:
            try:
                _train(0, size, address, work, content, now, told.put)
            except BaseException as error:  # it is raised again, where Ray sees it
                failed.append(error)
            told.put(None)

        threading.Thread(target=run, daemon=True).start()
        while (each := told.get()) is not None:
            yield each
        if failed:
            raise failed[0]

    def follow(self, rank: int, size: int, address: str, work: Work, content: bytes) -> None:
        """Train as another of the team."""
        _train(rank, size, address, work, content, lambda *_: None, lambda _: None)


def _train(
    rank: int,
    size: int,
    address: str,
    work: Work,
    content: bytes,
    now: Callable[[str, int, int], None],
    tell: Callable[[tuple[Any, ...]], None],
) -> None:
    keep_memory()  # as the command line does
    splits, recipe = work.splits, work.recipe
    model = fresh(recipe.having(weights=""), splits.preprocessing, splits.class_names)
    state = start(model, splits, recipe)
    load_state_bytes(content, state)
    pauses = None if work.every_s is None else Pauses(work.every_s, lambda: tell(("kept", bytes_of(state))))
    with joined(rank, size, address):
        epochs = fit_any(
            state, splits, recipe,
            lambda done, total: now("step", done, total), lambda done, total: now("features", done, total),
            team=Gathered(work.fast), pauses=pauses,
        )  # fmt: skip
        for _ in epochs:
            tell(("epoch", bytes_of(state)))


def _without_test(splits: Splits) -> Splits:
    """Return the splits without what training does not need: test pictures, names, and a file behind an array."""

    def bare(split: Split) -> Split:
        images = split.gather() if isinstance(split.images, np.ndarray) else split.images
        rows = np.arange(len(split)) if isinstance(split.images, np.ndarray) else split.rows
        return Split(images, rows, split.labels, ("",) * len(split), split.units)

    return replace(splits, train=bare(splits.train), val=bare(splits.val), test=None, findings=())


def _is_over(state: State) -> bool:
    return bool(state.history and state.history[-1].stopped)
