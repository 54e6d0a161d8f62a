"""`keensight evaluate`: how good a bundle is on labelled pictures. No torch is loaded."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from keensight.data.in_hand import Data
from keensight.evaluation.metrics import metrics
from keensight.inference.predictor import num_inverted, told_inverted
from keensight.pipeline.part import open_part
from keensight.pipeline.watch import Watcher
from keensight.values import Metrics


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
    data: Data | Iterable[Data],
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
        label_pattern: Take labels from file names, such as `'{label}__*'`; `'{label...}_*'` reaches to the last _;
            `'{label}/**'` takes them from folders.
        key: Refuse the bundle unless the owner of this public key signed it.
        watcher: Is told of the progress.

    Raises:
        UsageError: there is no such split.
        DataError: the data cannot be used, or has labels that the bundle does not know.
        BundleError: the bundle cannot be used.
        GateError: it was changed after it was signed, or is not what `key` signed.
    """
    watcher = watcher or Watcher()
    opened = open_part(bundle, data, split, label_pattern, key, watcher)
    known, part = opened.bundle, opened.pictures
    inverted = num_inverted(opened.predictor, part)
    if said := told_inverted(inverted, len(part), "pictures"):
        watcher.note(said)
    probabilities_NK, odd_N = opened.predictor.on_split(part)
    measured = metrics(probabilities_NK, part.labels, known.labels, known.abstain_below, odd_N)
    return Evaluation(known.path, opened.data, opened.split, measured, inverted)
