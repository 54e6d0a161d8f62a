"""The report's figures, as SVG text; see drawing.py for their style."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from keensight.pages import pictures
from keensight.pages.drawing import (
    BLUE,
    EM,
    INK,
    MUTED,
    ORANGE,
    PAPER,
    PERCENT,
    RULE,
    WIDTH,
    add_axes,
    canvas,
    drawing,
    fraction,
    legend,
    legend_height,
    shorten_all,
    text_width,
    to_svg,
)
from keensight.values import AttackResult, ClassMetrics, Epoch, Metrics, best_epoch

LOOKS = [(BLUE, "-", "o"), (ORANGE, "--", "s"), (INK, ":", "^"), (MUTED, "-.", "D")]
WEAKEST = 40  # bars that `f1_bars` shows at most


def curves(history: Sequence[Epoch], panels: Sequence[Literal["loss", "accuracy"]] = ("loss", "accuracy")) -> str:
    """Draw loss and accuracy over the epochs, training beside validation, with the best epoch marked; returns SVG."""
    height = 250.0
    with drawing():
        figure = canvas(WIDTH, height * len(panels))
        numbers = [epoch.number for epoch in history]
        best = best_epoch(history)
        for row, panel in enumerate(panels):
            axes = add_axes(
                figure, left=58, right=18, bottom=44 + height * (len(panels) - 1 - row), top=30 + height * row
            )
            marker = "o" if len(history) < 16 else ""
            train = [getattr(epoch, f"train_{panel}") for epoch in history]
            val = [getattr(epoch, f"val_{panel}") for epoch in history]
            axes.plot(numbers, train, color=MUTED, linestyle=(0, (4, 2)), marker=marker, markersize=3, label="training")
            axes.plot(numbers, val, color=BLUE, linewidth=2, marker=marker, markersize=3.5, label="validation")
            if best:
                value = getattr(best, f"val_{panel}")
                axes.axvline(best.number, color=ORANGE, linewidth=1, linestyle=(0, (1, 2)))
                axes.plot([best.number], [value], "o", color=ORANGE, markersize=7, label=f"kept, epoch {best.number}")
            axes.set_xlim(min(numbers, default=0) - 0.5, max(numbers, default=1) + 0.5)
            axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, steps=[1, 2, 5, 10], min_n_ticks=1))
            if panel == "accuracy":
                low, high = axes.get_ylim()
                high = min(high, 1.005)
                axes.set_ylim(min(low, high - 0.1), high)
                axes.yaxis.set_major_formatter(PERCENT)
            elif history:
                axes.set_ylim(bottom=0)
            axes.set_xlabel("epoch")
            axes.set_ylabel(panel)
            legend(axes)
        return to_svg(figure, f"{' and '.join(panels)} of training and validation over {len(history)} epochs")


def confusion_matrix(metrics: Metrics, names: Sequence[str]) -> str:
    """Draw the confusion matrix, each row adding up to 1, right answers blue and wrong ones orange; returns SVG.

    Made for 2 to 100 classes: counts are written where they fit; the colour is stronger for a larger share of
    the row.
    """
    counts_KK = np.array(metrics.confusion)
    K = len(counts_KK)
    share_KK = counts_KK / np.maximum(counts_KK.sum(axis=1, keepdims=True), 1)
    strength_KK = np.where(np.eye(K) > 0, share_KK, np.sqrt(share_KK))  # the root makes rare mistakes visible
    cell = min(76.0, max(9.0, 400.0 / K))
    name_size = min(11.0, cell * 0.85)
    labels = shorten_all(names)
    longest = max(text_width(label) for label in labels) * name_size * EM
    lying = longest < cell - 4
    left, below = longest + 34, (name_size + 8 if lying else longest * (0.72 if K <= 12 else 1) + 12) + 22
    count_size = min(13.0, cell / (len(f"{counts_KK.max():,}") * 0.62))
    with drawing():
        figure = canvas(max(left + K * cell + 14, 240), K * cell + below + 6)
        axes = figure.add_axes((*fraction(figure, left, below), *fraction(figure, K * cell, K * cell)))
        axes.set(xlim=(0, K), ylim=(K, 0), xticks=[], yticks=[])
        axes.grid(False)
        axes.spines[:].set_visible(False)
        if cell >= 16 and count_size >= 7:
            _cells(axes, counts_KK, strength_KK, count_size)
        else:
            # drawn in pixels, so the page's CSS variables do not apply
            colour = np.where(np.eye(K)[:, :, None] > 0, pictures.BLUE, pictures.VERMILION) / 255
            axes.imshow(np.dstack([colour, strength_KK]), extent=(0, K, K, 0), aspect="auto")
            axes.spines[:].set_visible(True)
            axes.spines[:].set_color(RULE)
        turn = 0 if lying else 45 if K <= 12 else 90
        for k in range(K):
            row, column = (-5 / cell, k + 0.5), (k + 0.5, K + (name_size * 0.6 + 3) / cell)
            axes.text(*row, f"@@{k}@@", ha="right", va="center_baseline", fontsize=name_size)
            axes.text(*column, f"@@{k}@@", ha="right" if turn else "center", va="center_baseline" if turn else "center",
                      rotation=turn, rotation_mode="anchor", fontsize=name_size)  # fmt: skip
        middle = (left + K * cell / 2) / figure.get_figwidth() / 72
        figure.text(middle, 5 / figure.get_figheight() / 72, "called", ha="center", color=MUTED)
        height = (below + K * cell / 2) / figure.get_figheight() / 72
        figure.text(14 / figure.get_figwidth() / 72, height, "labelled", rotation=90, rotation_mode="anchor",
                    ha="center", color=MUTED)  # fmt: skip
        return to_svg(figure, f"confusion matrix of {K} classes", labels)


def reliability_diagram(metrics: Metrics) -> str:
    """Draw accuracy against confidence in bins, and below it the number of pictures in each; returns SVG."""
    bins = metrics.reliability
    middles, width = [(each.low + each.high) / 2 for each in bins], [0.92 * (each.high - each.low) for each in bins]
    with drawing():
        figure = canvas(WIDTH, 380)
        axes = add_axes(figure, left=58, right=18, bottom=128, top=34)
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
        axes.bar(middles, [each.accuracy for each in bins], width, color=BLUE, alpha=0.35, linewidth=0)
        for each, middle, breadth in zip(bins, middles, width, strict=True):
            ends = [middle - breadth / 2, middle + breadth / 2]
            axes.plot(ends, [each.accuracy] * 2, color=BLUE, linewidth=2, solid_capstyle="butt")
            if abs(each.confidence - each.accuracy) > 0.004:
                gap = [min(each.confidence, each.accuracy), max(each.confidence, each.accuracy)]
                axes.plot([middle, middle], gap, color=ORANGE, linewidth=2, solid_capstyle="butt")
        axes.set(xlim=(0, 1), ylim=(0, 1.02), ylabel="accuracy")
        axes.text(0, 1.1, f"ECE {metrics.ece:.3f}", fontsize=13)
        axes.text(1, 1.1, "orange: the gap to perfect", ha="right", color=MUTED, fontsize=10.5)
        counts = add_axes(figure, left=58, right=18, bottom=44, top=380 - 108)
        counts.bar(middles, [each.n / metrics.n for each in bins], width, color=MUTED, linewidth=0)
        counts.set(xlim=(0, 1), xlabel="confidence", ylabel="share")
        counts.yaxis.set_major_locator(MaxNLocator(nbins=2))
        for each_axes in (axes, counts):
            each_axes.xaxis.set_major_formatter(PERCENT)
        axes.tick_params(labelbottom=False)
        axes.yaxis.set_major_formatter(PERCENT)
        counts.yaxis.set_major_formatter(PERCENT)
        return to_svg(figure, f"reliability diagram, expected calibration error {metrics.ece:.3f}")


def f1_bars(per_class: Sequence[ClassMetrics]) -> str:
    """Draw the F1 of each class as a bar, the weakest on top, at most 40; returns SVG."""
    shown = sorted(per_class, key=lambda each: each.f1)[:WEAKEST]
    labels = shorten_all([each.name for each in shown])
    left = max((text_width(label) for label in labels), default=0) * 10.5 * EM + 14
    with drawing():
        figure = canvas(max(WIDTH, left + 220), 16 * len(shown) + 34)
        axes = add_axes(figure, left=left, right=46, bottom=26, top=4)
        axes.barh(range(len(shown)), [each.f1 for each in shown], 0.62, color=BLUE, alpha=0.6, linewidth=0)
        axes.set(xlim=(0, 1), ylim=(len(shown) - 0.5, -0.5))
        axes.set_yticks(range(len(shown)), [f"@@{i}@@" for i in range(len(shown))])
        axes.grid(axis="y", visible=False)
        axes.grid(axis="x", visible=True)
        for i, each in enumerate(shown):
            axes.text(each.f1 + 0.012, i, f"{each.f1:.3f}", va="center_baseline", color=MUTED, fontsize=10.5)
        axes.spines["left"].set_color(RULE)
        return to_svg(figure, f"F1 of the {len(shown)} weakest classes", labels)


def attack_curve(attacks: Sequence[AttackResult], clean_accuracy: float | None = None) -> str:
    """Draw accuracy over epsilon, a line for each attack, from `clean_accuracy` at epsilon 0 if given; returns SVG."""
    lines: dict[str, dict[float, float]] = {}
    for each in attacks:
        start = {} if clean_accuracy is None else {0.0: clean_accuracy}
        lines.setdefault(each.attack, start)[each.threat.eps] = each.accuracy
    return accuracy_over_eps(lines)


def accuracy_over_eps(lines: Mapping[str, Mapping[float, float]]) -> str:
    """Draw named lines of accuracy over epsilon, up to eight of them (the second four with hollow marks); returns SVG.

    `lines` maps each name to a mapping from epsilons to accuracies, in any order.
    """
    names = shorten_all(list(lines))
    above = legend_height(names)
    with drawing():
        figure = canvas(WIDTH, 240 + above)
        axes = add_axes(figure, left=46, right=14, bottom=44, top=above)
        for i, points in enumerate(lines.values()):
            colour, line, marker = LOOKS[i % len(LOOKS)]
            x, y = zip(*sorted(points.items()), strict=True)
            axes.plot(x, y, color=colour, linestyle=line, marker=marker, markersize=5, linewidth=2, label=f"@@{i}@@",
                      markerfacecolor=colour if i < len(LOOKS) else PAPER)  # fmt: skip
        axes.set(ylim=(0, 1.02), xlabel="epsilon: largest change of a pixel, of a range of 1")
        axes.set_xlim(left=0)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))
        axes.yaxis.set_major_formatter(PERCENT)
        legend(axes, names)
        return to_svg(figure, "accuracy over the strength of the attack", names)


def _cells(axes: Axes, counts_KK: Any, strength_KK: Any, size: float) -> None:
    K = len(counts_KK)
    for i in range(K):
        for j in range(K):
            if not counts_KK[i, j] and K > 12:
                continue  # a faint tint for empty cells helps a small matrix, and is thousands of shapes in a large one
            alpha = float(strength_KK[i, j])
            colour = BLUE if i == j else ORANGE
            axes.fill([j + 0.02, j + 0.98, j + 0.98, j + 0.02], [i + 0.02, i + 0.02, i + 0.98, i + 0.98],
                      color=colour, alpha=alpha if counts_KK[i, j] else 0.05, linewidth=0)  # fmt: skip
            if counts_KK[i, j]:
                text = f"{counts_KK[i, j]:,}"
                ink = PAPER if alpha > 0.6 else INK
                axes.text(j + 0.5, i + 0.5, text, ha="center", va="center_baseline", color=ink, fontsize=size)
