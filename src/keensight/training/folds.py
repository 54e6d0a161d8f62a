"""Folds for cross-validation: every picture is held out once, and pictures that belong together stay together."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from keensight.errors import DataError
from keensight.values import IntArray


def folds(
    labels_N: IntArray, groups_N: IntArray | None = None, k: int = 5, seed: int = 0
) -> Iterator[tuple[IntArray, IntArray]]:
    """Yield the rows to train on and the rows held out, both int64 and in order, for each of at most `k` folds.

    Folds are stratified by label, and rows of one group, such as copies of a picture, are in one fold. Fewer groups
    than `k` give fewer folds. A class of fewer groups than folds is missing from some held-out rows, and one of a
    single group is once missing from the rows to train on.

    Raises DataError for fewer than two folds, or where the rows are of fewer than two groups.

    >>> sorted(held_out.tolist() for _, held_out in folds(np.array([0, 0, 1, 1]), np.array([3, 5, 5, 4]), k=2))
    [[0, 3], [1, 2]]
    """
    groups_N = np.arange(len(labels_N)) if groups_N is None else np.unique(groups_N, return_inverse=True)[1]
    num_groups = len(np.unique(groups_N))
    k = min(k, num_groups)
    if k < 2:
        raise DataError(
            f"{len(labels_N):,} pictures of {num_groups:,} groups cannot be divided into folds. Two folds or more are "
            "accepted, and two groups or more; add pictures that do not belong to these."
        )
    folds_N = _dealt(labels_N, groups_N, k, seed)
    for fold in np.unique(folds_N):
        yield np.flatnonzero(folds_N != fold), np.flatnonzero(folds_N == fold)


def _dealt(labels_N: IntArray, groups_N: IntArray, k: int, seed: int) -> IntArray:
    """Return each row's fold: whole groups, the largest first, each to the fold that has least of its labels.

    scikit-learn's StratifiedGroupKFold leaves folds empty where groups are few, and warns of rare classes.
    """
    totals = np.bincount(labels_N)
    members = np.split(np.argsort(groups_N, kind="stable"), np.cumsum(np.bincount(groups_N))[:-1])
    order = np.random.default_rng(seed).permutation(len(members))
    held_kK, folds_N = np.zeros((k, len(totals)), np.int64), np.zeros(len(labels_N), np.int64)
    for group in sorted(order, key=lambda group: -len(members[group])):  # sorting is stable: equals stay shuffled
        labels, counts = np.unique(labels_N[members[group]], return_counts=True)
        fullness_k = held_kK[:, labels] @ (counts / totals[labels])
        home = np.lexsort((held_kK.sum(axis=1), fullness_k))[0]
        held_kK[home, labels] += counts
        folds_N[members[group]] = home
    return folds_N
