"""keensight export."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from keensight.cli.output import Terminal, print_json


def export(
    bundle: Path,
    data: str | None = None,
    /,
    *,
    to: Literal["onnx", "int8"] = "onnx",
    out: Path | None = None,
    weights_only: Annotated[bool, Parameter(negative=())] = False,
    max_drop: float = 0.3,
    even_if_slower: Annotated[bool, Parameter(negative=())] = False,
    label_pattern: str | None = None,
    key: Path | None = None,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Write a bundle's model or weights as one file, or as an int8 bundle.

    Parameters
    ----------
    bundle
        The bundle's folder, or the run folder around it.
    data
        Labelled pictures, in any form that train takes. int8 needs those that the bundle was trained on; with onnx, the
        model is compared with the trained one on those held out of them.
    to
        onnx is one file for other runtimes; int8 a smaller bundle, refused unless as good and as fast.
    out
        What to write, which must not exist; model.onnx or model.safetensors here, or bundle-int8 beside the bundle, if
        left out.
    weights_only
        Just the parameters, as safetensors: train --weights-only takes them.
    max_drop
        How many points of validation accuracy int8 may lose, 0 to 100.
    even_if_slower
        Keep int8 where it is slower on this machine.
    label_pattern
        Take labels from file names, such as '{label}__*'.
    key
        Refuse the bundle unless the owner of this public key signed it.
    json
        Print one JSON object on stdout.
    """
    if to == "int8" and not weights_only:
        return _int8(bundle, data, out, max_drop, even_if_slower, label_pattern, key, json)
    from keensight.verbs.export import export as verb

    with Terminal() as terminal:
        written = verb(
            bundle, data, to=to, out=out, weights_only=weights_only, label_pattern=label_pattern, key=key,
            watcher=terminal,
        )  # fmt: skip
    if json:
        print_json({"bundle": str(bundle), "file": str(written), "bytes": written.stat().st_size})
    else:
        print(f"wrote          {written} ({written.stat().st_size:,} bytes)")
    return 0


def _int8(
    bundle: Path,
    data: str | None,
    out: Path | None,
    max_drop: float,
    even_if_slower: bool,
    label_pattern: str | None,
    key: Path | None,
    json: bool,
) -> int:
    from keensight.pipeline.quantize import quantize

    with Terminal() as terminal:
        made = quantize(
            bundle,
            data,
            out=out,
            max_drop=max_drop,
            even_if_slower=even_if_slower,
            label_pattern=label_pattern,
            key=key,
            watcher=terminal,
        )
    if json:
        print_json({**asdict(made), "bundle": str(made.bundle), "drop": made.drop, "speedup": made.speedup})
        return 0
    print(f"accuracy       {made.accuracy:.4f} on {made.n:,} validation pictures, float32 {made.float32_accuracy:.4f}")
    print(f"speed here     {made.images_per_s:,.0f} images/s, float32 {made.float32_images_per_s:,.0f}")
    print(f"model          {made.bytes:,} bytes, float32 {made.float32_bytes:,}")
    print(f"bundle         {made.bundle} (not signed)")
    return 0
