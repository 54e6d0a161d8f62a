"""k-means as scikit-learn computes it, with the same draws, but without the import of scikit-learn.

That import takes a second of a processor (with it comes scipy.stats), and nothing else in a training on arrays needs
it. Shape letters: N rows, F features, K centres, T trials.
"""

from __future__ import annotations

import numpy as np

from keensight.values import FloatArray, IntArray

STEPS = 20  # of Lloyd's, at most
TOLERANCE = 1e-4  # of the features' variance: smaller moves of all centres together end it


def centres_of(rows_NF: FloatArray, count: int, seed: int) -> FloatArray:
    """Return `count` centres KF of rows by Lloyd's algorithm (1982), begun as k-means++ does.

    They are those of scikit-learn's KMeans with one start, up to rounding. There must be as many different rows.
    """
    rows_NF = np.asarray(rows_NF, np.float32)
    least, mean_F = np.mean(np.var(rows_NF, axis=0)) * TOLERANCE, rows_NF.mean(axis=0)
    rows_NF = rows_NF - mean_F  # distances are more exact
    centres_KF, nearest_N = _begin(rows_NF, count, np.random.RandomState(seed)), np.full(len(rows_NF), -1)
    for _ in range(STEPS):
        before_KF, before_N = centres_KF, nearest_N
        scores_NK = rows_NF @ (-2 * before_KF.T) + (before_KF**2).sum(axis=1)
        nearest_N = scores_NK.argmin(axis=1)
        centres_KF = _means(rows_NF, nearest_N, before_KF)
        if np.array_equal(nearest_N, before_N) or ((centres_KF - before_KF) ** 2).sum() <= least:
            break
    return np.asarray(centres_KF + mean_F, np.float32)


def _begin(rows_NF: FloatArray, count: int, draw: np.random.RandomState) -> FloatArray:
    """Draw rows that are far from each other, each the best of some trials (Arthur and Vassilvitskii, 2007)."""
    ones_N = np.ones(len(rows_NF), np.float32)
    chosen = [int(draw.choice(len(rows_NF), p=ones_N / ones_N.sum()))]
    closest_N = _distances(rows_NF[chosen], rows_NF)[0]
    total, trials = closest_N @ ones_N, 2 + int(np.log(count))
    for _ in range(1, count):
        tried_T = np.searchsorted(np.cumsum(closest_N), draw.uniform(size=trials) * total)
        tried_T = np.minimum(tried_T, len(rows_NF) - 1)
        closest_TN = np.minimum(closest_N, _distances(rows_NF[tried_T], rows_NF))
        totals_T = closest_TN @ ones_N
        best = int(totals_T.argmin())
        total, closest_N = totals_T[best], closest_TN[best]
        chosen.append(int(tried_T[best]))
    return rows_NF[chosen]


def _distances(some_TF: FloatArray, rows_NF: FloatArray) -> FloatArray:
    """Return squared distances TN, computed in float64."""
    some, rows = some_TF.astype(np.float64), rows_NF.astype(np.float64)
    squared_TN = -2 * (some @ rows.T) + (some**2).sum(axis=1)[:, None] + (rows**2).sum(axis=1)
    distances_TN: FloatArray = np.maximum(squared_TN.astype(np.float32), 0)
    return distances_TN


def _means(rows_NF: FloatArray, nearest_N: IntArray, centres_KF: FloatArray) -> FloatArray:
    """Return the mean of the rows nearest to each centre; a centre without any gets the row furthest from its own."""
    is_of_KN = np.arange(len(centres_KF))[:, None] == nearest_N
    counts_K, sums_KF = is_of_KN.sum(axis=1), is_of_KN.astype(np.float32) @ rows_NF
    empty = np.flatnonzero(counts_K == 0)
    if len(empty):
        distances_N = ((rows_NF - centres_KF[nearest_N]) ** 2).sum(axis=1)
        for k, furthest in zip(empty, np.argsort(distances_N)[::-1], strict=False):
            sums_KF[nearest_N[furthest]] -= rows_NF[furthest]
            counts_K[nearest_N[furthest]] -= 1
            sums_KF[k], counts_K[k] = rows_NF[furthest], 1
    means_KF: FloatArray = sums_KF / counts_K[:, None].astype(np.float32)
    return means_KF
