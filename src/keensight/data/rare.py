"""Classes that have too few different pictures, or groups, to be in every split that is drawn."""

from __future__ import annotations

import numpy as np

from keensight.data.sources import only
from keensight.data.splits import assign
from keensight.errors import DataError, shortlist
from keensight.values import SPLIT_NAMES, Dataset


def common_classes(dataset: Dataset, val_fraction: float, test_fraction: float, seed: int) -> tuple[str, ...]:
    """Return the classes that are among the training pictures and in every split that is drawn, in their order.

    Raises DataError where fewer than two are.
    """
    given = {sample.split for sample in dataset.samples}
    shares = {"train": 1.0, "val": val_fraction, "test": test_fraction}
    needed = [name for name in SPLIT_NAMES if name == "train" or (name not in given and shares[name] > 0)]
    kept = dataset
    while True:  # what is left out may change how the others are drawn
        assigned, _ = assign(kept, val_fraction, test_fraction, seed)
        labels = np.array([sample.label for sample in kept.samples])
        present = set.intersection(*(set(labels[assigned == name].tolist()) for name in needed))
        names = tuple(name for label, name in enumerate(kept.class_names) if label in present)
        if len(names) < 2:
            raise DataError(
                f"skip_rare leaves {shortlist(names) or 'no class'} of the {len(dataset.class_names):,} classes of "
                f"{dataset.name}: the others have too few different pictures, or groups, for every split. Gather at "
                "least three of each of two classes."
            )
        if len(names) == len(kept.class_names):
            return names
        kept = only(kept, names)
