"""Output of the verbs: results on stdout, everything else on stderr, and bars only on a terminal."""

from __future__ import annotations

import shutil
import sys
import textwrap
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TextIO

from keensight.errors import counted
from keensight.evaluation import words
from keensight.files import to_json_line
from keensight.names import printable
from keensight.pipeline.watch import Watcher
from keensight.values import NONE_OF_THESE, Epoch, Metrics, Prediction

if TYPE_CHECKING:
    from rich.progress import Progress


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


class Terminal(Watcher):
    """Shows bars and the score so far on a terminal; elsewhere only notes, on stderr."""

    def __init__(self) -> None:
        self._bars = _bars() if sys.stderr.isatty() else None
        self._name = ""
        self._score = ""
        self._training = "training"
        self._best = ""

    def __enter__(self) -> Terminal:
        if self._bars:
            self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._bars:
            self._bars.stop()

    def note(self, text: str) -> None:
        """Print a note to stderr."""
        if self._bars:
            self._bars.console.print(f"note: {printable(text)}", markup=False, highlight=False)
        else:
            say(f"note: {text}", file=sys.stderr)

    def stage(self, name: str) -> None:
        """Show the name of the stage."""
        self._score = ""
        self._show(name, 0, None)

    def pictures(self, done: int, total: int) -> None:
        """Move the bar of decoded pictures."""
        self._show("decoding", done, total)

    def explained(self, done: int, total: int) -> None:
        """Move the bar of explained pictures."""
        self._show("explaining", done, total)

    def features(self, done: int, total: int) -> None:
        """Move the bar of pictures whose features are computed."""
        self._show("computing features", done, total)

    def compared(self, done: int, total: int) -> None:
        """Move the bar of compared pairs of pictures."""
        self._show("comparing pictures", done, total)

    def scanned(self, done: int, total: int) -> None:
        """Move the bar of scanned rows."""
        self._show("scanning", done, total)

    def gathered(self, done: int, total: int) -> None:
        """Move the bar of gathered pictures."""
        self._show("gathering", done, total)

    def certified(self, done: int, total: int) -> None:
        """Move the bar of pictures that are certified."""
        self._show("certifying", done, total)

    def trial(self, number: int, trials: int | None, score: str) -> None:
        """Name the trial in front of its bar, and the best score so far beside it."""
        last = f" of {trials - 1}" if trials and trials > 1 else ""  # the first is number 0
        self._training = f"trial {number}{last}"
        self._score = self._best = score
        self._show(self._training, 0, None)

    def step(self, epoch: int, epochs: int, done: int, total: int) -> None:
        """Move the bar of the whole training."""
        self._show(self._training, (epoch - 1) * total + done, epochs * total)

    def epoch(self, epoch: Epoch, epochs: int) -> None:
        """Show an epoch's score beside the bar."""
        self._score = f"epoch {epoch.number}: validation accuracy {epoch.val_accuracy:.3f}"
        self._score += f"; {self._best}" if self._best else ""
        if self._bars:
            self._bars.update(self._bars.task_ids[0], score=self._score)

    def _show(self, name: str, done: int, total: int | None) -> None:
        if not self._bars:
            return
        (task,) = self._bars.task_ids
        if name != self._name:
            self._bars.reset(task, total=total, description=name)
            self._name = name
        self._bars.update(task, completed=done, total=total, score=self._score)


def _bars() -> Progress:
    from rich.console import Console  # takes 30 ms, which a script that predicts one picture need not pay
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    bars = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[score]}"),
        console=Console(stderr=True),
        transient=True,
    )
    bars.add_task("starting", total=None, score="")
    return bars
