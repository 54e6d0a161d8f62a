"""keensight predict."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from keensight import verbs
from keensight.cli.options import options_of, place
from keensight.cli.output import answered, print_json, say
from keensight.cli.terminal import Terminal
from keensight.errors import UsageError, counted

OUT = (
    "Write the answers into this new .csv or .jsonl file, too. In a .csv, an apostrophe (') comes before text such as "
    '"=1+1", which a spreadsheet would run as a formula; .jsonl has the text as it is. With --workers, a folder or URL.'
)


@options_of("predict.predict")
def predict(
    *,
    json: Annotated[bool, Parameter(help="Print JSON Lines on stdout, one object for each picture.")] = False,
    out: Annotated[str | None, Parameter(help=OUT, converter=place)],
    sort_into: Path | None,
    workers: int | None = None,
    cluster: str | None = None,
    **asked: Any,
) -> int:
    """Predict, and print each answer as soon as it is known.

    Args:
        workers: Answer by so many processes, each on a core of its own, into a folder of Parquet files (`out`). Killed
            anywhere, the same command goes on.
        cluster: With --workers: the address of a Ray cluster, such as 10.0.0.1:6379, whose machines all see the same
            BUNDLE, pictures and --out. This machine alone if left out.
    """
    from keensight.inference.predictor import refusal
    from keensight.values import Prediction

    if workers is not None:
        return _in_parts(workers, cluster, out, sort_into, json, **asked)
    if cluster is not None:
        raise UsageError("--cluster is for several workers. Give their number, and a folder: --workers 2 --out DIR.")
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
        say(f"wrote {out}: {counted(done, 'line')}", file=sys.stderr)
    if sort_into is not None:
        say(f"copied {counted(done - failed, 'picture')} into {sort_into}; nothing was moved", file=sys.stderr)
    return 1 if failed else 0


def _in_parts(
    workers: int,
    cluster: str | None,
    out: str | None,
    sort_into: Path | None,
    json: bool,
    least_sure_first: bool,
    **asked: Any,
) -> int:
    """Answer into a folder of parts, and print how many answers there are."""
    if out is None or sort_into is not None or least_sure_first:
        raise UsageError(
            "--workers writes answers into a folder, in the order of the pictures. Give --out FOLDER, without "
            "--sort-into and --least-sure-first."
        )
    with Terminal() as terminal:
        done = verbs.predict.predict_in_parts(**asked, out=out, workers=workers, cluster=cluster, watcher=terminal)
    if json:
        print_json(asdict(done))
    else:
        kept = f"; {done.kept:,} of its {done.parts:,} parts were there already" if done.kept else ""
        say(f"wrote {done.out}: {counted(done.answers, 'answer')} in {counted(done.parts, 'part')}{kept}")
        if done.failed:
            say(
                f"{counted(done.failed, 'picture has', 'pictures have')} no answer: the column error says why",
                file=sys.stderr,
            )
    return 1 if done.failed else 0
