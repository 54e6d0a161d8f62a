"""How often a model is right about corrupted pictures.

Shape letters: N pictures, H height, W width, C channels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from keensight.data.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from keensight.values import Corrupted, IntArray, Split, Uint8Array

# uint8 NHWC to the labels N that a model answers
Answer = Callable[[Uint8Array], IntArray]


def under_corruptions(
    answer: Answer,
    split: Split,
    severities: Sequence[int] = SEVERITIES,
    seed: int = 0,
    watch: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[tuple[Corrupted, ...], NDArray[np.float64]]:
    """Return the accuracy under each corruption, and for each picture N how often it was right, in [0, 1].

    Corruptions draw from `seed`, their place in the table and the severity, and nothing else.
    """
    images_NHWC, found = split.gather(), []
    times_right_N = np.zeros(len(split))
    for place, (name, each) in enumerate(CORRUPTIONS.items()):
        accuracies = []
        for severity in severities:
            draws = 1000 * seed + 10 * place + severity
            right_N = answer(corrupt(images_NHWC, name, severity, draws)) == split.labels
            times_right_N += right_N
            accuracies.append(float(right_N.mean()))
        found.append(Corrupted(name, each.about, each.kind, tuple(severities), tuple(accuracies)))
        watch(place + 1, len(CORRUPTIONS))
    return tuple(found), times_right_N / (len(CORRUPTIONS) * len(severities))
