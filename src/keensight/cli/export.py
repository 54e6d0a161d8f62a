"""keensight export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from keensight.cli.output import print_json


def export(
    bundle: Path,
    /,
    *,
    out: Path | None = None,
    weights_only: Annotated[bool, Parameter(negative=())] = False,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Write a bundle's model, or just its weights, as one file.

    Parameters
    ----------
    bundle
        The bundle's folder, or the run folder around it.
    out
        The file to write, which must not exist; model.onnx or model.safetensors here if left out.
    weights_only
        Just the parameters, as safetensors: train --weights-only takes them.
    json
        Print one JSON object on stdout.
    """
    from keensight.verbs.export import export as verb

    written = verb(bundle, out=out, weights_only=weights_only)
    if json:
        print_json({"bundle": str(bundle), "file": str(written), "bytes": written.stat().st_size})
    else:
        print(f"wrote          {written} ({written.stat().st_size:,} bytes)")
    return 0
