"""Findings about a network, by comparison with clean twins.

A network that was trained as its recipe says, on these pictures, is one more draw of what its twins are draws of. So
each of its signs is compared with theirs by Student's prediction interval: no limit is fixed beforehand, and two
classes are enough, where outliers among the classes mean nothing.

Shape letters: T twins, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

from keensight.care.backdoor_search import KINDS
from keensight.care.backdoor_signs import Signs
from keensight.values import Finding, FindingKind, FloatArray

ALPHA = 0.01  # the chance that a clean network is accused, over all of its signs, if signs are normally distributed
LEAST_TWINS = 4
FLOOR = {"silent units": 0.02, "bias": 0.02}  # the least spread that counts: less is that of rounding or of luck
FLOOR_OF_LOGS = 0.04
JOINED = ("bias", "row norm")  # of which one follows from the others
LINEAR = ("bias", "silent units")  # signs that are no logarithms


@dataclass(frozen=True, slots=True)
class Deviation:
    """How far a network's sign is from its twins': `sign` of class `k`, the values, and the chance of it by luck.

    `p` is two-sided, and multiplied by the number of comparisons.
    """

    sign: str
    k: int
    value: float
    usual: float
    spread: float
    p: float


def deviations(own: Signs, twins: Sequence[Signs]) -> list[Deviation]:
    """Compare each sign with the twins', each class by itself; classes share the spread. The least likely come first.

    Signs are those that the network and all twins have. Needs `LEAST_TWINS` twins.
    """
    names = [name for name in own.values if all(name in each.values for each in twins)]
    count, found = sum(len(own.values[name]) for name in names), []
    for name in names:
        theirs_TK = np.stack([each.values[name] for each in twins])
        usual_K, spread_K = theirs_TK.mean(axis=0), _spread(name, theirs_TK)
        freedom = max(1, theirs_TK.shape[1] - (name in JOINED)) * (len(twins) - 1)
        t_K = (own.values[name] - usual_K) / (spread_K * np.sqrt(1 + 1 / len(twins)))
        p_K = np.minimum(1.0, count * 2 * student.sf(np.abs(t_K), freedom))
        found += [
            Deviation(name, k, float(own.values[name][k]), float(usual_K[k]), float(spread_K[k]), float(p_K[k]))
            for k in range(len(usual_K))
        ]
    # two classes' biases are as unlikely, and the class that one adds to says more
    return sorted(found, key=lambda each: (float(f"{each.p:.1e}"), -each.value if each.sign == "bias" else each.value))


def _spread(name: str, theirs_TK: FloatArray) -> FloatArray:
    """Return the spread for each class: that of all classes together, and no less than the class's own."""
    own_K = theirs_TK.var(axis=0, ddof=1)
    floor = FLOOR.get(name, FLOOR_OF_LOGS)
    spread_K: FloatArray = np.maximum(floor, np.sqrt(np.maximum(own_K, own_K.mean())))
    return spread_K


def findings_about(own: Signs, twins: Sequence[Signs], labels: Sequence[str]) -> list[Finding]:
    """Return what sets a network apart from its twins: a backdoor, and signs of tampering, one for each sign.

    A backdoor into one class makes others a little easier to reach too, so the least likely class is named, and the
    other ones are in `also`. The least likely sign of tampering comes first.
    """
    unlikely = [each for each in deviations(own, twins) if each.p < ALPHA]
    smaller = [each for each in unlikely if each.sign in KINDS and each.value < each.usual]
    found: dict[str, Finding] = {}
    for each in [*smaller[:1], *(each for each in unlikely if each not in smaller)]:
        kind: FindingKind = "backdoor" if each in smaller else "tampering"
        others = dict.fromkeys(labels[other.k] for other in smaller if other.k != each.k) if each in smaller else ()
        linear = each.sign in LINEAR
        evidence = {
            "by": each.sign,
            "label": labels[each.k] if len(own.values[each.sign]) > 1 else "",
            "also": list(others),
            "value": _plain(each.value, linear),
            "twins": [_plain(float(twin.values[each.sign][each.k]), linear) for twin in twins],
            "usual": _plain(each.usual, linear),
            "p": float(f"{each.p:.2g}"),
        }
        found.setdefault(each.sign if kind == "tampering" else kind, Finding(kind, (), _sure(each.p), evidence))
    return list(found.values())


def _plain(value: float, linear: bool) -> float:
    return round(value if linear else float(np.exp(value)), 4)


def _sure(p: float) -> float:
    """Return how sure a finding is: never quite, since signs are not exactly normally distributed."""
    return round(min(0.99, 1 - p), 4)
