"""keensight predict."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from keensight.cli.output import Terminal, print_json


def predict(
    bundle: Path,
    /,
    *pictures: Annotated[Path, Parameter(required=True)],
    key: Path | None = None,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Say what is on pictures.

    Parameters
    ----------
    bundle
        The bundle's folder, or the run folder around it.
    pictures
        Picture files, or folders of them.
    key
        Refuse the bundle unless the owner of this public key signed it.
    json
        Print JSON Lines on stdout, one object for each picture.
    """
    from keensight.inference.predictor import refusal
    from keensight.values import Prediction
    from keensight.verbs.predict import predict_each

    failed = 0
    for file, answer in predict_each(bundle, pictures, key=key, watcher=Terminal()):
        if not isinstance(answer, Prediction):
            print(f"keensight: {refusal(file, answer)}", file=sys.stderr)
            failed += 1
        elif json:
            print_json(asdict(answer))
        else:
            doubt = "not sure, perhaps " if answer.abstained else ""
            notes = "".join(f" ({note})" for note in answer.notes)
            print(f"{file}: {doubt}{answer.label} ({answer.probability:.1%}){notes}")
    return 1 if failed else 0
