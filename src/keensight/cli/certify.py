"""keensight certify."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from keensight import verbs
from keensight.cli.options import Json, options_of
from keensight.cli.output import percent, print_json, say
from keensight.cli.terminal import Terminal
from keensight.errors import counted

METHODS = {"intervals": "intervals", "linear": "linear", "cases": "cases", "smoothing": "by noise"}


@options_of("certify.certify")
def certify(*, json: Json = False, **asked: Any) -> int:
    """Certify, and print what is proved within each epsilon."""
    with Terminal() as terminal:
        result = verbs.certify.certify(**asked, watcher=terminal)
    if json:
        plain = asdict(result)
        pictures = plain.pop("pictures")
        shares = plain.pop("shares")
        print_json(plain | {"bundle": str(result.bundle), "certified": shares, "pictures": pictures})
        return 0
    of = f" of the answers under noise of {result.noise:g}" if result.noise else ""
    pictures = f"{counted(result.n, 'picture')} of {result.data}, split: {result.split}"
    say(f"accuracy   {percent(result.accuracy)}{of}, {pictures}")
    say()
    columns = [method for method in METHODS if any(method in share.methods for share in result.shares)]
    titles = "".join(f"{METHODS[method]:>11}" for method in columns)
    say(f"{result.norm + ' eps':>8}  certified    95 % interval{titles}  not proved")
    right = round(result.accuracy * result.n)
    for share in result.shares:
        proved = sum(share.methods.values())
        counts = "".join(f"{share.methods.get(method, 0):>11,}" for method in columns)
        interval = f"{100 * share.certified_low:.1f} to {100 * share.certified_high:.1f}"
        say(f"{share.eps:8.4g}  {percent(share.certified):>9}  {interval:>15}{counts}  {right - proved:10,}")
    say()
    say(
        "Certified: right, and proved to stay right whatever changes within eps. Not proved: right as it is; an attack "
        "may or may not find a change."
    )
    return 0
