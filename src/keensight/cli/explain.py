"""keensight explain."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import Any

from keensight import verbs
from keensight.cli.options import Json, options_of
from keensight.cli.output import answered, print_json, say
from keensight.cli.terminal import Terminal


@options_of("explain.explain")
def explain(*, json: Json = False, **asked: Any) -> int:
    """Explain, and print what each answer depends on."""
    from keensight.inference.predictor import refusal

    with Terminal() as terminal:
        result = verbs.explain.explain(**asked, watcher=terminal)
    for file, error in result.refused:
        say(f"keensight: {refusal(file, error)}", file=sys.stderr)
    if json:
        print_json(
            {
                "bundle": str(result.bundle),
                "out": str(result.out),
                "page": str(result.page),
                "pictures": [
                    {**asdict(each.prediction), "evidence": asdict(each.evidence)} for each in result.pictures
                ],
            }
        )
    else:
        for each in result.pictures:
            answer, evidence = each.prediction, each.evidence
            rests = f"most evidence {evidence.x:.0%} from the left, {evidence.y:.0%} from the top"
            if not evidence.is_one_spot:
                rests = "the answer does not depend on a single spot"
            say(f"{answer.file}: {answered(answer)}; {rests}")
        say(f"page  {result.page}")
    return 1 if result.refused else 0
