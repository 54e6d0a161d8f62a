"""`keensight export`: a bundle's model or weights as one file, or an int8 bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from keensight.bundle.read import file_of, read_bundle
from keensight.data.cache import decode
from keensight.errors import UsageError
from keensight.files import make_folder, write_atomically
from keensight.inference.predictor import Predictor
from keensight.pipeline.labelled import known_splits, open_for, part_of
from keensight.pipeline.watch import Watcher


def export(
    bundle: str | Path,
    data: str | Path | None = None,
    *,
    to: Literal["onnx", "int8"] = "onnx",
    out: str | Path | None = None,
    weights_only: bool = False,
    max_drop: float = 0.3,
    even_if_slower: bool = False,
    label_pattern: str | None = None,
    key: str | Path | None = None,
    watcher: Watcher | None = None,
) -> Path:
    """Write a bundle's ONNX model as one file, or only its parameters, or an int8 bundle; return its path.

    The ONNX model takes uint8 NHWC pictures of the size in `bundle.json` and answers calibrated probabilities NK.

    Args:
        bundle: The bundle's folder, or the run folder around it.
        data: Labelled pictures, in any form that `train` takes. int8 needs those that the bundle was trained on; with
            onnx, the model is compared with the trained one on those held out of them.
        to: onnx is one file for other runtimes; int8 a smaller bundle, refused unless as good and as fast.
        out: What to write, which must not exist; model.onnx or model.safetensors here, or bundle-int8 beside the
            bundle, if left out.
        weights_only: Only the parameters, as safetensors, for `train` to start from.
        max_drop: How many points of validation accuracy int8 may lose, 0 to 100.
        even_if_slower: Keep int8 even if it is slower on this machine.
        label_pattern: Take labels from file names, such as `'{label}__*'`; `'{label...}_*'` reaches to the last _;
            `'{label}/**'` takes them from folders.
        key: Refuse the bundle unless the owner of this public key signed it. Without it, one that was changed since it
            was signed is accepted, with a note.
        watcher: Is told of the progress.

    Raises:
        BundleError: the bundle is not whole.
        UsageError: `out` exists.
        GateError: the model's answers differ from the trained one's, or the bundle is not what `key` signed.
    """
    if to == "int8":
        if weights_only:
            raise UsageError(
                "--weights-only and --to int8 were given, and int8 is a whole bundle. Give one of the two."
            )
        from keensight.pipeline.quantize import quantize

        return quantize(
            bundle,
            data,
            out=out,
            max_drop=max_drop,
            even_if_slower=even_if_slower,
            label_pattern=label_pattern,
            key=key,
            watcher=watcher,
        ).bundle
    watcher = watcher or Watcher()
    opened = read_bundle(bundle, key, though_changed=True)  # the exported file is not signed
    watcher.opened(opened)
    name = "model.safetensors" if weights_only else "model.onnx"
    content, target = file_of(opened, name), Path(out or name)
    if target.exists():
        raise UsageError(f"{target} exists, and nothing is overwritten. Give another name with --out.")
    if not weights_only:
        predictor = Predictor(opened, content)  # raises if ONNX Runtime cannot load it
        if data is not None:
            _compare(predictor, data, label_pattern, watcher)
    make_folder(target.parent)
    write_atomically(target, content)
    return target


def _compare(predictor: Predictor, data: str | Path, label_pattern: str | None, watcher: Watcher) -> None:
    from keensight.bundle.network import network_of
    from keensight.pipeline.parity import check_parity

    known = predictor.bundle
    model = network_of(known)
    pixels = decode(open_for(data, [known], label_pattern), known.preprocessing, watcher.pictures)
    watcher.skipped(pixels.dataset)
    splits = known_splits(pixels, known)
    parity = check_parity(model, predictor, pixels, part_of(pixels, np.flatnonzero(splits != "train")))
    watcher.note(
        f"It answers like the trained model on {parity.n:,} pictures; no probability differs by more than "
        f"{parity.difference:.1g}."
    )
