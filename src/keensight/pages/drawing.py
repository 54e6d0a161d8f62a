"""The style of every figure: SVG text that follows the page's colours, light, dark and in print.

Matplotlib draws with marker colours, which `to_svg` replaces with CSS variables (each with a fallback, so that a figure
also works alone). Names from the data never pass through matplotlib, which would read `$` as mathematics and lacks
glyphs of other scripts: it draws `@@3@@`, which `to_svg` replaces with the escaped name. Same input, same bytes.

    with drawing():
        figure = canvas(WIDTH, 250)
        add_axes(figure, left=46, right=18, bottom=44, top=30).plot(x, y, color=BLUE, label="@@0@@")
        return to_svg(figure, "y over x", [shorten(name)])
"""

from __future__ import annotations

import io
import re
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from html import escape
from typing import Any

from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

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


def shorten(name: str, most: int = 18) -> str:
    """Cut `name` to the width of about `most` letters, without control characters.

    >>> shorten("a very long class name indeed")
    'a very long class…'
    """
    name = _shown(name[:200])
    if text_width(name) <= most:
        return name
    while text_width(name) >= most:
        name = name[:-1]
    return name.rstrip() + "…"


def shorten_all(names: Sequence[str], most: int = 18) -> list[str]:
    """Cut names as `shorten` does, but those that would read the same in the middle, or with their place in the list.

    >>> shorten_all(["american_pit_bull_terrier", "american_pit_bull_puppy", "cat"])
    ['american…_terrier', 'american…ll_puppy', 'cat']
    """
    ends = [shorten(name, most) for name in names]
    kept = [(most - 2) // (4 if text_width(name) > len(name) else 2) for name in names]
    middles = [f"{name[:letters]}…{name[-letters:]}" for name, letters in zip(map(_shown, names), kept, strict=True)]
    return [
        end if ends.count(end) == 1 else middle if middles.count(middle) == 1 else f"{shorten(end, most - 4)} {i}"
        for i, (end, middle) in enumerate(zip(ends, middles, strict=True), start=1)
    ]


def _shown(name: str) -> str:
    return "".join(letter if letter.isprintable() else "�" for letter in name)


def text_width(text: str) -> int:
    """Return the width of a text in letters; East Asian ones count twice."""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


@contextmanager
def drawing() -> Iterator[None]:
    """Apply our style to matplotlib; figures are made and written inside."""
    with style.context(["default", STYLE]):  # "default": a reader's own matplotlibrc changes nothing
        yield


def canvas(width: float, height: float) -> Figure:
    """Return an empty figure of a size in units of the view box."""
    return Figure(figsize=(width / 72, height / 72))  # SVG has 72 units to matplotlib's inch


def fraction(figure: Figure, x: float, y: float) -> tuple[float, float]:
    """Return a distance in units of the view box as fractions of the figure."""
    return x / 72 / figure.get_figwidth(), y / 72 / figure.get_figheight()


def add_axes(figure: Figure, *, left: float, right: float, bottom: float, top: float) -> Axes:
    """Add axes with margins in units of the view box."""
    x0, y0 = fraction(figure, left, bottom)
    dx, dy = fraction(figure, right, top)
    return figure.add_axes((x0, y0, 1 - x0 - dx, 1 - y0 - dy))


def legend_height(names: Sequence[str]) -> int:
    """Return the room above the axes, in units of the view box, that a legend of names from the data takes.

    >>> legend_height(["A", "B", "C", "D", "E"]), legend_height(["a long name", "another one"])
    (46, 46)
    """
    return 14 + 16 * -(-len(names) // _columns(names))


def _columns(names: Sequence[str]) -> int:
    # matplotlib lays out `@@3@@`, so a longer name would be printed over the one at its right
    return 4 if all(text_width(name) <= 6 for name in names) else 1


def legend(axes: Axes, names: Sequence[str] = ()) -> None:
    """Write the legend above the axes, up to four names in a row; those from the data, `names`, one a row if long."""
    axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 0.99), ncols=_columns(names), borderaxespad=0.2,
                handlelength=1.6, columnspacing=1.2, handletextpad=0.5)  # fmt: skip


def to_svg(figure: Figure, label: str, names: Sequence[str] = ()) -> str:
    """Return the figure as SVG text, with the escaped `names[3]` where it draws `@@3@@`.

    `label`, for screen readers, is our own text: nothing from the data.
    """
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


def _hundredths(number: re.Match[str]) -> str:
    return f"{float(number[0]):.2f}".rstrip("0").rstrip(".")
