"""The figures that compare bundles, in the report's style; one picture or SVG for each panel.

Panels that belong together share an axis or a colour scale, which the caller computes once for all of them.
Shape letters: H height, W width, C channels, M mistakes.
"""

from __future__ import annotations

import numpy as np
from matplotlib.ticker import MaxNLocator

from keensight.evaluation.comparison import hinge_loss
from keensight.pages.drawing import (
    BLUE,
    MUTED,
    ORANGE,
    WIDTH,
    add_axes,
    canvas,
    drawing,
    legend,
    legend_height,
    shorten,
    to_svg,
)
from keensight.pages.pictures import picture_data_uri, signed_colours
from keensight.values import FloatArray, IntArray


def margin_histogram(
    values_M: FloatArray, labels_M: IntArray, edges: FloatArray, names: tuple[str, ...], letter: str
) -> str:
    """Draw how far a bundle's mistakes lie from the boundary at 0, in bins between `edges`; returns SVG.

    For two classes (`names`), values are f(x) = z1 - z0: pictures of the second class that it gets wrong lie left of 0
    and those of the first right of it. For more, values are the label's logit less the largest, all left of 0.
    """
    first, second = (labels_M == 0, labels_M == 1) if len(names) == 2 else (labels_M < 0, labels_M >= 0)
    called = [f"{shorten(a, 12)} called {shorten(b, 12)}" for a, b in (names, names[::-1])] if len(names) == 2 else []
    above = legend_height(called or ["any"])
    with drawing():
        figure = canvas(WIDTH, 200 + above)
        axes = add_axes(figure, left=46, right=14, bottom=44, top=above)
        for chosen, colour, k in ((second, ORANGE, 1), (first, BLUE, 0)):
            if len(names) > 2 and not k:
                continue
            counts, _ = np.histogram(values_M[chosen], edges)
            label = f"@@{k}@@" if len(names) == 2 else "mistakes"
            axes.stairs(counts, edges, fill=True, facecolor=colour, alpha=0.4, linewidth=0)
            axes.stairs(counts, edges, color=colour, linewidth=1.4, label=label)
        axes.axvline(0, color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
        axes.set_xlim(edges[0], edges[-1])
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
        axes.set(xlabel="f(x)" if len(names) == 2 else "label's logit less the largest", ylabel="pictures")
        legend(axes, called)
        return to_svg(figure, f"logits of the {len(values_M)} mistakes of {letter}", called)


def hinge_curves(eps: float, norm: float, margins: tuple[float, float], largest: float, letter: str) -> str:
    """Draw hinge loss and, for `eps` above 0, robust hinge loss over the margin y f(x) from `margins`; returns SVG.

    `largest` is the loss that the axis reaches. `norm` is ||w||_1: the robust loss reaches 0 at 1 + eps ||w||_1.
    """
    low, high = margins
    shift = eps * norm
    x = np.unique(np.clip([low, 1.0, 1.0 + shift, high], low, high))  # the lines are straight between these points
    with drawing():
        figure = canvas(WIDTH, 230)
        axes = add_axes(figure, left=46, right=14, bottom=44, top=30)
        axes.plot(x, hinge_loss(x), color=BLUE, linewidth=2, label="hinge")
        if shift:
            robust = hinge_loss(x, eps, norm)
            axes.plot(x, robust, color=ORANGE, linestyle="--", linewidth=2, label=f"robust hinge, eps {eps:g}")
        axes.axvline(0, color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
        axes.set_xlim(low, high)
        axes.set_ylim(0, largest)
        axes.set(xlabel="margin y f(x)", ylabel="loss")
        legend(axes)
        return to_svg(figure, f"hinge losses of {letter} over the margin")


def weight_picture(weights_CHW: FloatArray, limit: float, height_px: int = 168) -> str:
    """Return a PNG data URI of a linear model's weights: blue above 0, vermilion below, clear at 0.

    Full colour stands for `limit`, the same for all pictures that are compared. Channels are averaged.
    """
    return picture_data_uri(signed_colours(weights_CHW.mean(axis=0, keepdims=True), limit)[0], height_px)


def colour_scale() -> str:
    """Return a PNG data URI of the scale of `weight_picture`, from -limit at the left to +limit at the right."""
    return picture_data_uri(signed_colours(np.linspace(-1, 1, 31)[None, None].repeat(8, axis=1))[0], 8)
