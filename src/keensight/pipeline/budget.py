"""Time as people give it, and how much of it is left."""

from __future__ import annotations

import math
import re
import time
from dataclasses import dataclass, field

from keensight.errors import UsageError

UNITS = {"": 1, "s": 1, "m": 60, "min": 60, "h": 3600}


@dataclass(frozen=True, slots=True)
class Budget:
    """An amount of time, in seconds, that runs from when it is made."""

    seconds: float
    begin: float = field(default_factory=time.perf_counter)

    @property
    def left(self) -> float:
        """Return the seconds that are left, below 0 where they are used up."""
        return self.begin + self.seconds - time.perf_counter()

    @property
    def is_exceeded(self) -> bool:
        """Whether clearly more time has gone than was given."""
        return self.left < -max(1.0, 0.05 * self.seconds)

    def excess(self) -> str:
        """Say how much more time has gone than was given, and what of it cannot be left out."""
        return (
            f"The budget of {self.seconds:g} s was exceeded: all took {self.seconds - self.left:.0f} s. Pictures are "
            "read once, one model is trained, and its answers are measured, whatever that takes."
        )


def seconds_of(text: float | str, what: str = "A budget") -> float:
    """Read a length of time, in seconds: a number, or one with s, m or h. Raises UsageError for anything else.

    >>> seconds_of("90"), seconds_of("10m"), seconds_of("1.5h")
    (90.0, 600.0, 5400.0)
    """
    match = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)\s*(s|min|m|h|)", str(text).strip())
    seconds = float(match[1]) * UNITS[match[2]] if match else 0.0
    if not 0 < seconds < math.inf:
        raise UsageError(f"{what} of '{text}' was given. Give seconds above 0, or a time such as 90s, 10m or 2h.")
    return seconds
