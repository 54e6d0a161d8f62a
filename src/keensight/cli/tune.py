"""keensight tune."""

from __future__ import annotations

import shlex
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from keensight import verbs
from keensight.cli.options import Json, options_of
from keensight.cli.output import command, percent, print_json, say
from keensight.cli.terminal import Terminal
from keensight.errors import UsageError, counted

if TYPE_CHECKING:
    from keensight.training.tune import Trial
    from keensight.verbs.tune import Tuning

SHOWN = 5  # of the best trials


@options_of("tune.tune")
def tune(
    *,
    data: str,
    trials: int | None,
    budget: Annotated[str | None, Parameter(allow_leading_hyphen=True)],
    search: str | None = None,
    resume: bool,
    lr_range: bool = False,
    workers: int | None,
    cluster: str | None,
    seeds: int,
    json: Json = False,
    **asked: Any,
) -> int:
    """Tune, and print the best trials and their gain.

    Args:
        search: Search these keys instead of the standard ones, such as learning_rate,rotate,flip.
        lr_range: Run a learning-rate range test instead: it takes at most 240 steps, and suggests a rate.
    """
    if lr_range:
        _refuse(
            {
                "--trials": trials,
                "--budget": budget,
                "--search": search,
                "--resume": resume or None,
                "--workers": workers,
                "--cluster": cluster,
                "--seeds": seeds or None,
            }
        )
        return _lr_range(json, data=data, **asked)
    verbs.tune  # noqa: B018 - loads torch, before the clock starts
    begin = time.perf_counter()
    keys = [key.strip() for key in search.split(",") if key.strip()] if search else []
    with Terminal() as terminal:
        found = verbs.tune.tune(
            data,
            trials=trials,
            budget=budget,
            search=keys,
            resume=resume,
            workers=workers,
            cluster=cluster,
            seeds=seeds,
            **asked,
            watcher=terminal,
        )
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
        "seeds": asdict(found.spread) if found.spread else None,
        "warnings": cautions(found.trials, found.gain, found.num_val),
    }


def _interval(found: Tuning, trial: Trial) -> dict[str, float | None]:
    from keensight.pages.tuning import interval_of

    low, high = (None, None) if trial.val_accuracy is None else interval_of(trial, found.num_val)
    return {"val_accuracy_low": low, "val_accuracy_high": high}


def _print(found: Tuning, data: str, seconds: float) -> None:
    from keensight.evaluation.words import NARROW, duration
    from keensight.pages.tuning import cautions, gain_line, hint, seeds_line

    own, winner = found.trials[0], found.winner
    say(f"best           {_accuracy_line(found, winner)}, trial {winner.number}")
    say(f"recipe         {_accuracy_line(found, own)}, trial 0")
    if found.gain and winner.number:
        worth = "within the noise" if found.gain.is_noise else "more than the noise of a single comparison"
        say(f"gain           {gain_line(found.gain).replace(NARROW, ' ')}: {worth}")
    elif not winner.number:
        say("gain           none: no trial is better than the recipe as it is")
    if said := seeds_line(found.trials, winner, found.spread):
        say(f"seeds          {said}")
    say()
    for line in _table(found):
        say(line)
    say()
    shares = ", ".join(f"{key} {share:.0%}" for key, share in found.importances.items())
    say(f"what mattered  {shares or hint(found.trials, found.importances)}")
    if shares and (doubt := hint(found.trials, found.importances)):
        say(f"               {doubt}")
    counts = {state: sum(trial.state == state for trial in found.trials) for state in ("finished", "pruned", "failed")}
    said = f"{counts['finished']} finished, {counts['pruned']} stopped early, {counts['failed']} failed"
    times = f"{duration(found.seconds)} of {counted(len(found.trials), 'trial')}: {said}"
    say(f"training time  {times}; {duration(seconds)} in all")
    for warning in cautions(found.trials, found.gain, found.num_val):
        say(f"warning        {warning}")
    say(f"page           {found.page}")
    say(f"recipe file    {found.best}")
    if found.advised != found.best:
        say("verdict        the starting recipe is as good, as far as these pictures can tell: train with that one")
    say(f"next           {command()} train {shlex.quote(data)} --recipe {shlex.quote(str(found.advised))}")


def _table(found: Tuning) -> list[str]:
    """Return the best trials, and the recipe's own, as lines of columns."""
    from keensight.pages.tuning import plain, ranked

    best = [trial for trial in ranked(found.trials) if trial.state == "finished"][:SHOWN]
    shown = best + [trial for trial in found.trials[:1] if trial not in best]
    keys = list(found.winner.values)
    rows = [["trial", "accuracy", *keys]]
    for trial in shown:
        accuracy = "failed" if trial.val_accuracy is None else f"{percent(trial.val_accuracy)}"
        rows.append([str(trial.number), accuracy, *(plain(trial.values[key]) for key in keys)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]


def _accuracy_line(found: Tuning, trial: Trial) -> str:
    low, high = _interval(found, trial).values()
    if trial.val_accuracy is None or low is None or high is None:
        return "no result"
    interval = f"95 % interval {100 * low:.1f} to {100 * high:.1f}"
    return f"{percent(trial.val_accuracy)} ({interval}, {found.num_val:,} validation pictures)"


def _lr_range(as_json: bool, **asked: Any) -> int:
    verbs.lr_range  # noqa: B018 - loads torch, before the clock starts
    begin = time.perf_counter()
    with Terminal() as terminal:
        test = verbs.lr_range.lr_range(**asked, watcher=terminal)
    from keensight.evaluation.words import duration

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
    say(f"suggested      {found.suggested:g}, as the largest rate of the schedule (a rule of thumb: lowest / 10)")
    say(f"recipe         {test.recipe_rate:g}")
    say(f"falls fastest  {found.steepest:g}")
    say(f"lowest         {found.lowest:g}")
    say(f"diverges       {diverges}")
    say(f"steps          {len(found.rates)} of {test.batch_size} pictures; {duration(seconds)} in all")
    say(f"page           {test.page}")
    say(f"next           {test.next_command.replace('keensight', command(), 1)}")
    return 0


def _refuse(given: dict[str, object]) -> None:
    if words := [name for name, value in given.items() if value is not None]:
        raise UsageError(
            f"--lr-range makes one short test, and {words[0]} belongs to a search. Leave out one of the two."
        )
