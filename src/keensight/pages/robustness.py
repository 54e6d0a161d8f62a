"""How a model breaks, as one HTML page or as a section of the report, and in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from keensight.evaluation.metrics import accuracy_interval
from keensight.evaluation.words import percent
from keensight.pages import figures
from keensight.pages.pictures import picture_data_uri
from keensight.pages.report import render, svg
from keensight.values import RobustnessReport, Uint8Array

HEIGHT_PX = 120
COSTS = 0.05  # of accuracy, from where on a change is worth a sentence


@dataclass(frozen=True, slots=True, eq=False)
class Fooled:
    """A picture as a model sees it, and as it sees it attacked within `eps` of linf, both uint8 HWC.

    `label` is what it shows, and `called` the answer after the attack. `for_label` and `for_called` are the logits of
    both, before and after.
    """

    before_HWC: Uint8Array
    after_HWC: Uint8Array
    eps: float
    label: str
    called: str
    for_label: tuple[float, float]
    for_called: tuple[float, float]


def render_html(report: RobustnessReport, examples: Sequence[Fooled], title: str, notes: Sequence[str] = ()) -> str:
    """Return the measurements as one self-contained page, with pictures before and after."""
    return render("pages/robustness.html", name=title, notes=notes, **context(report, examples))


def context(report: RobustnessReport, examples: Sequence[Fooled] = ()) -> dict[str, Any]:
    """Return what the section in "pages/robustness_section.html" shows."""
    lines = {
        name: {0.0: report.clean} | {each.eps: each.share for each in rows}
        for name, rows in (("under attack", report.attacked), ("certified", report.certified))
        if rows
    }
    at = {each.eps: each.share for each in report.attacked}
    proved = {each.eps: each.share for each in report.certified}
    side_by_side = [("clean", report.clean), ("corrupted", report.mean_corrupted)]
    if report.eps is not None:
        side_by_side += [("under attack", at.get(report.eps)), ("certified", proved.get(report.eps))]
    ways = ["corrupted as happens every day"] * bool(report.corrupted)
    ways += ["changed by an attacker"] * bool(report.attacked or report.shifted or report.turned)
    ways += ["by proof"] * bool(report.certified)
    return {
        "robust": report,
        "robust_ways": ways,
        "robust_says": list(what_breaks(report)),
        "robust_numbers": [(name, share) for name, share in side_by_side if share is not None],
        "robust_curve": svg(figures.accuracy_over_eps(lines)) if lines else Markup(""),
        "robust_examples": [(each, *_uris(each)) for each in examples],
        "eps_words": eps_words,
        "robust_within": [(each.eps, each.share, proved.get(each.eps)) for each in report.attacked],
        "robust_widest": 100 * (report.n // 2 / report.n - accuracy_interval(report.n // 2, report.n)[0]),
        "robust_span": robust_span,
    }


def eps_words(eps: float) -> str:
    """Write an epsilon as levels of 255 where it is a whole number of them.

    >>> eps_words(4 / 255), eps_words(0.1)
    ('4/255', '0.1')
    """
    levels = eps * 255
    return f"{levels:.0f}/255" if 0 < levels <= 32 and abs(levels - round(levels)) < 1e-6 else f"{eps:.3g}"


def robust_span(share: float | None, n: int) -> str:
    """Write the 95 % interval of a share of `n` pictures.

    >>> robust_span(0.8, 10)
    '49.0\\u202f% to 94.3\\u202f%'
    """
    return "" if share is None else " to ".join(map(percent, accuracy_interval(round(share * n), n)))


def what_breaks(report: RobustnessReport) -> Iterator[str]:
    """Yield what breaks a model first, in sentences, the everyday things first."""
    costs = [(report.clean - _middle(each.accuracies), each) for each in report.corrupted]
    if costs:
        worst, each = max(costs, key=lambda cost: cost[0])
        which = "Of everyday changes of middling strength,"
        if worst < COSTS:
            yield f"{which} none costs more than {100 * COSTS:.0f} points of accuracy."
        else:
            yield f"{which} {each.name} ({each.about}) costs most: {100 * worst:.0f} points of accuracy."
    for rows, unit, verb in (
        (report.shifted, "pixel", "A shift by"),
        (report.turned, "degree", "A rotation by"),
    ):
        if costly := [each for each in rows if report.clean - each.share >= COSTS]:
            first = costly[0]
            many = "" if first.eps == 1 else "s"
            yield (
                f"{verb} up to {first.eps:g} {unit}{many}, in the worst direction, costs "
                f"{100 * (report.clean - first.share):.0f} points."
            )
    if report.attacked and not report.clean:
        yield "No picture is right as it is, so attacks have nothing to take."
    elif halved := [each for each in report.attacked if each.share <= report.clean / 2]:
        first = halved[0]
        takes = (
            f"lowers the accuracy from {percent(report.clean)} to {percent(first.share)}"
            if first.share
            else "takes all of the accuracy: no picture stays right"
        )
        yield f"An attacker who may change every pixel by {eps_words(first.eps)} {takes}."
    elif report.attacked:
        last = report.attacked[-1]
        yield f"Even within {eps_words(last.eps)}, attacks leave {percent(last.share)} right."
    if proved := [each for each in report.certified if each.share > 0]:
        largest = proved[-1]
        yield (
            f"For {percent(largest.share)} of the pictures it is proved that no change of any pixel by "
            f"{eps_words(largest.eps)} or less changes the right answer."
        )
    if report.gradient_masking:
        yield "Gradients seem to be masked: the model may be weaker than these attacks show."


def _middle(accuracies: Sequence[float]) -> float:
    return sorted(accuracies)[len(accuracies) // 2]


def _uris(each: Fooled) -> tuple[str, str, str]:
    """Return data URIs of the picture before, after, and of the difference, grey where there is none."""
    difference = each.after_HWC.astype(np.float32) - each.before_HWC
    enlarged = np.clip(127.5 + difference * (127.5 / max(1.0, 255 * each.eps)), 0, 255).astype(np.uint8)
    before, after, changed = (
        picture_data_uri(picture, HEIGHT_PX) for picture in (each.before_HWC, each.after_HWC, enlarged)
    )
    return before, after, changed
