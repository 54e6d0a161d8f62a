"""The pictures on which several bundles can be compared: the same for all, preferably unseen by every bundle."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from keensight.bundle.read import Bundle
from keensight.data.cache import decode
from keensight.data.sources import only
from keensight.errors import DataError, counted
from keensight.pipeline.labelled import count_learnt, known_splits, no_such_split, part_of
from keensight.pipeline.watch import Watcher
from keensight.values import Dataset, Split, SplitName

WHY = "their recipes differ in seed, in fractions or in the order of classes"


def same_pictures(
    dataset: Dataset, bundles: Sequence[Bundle], wanted: SplitName | None, watcher: Watcher
) -> tuple[str, list[Split], list[str]]:
    """Return the split's name, the same pictures in the same order for each bundle, and notes about them.

    Each `Split` has its bundle's preprocessing, and labels that are indices into its bundle's classes. A bundle that
    was trained on this data allows only the pictures that it held out; one that was not, and data without splits, allow
    all.

    Raises DataError for an unknown split, or if no picture is allowed by all.
    """
    pixels = [decode(only(dataset, bundle.labels), bundle.preprocessing, watcher.pictures) for bundle in bundles]
    watcher.skipped(pixels[0].dataset)
    splits = [known_splits(each, bundle) for each, bundle in zip(pixels, bundles, strict=True)]
    knowing = [i for i, names in enumerate(splits) if names.any()]
    chosen: str = wanted or next(
        (name for name in ("test", "val", "train") if knowing and all((splits[i] == name).any() for i in knowing)),
        "all",
    )
    # rows of the decoded array are samples of `dataset`, the same for every bundle
    readable = set.intersection(*(set(each.rows.tolist()) for each in pixels))
    allowed = [readable & set(pixels[i].rows[splits[i] == chosen].tolist()) for i in knowing]
    if (wanted and not knowing) or not all(allowed):
        raise no_such_split(dataset, chosen)
    rows = readable.intersection(*allowed)
    if not rows:
        raise DataError(
            f"These bundles drew different {chosen} splits of {dataset.name} ({WHY}), and there is no picture that all "
            "of them held out. Give pictures that none of them was trained on, or train them with the same seed, "
            "val_fraction, test_fraction and classes."
        )
    notes = []
    if any(each != rows for each in allowed):
        notes.append(
            f"The bundles drew different {chosen} splits of {dataset.name} ({WHY}): they are compared on the "
            f"{counted(len(rows), 'picture')} in all of these splits."
        )
    parts = [part_of(each, np.searchsorted(each.rows, sorted(rows))) for each in pixels]
    for bundle in bundles:
        hashes = [dataset.samples[row].sha256 for row in sorted(rows)]
        if learnt := count_learnt(bundle, hashes):
            notes.append(
                f"{bundle.path} learnt from {learnt:,} of {counted(len(rows), 'picture')}, so its numbers are too "
                "good. Compare on pictures that no bundle has learnt from, such as --split test of the training data."
            )
    return chosen, parts, notes
