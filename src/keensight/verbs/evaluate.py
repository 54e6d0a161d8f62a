"""`keensight evaluate`: how good a bundle is on labelled pictures. No torch is loaded."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from keensight.bundle.read import Bundle, Predictor, load
from keensight.data.cache import decode, fingerprint
from keensight.data.labels import split_named
from keensight.data.sources import only, open_dataset
from keensight.data.splits import assign
from keensight.errors import DataError, UsageError
from keensight.evaluation.metrics import metrics
from keensight.values import SPLIT_NAMES, Dataset, Metrics, Pixels, Split
from keensight.verbs.watch import Watcher


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The metrics of a bundle on one split of some data; the split is "all" where the data has none."""

    bundle: Path
    data: str
    split: str
    metrics: Metrics


def evaluate(
    bundle: str | Path,
    data: str | Path,
    *,
    split: str | None = None,
    label_pattern: str | None = None,
    watcher: Watcher | None = None,
) -> Evaluation:
    """Measure a bundle on labelled pictures, through the same decoding and model that `predict` uses.

    `split` is train, val or test. Without it, the test split is used where the data has splits, and all pictures where
    it has none. For the very data that the bundle was trained on, splits drawn then are drawn again.

    Raises:
        UsageError: there is no such split.
        DataError: the data cannot be used, or has labels that the bundle does not know.
        BundleError: the bundle cannot be used.
    """
    watcher = watcher or Watcher()
    predictor = load(bundle)
    known = predictor.bundle
    dataset = _open(data, label_pattern, known)
    pixels = decode(dataset, known.preprocessing, watcher.pictures)
    watcher.skipped(pixels.dataset)
    name = None if split is None else split_named(split)
    if split is not None and name is None:
        raise UsageError(f"There is no split '{split}'. It can be {', '.join(SPLIT_NAMES)}.")
    chosen, members = _choose(pixels, name, predictor)
    labels = np.array([sample.label for sample in pixels.dataset.samples], np.int64)
    if learnt := _learnt(known, [pixels.dataset.samples[i].sha256 for i in members]):
        watcher.note(
            f"{learnt:,} of these {len(members):,} pictures were among those that the model learnt from, so these "
            "numbers are too good. Measure on others; --split test takes those held out of the training data."
        )
    where = tuple(pixels.dataset.samples[i].where for i in members)
    part = Split(pixels.images, pixels.rows[members], labels[members], where)
    measured = metrics(predictor.on_split(part), part.labels, known.labels, known.abstain_below)
    return Evaluation(known.path, str(data), chosen, measured)


def _open(data: str | Path, label_pattern: str | None, known: Bundle) -> Dataset:
    """Open the data as it was opened for training: the same classes, and where need be the same label pattern."""
    trained = known.info["recipe"]
    if trained.get("classes"):
        return only(open_dataset(data, label_pattern=label_pattern), known.labels)
    try:
        return open_dataset(data, label_pattern=label_pattern, class_names=known.labels)
    except DataError:
        if label_pattern or not trained.get("label_pattern"):
            raise
        return open_dataset(data, label_pattern=trained["label_pattern"], class_names=known.labels)


def _learnt(known: Bundle, hashes: list[str]) -> int:
    """Count the pictures that the run learnt from, where the run's folder is still around the bundle."""
    file = known.path.parent / "splits.jsonl"
    if not file.is_file():
        return 0
    lines = map(json.loads, file.read_text(encoding="utf-8").splitlines())
    trained = {line["sha256"] for line in lines if line["split"] == "train"}
    return sum(sha256 in trained for sha256 in hashes)


def _choose(pixels: Pixels, name: str | None, predictor: Predictor) -> tuple[str, Any]:
    """Return the split's name and the indices of its samples."""
    dataset, trained = pixels.dataset, predictor.bundle.info["data"]
    own = {sample.split for sample in dataset.samples} - {None}
    is_training_data = fingerprint(dataset) == trained["sha256"]
    if name is None and not own:
        return "all", np.arange(len(dataset.samples))
    if is_training_data:
        assigned, _ = assign(dataset, trained["val_fraction"], trained["test_fraction"], trained["seed"])
    else:
        assigned = np.array([sample.split or "" for sample in dataset.samples])
    name = name or next(n for n in ("test", "val", "train") if (assigned == n).any())
    members = np.flatnonzero(assigned == name)
    if not len(members):
        held = f"has the splits {', '.join(sorted(map(str, own)))}" if own else "has no splits of its own"
        raise DataError(
            f"{dataset.name} has no {name} split: it {held}, and it is not the data that the bundle was trained on, so "
            "the splits of that time cannot be drawn again. Leave --split out to use all of it."
        )
    return name, members
