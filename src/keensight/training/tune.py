"""The search for better settings: `propose` asks Optuna for values, `run` tries them, and stops hopeless trials.

It knows nothing of pictures, files or progress bars. The caller, here or on several machines, keeps the trials
and decides when to stop.

A proposal depends only on the seed and the trials before it: Optuna's study is made again from these each time, in
memory. So a killed search continues with the very trials that it would have had, and no trial can be left half done or
be counted twice; the caller's records are the only source. (A journal or database of Optuna's would be a second one, in
which a kill leaves running trials that must be found and repaired.)
"""

from __future__ import annotations

import logging
import math
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from keensight.errors import TrainingError
from keensight.training.search_space import Dimension

STEPS = 10  # parts of a run at which trials are compared
WARM_UP = 3  # no trial is stopped in the first three tenths of its run
STARTUP = 5  # trials that must have finished before any is stopped
RANDOM = 8  # trials drawn at random, for the sampler to learn from


@dataclass(frozen=True, slots=True)
class Point:
    """Validation accuracy in [0, 1] and loss of a run after a `fraction` of it, in (0, 1]."""

    fraction: float
    val_accuracy: float
    val_loss: float


Objective = Callable[[Mapping[str, Any]], Iterator[Point]]


@dataclass(frozen=True, slots=True)
class Trial:
    """One set of values and its result: its best accuracy, or the `reason` why it has none.

    `reached` maps tenths of the run to the accuracy there, which is what trials are compared by.
    """

    number: int  # 0 is the recipe as it is
    state: Literal["finished", "pruned", "failed"]
    values: Mapping[str, Any]
    val_accuracy: float | None
    val_loss: float | None
    epochs: int  # epochs that were trained; fewer than asked for if it was stopped
    seconds: float
    reached: Mapping[int, float] = field(default_factory=dict)
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Spread:
    """Validation accuracies with other seeds, of the recipe as it is and of the best settings; None: it failed."""

    seeds: tuple[int, ...]
    own: tuple[float | None, ...]
    best: tuple[float | None, ...]


def propose(
    space: Sequence[Dimension], own: Mapping[str, Any], seed: int, done: Sequence[Trial], number: int | None = None
) -> dict[str, Any]:
    """Return the values to try next: first the recipe's `own`, then what the sampler learns from the trials `done`.

    The sampler is the tree-structured Parzen estimator (Bergstra et al. 2011). Trial `number` comes right after those
    in `done` unless given; so several may be proposed at once.
    """
    number = len(done) if number is None else number
    if not number:
        return dict(own)
    with _optuna() as optuna:
        own_seed = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
        study = optuna.create_study(
            direction="maximize", sampler=optuna.samplers.TPESampler(seed=own_seed, n_startup_trials=RANDOM)
        )
        distributions = _distributions(optuna, space)
        for trial in done:
            study.add_trial(_told(optuna, trial, params=dict(trial.values), distributions=distributions))
        asked = study.ask(distributions)
    return {dimension.key: dimension.nearest(asked.params[dimension.key]) for dimension in space}


def run(objective: Objective, values: Mapping[str, Any], number: int, done: Sequence[Trial]) -> Trial:
    """Try one set of values, as trial `number`, and return the result. `objective` yields points as it goes.

    Trial 0 always finishes. Another is stopped when its best accuracy so far lies below the median of the finished
    trials in `done`, at the same *fraction of the run*. Not at the same epoch: a run of 40 epochs is then still at its
    largest steps when one of 10 has brought its rate down, and every long run would be stopped for being long. Between
    two epochs the accuracy is interpolated linearly, so that runs of 7 and of 10 epochs have tenths in common.

    A trial whose objective raises TrainingError has failed.
    """
    begin = time.perf_counter()
    asked = _watched(done) if number else None
    points: list[Point] = []
    reached: dict[int, float] = {}

    def ended(state: Literal["finished", "pruned", "failed"], reason: str = "") -> Trial:
        best = max(points, key=lambda point: (point.val_accuracy, -point.val_loss), default=None)
        seconds = round(time.perf_counter() - begin, 3)
        accuracy, loss = (best.val_accuracy, best.val_loss) if best and state != "failed" else (None, None)
        return Trial(number, state, values, accuracy, loss, len(points), seconds, reached, reason)

    try:
        for point in objective(values):
            if not math.isfinite(point.val_loss):
                return ended("failed", "The validation loss is no longer a number: the steps are too large.")
            fresh = tenths(points[-1] if points else None, point)
            points.append(point)
            reached |= fresh
            if asked and fresh and point.fraction < 1:
                for step, accuracy in fresh.items():
                    asked.report(accuracy, step)
                if asked.should_prune():
                    return ended("pruned", f"below the median at {point.fraction:.0%} of its run")
    except TrainingError as error:
        return ended("failed", str(error))
    return ended("finished") if points else ended("failed", "it gave no epoch")


def trial_of(table: Mapping[str, Any]) -> Trial:
    """Return a trial from what JSON made of it: there, the tenths of a run are text. Raises TypeError and others."""
    names = Trial.__dataclass_fields__
    known = {key: value for key, value in table.items() if key in names}
    return Trial(**{**known, "reached": {int(step): share for step, share in table["reached"].items()}})


def best_of(trials: Sequence[Trial]) -> Trial | None:
    """Return the finished trial with the highest accuracy; the lower loss, then the earlier one, decides a tie."""
    return max(
        (trial for trial in trials if trial.state == "finished"),
        key=lambda trial: (trial.val_accuracy or 0.0, -_or_inf(trial.val_loss), -trial.number),
        default=None,
    )


def importances(space: Sequence[Dimension], trials: Sequence[Trial], seed: int = 0) -> dict[str, float]:
    """Return the share of the accuracy's variance that each key alone explains, the largest first; they add up to 1.

    Functional ANOVA over a random forest (Hutter, Hoos and Leyton-Brown 2014), of the finished trials. A logarithmic
    range is measured in its logarithm: otherwise nine tenths of it would be its largest decade. Empty with fewer than
    five finished trials, or if all of them are equally good.
    """
    finished = [trial for trial in trials if trial.state == "finished"]
    if len(finished) < 5 or len({trial.val_accuracy for trial in finished}) == 1:
        return {}
    with _optuna() as optuna:
        study = optuna.create_study(direction="maximize")
        distributions = {
            d.key: optuna.distributions.CategoricalDistribution(d.choices)
            if d.choices
            else optuna.distributions.FloatDistribution(_scaled(d, d.low), _scaled(d, d.high))
            for d in space
        }
        for trial in finished:
            values = {d.key: trial.values[d.key] if d.choices else _scaled(d, trial.values[d.key]) for d in space}
            study.add_trial(
                optuna.trial.create_trial(params=values, distributions=distributions, value=trial.val_accuracy)
            )
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=seed)
        shares = optuna.importance.get_param_importances(study, evaluator=evaluator)
    known = {key: float(share) for key, share in shares.items() if math.isfinite(share)}
    return dict(sorted(known.items(), key=lambda item: -item[1])) if any(known.values()) else {}


def tenths(before: Point | None, now: Point) -> dict[int, float]:
    """Return the accuracy at each tenth of the run between two points, by linear interpolation.

    >>> tenths(Point(0.25, 0.5, 1.0), Point(0.5, 1.0, 1.0))
    {3: 0.6, 4: 0.8, 5: 1.0}
    """
    found = {}
    first = math.floor(round(STEPS * before.fraction, 9)) + 1 if before else 1
    for step in range(first, math.floor(round(STEPS * now.fraction, 9)) + 1):
        if before is None:
            if not math.isclose(step / STEPS, now.fraction):
                continue  # before the first epoch ends, nothing is known
            found[step] = now.val_accuracy
        else:
            share = (step / STEPS - before.fraction) / (now.fraction - before.fraction)
            found[step] = round(before.val_accuracy + share * (now.val_accuracy - before.val_accuracy), 9)
    return found


def _watched(done: Sequence[Trial]) -> Any:
    """Return a trial of Optuna's to report to, which compares it with those in `done`."""
    with _optuna() as optuna:
        study = optuna.create_study(
            direction="maximize",
            pruner=optuna.pruners.MedianPruner(n_startup_trials=STARTUP, n_warmup_steps=WARM_UP, n_min_trials=3),
        )
        for trial in done:
            study.add_trial(_told(optuna, trial))
        return study.ask()


def _told(optuna: Any, trial: Trial, **more: Any) -> Any:
    """Return a trial as Optuna records it."""
    states = optuna.trial.TrialState
    state = {"finished": states.COMPLETE, "pruned": states.PRUNED, "failed": states.FAIL}[trial.state]
    value = None if trial.state == "failed" else trial.val_accuracy
    return optuna.trial.create_trial(state=state, value=value, intermediate_values=dict(trial.reached), **more)


def _distributions(optuna: Any, space: Sequence[Dimension]) -> dict[str, Any]:
    kinds = optuna.distributions
    return {
        d.key: kinds.CategoricalDistribution(d.choices)
        if d.choices
        else kinds.IntDistribution(int(d.low), int(d.high), log=d.log)
        if d.whole
        else kinds.FloatDistribution(d.low, d.high, log=d.log)
        for d in space
    }


@contextmanager
def _optuna() -> Iterator[Any]:
    """Yield Optuna, with its log and its warnings of experimental features silenced."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import optuna

        level = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(logging.ERROR)
        try:
            yield optuna
        finally:
            optuna.logging.set_verbosity(level)


def _scaled(dimension: Dimension, value: float) -> float:
    return math.log(value) if dimension.log else float(value)


def _or_inf(value: float | None) -> float:
    return math.inf if value is None else value
