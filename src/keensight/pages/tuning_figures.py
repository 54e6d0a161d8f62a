"""The figures of a search and of a range test, as SVG text in the report's style (see drawing.py)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from keensight.errors import counted
from keensight.pages.drawing import (
    BLUE,
    EM,
    INK,
    MUTED,
    ORANGE,
    PERCENT,
    RULE,
    WIDTH,
    add_axes,
    canvas,
    drawing,
    legend,
    shorten,
    to_svg,
)
from keensight.training.lr_range import LrRange
from keensight.training.search_space import Dimension
from keensight.training.tune import Trial

PLAIN = FuncFormatter(lambda value, _: f"{value:g}")
LOWEST = 0.15  # at most this share of accuracy below the median is shown; worse trials lie on the axis's end


def progress(trials: Sequence[Trial], interval: tuple[float, float] | None) -> str:
    """Draw the validation accuracy of each trial over its number, with the best so far as steps; returns SVG.

    `interval` is that of the recipe's own accuracy, drawn as a band: a trial inside it may be luck.
    """
    scored = [trial for trial in trials if trial.val_accuracy is not None]
    with drawing():
        figure = canvas(2 * WIDTH, 306)
        axes = add_axes(figure, left=52, right=18, bottom=44, top=50)
        low, high = _limits(scored, interval)
        if interval:
            axes.axhspan(*interval, color=RULE, alpha=0.45, linewidth=0, label="the recipe as it is, 95 % interval")
        best = 0.0
        steps = []
        for trial in trials:
            if trial.state == "finished":
                best = max(best, trial.val_accuracy or 0.0)
            steps.append(best if best else math.nan)
        numbers = [trial.number for trial in trials]
        axes.step(numbers, steps, where="post", color=ORANGE, linewidth=1.5, label="best so far")
        _points(axes, [(trial.number, trial) for trial in scored], low)
        failed = [trial.number for trial in trials if trial.state == "failed"]
        if failed:
            axes.plot(failed, [low] * len(failed), "x", color=ORANGE, markersize=6, clip_on=False, label="failed")
        axes.set(xlim=(-0.6, max(len(trials) - 0.4, 1)), ylim=(low, high), xlabel="trial")
        axes.xaxis.set_major_locator(MaxNLocator(nbins=10, integer=True, steps=[1, 2, 5, 10], min_n_ticks=1))
        axes.yaxis.set_major_formatter(PERCENT)
        legend(axes)
        return to_svg(figure, f"validation accuracy of {counted(len(trials), 'trial')}")


def importance_bars(shares: Mapping[str, float]) -> str:
    """Draw the share of the variance that each key explains as bars, the largest on top; returns SVG."""
    labels = [shorten(key) for key in shares]
    left = max((len(label) for label in labels), default=0) * 10.5 * EM + 16
    with drawing():
        figure = canvas(max(WIDTH, left + 240), 24 * len(shares) + 34)
        axes = add_axes(figure, left=left, right=50, bottom=26, top=4)
        axes.barh(range(len(shares)), list(shares.values()), 0.6, color=BLUE, alpha=0.6, linewidth=0)
        axes.set(xlim=(0, 1), ylim=(len(shares) - 0.5, -0.5))
        axes.set_yticks(range(len(shares)), [f"@@{i}@@" for i in range(len(shares))])
        axes.xaxis.set_major_formatter(PERCENT)
        axes.grid(axis="y", visible=False)
        axes.grid(axis="x", visible=True)
        for i, share in enumerate(shares.values()):
            axes.text(share + 0.012, i, f"{share:.0%}", va="center_baseline", color=MUTED, fontsize=10.5)
        axes.spines["left"].set_color(RULE)
        return to_svg(figure, "how much of the accuracy each key explains", labels)


def panels(space: Sequence[Dimension], trials: Sequence[Trial]) -> str:
    """Draw one panel for each key: the accuracy of every trial over its value of the key; returns SVG."""
    scored = [trial for trial in trials if trial.val_accuracy is not None]
    columns = min(3, len(space))
    rows = math.ceil(len(space) / columns)
    width, height = 2 * WIDTH / columns, 215.0
    low, high = _limits(scored, None)
    with drawing():
        figure = canvas(2 * WIDTH, rows * height + 22)
        for i, dimension in enumerate(space):
            row, column = divmod(i, columns)
            axes = add_axes(
                figure, left=column * width + 46, right=2 * WIDTH - (column + 1) * width + 12,
                bottom=44 + (rows - 1 - row) * height, top=30 + row * height,
            )  # fmt: skip
            _points(axes, [(_position(dimension, trial.values[dimension.key]), trial) for trial in scored], low)
            _values_axis(axes, dimension)
            axes.set_ylim(low, high)
            axes.yaxis.set_major_locator(MaxNLocator(nbins=4))
            axes.yaxis.set_major_formatter(PERCENT)
            axes.set_xlabel(dimension.key)
            if i == 0:
                legend(axes)
        return to_svg(figure, "accuracy over the values of each key")


def lr_curve(found: LrRange, recipe_rate: float) -> str:
    """Draw the smoothed loss of each step over its learning rate, with the rates found; returns SVG."""
    rates, smoothed = found.rates, found.smoothed
    with drawing():
        figure = canvas(2 * WIDTH, 340)
        axes = add_axes(figure, left=52, right=18, bottom=44, top=54)
        axes.plot(rates, found.losses, color=MUTED, linewidth=0.7, alpha=0.6, label="each batch")
        axes.plot(rates, smoothed, color=BLUE, linewidth=2.2, label="smoothed")
        axes.axvline(recipe_rate, color=INK, linewidth=1, linestyle=(0, (1, 2)), label=f"recipe {recipe_rate:g}")
        axes.axvline(found.suggested, color=ORANGE, linewidth=1.6, label=f"suggested {found.suggested:g}")
        top = 1.35 * max(smoothed[:10])
        marks = [("steepest", found.steepest, "^"), ("lowest", found.lowest, "v"), ("diverges", found.diverges, "X")]
        for name, rate, marker in marks:
            if rate is not None:
                nearest = min(range(len(rates)), key=lambda i, rate=rate: abs(math.log(rates[i] / rate)))  # type: ignore[misc]
                axes.plot([rates[nearest]], [min(smoothed[nearest], top)], marker, color=ORANGE, markersize=8,
                          label=f"{name} {rate:g}", clip_on=False, linestyle="none")  # fmt: skip
        axes.set(xscale="log", ylim=(min(0.0, *smoothed), top), xlabel="learning rate", ylabel="training loss")
        axes.set_xlim(rates[0], rates[-1])
        axes.xaxis.set_major_locator(LogLocator(numticks=12))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(PLAIN)
        legend(axes)
        return to_svg(figure, f"training loss over the learning rate, of {len(rates)} steps")


def _points(axes: Axes, places: Sequence[tuple[float, Trial]], low: float) -> None:
    """Plot trials at their places: finished ones filled, stopped ones hollow, the recipe's own a square."""
    looks: dict[str, tuple[str, dict[str, Any]]] = {
        "stopped early": ("o", {"color": MUTED, "markerfacecolor": "none", "markersize": 5}),
        "finished": ("o", {"color": BLUE, "markersize": 6}),
        "the recipe as it is": ("s", {"color": INK, "markersize": 7}),
    }
    kinds = [
        "the recipe as it is" if trial.number == 0 else "finished" if trial.state == "finished" else "stopped early"
        for _, trial in places
    ]
    for name, (marker, look) in looks.items():
        chosen = [place for place, kind in zip(places, kinds, strict=True) if kind == name]
        if chosen:
            x = [place for place, _ in chosen]
            y = [max(low, trial.val_accuracy or 0.0) for _, trial in chosen]
            axes.plot(x, y, marker, linestyle="none", label=name, clip_on=False, zorder=3, **look)


def _limits(scored: Sequence[Trial], interval: tuple[float, float] | None) -> tuple[float, float]:
    """Return the ends of the accuracy axis: the worst trials lie on its lower end, to tell the best apart."""
    shares = sorted(trial.val_accuracy or 0.0 for trial in scored)
    if not shares:
        return 0.0, 1.0
    middle, top = shares[len(shares) // 2], shares[-1]
    bottom = max(shares[0], middle - max(LOWEST, 2 * (top - middle)))
    if interval:
        bottom, top = min(bottom, interval[0]), max(top, interval[1])
    margin = max(0.006, 0.06 * (top - bottom))
    return max(0.0, bottom - margin), min(1.0, top + margin) if top < 1 else 1.0 + margin / 2


def _position(dimension: Dimension, value: Any) -> float:
    return float(dimension.choices.index(value) if dimension.choices else value)


def _values_axis(axes: Axes, dimension: Dimension) -> None:
    if dimension.choices:
        names = [f"{each:g}" if isinstance(each, float) else str(each).lower() for each in dimension.choices]
        axes.set_xticks(range(len(names)), names)
        axes.set_xlim(-0.5, len(names) - 0.5)
        return
    if dimension.log:
        axes.set_xscale("log")
        axes.set_xlim(dimension.low / 1.15, dimension.high * 1.15)
        decades = math.log10(dimension.high / dimension.low)
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0,) if decades > 1.5 else (1.0, 2.0, 5.0), numticks=8))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(PLAIN)
        return
    margin = 0.04 * (dimension.high - dimension.low)
    axes.set_xlim(dimension.low - margin, dimension.high + margin)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 5, 10]))
