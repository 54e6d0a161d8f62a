"""`keensight export`: one file of a bundle, for those who want only that."""

from __future__ import annotations

from pathlib import Path

from keensight.bundle.read import load, read_bundle
from keensight.errors import BundleError, UsageError
from keensight.files import make_folder, write_atomically


def export(bundle: str | Path, *, out: str | Path | None = None, weights_only: bool = False) -> Path:
    """Write a bundle's ONNX model as one file, or with `weights_only` just its parameters, and return where.

    The ONNX model takes uint8 NHWC pictures of the size in `bundle.json` and answers calibrated probabilities NK. The
    weights are a safetensors file: `train` with the same recipe takes them as `weights_only`, and any program that
    reads safetensors does. `out` is ``model.onnx`` or ``model.safetensors`` here if None, and must not exist; its
    folder is made where there is none.

    Raises BundleError for a bundle that is not whole, UsageError where `out` exists.
    """
    opened = read_bundle(bundle)
    name = "model.safetensors" if weights_only else "model.onnx"
    source, target = opened.path / name, Path(out or name)
    if not source.is_file():
        raise BundleError(f"{opened.path} has no {name}, so it is not a whole bundle. Train or export it again.")
    if target.exists():
        raise UsageError(f"{target} exists, and nothing is overwritten. Give another name with --out.")
    if not weights_only:
        load(opened.path)  # refuses what ONNX Runtime cannot open
    make_folder(target.parent)
    write_atomically(target, source.read_bytes())
    return target
