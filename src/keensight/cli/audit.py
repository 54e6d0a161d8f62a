"""keensight audit."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from cyclopts import Parameter

from keensight import verbs
from keensight.cli.options import Json, options_of
from keensight.cli.output import paragraph, percent, print_json, say
from keensight.cli.terminal import Terminal
from keensight.errors import counted, shortlist


@options_of("audit.audit")
def audit(*, budget: Annotated[str, Parameter(allow_leading_hyphen=True)], json: Json = False, **asked: Any) -> int:
    """Audit, and print the findings, what may cost the most first."""
    from keensight.pages.audit import next_command
    from keensight.pages.audited_bundle import verdict
    from keensight.pages.findings import sentence

    with Terminal() as terminal:
        result = verbs.audit.audit(**asked, budget=budget, watcher=terminal)
    if json:
        print_json(
            {
                "data": result.data,
                "out": str(result.out),
                "page": str(result.page),
                "pictures": result.num_pictures,
                "findings": [asdict(each) for each in result.findings],
                **({"looked_at": result.looked, "notes": result.notes} if result.looked or result.notes else {}),
            }
        )
        return 0
    for finding in result.findings:
        sure = "" if finding.score == 1 else f" ({percent(finding.score)} sure)"
        say(*paragraph(f"{sentence(finding)}{sure}", finding.kind))
    if result.looked or result.notes:
        if not result.findings:
            say(verdict(result.findings, result.looked))
        say(*paragraph(shortlist(list(result.looked), 9) or "nothing", "looked at"))
    elif not result.findings:
        say(f"Nothing was found in {counted(result.num_pictures, 'picture')}. {result.page} says what was looked for.")
    say(f"page  {result.page}")
    if result.findings and not (result.looked or result.notes):
        say(f"next  decide on the page, save, then: {next_command(result.data)}")
    return 0
