"""The HTML pages of a search and of a range test, in the report's style, and their verdicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from keensight.errors import counted
from keensight.evaluation.gain import Gain
from keensight.evaluation.metrics import accuracy_interval
from keensight.evaluation.words import NARROW, percent
from keensight.pages import tuning_figures
from keensight.pages.report import render, svg
from keensight.training.lr_range import LrRange
from keensight.training.search_space import Dimension, values_of
from keensight.training.tune import Spread, Trial
from keensight.values import Recipe

INTERRUPTED = "The search was interrupted: these are the trials that had ended. More trials may find better settings."
FEW = 40  # with fewer finished trials, shares of the variance are only a hint


def render_tuning(
    *,
    name: str,
    recipe: Recipe,
    space: Sequence[Dimension],
    trials: Sequence[Trial],
    winner: Trial,
    found: Gain | None,
    shares: Mapping[str, float],
    num_val: int,
    seconds: float,
    command: str,
    is_over: bool = True,
    spread: Spread | None = None,
) -> str:
    """Return the page of a search: the best settings and their gain, what mattered, and every trial, best first.

    `command` trains with the advised recipe; `is_over` is False for an interrupted search. `spread` is what other seeds
    gave.
    """
    own = trials[0]
    keys = [dimension.key for dimension in space]
    interval = None if own.val_accuracy is None else interval_of(own, num_val)
    return render(
        "pages/tuning.html",
        written=plain,
        name=name,
        recipe=recipe,
        keys=keys,
        own=own,
        own_values=values_of(recipe, keys),
        winner=winner,
        winner_interval=interval_of(winner, num_val),
        own_interval=interval,
        found=found,
        shares=shares,
        verdict=" ".join(filter(None, [verdict(trials, winner, found, num_val), seeds_line(trials, winner, spread)])),
        cautions=cautions(trials, found, num_val) + ([] if is_over else [INTERRUPTED]),
        hint=hint(trials, shares),
        space=space,
        ranked=ranked(trials),
        counts={state: sum(trial.state == state for trial in trials) for state in ("finished", "pruned", "failed")},
        num_val=num_val,
        seconds=seconds,
        command=command,
        progress=svg(tuning_figures.progress(trials, interval)),
        bars=svg(tuning_figures.importance_bars(shares)) if shares else "",
        panels=svg(tuning_figures.panels(space, trials)),
    )


def render_lr_range(name: str, recipe: Recipe, found: LrRange, command: str) -> str:
    """Return the page of a range test: its curve and the rates that it points to."""
    return render(
        "pages/lr_range.html",
        written=plain,
        name=name,
        recipe=recipe,
        found=found,
        command=command,
        verdict=lr_verdict(found, recipe),
        curve=svg(tuning_figures.lr_curve(found, recipe.train.learning_rate)),
    )


def verdict(trials: Sequence[Trial], winner: Trial, found: Gain | None, num_val: int) -> str:
    """Say in a sentence or two what the search gained over the recipe as it is."""
    accuracy = percent(winner.val_accuracy)
    if found is None:
        return (
            f"Trial {winner.number} is right on {accuracy} of {counted(num_val, 'validation picture')}. The recipe "
            "as it is failed, so there is nothing to compare that with."
        )
    if winner.number == 0:
        return (
            f"No trial is better than the recipe as it is, which is right on {accuracy} of "
            f"{counted(num_val, 'validation picture')}."
        )
    worth = "which is within the noise" if found.is_noise else "which is more than chance"
    return (
        f"Trial {winner.number} is right on {accuracy} of {counted(num_val, 'validation picture')}, where the recipe "
        f"as it is reaches {percent(trials[0].val_accuracy)}: {gain_line(found)}, {worth}."
    )


def seeds_line(trials: Sequence[Trial], winner: Trial, spread: Spread | None) -> str:
    """Say what the best settings and the recipe as it is reach with all their seeds, the search's own included."""
    if spread is None:
        return ""

    def reached(trial: Trial, others: Sequence[float | None]) -> tuple[float, float] | None:
        found = [each for each in (trial.val_accuracy, *others) if each is not None]
        return (min(found), max(found)) if found else None

    own, best = reached(trials[0], spread.own), reached(winner, spread.best)
    number = len(spread.seeds) + 1
    if best is None or own is None or winner.number == 0:
        least, most = best or own or (0.0, 0.0)
        return f"With {number} seeds it reaches {percent(least)} to {percent(most)}."
    said = (
        f"With {number} seeds, its settings reach {percent(best[0])} to {percent(best[1])}, and the recipe as it is "
        f"{percent(own[0])} to {percent(own[1])}: "
    )
    return said + ("the best is better with each." if best[0] > own[1] else "these overlap, so luck may be part of it.")


def cautions(trials: Sequence[Trial], found: Gain | None, num_val: int) -> list[str]:
    """Return the warnings that a reader must not miss, a sentence or two each."""
    finished = [trial for trial in trials if trial.state == "finished"]
    said = []
    if len(finished) > 1:
        said.append(
            f"The best of {len(finished)} trials was chosen on these {num_val:,} validation pictures, so its accuracy "
            "flatters it. The test pictures took no part: train with the new recipe to see what it is worth on them."
        )
    if found is not None and found.is_noise and found.difference > 0:
        said.append(
            "The interval of the gain contains zero: with so few pictures, the recipe as it is may be just as good. "
            "More validation pictures would tell."
        )
    if trials[0].state == "failed":
        said.append(f"The recipe as it is failed: {trials[0].reason}")
    return said


def hint(trials: Sequence[Trial], shares: Mapping[str, float]) -> str:
    """Say how far the keys' shares can be trusted; empty if they are from many trials."""
    finished = sum(trial.state == "finished" for trial in trials)
    if not shares:
        return f"Too few trials finished ({finished}), or they are too similar, to say which key mattered."
    if finished < FEW:
        return f"a hint only: {finished} finished trials are few to tell {len(shares)} keys apart"
    return ""


def lr_verdict(found: LrRange, recipe: Recipe) -> str:
    """Say in a sentence or two which learning rates are useful, and how the recipe's own compares."""
    end = "it had not diverged at the largest" if found.diverges is None else f"from {found.diverges:g} on it diverges"
    own = recipe.train.learning_rate
    if found.diverges is not None and own >= found.diverges:
        place = "which is where it diverges: far too large"
    elif own >= found.lowest:
        place = "which is beyond the lowest loss: too large"
    elif own < found.suggested / 10:
        place = "which is over ten times smaller: learning will be slow"
    elif own > 3 * found.suggested:
        place = "which is larger than that, and closer to the edge"
    elif own < found.suggested / 3:
        place = "which is smaller than that, and safe"
    else:
        place = "which is as good"
    return (
        f"A largest learning rate of about {found.suggested:g} is suggested. The loss falls fastest at "
        f"{found.steepest:g}, is lowest at {found.lowest:g}, and {end}. The recipe has {own:g}, {place}."
    )


def gain_line(found: Gain) -> str:
    """Write a gain and its interval: ``+1.2 points (95 % interval -0.4 to +2.9)``."""
    low, high = 100 * found.low, 100 * found.high
    return f"{100 * found.difference:+.1f} points (95{NARROW}% interval {low:+.1f} to {high:+.1f})".replace("-", "−")


def interval_of(trial: Trial, num_val: int) -> tuple[float, float]:
    """Return the Wilson interval of a trial's accuracy; it must have one."""
    return accuracy_interval(round((trial.val_accuracy or 0.0) * num_val), num_val)


def ranked(trials: Sequence[Trial]) -> list[Trial]:
    """Return the trials, best first: finished ones, then stopped ones, then failed ones."""
    order = {"finished": 0, "pruned": 1, "failed": 2}

    def place(trial: Trial) -> tuple[float, ...]:
        return order[trial.state], -(trial.val_accuracy or 0.0), trial.val_loss or 0.0, trial.number

    return sorted(trials, key=place)


def plain(value: Any) -> str:
    """Write a recipe's value for people."""
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)
