"""`keensight evaluate`: how good a bundle is on labelled pictures. No torch is loaded."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from keensight.bundle.read import Bundle
from keensight.data.cache import decode
from keensight.evaluation.metrics import metrics
from keensight.inference.predictor import load, num_inverted, told_inverted
from keensight.pipeline.labelled import count_learnt, known_splits, no_such_split, open_for, part_of, split_asked
from keensight.pipeline.watch import Watcher
from keensight.values import IntArray, Metrics, Pixels, SplitName


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The metrics of a bundle on one split of some data; the split is "all" if the data has none.

    `inverted` is how many of the pictures the model saw as their negative.
    """

    bundle: Path
    data: str
    split: str
    metrics: Metrics
    inverted: int


def evaluate(
    bundle: str | Path,
    data: str | Path | Iterable[str | Path],
    *,
    split: str | None = None,
    label_pattern: str | None = None,
    key: str | Path | None = None,
    watcher: Watcher | None = None,
) -> Evaluation:
    """Measure a bundle on labelled pictures, through the same decoding and model that `predict` uses.

    For the data that the bundle was trained on, the same splits are drawn again.

    Args:
        bundle: The bundle's folder, or the run folder around it.
        data: Labelled pictures, in any form that `train` takes, several of them too.
        split: train, val or test; the test split, or all pictures if the data has no splits, if left out.
        label_pattern: Take labels from file names, such as '{label}__*'; '{label...}_*' reaches to the last _;
            '{label}/**' takes them from folders.
        key: Refuse the bundle unless the owner of this public key signed it.
        watcher: Is told of the progress.

    Raises:
        UsageError: there is no such split.
        DataError: the data cannot be used, or has labels that the bundle does not know.
        BundleError: the bundle cannot be used.
        GateError: it was changed after it was signed, or is not what `key` signed.
    """
    watcher = watcher or Watcher()
    name = split_asked(split)
    predictor = load(bundle, key)
    known = predictor.bundle
    watcher.opened(known)
    places = [data] if isinstance(data, str | Path) else list(data)
    pixels = decode(open_for(places, [known], label_pattern), known.preprocessing, watcher.pictures)
    watcher.skipped(pixels.dataset)
    chosen, members = _choose(pixels, name, known)
    samples = [pixels.dataset.samples[i] for i in members]
    if learnt := count_learnt(known, [sample.sha256 for sample in samples]):
        watcher.note(
            f"{learnt:,} of these {len(members):,} pictures were among those that the model learnt from, so these "
            "numbers are too good. Measure on others; --split test takes those held out of the training data."
        )
    part = part_of(pixels, members)
    inverted = num_inverted(predictor, part)
    if said := told_inverted(inverted, len(part), "pictures"):
        watcher.note(said)
    probabilities_NK, odd_N = predictor.on_split(part)
    measured = metrics(probabilities_NK, part.labels, known.labels, known.abstain_below, odd_N)
    return Evaluation(known.path, " ".join(map(str, places)), chosen, measured, inverted)


def _choose(pixels: Pixels, name: SplitName | None, bundle: Bundle) -> tuple[str, IntArray]:
    """Return the split's name and the indices of its samples."""
    dataset = pixels.dataset
    if name is None and not any(sample.split for sample in dataset.samples):
        return "all", np.arange(len(dataset.samples))
    splits = known_splits(pixels, bundle)
    chosen: str = name or next(n for n in ("test", "val", "train") if (splits == n).any())
    members = np.flatnonzero(splits == chosen)
    if not len(members):
        raise no_such_split(dataset, chosen)
    return chosen, members
