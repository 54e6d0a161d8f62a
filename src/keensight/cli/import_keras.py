"""keensight import-keras."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from keensight import verbs
from keensight.cli.options import Json, options_of
from keensight.cli.output import print_json, say
from keensight.errors import UsageError


@options_of("import_keras.import_keras")
def import_keras(
    *,
    labels: str | None,
    pixels: Annotated[str | None, Parameter(allow_leading_hyphen=True)],  # -1-1
    labels_file: Path | None = None,
    json: Json = False,
    **asked: Any,
) -> int:
    """Import, and print the bundle's input and labels.

    Args:
        labels: The classes' names, separated by commas, in the order of the model's outputs.
        labels_file: A text file with the classes' names, one per line, instead of `labels`; also Teachable Machine's
            labels.txt.
    """
    if labels is not None and labels_file is not None:
        raise UsageError("Both --labels and --labels-file were given; only one is accepted. Leave one out.")
    names = None if labels is None else labels.split(",")
    if labels_file is not None:
        names = verbs.import_keras.read_labels(labels_file)
    result = verbs.import_keras.import_keras(labels=names, pixels=pixels, **asked)
    for note in result.notes:
        say(f"note: {note}", file=sys.stderr)
    size = result.preprocessing
    if json:
        print_json({**asdict(result), "bundle": str(result.bundle)})
    else:
        colour = "grey" if size.channels == 1 else "colour"
        say(f"pictures       {size.height}x{size.width}, {colour}, pixels {result.pixels}")
        say(f"labels         {', '.join(result.labels)}")
        say(f"parameters     {result.parameters:,}")
        say(f"bundle         {result.bundle}")
    return 0
