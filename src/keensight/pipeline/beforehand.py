"""How long attacks and certificates will take: a few pictures are tried first."""

from __future__ import annotations

import time
from collections.abc import Callable

from keensight.evaluation.words import duration
from keensight.pipeline.watch import Watcher
from keensight.values import Split

LEAST = 8  # pictures that are tried
WORTH_S = 5.0  # a shorter time is not worth a sentence


def say_how_long(
    watcher: Watcher, pictures: Split, attempt: Callable[[Split], object], of: int, share: float = 1.0
) -> None:
    """Note about how long all pictures will take, by what an `attempt` at one in `of` takes: that `share` of the work.

    An attempt goes through fewer pictures at a time than the work itself, so the true time is rather less.
    """
    tried = max(LEAST, len(pictures) // of)
    if len(pictures) < LEAST * tried:  # these are as soon done
        return
    watcher.stage("measuring how long that takes")
    began = time.monotonic()
    attempt(pictures.thinned(tried))
    seconds = (time.monotonic() - began) / share * len(pictures) / tried
    if seconds >= WORTH_S:
        watcher.note(
            f"This takes about {duration(seconds)}, by the time for {tried} of the {len(pictures):,} pictures."
        )
