"""keensight gather."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from keensight import verbs
from keensight.cli.options import Json, options_of
from keensight.cli.output import paragraph, print_json, say
from keensight.cli.terminal import Terminal
from keensight.errors import counted


@options_of("gather.gather")
def gather(*, json: Json = False, **asked: Any) -> int:
    """Gather, and print how many pictures each label has."""
    from keensight.pages.findings import sentence

    with Terminal() as terminal:
        result = verbs.gather.gather(**asked, watcher=terminal)
    if json:
        print_json(
            {
                "out": str(result.out),
                "manifest": str(result.manifest),
                "attribution": str(result.attribution),
                "new": result.new,
                "labels": result.labels,
                "left_out": result.left_out,
                "findings": [asdict(each) for each in result.findings],
                "notes": list(result.notes),
            }
        )
        return 0
    for label, number in result.labels.items():
        say(f"{label}: {counted(number, 'picture')}")
    if result.left_out:
        reasons = [f"{why} {number:,}" for why, number in result.left_out.items()]
        say(*paragraph("; ".join(reasons), "left out"))
    for finding in result.findings:
        say(*paragraph(sentence(finding), finding.kind))
    say(f"whose they are   {result.attribution}")
    say("A search only guesses: look at the pictures before a model learns from them.")
    say(f"next             keensight audit {result.out}")
    return 0
