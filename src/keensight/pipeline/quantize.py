"""`keensight export --to int8`: a bundle whose model computes in eight bits, if it stays accurate and is fast."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median

import numpy as np

from keensight.bundle.write import write_files
from keensight.data.cache import decode
from keensight.errors import DataError, GateError, UsageError
from keensight.evaluation.metrics import metrics
from keensight.evaluation.oddness import FEW
from keensight.inference.predictor import Predictor, load
from keensight.interop.onnx.quantize import to_int8
from keensight.machine import images_at_a_time
from keensight.pipeline.labelled import known_splits, open_for, part_of
from keensight.pipeline.odd import with_limits
from keensight.pipeline.watch import Watcher
from keensight.robustness.answers import as_seen
from keensight.values import Metrics, Pixels, Split, SplitName, Uint8Array

CALIBRATED_ON = 256  # training pictures
AS_FAST = 1.02  # times float32's time counts as equal, as clocks are not more precise
ROUNDS, ROUND_S = 7, 0.05  # of timing, in turns


@dataclass(frozen=True, slots=True)
class Quantised:
    """An int8 bundle and the float32 one it was made from: validation accuracy, images a second here, bytes."""

    bundle: Path
    n: int
    accuracy: float
    float32_accuracy: float
    images_per_s: float
    float32_images_per_s: float
    bytes: int
    float32_bytes: int

    @property
    def drop(self) -> float:
        """Validation accuracy lost, in [-1, 1]; below 0 if int8 happens to be better."""
        return self.float32_accuracy - self.accuracy

    @property
    def speedup(self) -> float:
        """How many times faster int8 is on this machine."""
        return self.images_per_s / self.float32_images_per_s


def quantize(
    bundle: str | Path,
    data: str | Path | None,
    *,
    out: str | Path | None = None,
    max_drop: float = 0.3,
    even_if_slower: bool = False,
    label_pattern: str | None = None,
    key: str | Path | None = None,
    watcher: Watcher | None = None,
) -> Quantised:
    """Quantise a bundle's model to int8, calibrated on training pictures, and write it as a bundle of its own.

    Args:
        bundle: the float32 bundle, or the run folder around it.
        data: what it was trained on, or labelled pictures with their own train and val splits.
        out: the new bundle's folder, which must not exist; ``bundle-int8`` beside the bundle if None.
        max_drop: how many points of validation accuracy may be lost, 0 to 100.
        even_if_slower: keep it even if it is slower here, for a processor on which it is faster.
        label_pattern: takes labels from file names, such as "{label}__*".
        key: a public key's file; the bundle must be what that key signed.
        watcher: is told of the progress.

    Raises:
        GateError: more than `max_drop` is lost, int8 is slower here, or `key` did not sign it; nothing is written.
        UsageError: `out` exists, there is no `data`, or `max_drop` is out of range.
        DataError: the data cannot be used, or has no train and val splits.
        BundleError: the bundle cannot be used.
    """
    watcher = watcher or Watcher()
    if not 0 <= max_drop <= 100:
        raise UsageError(
            f"--max-drop is {max_drop:g}. Give points of validation accuracy from 0 to 100, such as --max-drop 0.3."
        )
    if data is None:
        raise UsageError(
            "int8 is calibrated on training pictures and judged by validation pictures, but no DATA was given. Give "
            f"what the bundle was trained on: keensight export {bundle} DATA --to int8."
        )
    predictor = load(bundle, key, though_changed=True)  # the new bundle is not signed
    known = predictor.bundle
    watcher.opened(known)
    target = Path(out) if out is not None else _beside(known.path)
    if target.exists():
        raise UsageError(f"{target} exists, and nothing is overwritten. Give another folder with --out.")
    pixels = decode(open_for(data, [known], label_pattern), known.preprocessing, watcher.pictures)
    watcher.skipped(pixels.dataset)
    train, val = _split(pixels, predictor, "train"), _split(pixels, predictor, "val")
    few = train.thinned(CALIBRATED_ON)
    watcher.note(
        f"The model is quantised by {len(few):,} training pictures, and then compared with float32, for accuracy on "
        f"{len(val):,} validation pictures and for speed. With a large network that takes minutes."
    )
    watcher.stage(f"quantising by {len(few):,} pictures")
    int8 = to_int8(predictor.onnx, _batches(predictor, few))
    quantised = _with_own_limits(Predictor(known, int8), val)
    watcher.stage(f"comparing accuracy on {len(val):,} pictures")
    float32_metrics, int8_metrics = _measured(predictor, val), _measured(quantised, val)
    watcher.stage("comparing speed")
    float32_s, int8_s = _seconds_per_image(predictor, quantised, val)
    made = Quantised(
        target,
        len(val),
        int8_metrics.accuracy,
        float32_metrics.accuracy,
        1 / int8_s,
        1 / float32_s,
        len(int8),
        len(predictor.onnx),
    )
    _check(made, max_drop, even_if_slower)
    info = replace(
        quantised.bundle.info,
        parity=None,  # this and the next hold only for the float32 model
        bfloat16=None,
        metrics={"val": asdict(int8_metrics), "test": None},
        quantised={
            "calibrated_on": min(CALIBRATED_ON, len(train)),
            "float32_val_accuracy": made.float32_accuracy,
            "images_per_s": made.images_per_s,
            "float32_images_per_s": made.float32_images_per_s,
        },
    )
    write_files(target, info, {**_kept(predictor, made), "model.onnx": int8})
    return made


def _with_own_limits(quantised: Predictor, val: Split) -> Predictor:
    """Return the int8 model with thresholds of its own: its features are not float32's.

    With few validation pictures, float32's stay: they rest on more.
    """
    info = quantised.bundle.info
    if (info.rejector is None and info.label_sets is None) or len(val) < FEW:
        return quantised
    coverage, catch_all = (info.rejector.coverage, info.rejector.catch_all) if info.rejector else (1.0, None)
    return with_limits(quantised, val, coverage, catch_all or "")


def _beside(bundle: Path) -> Path:
    target, here = bundle.resolve().with_name("bundle-int8"), Path.cwd()
    return target.relative_to(here) if target.is_relative_to(here) else target


def _split(pixels: Pixels, predictor: Predictor, name: SplitName) -> Split:
    members = np.flatnonzero(known_splits(pixels, predictor.bundle) == name)
    if not len(members):
        raise DataError(
            f"{pixels.dataset.name} has no {name} split. int8 is calibrated on training pictures and judged by "
            "validation pictures: give the data that the bundle was trained on, or data with its own splits."
        )
    return part_of(pixels, members)


def _batches(predictor: Predictor, part: Split) -> Iterator[Uint8Array]:
    part = as_seen(part, predictor.bundle.borders)
    return map(part.gather, part.batches(_batch(predictor)))


def _batch(predictor: Predictor) -> int:
    size = predictor.bundle.preprocessing
    return images_at_a_time(size.height, size.width, size.channels)


def _measured(predictor: Predictor, part: Split) -> Metrics:
    known = predictor.bundle
    probabilities_NK, odd_N = predictor.on_split(part)
    return metrics(probabilities_NK, part.labels, known.labels, known.abstain_below, odd_N)


def _seconds_per_image(first: Predictor, second: Predictor, part: Split) -> tuple[float, float]:
    """Return both models' median time per picture, measured in turns so that other load slows both."""
    images = part.gather(np.resize(np.arange(len(part)), _batch(first)))
    times: dict[Predictor, list[float]] = {first: [], second: []}
    for predictor in (first, second) * ROUNDS:
        began, runs = time.perf_counter(), 0
        while (elapsed := time.perf_counter() - began) < ROUND_S:
            predictor.probabilities_as_seen(images)
            runs += 1
        times[predictor].append(elapsed / runs / len(images))
    return median(times[first]), median(times[second])


def _check(made: Quantised, max_drop: float, even_if_slower: bool) -> None:
    reasons = []
    if 100 * made.drop > max_drop + 1e-7:
        reasons.append(
            f"validation accuracy falls from {made.float32_accuracy:.4f} to {made.accuracy:.4f} on {made.n:,} "
            f"pictures, by {100 * made.drop:.1f} points, more than the accepted {max_drop:g} (--max-drop)"
        )
    if made.speedup * AS_FAST < 1 and not even_if_slower:
        reasons.append(
            f"it is slower here, with {made.images_per_s:,.0f} images/s where float32 has "
            f"{made.float32_images_per_s:,.0f} (--even-if-slower keeps it, for a processor with VNNI or AMX)"
        )
    if reasons:
        raise GateError(f"The int8 model is refused, and nothing is written: {'; and '.join(reasons)}.")


def _kept(predictor: Predictor, made: Quantised) -> dict[str, bytes]:
    """Return the float32 bundle's other files; its card begins with the differences."""
    files = predictor.bundle.files
    kept = {name: files[name] for name in ("model.safetensors", "report.html", "MODEL_CARD.md") if name in files}
    card = (
        "> **int8.** The model in this bundle was quantised from the one that this card describes: validation accuracy "
        f"{made.accuracy:.4f} instead of {made.float32_accuracy:.4f} on {made.n:,} pictures, {made.speedup:.2f} times "
        f"as fast where it was made, {made.bytes:,} bytes instead of {made.float32_bytes:,}. It has not been measured "
        "on test pictures. `model.safetensors` and `report.html` are the float32 model's.\n\n"
    )
    return {**kept, "MODEL_CARD.md": card.encode() + kept.get("MODEL_CARD.md", b"")}
