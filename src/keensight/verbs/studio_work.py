"""The process behind the studio's work: one order by standard input, progress and result as lines of JSON.

An order is a verb and its arguments. While it works, the line "enough" asks a training to end with what it has; the end
of the input ends the process, so that nothing goes on without the studio.
"""

from __future__ import annotations

import json
import os
import re
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import IO, Any

from keensight.bundle.read import Bundle
from keensight.errors import KeensightError, counted
from keensight.machine import collect_rarely, keep_memory, share_the_cores
from keensight.pipeline.watch import Watcher
from keensight.values import Epoch

SURE = 0.05  # a p-value under which a difference is hardly luck
SHOWN = ("file", "title", "creator", "licence", "licence_url", "landing_page", "source")  # of what was gathered
SENTENCE_END, COMMAND = re.compile(r"(?<=[.:]) (?=[-A-Z`])"), re.compile(r"`keensight |(?<!\S)--\w")
EVERY_S = 0.2  # progress is told at most so often


class Teller(Watcher):
    """Tells all progress as lines of JSON."""

    def __init__(self, out: IO[str]) -> None:
        self._out, self._last, self._lock, self.enough = out, 0.0, threading.Lock(), threading.Event()

    def tell(self, event: str, **fields: Any) -> None:
        """Write one line."""
        with self._lock:
            self._out.write(json.dumps({"event": event, **fields}) + "\n")
            self._out.flush()

    def is_enough(self) -> bool:
        """Say whether training should end now, with the best epoch so far."""
        return self.enough.is_set()

    def note(self, text: str) -> None:
        """Tell a note, but for sentences about commands: who sits before the page has no terminal."""
        if kept := " ".join(each for each in SENTENCE_END.split(text) if not COMMAND.search(each)):
            self.tell("note", text=kept)

    def opened(self, bundle: Bundle) -> None:
        """Tell nothing of signatures: the studio's own models are signed when they are taken away."""

    def stage(self, name: str) -> None:
        """Tell the stage's name."""
        self.tell("stage", name=name)

    def _progress(self, name: str, done: int, total: int) -> None:
        if time.monotonic() - self._last > EVERY_S or done == total:
            self._last = time.monotonic()
            self.tell("stage", name=name, done=done, total=total)

    def pictures(self, done: int, total: int) -> None:
        """Tell how many pictures are decoded."""
        self._progress("reading pictures", done, total)

    def features(self, done: int, total: int) -> None:
        """Tell how many pictures' features are computed."""
        self._progress("looking at pictures", done, total)

    def compared(self, done: int, total: int) -> None:
        """Tell how many pairs are compared."""
        self._progress("comparing pictures", done, total)

    def gathered(self, done: int, total: int) -> None:
        """Tell how many pictures of a search are there."""
        self._progress("fetching pictures", done, total)

    def trial(self, number: int, trials: int | None, score: str) -> None:
        """Tell what is tried."""
        self.tell(
            "trial", text=f"try {number + 1}" + (f" of {trials}" if trials else "") + (f"; {score}" if score else "")
        )

    def step(self, epoch: int, epochs: int, done: int, total: int) -> None:
        """Tell how much of the whole training is done."""
        self._progress("learning", (epoch - 1) * total + done, epochs * total)

    def epoch(self, epoch: Epoch, epochs: int) -> None:
        """Tell an epoch's numbers."""
        self.tell("epoch", epoch=asdict(epoch), epochs=epochs)


def work(orders: IO[str], out: IO[str]) -> None:
    """Carry out one order, and tell how it went."""
    order = json.loads(orders.readline())
    teller = Teller(out)
    threading.Thread(target=_hear, args=(orders, teller), daemon=True).start()
    try:
        result = VERBS[order.pop("verb")](order, teller)
    except KeensightError as error:
        teller.tell("failed", message=" ".join(str(error).split()))
    except ModuleNotFoundError as error:
        teller.tell("failed", message=f"This needs the package '{error.name}', which is not installed.")
    except KeyboardInterrupt as interrupt:
        teller.tell("failed", message=str(interrupt))
    else:
        teller.tell("done", result=result)


def main(orders: IO[str], out: IO[str]) -> None:
    """Be the process: libraries that print do so on standard error, which nobody reads."""
    collect_rarely()
    share_the_cores()
    keep_memory()
    told, sys.stdout = out, sys.stderr
    work(orders, told)
    os._exit(0)  # the thread that listens waits for input that does not come


def _hear(orders: IO[str], teller: Teller) -> None:
    for line in orders:
        if line.strip() == "enough":
            teller.enough.set()
    os._exit(1)  # the studio has gone


def _train(order: dict[str, Any], teller: Teller) -> dict[str, Any]:
    from keensight.verbs.train import train

    run = train(**order, watcher=teller)
    return {"run": run.folder.name, "seconds": run.report.seconds}


def _audit(order: dict[str, Any], teller: Teller) -> dict[str, Any]:
    from keensight.pages.findings import without_names
    from keensight.verbs.audit import audit

    found = audit(**order, watcher=teller)
    findings = [asdict(each) | {"sentence": without_names(each)} for each in found.findings]
    return {"pictures": found.num_pictures, "findings": findings, "page": str(found.page)}


def _explore(order: dict[str, Any], teller: Teller) -> dict[str, Any]:
    from keensight.verbs.explore import explore

    return {"page": str(explore(**order, watcher=teller).page)}


def _compare(order: dict[str, Any], teller: Teller) -> dict[str, Any]:
    from keensight.verbs.compare import compare

    found = compare(**order, watcher=teller)
    old, new = found.bundles
    (pair,) = found.pairs
    better = new.metrics.accuracy - old.metrics.accuracy
    verdict = (
        "They are equally good."
        if pair.only_first == pair.only_second
        else f"The {'new' if better > 0 else 'old'} one is better"
        + (", and that is hardly luck." if pair.p_value < SURE else "; with so few pictures, that may be luck.")
    )
    shares = f"the new model gets {new.metrics.accuracy:.0%} right, and the old one {old.metrics.accuracy:.0%}"
    sentence = f"Of {counted(found.n, 'picture')} that neither learnt from, {shares}. {verdict}"
    return {"sentence": sentence, "p_value": pair.p_value, "n": found.n}


def _gather(order: dict[str, Any], teller: Teller) -> dict[str, Any]:
    from keensight.care.gather.manifest import read_manifest
    from keensight.verbs.gather import gather

    found = gather([order.pop("query")], **order, watcher=teller)
    rows = [{name: getattr(row, name) for name in SHOWN} for row in read_manifest(found.manifest)]
    return {"new": found.new, "rows": rows}


VERBS: dict[str, Callable[[dict[str, Any], Teller], dict[str, Any]]] = {
    "train": _train,
    "audit": _audit,
    "explore": _explore,
    "compare": _compare,
    "gather": _gather,
}
