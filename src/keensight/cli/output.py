"""Output of the verbs: results on stdout, everything else on stderr."""

from __future__ import annotations

import shutil
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from keensight.errors import counted
from keensight.evaluation import words
from keensight.files import to_json_line
from keensight.names import printable
from keensight.values import NONE_OF_THESE

if TYPE_CHECKING:
    from keensight.values import Metrics, Prediction


def say(*lines: str, file: TextIO | None = None) -> None:
    """Print lines (or an empty one) on stdout or another file; whatever names are in them, each stays one line."""
    for line in lines or ("",):
        print(printable(line), file=file)


def print_json(value: Any) -> None:
    """Print one JSON object on one line of stdout, with every name as it is."""
    print(to_json_line(value))


def command() -> str:
    """Return how to call keensight: its name if the shell finds it, else the path that was typed."""
    return "keensight" if shutil.which("keensight") or Path(sys.argv[0]).name != "keensight" else sys.argv[0]


def paragraph(text: str, title: str) -> list[str]:
    """Return the lines of a paragraph as wide as the terminal, with a title in its margin."""
    width = max(60, min(120, shutil.get_terminal_size().columns))
    words = printable(" ".join(text.split()))
    return textwrap.wrap(words, width, initial_indent=f"{title:17} ", subsequent_indent=" " * 18)


def answered(answer: Prediction) -> str:
    """Say what a picture is, or that the model does not know."""
    likely = f"{answer.label} ({percent(answer.probability)})"
    if answer.is_none_of_these:
        return f"{NONE_OF_THESE} (the nearest is {answer.label})"
    return f"not sure, perhaps {likely}" if answer.abstained else likely


def percent(share: float | None) -> str:
    """Write a share of 1 as `words.percent` does, without its thin space, which not every terminal can show.

    >>> percent(0.95), percent(0.99962), percent(1.0)
    ('95.0%', '99.96%', '100%')
    """
    return words.percent(share).replace(words.NARROW, "")


def accuracy_line(metrics: Metrics) -> str:
    """Return an accuracy with its interval and its n.

    95.0 % (95 % interval 93.1 to 96.4, 700 pictures)
    """
    return with_interval(metrics.accuracy, metrics.accuracy_low, metrics.accuracy_high, metrics.n)


def with_interval(accuracy: float, low: float, high: float, n: int) -> str:
    """Return an accuracy in [0, 1] with its interval and its n."""
    return f"{percent(accuracy)} (95 % interval {100 * low:.1f} to {100 * high:.1f}, {counted(n, 'picture')})"
