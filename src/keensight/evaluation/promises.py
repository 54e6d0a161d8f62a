"""Checks whether reports keep what recipes promise."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from keensight.errors import RecipeError, suggestion
from keensight.values import Recipe, Report

AT_MOST = ("parameters",)  # promised as a maximum; all others as a minimum
METRICS = ("accuracy", "balanced_accuracy", "roc_auc")


def numbers(report: Report) -> dict[str, float]:
    """Return the numbers that can be promised, such as "test.accuracy", "val.roc_auc", "attack.0.2", "parameters".

    "attack.0.2" is the accuracy in [0, 1] under the recipe's attack with an epsilon of 0.2.
    """
    found: dict[str, float] = {"parameters": report.model["parameters"]}
    for split, metrics in (("val", report.val), ("test", report.test)):
        for name in METRICS:
            if metrics is not None and (value := getattr(metrics, name)) is not None:
                found[f"{split}.{name}"] = value
    return found | {f"attack.{each.threat.eps:g}": each.accuracy for each in report.attacks}


def broken(promise: Mapping[str, float], reports: Sequence[Report]) -> list[str]:
    """Return a sentence for each promise that the mean over `reports` does not keep.

    Raises RecipeError for a promise about something that is not measured.
    """
    measured = [numbers(report) for report in reports]
    found = []
    for name, limit in promise.items():
        if any(name not in each for each in measured):
            raise RecipeError(
                f"The promise '{name}' is not among the numbers that this run measures. {suggestion(name, measured[0])}"
                f"They are {', '.join(measured[0])}; mend the recipe."
            )
        mean = statistics.fmean(each[name] for each in measured)
        if mean > limit if name in AT_MOST else mean < limit:
            word = "at most" if name in AT_MOST else "at least"
            found.append(f"{name} is {mean:.4g} (mean of {len(reports)}), and {word} {limit:g} was promised")
    return found


def check_promise(recipe: Recipe) -> None:
    """Raise RecipeError for a promise about something that is never measured, before hours of training."""
    splits = [f"{split}.{name}" for split in ("val", "test") for name in METRICS]
    known = [*splits, *AT_MOST, *(f"attack.{eps:g}" for eps in recipe.attack_eps)]
    if unknown := [name for name in recipe.promise if name not in known]:
        raise RecipeError(
            f"The promise '{unknown[0]}' of {recipe.name} is not among the numbers that are measured. "
            f"{suggestion(unknown[0], known)}They are {', '.join(known)}; mend the recipe."
        )
