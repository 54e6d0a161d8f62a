"""keensight tune."""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from keensight.cli.numbers import Whole
from keensight.cli.output import Terminal, command, print_json

if TYPE_CHECKING:
    from keensight.training.tune import Trial
    from keensight.verbs.tune import Tuning

SHOWN = 5  # of the best trials


def tune(
    data: str,
    /,
    *,
    recipe: str | None = None,
    trials: Whole | None = None,
    budget: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    set: Annotated[tuple[str, ...], Parameter(negative=())] = (),
    search: str | None = None,
    lr_range: Annotated[bool, Parameter(negative=())] = False,
    out: Path | None = None,
    seed: Whole | None = None,
    label_pattern: str | None = None,
    resume: Annotated[bool, Parameter(negative=())] = False,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Search for a better learning rate, batch size, epochs and so on; write a recipe and a page.

    Trials are compared on validation pictures; the test pictures are not looked at. The first trial is the recipe as it
    is, so that the answer says what the search gained.

    Parameters
    ----------
    data
        A folder, archive, manifest or name, as for train.
    recipe
        A recipe's name or .toml file.
    trials
        How many trials in all; 20 if neither this nor --budget is given.
    budget
        The time for all trials, such as 90s, 10m or 2h.
    set
        Change the recipe, as KEY=VALUE, and do not search that key; can be repeated.
    search
        Search these keys in place of the standard ones, such as learning_rate,rotate,flip.
    lr_range
        Make a learning-rate range test instead: at most 240 steps, and it suggests a rate.
    out
        The folder to write, new or empty; the first free name under tunings/ if left out.
    seed
        The seed of all randomness.
    label_pattern
        Take labels from file names, such as '{label}__*'.
    resume
        Go on with an interrupted search, or add trials to one.
    json
        Print one JSON object on stdout.
    """
    from keensight.verbs.tune import tune as verb

    if lr_range:
        _refuse({"--trials": trials, "--budget": budget, "--search": search, "--resume": resume or None})
        return _lr_range(data, recipe, set, out, seed, label_pattern, json)
    begin = time.perf_counter()
    keys = [key.strip() for key in search.split(",") if key.strip()] if search else []
    with Terminal() as terminal:
        found = verb(
            data, recipe=recipe, trials=trials, budget=budget, set=set, search=keys, out=out, resume=resume, seed=seed,
            label_pattern=label_pattern, watcher=terminal,
        )  # fmt: skip
    seconds = round(time.perf_counter() - begin, 3)
    if json:
        print_json(_as_json(found, seconds))
    else:
        _print(found, data, seconds)
    return 0


def _as_json(found: Tuning, seconds: float) -> dict[str, object]:
    from keensight.pages.tuning import cautions

    def measured(trial: Trial) -> dict[str, object]:
        return {**asdict(trial), **_interval(found, trial)}

    states = ("finished", "pruned", "failed")
    return {
        "tuning": str(found.folder),
        "recipe": str(found.best),
        "page": str(found.page),
        "seconds": seconds,
        "training_seconds": found.seconds,
        "n": found.num_val,
        "trials": {state: sum(trial.state == state for trial in found.trials) for state in states},
        "best": measured(found.winner),
        "baseline": measured(found.trials[0]),
        "gain": {**asdict(found.gain), "noise": found.gain.is_noise} if found.gain else None,
        "importances": dict(found.importances),
        "warnings": cautions(found.trials, found.gain, found.num_val),
    }


def _interval(found: Tuning, trial: Trial) -> dict[str, float | None]:
    from keensight.pages.tuning import interval_of

    low, high = (None, None) if trial.val_accuracy is None else interval_of(trial, found.num_val)
    return {"val_accuracy_low": low, "val_accuracy_high": high}


def _print(found: Tuning, data: str, seconds: float) -> None:
    from keensight.evaluation.words import NARROW
    from keensight.pages.tuning import cautions, gain_line, hint

    own, winner = found.trials[0], found.winner
    print(f"best           {_accuracy_line(found, winner)}, trial {winner.number}")
    print(f"recipe         {_accuracy_line(found, own)}, trial 0")
    if found.gain and winner.number:
        worth = "inside the noise" if found.gain.is_noise else "more than the noise of a single comparison"
        print(f"gain           {gain_line(found.gain).replace(NARROW, ' ')}: {worth}")
    elif not winner.number:
        print("gain           none: nothing that was tried is better than the recipe as it is")
    print()
    for line in _table(found):
        print(line)
    print()
    shares = ", ".join(f"{key} {share:.0%}" for key, share in found.importances.items())
    print(f"what mattered  {shares or hint(found.trials, found.importances)}")
    if shares and (doubt := hint(found.trials, found.importances)):
        print(f"               {doubt}")
    counts = {state: sum(trial.state == state for trial in found.trials) for state in ("finished", "pruned", "failed")}
    said = f"{counts['finished']} finished, {counts['pruned']} stopped early, {counts['failed']} failed"
    print(f"took           {seconds:.0f} s; of {len(found.trials)} trials, {said}")
    for warning in cautions(found.trials, found.gain, found.num_val):
        print(f"warning        {warning}")
    print(f"page           {found.page}")
    print(f"recipe file    {found.best}")
    if found.advised != found.best:
        print("verdict        the starting recipe is as good, as far as these pictures can tell: train with that one")
    print(f"next           {command()} train {shlex.quote(data)} --recipe {shlex.quote(str(found.advised))}")


def _table(found: Tuning) -> list[str]:
    """Return the best trials, and the recipe's own, as lines of columns."""
    from keensight.pages.tuning import plain, ranked

    best = [trial for trial in ranked(found.trials) if trial.state == "finished"][:SHOWN]
    shown = best + [trial for trial in found.trials[:1] if trial not in best]
    keys = list(found.winner.values)
    rows = [["trial", "accuracy", *keys]]
    for trial in shown:
        accuracy = "failed" if trial.val_accuracy is None else f"{trial.val_accuracy:.2%}"
        rows.append([str(trial.number), accuracy, *(plain(trial.values[key]) for key in keys)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]


def _accuracy_line(found: Tuning, trial: Trial) -> str:
    low, high = _interval(found, trial).values()
    if trial.val_accuracy is None or low is None or high is None:
        return "no result"
    interval = f"95 % interval {100 * low:.1f} to {100 * high:.1f}"
    return f"{trial.val_accuracy:.1%} ({interval}, {found.num_val:,} validation pictures)"


def _lr_range(
    data: str, recipe: str | None, changes: Sequence[str], out: Path | None, seed: int | None,
    label_pattern: str | None, as_json: bool,
) -> int:  # fmt: skip
    from keensight.verbs.lr_range import lr_range as verb

    begin = time.perf_counter()
    with Terminal() as terminal:
        test = verb(data, recipe=recipe, set=changes, out=out, seed=seed, label_pattern=label_pattern, watcher=terminal)
    found, seconds = test.found, round(time.perf_counter() - begin, 3)
    if as_json:
        print_json(
            {
                "folder": str(test.folder),
                "page": str(test.page),
                "seconds": seconds,
                "steps": len(found.rates),
                "batch_size": test.batch_size,
                "suggested": found.suggested,
                "steepest": found.steepest,
                "lowest": found.lowest,
                "diverges": found.diverges,
                "recipe": test.recipe_rate,
            }
        )
        return 0
    diverges = "not up to the largest rate tried" if found.diverges is None else f"{found.diverges:g}"
    print(f"suggested      {found.suggested:g}, as the largest rate of the schedule (a rule of thumb: lowest / 10)")
    print(f"recipe         {test.recipe_rate:g}")
    print(f"falls fastest  {found.steepest:g}")
    print(f"lowest         {found.lowest:g}")
    print(f"diverges       {diverges}")
    print(f"took           {seconds:.0f} s, {len(found.rates)} steps of {test.batch_size} pictures")
    print(f"page           {test.page}")
    print(f"next           {test.next_command.replace('keensight', command(), 1)}")
    return 0


def _refuse(given: dict[str, object]) -> None:
    from keensight.errors import UsageError

    if words := [name for name, value in given.items() if value is not None]:
        raise UsageError(
            f"--lr-range makes one short test, and {words[0]} belongs to a search. Leave out one of the two."
        )
