"""keensight export."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from keensight import verbs
from keensight.cli.options import Json, options_of
from keensight.cli.output import print_json, say
from keensight.cli.terminal import Terminal


@options_of("export.export")
def export(
    *,
    bundle: Path,
    to: Literal["onnx", "int8"],
    weights_only: bool,
    max_drop: float,
    even_if_slower: bool,
    json: Json = False,
    **asked: Any,
) -> int:
    """Export, and print what was written and, for int8, its accuracy and speed."""
    if to == "int8" and not weights_only:
        return _int8(bundle, json, max_drop=max_drop, even_if_slower=even_if_slower, **asked)
    with Terminal() as terminal:
        written = verbs.export.export(bundle, to=to, weights_only=weights_only, **asked, watcher=terminal)
    if json:
        print_json({"bundle": str(bundle), "file": str(written), "bytes": written.stat().st_size})
    else:
        say(f"wrote          {written} ({written.stat().st_size:,} bytes)")
    return 0


def _int8(bundle: Path, json: bool, **asked: Any) -> int:
    from keensight.pipeline.quantize import quantize

    with Terminal() as terminal:
        made = quantize(bundle, **asked, watcher=terminal)
    if json:
        print_json({**asdict(made), "bundle": str(made.bundle), "drop": made.drop, "speedup": made.speedup})
        return 0
    say(f"accuracy       {made.accuracy:.4f} on {made.n:,} validation pictures, float32 {made.float32_accuracy:.4f}")
    say(f"speed here     {made.images_per_s:,.0f} images/s, float32 {made.float32_images_per_s:,.0f}")
    say(f"model          {made.bytes:,} bytes, float32 {made.float32_bytes:,}")
    say(f"bundle         {made.bundle} (not signed)")
    return 0
