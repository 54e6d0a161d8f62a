"""keensight clean."""

from __future__ import annotations

import shlex
from typing import Any

from keensight import verbs
from keensight.cli.options import Json, options_of
from keensight.cli.output import print_json, say
from keensight.cli.terminal import Terminal


@options_of("clean.clean")
def clean(*, json: Json = False, **asked: Any) -> int:
    """Clean, and print what was done and how to undo it."""
    from keensight.data.decided import told
    from keensight.pages.findings import done_in_words

    with Terminal() as terminal:
        result = verbs.clean.clean(**asked, watcher=terminal)
    if json:
        print_json(
            {
                "data": result.data,
                "record": str(result.record),
                "quarantine": str(result.quarantine) if result.quarantine else None,
                "moved": result.moved,
                "undone": result.undone,
                "unconfirmed": result.unconfirmed,
                "decisions": [told(each) for each in result.decisions],
            }
        )
        return 0
    if result.undone:
        say(f"The last cleaning is undone; files put back: {result.moved:,}.")
        return 0
    if not result.decisions:
        say("There is nothing to do: no picture has to be decided on.")
        return 0
    data = shlex.quote(result.data)
    say(f"{done_in_words(result.decisions)}; files moved: {result.moved:,}.")
    say(f"noted  {result.record}")
    if result.quarantine:
        say(f"kept   {result.quarantine}")
    if result.unconfirmed:
        say(f"labels that nobody has looked at: {result.unconfirmed:,}. keensight audit {data} shows them.")
    say(f"next   keensight train {data}   (or keensight clean {data} --undo)")
    return 0
