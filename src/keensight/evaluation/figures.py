"""The report's figures as SVG text that follows the page's colours: light, dark and on paper.

Matplotlib draws with marker colours, which `_svg` replaces with CSS variables (each with a fallback, so that a figure
also stands alone). Names from the data never pass through matplotlib, which would read `$` as mathematics and miss
glyphs of other scripts: it draws `@@3@@`, and `_svg` puts the escaped name there. Same input, same bytes.
"""

from __future__ import annotations

import base64
import io
import re
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from html import escape
from typing import Any, Literal

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from PIL import Image

from keensight.values import AttackResult, ClassMetrics, Epoch, Metrics, Uint8Array

# Blue and vermilion of Okabe & Ito's palette, which colour-blind readers can tell apart; report.css has them too.
INK, MUTED, RULE, BLUE, ORANGE, PAPER = "#010101", "#020202", "#030303", "#040404", "#050505", "#060606"
CSS = {
    INK: "var(--ink,#1c2024)",
    MUTED: "var(--muted,#5b6470)",
    RULE: "var(--rule,#d9dce0)",
    BLUE: "var(--blue,#0072b2)",
    ORANGE: "var(--orange,#c4500a)",
    PAPER: "var(--paper,#ffffff)",
}
OKABE_ITO_BLUE, OKABE_ITO_VERMILION = "#0072b2", "#d55e00"  # in pixels, where no variable reaches
STYLE: dict[str, Any] = {
    "svg.fonttype": "none",  # text stays text: half the size of outlines, in the page's font, and it can be searched
    "svg.hashsalt": "keensight",
    "image.interpolation": "none",
    "image.composite_image": False,
    "font.size": 11,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": RULE,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 10.5,
    "ytick.labelsize": 10.5,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "legend.fontsize": 11,
    "text.parse_math": False,
}
WIDTH = 380.0  # units of the view box: about one CSS pixel each, so that text is as large as the page's small print
PERCENT = FuncFormatter(lambda share, _: f"{round(100 * share, 2):g}%")
EM = 0.52  # a letter's mean width, in font sizes
WEAKEST = 40  # bars that `f1_bars` shows at most


def curves(history: Sequence[Epoch], panels: Sequence[Literal["loss", "accuracy"]] = ("loss", "accuracy")) -> str:
    """Draw loss and accuracy over the epochs, training beside validation, with the best epoch marked; returns SVG."""
    height = 250.0
    with _drawing():
        figure = _canvas(WIDTH, height * len(panels))
        numbers = [epoch.number for epoch in history]
        best = max((epoch for epoch in history if epoch.best), key=lambda epoch: epoch.number, default=None)
        for row, panel in enumerate(panels):
            axes = _axes(figure, left=46, right=18, bottom=44 + height * (len(panels) - 1 - row), top=30 + height * row)
            marker = "o" if len(history) < 16 else ""
            train = [getattr(epoch, f"train_{panel}") for epoch in history]
            val = [getattr(epoch, f"val_{panel}") for epoch in history]
            axes.plot(numbers, train, color=MUTED, linestyle=(0, (4, 2)), marker=marker, markersize=3, label="training")
            axes.plot(numbers, val, color=BLUE, linewidth=2, marker=marker, markersize=3.5, label="validation")
            if best:
                value = getattr(best, f"val_{panel}")
                axes.axvline(best.number, color=ORANGE, linewidth=1, linestyle=(0, (1, 2)))
                axes.plot([best.number], [value], "o", color=ORANGE, markersize=7, label=f"best, epoch {best.number}")
            axes.set_xlim(min(numbers, default=0) - 0.5, max(numbers, default=1) + 0.5)
            axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, steps=[1, 2, 5, 10], min_n_ticks=1))
            if panel == "accuracy":
                low, high = axes.get_ylim()
                axes.set_ylim(min(low, high - 0.1), high)
                axes.yaxis.set_major_formatter(PERCENT)
            elif history:
                axes.set_ylim(bottom=0)
            axes.set_xlabel("epoch")
            _legend(axes)
        return _svg(figure, f"{' and '.join(panels)} of training and validation over {len(history)} epochs")


def confusion_matrix(metrics: Metrics, names: Sequence[str]) -> str:
    """Draw which class was called what, rows adding up to 1, right answers blue and wrong ones orange; returns SVG.

    Made for 2 to 100 classes: counts are written where they fit, and colour (stronger for a larger share of the row)
    says it where they do not.
    """
    counts_KK = np.array(metrics.confusion)
    K = len(counts_KK)
    share_KK = counts_KK / np.maximum(counts_KK.sum(axis=1, keepdims=True), 1)
    strength_KK = np.where(np.eye(K) > 0, share_KK, np.sqrt(share_KK))  # the root lets rare mistakes be seen
    cell = min(76.0, max(9.0, 400.0 / K))
    name_size = min(11.0, cell * 0.85)
    labels = [shorten(name) for name in names]
    longest = max(_width(label) for label in labels) * name_size * EM
    lying = longest < cell - 4
    left, below = longest + 34, (name_size + 8 if lying else longest * (0.72 if K <= 12 else 1) + 12) + 22
    count_size = min(13.0, cell / (len(f"{counts_KK.max():,}") * 0.62))
    with _drawing():
        figure = _canvas(max(left + K * cell + 14, 240), K * cell + below + 6)
        axes = figure.add_axes((*_fraction(figure, left, below), *_fraction(figure, K * cell, K * cell)))
        axes.set(xlim=(0, K), ylim=(K, 0), xticks=[], yticks=[])
        axes.grid(False)
        axes.spines[:].set_visible(False)
        if cell >= 16 and count_size >= 7:
            _cells(axes, counts_KK, strength_KK, count_size)
        else:
            blue, vermilion = to_rgb(OKABE_ITO_BLUE), to_rgb(OKABE_ITO_VERMILION)
            colour = np.where(np.eye(K)[:, :, None] > 0, blue, vermilion)
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
        return _svg(figure, f"confusion matrix of {K} classes", labels)


def reliability_diagram(metrics: Metrics) -> str:
    """Draw accuracy against confidence in bins, with how many pictures each holds below it; returns SVG."""
    bins = metrics.reliability
    middles, width = [(each.low + each.high) / 2 for each in bins], [0.92 * (each.high - each.low) for each in bins]
    with _drawing():
        figure = _canvas(WIDTH, 380)
        axes = _axes(figure, left=46, right=18, bottom=128, top=34)
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
        counts = _axes(figure, left=46, right=18, bottom=44, top=380 - 108)
        counts.bar(middles, [each.n / metrics.n for each in bins], width, color=MUTED, linewidth=0)
        counts.set(xlim=(0, 1), xlabel="confidence", ylabel="share")
        counts.yaxis.set_major_locator(MaxNLocator(nbins=2))
        for each_axes in (axes, counts):
            each_axes.xaxis.set_major_formatter(PERCENT)
        axes.tick_params(labelbottom=False)
        axes.yaxis.set_major_formatter(PERCENT)
        counts.yaxis.set_major_formatter(PERCENT)
        return _svg(figure, f"reliability diagram, expected calibration error {metrics.ece:.3f}")


def f1_bars(per_class: Sequence[ClassMetrics]) -> str:
    """Draw the F1 of each class as a bar, weakest on top, at most the 40 weakest of them; returns SVG."""
    shown = sorted(per_class, key=lambda each: each.f1)[:WEAKEST]
    labels = [shorten(each.name) for each in shown]
    left = max((_width(label) for label in labels), default=0) * 10.5 * EM + 14
    with _drawing():
        figure = _canvas(max(WIDTH, left + 220), 16 * len(shown) + 34)
        axes = _axes(figure, left=left, right=46, bottom=26, top=4)
        axes.barh(range(len(shown)), [each.f1 for each in shown], 0.62, color=BLUE, alpha=0.6, linewidth=0)
        axes.set(xlim=(0, 1), ylim=(len(shown) - 0.5, -0.5))
        axes.set_yticks(range(len(shown)), [f"@@{i}@@" for i in range(len(shown))])
        axes.grid(axis="y", visible=False)
        axes.grid(axis="x", visible=True)
        for i, each in enumerate(shown):
            axes.text(each.f1 + 0.012, i, f"{each.f1:.3f}", va="center_baseline", color=MUTED, fontsize=10.5)
        axes.spines["left"].set_color(RULE)
        return _svg(figure, f"F1 of the {len(shown)} weakest classes", labels)


def attack_curve(attacks: Sequence[AttackResult], clean_accuracy: float | None = None) -> str:
    """Draw accuracy over epsilon, a line for each attack, from `clean_accuracy` at epsilon 0 if given; returns SVG."""
    names = list(dict.fromkeys(each.attack for each in attacks))
    looks = [(BLUE, "-", "o"), (ORANGE, "--", "s"), (INK, ":", "^"), (MUTED, "-.", "D")]
    with _drawing():
        figure = _canvas(WIDTH, 270)
        axes = _axes(figure, left=46, right=14, bottom=44, top=30)
        for i, name in enumerate(names):
            points = {each.threat.eps: each.accuracy for each in attacks if each.attack == name}
            if clean_accuracy is not None:
                points.setdefault(0.0, clean_accuracy)
            colour, line, marker = looks[i % len(looks)]
            x, y = zip(*sorted(points.items()), strict=True)
            axes.plot(x, y, color=colour, linestyle=line, marker=marker, markersize=5, linewidth=2, label=f"@@{i}@@")
        axes.set(ylim=(0, 1.02), xlabel="epsilon: largest change of a pixel, of a range of 1")
        axes.set_xlim(left=0)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))
        axes.yaxis.set_major_formatter(PERCENT)
        _legend(axes)
        return _svg(figure, "accuracy over the strength of the attack", [shorten(name) for name in names])


def picture_data_uri(picture_HWC: Uint8Array, height_px: int, *, lossy: bool = False) -> str:
    """Return a PNG data URI of a uint8 picture with 1 or 3 channels, about `height_px` high and never over four wide.

    Small pictures grow by a whole factor with their pixels kept square; large ones shrink with Lanczos' filter. With
    `lossy`, a colour picture may become a JPEG where that is smaller: a photograph has a sixth of the size then.
    """
    picture = Image.fromarray(picture_HWC[:, :, 0] if picture_HWC.shape[2] == 1 else picture_HWC)
    scale = min(height_px / picture.height, 4 * height_px / picture.width)
    if scale >= 1:
        factor = int(scale)
        picture = picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)
    else:
        size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    uris = [image_data_uri(picture, "png")]
    if lossy and picture.mode == "RGB":
        uris.append(image_data_uri(picture, "jpeg"))
    return min(uris, key=len)


def image_data_uri(image: Image.Image, kind: Literal["png", "jpeg"] = "png") -> str:
    """Return a Pillow image, as large as it is, as a data URI."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **({"quality": 88} if kind == "jpeg" else {}))
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def shorten(name: str, most: int = 18) -> str:
    """Cut `name` to about `most` letters' width, without control characters.

    >>> shorten("a very long class name indeed")
    'a very long class…'
    """
    name = "".join(letter if letter.isprintable() else "�" for letter in name[:200])
    if _width(name) <= most:
        return name
    while _width(name) >= most:
        name = name[:-1]
    return name.rstrip() + "…"


def _width(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


@contextmanager
def _drawing() -> Iterator[None]:
    with style.context(["default", STYLE]):  # "default": a reader's own matplotlibrc changes nothing
        yield


def _canvas(width: float, height: float) -> Figure:
    return Figure(figsize=(width / 72, height / 72))  # SVG has 72 units to matplotlib's inch


def _fraction(figure: Figure, x: float, y: float) -> tuple[float, float]:
    return x / 72 / figure.get_figwidth(), y / 72 / figure.get_figheight()


def _axes(figure: Figure, *, left: float, right: float, bottom: float, top: float) -> Axes:
    x0, y0 = _fraction(figure, left, bottom)
    dx, dy = _fraction(figure, right, top)
    return figure.add_axes((x0, y0, 1 - x0 - dx, 1 - y0 - dy))


def _legend(axes: Axes) -> None:
    axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 0.99), ncols=4, borderaxespad=0.2, handlelength=1.6,
                columnspacing=1.2, handletextpad=0.5)  # fmt: skip


def _cells(axes: Axes, counts_KK: Any, strength_KK: Any, size: float) -> None:
    K = len(counts_KK)
    for i in range(K):
        for j in range(K):
            if not counts_KK[i, j] and K > 12:
                continue  # a faint tint for none: a help on a small board, thousands of shapes on a large one
            alpha = float(strength_KK[i, j])
            colour = BLUE if i == j else ORANGE
            axes.fill([j + 0.02, j + 0.98, j + 0.98, j + 0.02], [i + 0.02, i + 0.02, i + 0.98, i + 0.98],
                      color=colour, alpha=alpha if counts_KK[i, j] else 0.05, linewidth=0)  # fmt: skip
            if counts_KK[i, j]:
                text = f"{counts_KK[i, j]:,}"
                ink = PAPER if alpha > 0.6 else INK
                axes.text(j + 0.5, i + 0.5, text, ha="center", va="center_baseline", color=ink, fontsize=size)


def _hundredths(number: re.Match[str]) -> str:
    return f"{float(number[0]):.2f}".rstrip("0").rstrip(".")


def _svg(figure: Figure, label: str, names: Sequence[str] = ()) -> str:
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", svg, flags=re.DOTALL)  # it would style the whole page
    svg = re.sub(r' id="[\w.]+_\d+"', "", svg)  # the same in every figure, so not unique on the page
    svg = re.sub(r"font-family: [^;\"]*;? ?", "", svg)
    svg = re.sub(r' transform="rotate\(-0 [^)]*\)"', "", svg)
    svg = re.sub(r'="[^"]*"', lambda value: re.sub(r"\d+\.\d{3,}", _hundredths, value[0]), svg)
    svg = re.sub(r"\s*\n\s*", " ", svg).replace("> <", "><")
    for marker, variable in CSS.items():
        svg = svg.replace(marker, variable)
    size = f'width="{figure.get_figwidth() * 72:.0f}" height="{figure.get_figheight() * 72:.0f}"'
    look = 'stroke-linejoin="round" font-family="system-ui,sans-serif"'
    svg = re.sub(r'width="[\d.]+pt" height="[\d.]+pt"', f'{size} {look} role="img" aria-label="{label}"', svg, count=1)
    return re.sub(r"@@(\d+)@@", lambda token: escape(names[int(token[1])]), svg).strip() + "\n"
