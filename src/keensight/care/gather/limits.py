"""What a service's headers say of its limits: how long to wait before the next request to it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

WINDOWS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}  # by the first letter, as Django REST framework reads them
AN_EPOCH = 1_000_000_000  # a larger number is a time since 1970, a smaller one seconds from now
UNTOLD_S = 3600.0  # the window of a limit that is used up, where no header says when it begins anew
REMAINING = ("x-ratelimit-remaining", "x-rate-limit-remaining", "ratelimit-remaining")
RESET = ("x-ratelimit-reset", "x-rate-limit-reset", "ratelimit-reset")
AVAILABLE, LIMIT = "x-ratelimit-available-", "x-ratelimit-limit-"


def asked_to_wait(headers: Mapping[str, str], now: float) -> float:
    """Return how many seconds a service asks to wait, 0 if it does not; `now` is in seconds since 1970.

    Read are Retry-After (RFC 9110), X-RateLimit-Remaining and -Reset, the RateLimit fields of the IETF's drafts, and
    Openverse's pairs such as ``X-RateLimit-Limit-anon_burst: 20/min`` and ``X-RateLimit-Available-anon_burst: 0``.

    >>> asked_to_wait({"Retry-After": "17"}, 0), asked_to_wait({"X-RateLimit-Remaining": "12"}, 0)
    (17.0, 0.0)
    """
    named = {name.lower(): value.strip() for name, value in headers.items()}
    return max(_retry_after(named, now), _remaining(named, now), _pairs(named), _drafts(named))


def _retry_after(named: Mapping[str, str], now: float) -> float:
    value = named.get("retry-after", "")
    if (seconds := _number(value)) is not None:
        return seconds
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - now)
    except (ValueError, OverflowError):
        return 0.0


def _remaining(named: Mapping[str, str], now: float) -> float:
    left = [_number(named[name]) for name in REMAINING if name in named]
    if not left or left[0] is None or left[0] > 0:
        return 0.0
    for name in RESET:
        if (value := _number(named.get(name, ""))) is not None:
            return max(0.0, value - now) if value > AN_EPOCH else value
    return UNTOLD_S


def _pairs(named: Mapping[str, str]) -> float:
    waits = [0.0]
    for name, value in named.items():
        if name.startswith(AVAILABLE) and (left := _number(value)) is not None and left <= 0:
            _, _, window = named.get(LIMIT + name.removeprefix(AVAILABLE), "").partition("/")
            waits.append(float(WINDOWS_S.get(window[:1].lower(), UNTOLD_S)))
    return max(waits)


def _drafts(named: Mapping[str, str]) -> float:
    """Read ``RateLimit: limit=100, remaining=0, reset=30``, and the newer ``"default";r=0;t=30``."""
    told = dict(re.findall(r"\b(remaining|reset|r|t)=(\d{1,9})", named.get("ratelimit", "")))
    left, wait = (told.get(long, told.get(short)) for long, short in (("remaining", "r"), ("reset", "t")))
    return float(wait or UNTOLD_S) if left is not None and int(left) == 0 else 0.0


def _number(text: str) -> float | None:
    return float(text) if re.fullmatch(r"-?\d{1,12}(\.\d{1,9})?", text) else None
