"""keensight attack."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from keensight import verbs
from keensight.cli.options import Json, options_of
from keensight.cli.output import percent, print_json, say
from keensight.cli.terminal import Terminal
from keensight.errors import counted


@options_of("attack.attack")
def attack(*, json: Json = False, **asked: Any) -> int:
    """Attack, and print the accuracy that is left within each epsilon."""
    with Terminal() as terminal:
        result = verbs.attack.attack(**asked, watcher=terminal)
    if json:
        print_json({**asdict(result), "bundle": str(result.bundle), "page": str(result.page or "")})
        return 0
    clean, *others = result.survivals
    say(f"clean      {percent(clean.accuracy)} of {counted(result.n, 'picture')}, split: {result.split}")
    say()
    moved = "moved" if result.norm in ("linf", "l2") else "up to"  # by how far, or to the smallest epsilon that fooled
    say(f"{result.norm:>10}  accuracy  95 % interval  {moved:>6}  after each attack")
    for each in others:
        low_to_high = f"{100 * each.accuracy_low:.1f} to {100 * each.accuracy_high:.1f}"
        moved = "" if each.median_distance is None else f"{each.median_distance:.4f}"
        after = ", ".join(f"{name} {percent(share)}" for name, share in each.after.items())
        say(f"{each.eps:10.4g}  {percent(each.accuracy):>8}  {low_to_high:>13}  {moved:>6}  {after}")
    if result.page:
        say()
        say(f"page       {result.page}")
    return 0
