"""Progress on a terminal: bars and the score so far. Elsewhere only notes, on stderr."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import TYPE_CHECKING

from keensight.cli.output import say
from keensight.names import printable
from keensight.pipeline.watch import Watcher
from keensight.values import Epoch

if TYPE_CHECKING:
    from rich.progress import Progress


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
