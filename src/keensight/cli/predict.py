"""keensight predict."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from keensight import verbs
from keensight.cli.options import options_of
from keensight.cli.output import Terminal, answered, print_json, say


@options_of("predict.predict")
def predict(
    *,
    json: Annotated[bool, Parameter(help="Print JSON Lines on stdout, one object for each picture.")] = False,
    out: Path | None,
    sort_into: Path | None,
    **asked: Any,
) -> int:
    """Predict, and print each answer as soon as it is known."""
    from keensight.inference.predictor import refusal
    from keensight.values import Prediction

    failed = done = 0
    for file, answer in verbs.predict.predict_each(**asked, out=out, sort_into=sort_into, watcher=Terminal()):
        done += 1
        if not isinstance(answer, Prediction):
            say(f"keensight: {refusal(file, answer)}", file=sys.stderr)
            failed += 1
        elif json:
            print_json(asdict(answer))
        else:
            notes = "".join(f" ({note})" for note in answer.notes)
            say(f"{file}: {answered(answer)}{notes}")
    if out is not None:
        say(f"wrote {out}: {done:,} lines", file=sys.stderr)
    if sort_into is not None:
        say(f"copied {done - failed:,} pictures into {sort_into}; none was moved", file=sys.stderr)
    return 1 if failed else 0
