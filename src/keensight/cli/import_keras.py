"""keensight import-keras."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from keensight.cli.output import print_json


def import_keras(
    file: Path,
    /,
    *,
    out: Path | None = None,
    labels: str | None = None,
    labels_file: Path | None = None,
    pixels: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Turn a model that Keras saved into a bundle.

    Parameters
    ----------
    file
        A whole model that Keras 2 or 3 saved, .keras or .h5: Sequential, or a plain chain of layers.
    out
        The folder around the bundle, OUT/bundle, new or empty; the first free name under imported/ if left out.
    labels
        The classes' names, separated by commas, in the order of the model's outputs.
    labels_file
        A text file with the classes' names, one a line, in place of --labels.
    pixels
        What pixels the model was trained with: 0-1, 0-255 or -1-1. If left out, its first layer tells, or 0-1.
    json
        Print one JSON object on stdout.
    """
    from keensight.errors import UsageError
    from keensight.verbs.import_keras import import_keras as verb
    from keensight.verbs.import_keras import read_labels

    if labels is not None and labels_file is not None:
        raise UsageError("Both --labels and --labels-file came, and one of them is accepted. Leave one out.")
    names = labels.split(",") if labels is not None else None if labels_file is None else read_labels(labels_file)
    result = verb(file, out, labels=names, pixels=pixels)
    for note in result.notes:
        print(f"note: {note}", file=sys.stderr)
    size = result.preprocessing
    if json:
        print_json({**asdict(result), "bundle": str(result.bundle)})
    else:
        colour = "grey" if size.channels == 1 else "colour"
        print(f"pictures       {size.height}x{size.width}, {colour}, pixels {result.pixels}")
        print(f"labels         {', '.join(result.labels)}")
        print(f"parameters     {result.parameters:,}")
        print(f"bundle         {result.bundle}")
    return 0
