"""Training on a cluster of Ray's: the same generator of epochs as `fit`, with workers in processes anywhere.

Ray starts the workers, carries pictures and checkpoints, and notices who is gone. A worker that is lost takes its team
with it; all are stopped, and as many as the cluster now has room for go on from the last checkpoint. Since the bits do
not depend on how many there are, nothing else needs to be said. The state is here, in the process that was started:
workers keep no files, so nothing has to be shared between machines.

These are Ray's actors. Ray Train's own controller took 15 to 25 s to start, made every checkpoint wait for its poll,
and kept a failed team's processors until its process ended.

This is the only file that imports Ray.
"""

from __future__ import annotations

import contextlib
import os
import platform
import queue
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from keensight.errors import KeensightError, RunError, UsageError
from keensight.models.features import OnProgress
from keensight.scale.gathered import Gathered, joined
from keensight.training.checkpoint import bytes_of, load_state_bytes
from keensight.training.loop import OnStep, Pauses, State, start
from keensight.training.trainers import fit_any, fresh
from keensight.values import Epoch, Recipe, Split, Splits
from keensight.version import __version__

ANSWERS_S = 5.0  # within which a cluster's address answers
START_S = 60.0  # for a worker to start: importing torch takes seconds
WAIT_S = 300.0  # for processors to come back, before all ends
SETTLE_S = 2.0  # after a loss, before the cluster is looked at again
ATTEMPTS = 8  # in a row that end before a checkpoint
STEPS_S = 0.5  # between two words about progress


class LostError(Exception):
    """A worker is gone, or its team fell apart: the others cannot go on without it."""


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
    with _connected(cluster, workers) as ray:
        work = ray.put(Work(_without_test(splits), recipe, pauses.every_s if pauses else None, fast))
        failures, before = 0, 0
        while not _is_over(state):
            kept = False
            crew = Crew(ray, workers, note)
            try:
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
                        if crew.size < min(workers, _processors(ray)) and not _is_over(state):
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
                crew.dismiss()


class Crew:
    """The workers of one attempt, in their processes."""

    def __init__(self, ray: Any, most: int, note: Callable[[str], None]) -> None:
        self._ray = ray
        kind, count = _wait_for_processors(ray, note)
        options = {"num_cpus": 1, "num_gpus": 1 if kind == "GPU" else 0, "scheduling_strategy": "SPREAD"}
        actors = [ray.remote(Worker).options(**options).remote() for _ in range(min(most, count))]
        try:
            self._actors, known = self._present(actors)
            _check_versions(known)
        except BaseException:
            self._actors = actors
            self.dismiss()
            raise
        for actor in set(actors) - set(self._actors):
            ray.kill(actor)
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
                    self._get(each)
                    waiting.remove(each)
                    continue
                try:
                    ref = next(stream)
                except StopIteration:
                    return
                yield self._get(ref)

    def dismiss(self) -> None:
        """Stop all workers."""
        for actor in self._actors:
            with contextlib.suppress(Exception):
                self._ray.kill(actor)

    def _present(self, actors: list[Any]) -> tuple[list[Any], list[dict[str, Any]]]:
        """Return the workers that started, and what they say of themselves."""
        refs = {actor.about.remote(): actor for actor in actors}
        ready, _ = self._ray.wait(list(refs), num_returns=len(refs), timeout=START_S)
        present, known = [], []
        for ref in ready:
            try:
                known.append(self._get(ref))
                present.append(refs[ref])
            except LostError as error:
                lost = error
        if not present:
            raise lost if ready else LostError(f"no worker started within {START_S:g} s")
        return present, known

    def _get(self, ref: Any) -> Any:
        """Return a worker's answer. Raises what keensight raised there, and LostError for all else."""
        errors = self._ray.exceptions
        try:
            return self._ray.get(ref)
        except errors.RayTaskError as error:
            cause = error.cause
            if isinstance(cause, KeensightError):
                raise cause from None
            if isinstance(cause, ModuleNotFoundError):
                raise RunError(f"A worker lacks a package: {cause}. Install the same on each machine.") from None
            raise LostError(_first_line(cause)) from error
        except errors.RayError as error:
            raise LostError(_first_line(error)) from error


class Worker:
    """One worker, in a process of Ray's."""

    def about(self) -> dict[str, Any]:
        """Return the versions here, and an address at which others can meet this worker."""
        import ray

        host = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
        with socket.socket() as probe:
            probe.bind((host, 0))
            port = probe.getsockname()[1]
        versions = {"keensight": __version__, "torch": torch.__version__, "python": platform.python_version()}
        return {"address": f"{host}:{port}", "host": host, "versions": versions, "cpu": platform.machine()}

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


@contextmanager
def _connected(cluster: str | None, workers: int) -> Iterator[Any]:
    """Yield Ray, connected to a cluster, or to one of this machine alone that ends with the block."""
    try:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to Ray's makers
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # as will be its default
        import ray
    except ModuleNotFoundError:
        raise UsageError(
            "--workers needs Ray, which is not installed. Install it on each machine, with pip install "
            "'keensight[scale]'; without --workers, training uses all cores of this one."
        ) from None
    quiet: dict[str, Any] = {"logging_level": "ERROR", "log_to_driver": False}
    try:
        if cluster is None:
            ray.init(num_cpus=workers, include_dashboard=False, **quiet)
        else:
            _check_address(cluster)
            ray.init(address=cluster, **quiet)
    except Exception as error:  # Ray raises plain ones, too
        raise RunError(
            f"The cluster {f'at {cluster} ' if cluster else ''}does not take this program: {_first_line(error)} All "
            f"machines need the same versions (here Python {platform.python_version()}, Ray {ray.__version__}), and "
            "the same token where they have one."
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _check_address(cluster: str) -> None:
    host, separator, port = cluster.removeprefix("ray://").rpartition(":")
    if not separator or not port.isdigit():
        raise UsageError(
            f"--cluster is '{cluster}'. Give the head's address, such as 10.0.0.1:6379: `ray start --head` prints it."
        )
    try:
        socket.create_connection((host, int(port)), ANSWERS_S).close()
    except OSError as error:
        raise RunError(
            f"Nobody answers at {cluster} ({error}). Start Ray there with `ray start --head`, check the address and "
            "the firewall, or leave --cluster out: then this machine alone is used."
        ) from error


def _check_versions(known: list[dict[str, Any]]) -> None:
    own = {"keensight": __version__, "torch": torch.__version__, "python": platform.python_version()}
    for each in known:
        for name, version in own.items():
            if each["versions"][name] != version:
                raise RunError(
                    f"The machine {each['host']} has {name} {each['versions'][name]}, and here it is {version}: other "
                    "versions give other bits. Install the same on all machines: `pip freeze` on one lists them."
                )


def _processors(ray: Any, kind: str = "CPU") -> int:
    return int(sum(node["Resources"].get(kind, 0) for node in ray.nodes() if node["Alive"]))


def _wait_for_processors(ray: Any, note: Callable[[str], None]) -> tuple[str, int]:
    """Return how many GPUs the cluster has or, if it has none, processors, as soon as there are some."""
    begin = time.monotonic()
    while True:
        for kind in ("GPU", "CPU"):
            if count := _processors(ray, kind):
                return kind, count
        if time.monotonic() - begin > WAIT_S:
            raise RunError(
                f"The cluster has had no processors for {WAIT_S:g} s. Start nodes with `ray start --address=...`, and "
                "go on with --resume."
            )
        if time.monotonic() - begin < 1:
            note("The cluster has no processors now; waiting for some.")
        time.sleep(1)


def _without_test(splits: Splits) -> Splits:
    """Return the splits without what training does not need: test pictures, names, and a file behind an array."""

    def bare(split: Split) -> Split:
        images = split.gather() if isinstance(split.images, np.ndarray) else split.images
        rows = np.arange(len(split)) if isinstance(split.images, np.ndarray) else split.rows
        return Split(images, rows, split.labels, ("",) * len(split), split.units)

    return replace(splits, train=bare(splits.train), val=bare(splits.val), test=None, findings=())


def _is_over(state: State) -> bool:
    return bool(state.history and state.history[-1].stopped)


def _first_line(error: object) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__
