"""How good sets of labels are: how often they hold the true one, and how large they are.

Apart from `conformal.py`, which answers need, as a report's classes take longer to load than a bundle.

Shape letters: N pictures, K classes.
"""

from __future__ import annotations

import numpy as np

from keensight.evaluation.conformal import label_sets
from keensight.evaluation.metrics import accuracy_interval
from keensight.values import ClassSets, FloatArray, IntArray, LabelSets, SetsReport


def measure_sets(probabilities_NK: FloatArray, labels_N: IntArray, rule: LabelSets) -> SetsReport:
    """Return how often the sets of labelled pictures hold the label, and how large they are, in all and by class."""
    sets_NK = label_sets(probabilities_NK, rule)
    held_N, sizes_N = sets_NK[np.arange(len(labels_N)), labels_N], sets_NK.sum(axis=1)
    low, high = accuracy_interval(int(held_N.sum()), len(held_N))
    per_class = []
    for k in range(probabilities_NK.shape[1]):
        of_class_N = labels_N == k
        n = int(of_class_N.sum())
        found = (float(held_N[of_class_N].mean()), float(sizes_N[of_class_N].mean())) if n else (None, None)
        per_class.append(ClassSets(n, *found))
    return SetsReport(
        rule.coverage, len(held_N), float(held_N.mean()), low, high, float(sizes_N.mean()), tuple(per_class)
    )
