"""keensight scan."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from keensight import verbs
from keensight.cli.options import Json, options_of
from keensight.cli.output import percent, print_json, say
from keensight.cli.terminal import Terminal
from keensight.errors import counted
from keensight.evaluation.words import duration

SHOWN = 10


@options_of("scan.scan")
def scan(*, json: Json = False, **asked: Any) -> int:
    """Scan, and print how much was found, and where the files are."""
    with Terminal() as terminal:
        result = verbs.scan.scan(**asked, watcher=terminal)
    if json:
        found = [{key: value for key, value in asdict(each).items() if key != "rank"} for each in result.found]
        plain = asdict(result) | {"bundle": str(result.bundle), "scene": str(result.scene), "out": str(result.out)}
        print_json(plain | {"found": found})
        return 0
    for each in sorted(result.found, key=lambda each: -each.probability)[:SHOWN]:
        say(f"{each.label} ({percent(each.probability)}) at {each.x:,.0f}, {each.y:,.0f}, {each.width:,.0f} wide")
    if len(result.found) > SHOWN:
        say(f"... and {len(result.found) - SHOWN:,} more")
    say(f"found      {len(result.found):,} in {result.width:,}x{result.height:,} pixels")
    rate = result.places / max(result.seconds, 1e-9)
    say(f"looked at  {counted(result.places, 'place')} in {duration(result.seconds)}, {rate:,.0f} a second")
    say(f"files      {result.out}: found.geojson, found.csv, boxes.jpg, heat.jpg")
    return 0
