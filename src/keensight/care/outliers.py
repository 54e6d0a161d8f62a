"""Pictures that are unlike all others of their data: far from their nearest neighbours by features.

Shape letters: N pictures, F features, J neighbours.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import torch

from keensight.values import Finding, FloatArray, IntArray, Pixels

NEIGHBOURS = 10
LEAST = 50  # pictures
FAR = 5.0  # standard deviations beyond the usual distance, both by their medians
RARE, SURE = 0.02, 0.6
AT_A_TIME = 1_024


def outliers(pixels: Pixels, features_NF: FloatArray, units_N: IntArray, known: Collection[str]) -> Finding | None:
    """Return the finding of pictures that are unlike all others, the oddest first; None if there are none.

    `units_N` numbers what does not count as a neighbour of each other: copies. `known` are paths that other findings
    name as blank or odd already. Where more than one in fifty is so, nothing is said: the data are varied.
    """
    paths = [sample.path for sample in pixels.dataset.samples]
    if len(paths) < LEAST:
        return None
    far_N = how_far(features_NF, units_N)
    rows = [i for i in np.argsort(-far_N) if far_N[i] > FAR and paths[i] not in known]
    if not rows or len(rows) > max(1, RARE * len(paths)):
        return None
    says = [f"{far_N[i]:.0f} times the usual spread further from its neighbours" for i in rows]
    return Finding("outlier", tuple(paths[i] for i in rows), SURE, {"says": says})


def how_far(features_NF: FloatArray, units_N: IntArray) -> FloatArray:
    """Return how unusual each picture's mean distance to its neighbours is, N, in robust standard deviations."""
    known_NF = torch.from_numpy(np.ascontiguousarray(features_NF, np.float32))
    units = torch.from_numpy(units_N)
    distances = []
    for first in range(0, len(known_NF), AT_A_TIME):
        far_BN = torch.cdist(known_NF[first : first + AT_A_TIME], known_NF)
        far_BN[units[first : first + AT_A_TIME, None] == units[None]] = torch.inf  # itself, and its copies
        near_BJ = far_BN.topk(min(NEIGHBOURS, len(known_NF) - 1), dim=1, largest=False).values
        distances.append(near_BJ.nan_to_num(posinf=0).sum(dim=1) / near_BJ.isfinite().sum(dim=1).clamp(min=1))
    distance_N = torch.cat(distances).numpy().astype(np.float64)
    usual = np.median(distance_N)
    far_N: FloatArray = (distance_N - usual) / max(1e-6, 1.4826 * float(np.median(np.abs(distance_N - usual))))
    return far_N
