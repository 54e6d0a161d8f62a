"""A comparison as one HTML page that needs no network, no script and no other file.

Shape letters: H height, W width, C channels, K classes, M mistakes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from keensight.errors import counted
from keensight.evaluation.comparison import LUCK, Compared, Comparison, Errors, Pair, shared_edges
from keensight.evaluation.words import percent
from keensight.explanation.weights import gains
from keensight.pages.comparison_figures import colour_scale, hinge_curves, margin_histogram, weight_picture
from keensight.pages.figures import accuracy_over_eps, confusion_matrix
from keensight.pages.pictures import picture_data_uri
from keensight.pages.report import PICTURE_HEIGHT_PX, render, svg
from keensight.robustness.attacks.row import AttackRow
from keensight.robustness.needs import in_words
from keensight.values import FloatArray, IntArray, Uint8Array

MOST_CLASSES = 10  # that weights are shown for
MANY_CLASSES = 20  # whose confusion matrices are too wide to lie side by side


@dataclass(frozen=True, slots=True, eq=False)
class CloseCall:
    """A misclassified picture: its label's logit is `by` lower than that of `called`, the largest."""

    path: str
    label: str
    called: str
    by: float
    picture_HWC: Uint8Array


@dataclass(frozen=True, slots=True, eq=False)
class Wrong:
    """A bundle's mistakes under one epsilon: their number, their decision values and labels, and the nearest ones."""

    errors: Errors
    values_M: FloatArray
    labels_M: IntArray
    nearest: tuple[CloseCall, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Inside:
    """What the page shows of a bundle's model; `weights_KCHW` is None if the model is not linear.

    Classes are in the order of the comparison's labels. `facts` are the recipe's keys and values. `hinge_eps` is the
    epsilon that its hinge loss counted on, and None if it was trained with another loss.
    """

    wrong: tuple[Wrong, ...]
    weights_KCHW: FloatArray | None
    facts: Mapping[str, Any]
    hinge_eps: float | None

    @property
    def norm(self) -> float | None:
        """||w||_1 of a linear model of two classes, else None."""
        if self.weights_KCHW is None or len(self.weights_KCHW) != 2:
            return None
        return float(np.abs(self.weights_KCHW[1] - self.weights_KCHW[0]).sum())


def render_html(
    comparison: Comparison, insides: Sequence[Inside], labels: Sequence[str], attack: AttackRow | None
) -> str:
    """Return the comparison as one self-contained HTML page; `insides` are in the order of its bundles.

    `attack` is the one that its `attacks` are of, if any.
    """
    bundles = comparison.bundles
    results = bundles[0].attacks
    lines = {each.letter: {one.threat.eps: one.accuracy for one in each.attacks} for each in bundles if results}
    weights, limit = _weights(bundles, insides)
    return render(
        "pages/comparison.html",
        comparison=comparison,
        bundles=bundles,
        labels=labels,
        two=len(labels) == 2,
        verdict=verdict(comparison),
        luck=luck,
        p_value=p_value,
        confusions=[(each, svg(confusion_matrix(each.metrics, labels))) for each in bundles],
        many=len(labels) > MANY_CLASSES,
        curve=svg(accuracy_over_eps(lines)) if lines else "",
        attack=attack,
        attacked_kind=in_words(attack.needs) if attack else "",
        attacked_n=results[0].n if results else 0,
        attack_rows=[
            (result.threat.eps, [each.attacks[i].accuracy for each in bundles]) for i, result in enumerate(results)
        ],
        weights=weights,
        limit=limit,
        scale=colour_scale() if weights else "",
        norms={each.letter: norm for each, inside in zip(bundles, insides, strict=True) if (norm := inside.norm)},
        galleries=_galleries(bundles, insides),
        histograms=_histograms(bundles, insides, labels),
        hinges=_hinges(bundles, insides, len(labels)),
        moved=max(errors.eps for errors in bundles[0].errors),
        differences=differences([inside.facts for inside in insides]),
    )


def verdict(comparison: Comparison) -> str:
    """Say which bundle is right more often, whether that may be luck, and how often each is under attack."""
    bundles = comparison.bundles
    best = max(bundles, key=lambda each: each.metrics.accuracy)
    others = ", ".join(f"{each.letter} on {percent(each.metrics.accuracy)}" for each in bundles if each is not best)
    said = f"{best.letter} is right on {percent(best.metrics.accuracy)} of {counted(comparison.n, 'picture')}, {others}"
    if len(bundles) == 2:
        said += f"; {luck(comparison.pairs[0])}"
    said += "." + "".join(f" {sentence}" for sentence in fixed_answers(bundles))
    eps = max(errors.eps for errors in bundles[0].errors)
    if not eps:
        return said
    under = [f"{each.letter} on {percent(_accuracy_at(each, eps))}" for each in bundles]
    return f"{said} When every pixel may move by {eps:g}, {', '.join(under)}."


def fixed_answers(bundles: Sequence[Compared]) -> list[str]:
    """Return a sentence for each bundle that gives all pictures, though of several classes, the same answer."""
    found = []
    for each in bundles:
        rows, names = each.metrics.confusion, [row.name for row in each.metrics.per_class]
        answers = [name for name, called in zip(names, zip(*rows, strict=True), strict=True) if any(called)]
        if len(answers) == 1 and sum(map(any, rows)) > 1:
            found.append(f"{each.letter} always answers “{answers[0]}”, whatever the picture.")
    return found


def luck(pair: Pair) -> str:
    """Say what a pair's p-value means."""
    if not pair.only_first + pair.only_second:
        return "they are right on the very same pictures"
    return "the difference may be luck" if pair.p_value >= LUCK else "the difference is hardly luck"


def p_value(p: float) -> str:
    """Write a p-value as papers do.

    >>> p_value(0.0213), p_value(0.00001), p_value(1.0)
    ('0.021', '< 0.001', '1')
    """
    return "< 0.001" if p < 0.001 else f"{p:.2g}"


def differences(facts: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[Any]]]:
    """Return the keys whose values differ, in the order of their first mention, with the values.

    A missing key counts as empty: the bundle may be older than the key.

    >>> differences([{"seed": 0, "loss": "hinge"}, {"seed": 0, "loss": "hinge", "filters": 8}])
    [('filters', [None, 8])]
    """
    keys = list(dict.fromkeys(key for each in facts for key in each))
    rows = [(key, [None if (value := each.get(key)) in ("", (), []) else value for each in facts]) for key in keys]
    return [(key, values) for key, values in rows if any(value != values[0] for value in values)]


def _accuracy_at(each: Compared, eps: float) -> float:
    return next(result.accuracy for result in each.attacks if result.threat.eps == eps)


def _weights(bundles: Sequence[Compared], insides: Sequence[Inside]) -> tuple[list[tuple[Compared, list[str]]], float]:
    """Return each linear bundle's weights as pictures, one for two classes, else one per class; and the scale's end."""
    shown = [
        (each, gains(inside.weights_KCHW)[:MOST_CLASSES])
        for each, inside in zip(bundles, insides, strict=True)
        if inside.weights_KCHW is not None
    ]
    limit = max((float(np.abs(w.mean(axis=1)).max()) for _, w in shown), default=0.0)
    return [(each, [weight_picture(w_CHW, limit) for w_CHW in w]) for each, w in shown], limit


def _galleries(
    bundles: Sequence[Compared], insides: Sequence[Inside]
) -> list[tuple[float, list[tuple[Compared, Errors, list[dict[str, Any]]]]]]:
    galleries = []
    for at, errors in enumerate(bundles[0].errors):
        rows = []
        for each, inside in zip(bundles, insides, strict=True):
            calls = [
                {"uri": picture_data_uri(call.picture_HWC, PICTURE_HEIGHT_PX), "path": call.path, "by": call.by,
                 "label": call.label, "called": call.called}
                for call in inside.wrong[at].nearest
            ]  # fmt: skip
            rows.append((each, inside.wrong[at].errors, calls))
        galleries.append((errors.eps, rows))
    return galleries


def _histograms(
    bundles: Sequence[Compared], insides: Sequence[Inside], labels: Sequence[str]
) -> list[tuple[float, list[tuple[Compared, Errors, Markup]]]]:
    shown = []
    for at, errors in enumerate(bundles[0].errors):
        wrong = [inside.wrong[at] for inside in insides]
        if not any(each.errors.wrong for each in wrong):
            continue
        edges = shared_edges([each.values_M for each in wrong])
        panels = [
            (b, w.errors, svg(margin_histogram(w.values_M, w.labels_M, edges, tuple(labels), b.letter)))
            for b, w in zip(bundles, wrong, strict=True)
        ]
        shown.append((errors.eps, panels))
    return shown


def _hinges(
    bundles: Sequence[Compared], insides: Sequence[Inside], num_classes: int
) -> list[tuple[Compared, float, Markup]]:
    chosen = [
        (each, inside.hinge_eps, inside.norm or 0.0)
        for each, inside in zip(bundles, insides, strict=True)
        if inside.hinge_eps is not None and num_classes == 2
    ]
    reach = max((eps * norm for _, eps, norm in chosen), default=0.0)
    low, high = -max(1.0, 0.3 * reach) - 1, 2 + 1.3 * reach
    largest = 1.05 * (1 - low + reach)
    return [(b, eps, svg(hinge_curves(eps, norm, (low, high), largest, b.letter))) for b, eps, norm in chosen]
