"""keensight explain."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from keensight.cli.output import Terminal, percent, print_json


def explain(
    bundle: Path,
    /,
    *pictures: Annotated[Path, Parameter(required=True)],
    out: Path | None = None,
    key: Path | None = None,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Show what the answers for pictures rest on, as a page.

    Parameters
    ----------
    bundle
        The bundle's folder, or the run folder around it.
    pictures
        Picture files, or folders of them, 100 pictures at most.
    out
        The page's folder, new or empty; the first free name under explanations/ if left out.
    key
        Refuse the bundle unless the owner of this public key signed it.
    json
        Print one JSON object on stdout.
    """
    from keensight.inference.predictor import refusal
    from keensight.verbs.explain import explain as verb

    with Terminal() as terminal:
        result = verb(bundle, pictures, out, key=key, watcher=terminal)
    for file, error in result.refused:
        print(f"keensight: {refusal(file, error)}", file=sys.stderr)
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
            doubt = "not sure, perhaps " if answer.abstained else ""
            rests = f"most evidence {evidence.x:.0%} from the left, {evidence.y:.0%} from the top"
            if not evidence.is_one_spot:
                rests = "the answer does not rest on a single spot"
            print(f"{answer.file}: {doubt}{answer.label} ({percent(answer.probability)}); {rests}")
        print(f"page  {result.page}")
    return 1 if result.refused else 0
