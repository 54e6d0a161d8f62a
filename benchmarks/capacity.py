"""What a loss costs, and what many workers would do on paper: rewrite both tables in docs/scale.md.

    python benchmarks/capacity.py

Measured are the time for a picture and the time to go on after a loss (rows scale-husky-32 and scale-...-lost in
benchmarks/results.json). All else is in the constants here, and in the text beside the table.
"""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keensight.files import write_atomically

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results.json"
PAGE = ROOT / "docs" / "scale.md"
BLOCK = re.compile(r"(<!-- from here: benchmarks/capacity.py (\w+) -->\n\n).*?(\n<!-- to here -->\n)", re.DOTALL)

WORKERS = (1, 10, 100, 1_000)
PICTURES = (10**6, 10**9)
BATCH = 32  # pictures of each worker
WEIGHTS_BYTES = 4 * 3_304_769  # of the network `husky`, in float32
PICTURE_BYTES = 128 * 128 * 3
UNITS = (("days", 86_400.0), ("h", 3600.0), ("min", 60.0))
# assumed
LINK_BYTES_S = 10e9 / 8
MESSAGE_S = 20e-6
DELAY_S = 0.2e-3
LOST_ONCE_IN_S = 30 * 86_400.0  # each machine
CHECKPOINT_S = 600.0
LOST = {  # what may be lost, to what it is called in the row
    "a worker's process": "worker", "a machine": "node", "the link to a machine": "link",
    "the process that was started, which is started again with `--resume`": "driver",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Measured:
    """The seconds for a picture on one core and until a run goes on, and on what machine that was measured."""

    picture_s: float
    lost_s: Mapping[str, float]
    picture_place: str
    lost_place: str


# by hand, for as long as the rows are not measured
BY_HAND = Measured(
    5.5e-3, {"worker": 11, "node": 6, "link": 15, "driver": 17}, "one core of an Intel Xeon with AMX, 29 November 2026",
    "One run, two cores of an Intel Xeon that others used too, 29 November 2026; an epoch that was on its way when "
    "something was lost counted",
)  # fmt: skip


def main() -> None:
    """Rewrite the table."""
    write_atomically(PAGE, page(PAGE.read_text(encoding="utf-8"), results()))


def results() -> dict[str, Any]:
    """Return what was measured."""
    found: dict[str, Any] = json.loads(RESULTS.read_text(encoding="utf-8"))
    return found


def page(text: str, found: Mapping[str, Any]) -> str:
    """Return docs/scale.md with its tables made anew."""
    known = measured(found)
    tables = {"losses": losses(known), "capacity": table(known)}
    return BLOCK.sub(lambda block: f"{block[1]}{tables[block[2]]}{block[3]}", text)


def measured(found: Mapping[str, Any]) -> Measured:
    """Return what the rows say, or what was measured by hand while they say nothing."""
    if not {"scale-husky-32", *(f"scale-{what}-lost" for what in LOST.values())} <= set(found):
        return BY_HAND
    row, faults = found["scale-husky-32"], {what: found[f"scale-{what}-lost"] for what in LOST.values()}
    rate = statistics.median(row["measures"]["by processor time"]["theirs"])
    seconds = {what: statistics.median(each["measures"]["s"]["ours"]) for what, each in faults.items()}
    some = faults["node"]
    count = some["n"]["ours"]
    runs = f"The median of {count} runs" if count > 1 else "One run"
    place = f"{runs}, {some['hardware']}, {some['date']}"
    return Measured(1 / rate, seconds, f"one core, {row['hardware']}, {row['date']}", place)


def losses(known: Measured) -> str:
    """Return the table of what a loss costs."""
    rows = [f"| {what} | {known.lost_s[name]:.0f} s |" for what, name in LOST.items()]
    return "\n".join(["| lost | until the next epoch was done |", "|---|---|", *rows, "", f"{known.lost_place}.\n"])


def step_s(workers: int, picture_s: float) -> float:
    """Return the seconds of a step: each worker learns its pictures, then sends and receives its gradients twice.

    >>> round(step_s(10, 0.0055), 4)
    0.1958
    """
    sent = 2 * (1 - 1 / workers) * WEIGHTS_BYTES / LINK_BYTES_S
    return picture_s * BATCH + (sent + 2 * workers * MESSAGE_S + 2 * DELAY_S if workers > 1 else 0)


def lost_share(workers: int, recovery_s: float) -> float:
    """Return which share of the time goes into what is learnt again, and into waiting until it can be.

    >>> round(lost_share(1000, 17), 3)
    0.122
    """
    return min(1.0, (recovery_s + CHECKPOINT_S / 2) * workers / LOST_ONCE_IN_S)


def table(known: Measured) -> str:
    """Return the sentences of what was measured and assumed, and the table of the capacity."""
    picture_s, recovery_s = known.picture_s, max(known.lost_s[what] for what in ("worker", "node", "link"))
    passes = " | ".join(f"a pass over 10{power(count)}" for count in PICTURES)
    lines = [
        f"Measured: {1e3 * picture_s:.1f} ms of processor time for a picture of 128×128 with the network `husky` "
        f"({known.picture_place}), {recovery_s:.0f} s until a run goes on after a loss, and "
        f"{WEIGHTS_BYTES / 1e6:.1f} MB of weights.",
        f"Assumed: {LINK_BYTES_S * 8 / 1e9:g} Gbit/s for each worker, {1e6 * MESSAGE_S:g} µs a message, "
        f"{1e3 * DELAY_S:g} ms of delay, each machine lost once in {LOST_ONCE_IN_S / 86_400:g} days, and "
        f"`--checkpoint-every {CHECKPOINT_S / 60:g}m`.",
        "",
        f"| workers | batch | step | pictures/s | of the ideal | lost to faults | {passes} | read |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for workers in WORKERS:
        step, lost = step_s(workers, picture_s), lost_share(workers, recovery_s)
        rate = workers * BATCH / step * (1 - lost)
        cells = [f"{workers:,}", f"{workers * BATCH:,}", f"{1e3 * step:.0f} ms", f"{three(rate):,}"]
        cells += [
            f"{100 * rate * picture_s / workers:.0f} %",
            f"{100 * lost:.1f} %",
            *(duration(count / rate) for count in PICTURES),
        ]
        cells += [f"{rate * PICTURE_BYTES / 1e9:.2g} GB/s"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def power(count: int) -> str:
    """Return a power of ten's exponent, raised."""
    return str(len(str(count)) - 1).translate(str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹"))


def three(number: float) -> int:
    """Return a number with three digits that say something.

    >>> three(134567.8)
    135000
    """
    return int(float(f"{number:.3g}"))


def duration(seconds: float) -> str:
    """Return a time in its own unit.

    >>> duration(7.4), duration(5400), duration(6600), duration(5.5e6)
    ('7.4 s', '90 min', '110 min', '64 days')
    """
    unit, size = next((each for each in UNITS if seconds >= 2 * each[1]), ("s", 1.0))
    return f"{float(f'{seconds / size:.2g}'):g} {unit}"


if __name__ == "__main__":
    main()
