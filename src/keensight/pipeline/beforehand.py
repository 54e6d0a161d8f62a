"""How long attacks and certificates will take: a few pictures are tried first."""

from __future__ import annotations

import time
from collections.abc import Callable

from keensight.evaluation.words import duration
from keensight.pipeline.watch import Watcher
from keensight.values import Split

LEAST = 8  # pictures that are tried
SLOW_S = 1.0  # if a single picture takes so long, no more are tried
WORTH_S = 5.0  # a shorter time is not worth a sentence


def say_how_long(
    watcher: Watcher, pictures: Split, attempt: Callable[[Split], object], of: int, share: float = 1.0
) -> None:
    """Note about how long all pictures will take, by what an `attempt` at one in `of` takes: that `share` of the work.

    One picture is tried before that, and is enough where pictures are few or slow.
    An attempt goes through fewer pictures at a time than the work itself, so the true time is rather less.
    """
    if len(pictures) < 2:
        return
    watcher.stage("measuring how long that takes")
    several = max(LEAST, len(pictures) // of)
    for tried in (1, several) if len(pictures) >= LEAST * several else (1,):
        began = time.monotonic()
        attempt(pictures.thinned(tried))
        took = time.monotonic() - began
        if took >= SLOW_S:
            break
    seconds = took / share * len(pictures) / tried
    if seconds >= WORTH_S:
        watcher.note(
            f"This takes about {duration(seconds)}, by the time for {tried} of the {len(pictures):,} pictures."
        )
