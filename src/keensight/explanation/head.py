"""What a network makes of the means of its last feature maps, up to its logits; and how these depend on the means.

It is computed and differentiated in NumPy, operator by operator: a runtime for inference gives no gradients.
Shape letters: R rows (1, or 2 for a picture and its mirror image), C channels, F features, K classes; h, w of a map.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from keensight.values import FloatArray

STEPS = 16  # on the way, in the middle of each of which slopes are taken
TINY = 1e-150  # stands for the root of 0, which has no slope
Arrays: TypeAlias = Sequence[FloatArray]


@dataclass(frozen=True, slots=True, eq=False)
class Operator:
    """A step: a row of `RULES`, the names of what it reads, its constants, and the name of what it makes."""

    op: str
    inputs: tuple[str, ...]
    constants: tuple[FloatArray, ...]
    output: str


@dataclass(frozen=True, slots=True, eq=False)
class Head:
    """The operators from the means of feature maps to the logits, which the last one makes.

    `maps` has the name of the maps, RChw, by that of their means, RC. The rows after the first are the mirror image's.
    """

    maps: Mapping[str, str]
    operators: tuple[Operator, ...]


class Rule(NamedTuple):
    """What an operator makes of its inputs RF and constants, and the slopes by each input, given those by its output.

    `slopes` gets the slopes by the output, the inputs, the output and the constants.
    """

    value: Callable[[Arrays, Arrays], FloatArray]
    slopes: Callable[[FloatArray, Arrays, FloatArray, Arrays], Arrays]


def _softmax(x_RF: FloatArray) -> FloatArray:
    powers_RF: FloatArray = np.exp(x_RF - x_RF.max(axis=1, keepdims=True))
    return np.asarray(powers_RF / powers_RF.sum(axis=1, keepdims=True))


NOTHING = Rule(lambda xs, _: xs[0], lambda slopes, *_: [slopes])
RULES: dict[str, Rule] = {
    # a change of shape alone, and int8, whose steps have no slope: that of the line which they follow
    **dict.fromkeys(("Flatten", "Reshape", "Unsqueeze", "QuantizeLinear", "DequantizeLinear"), NOTHING),
    "Add": Rule(lambda xs, c: xs[0] + c[0], lambda slopes, *_: [slopes]),
    "Concat": Rule(
        lambda xs, _: np.concatenate(xs, axis=1),
        lambda slopes, xs, *_: np.split(slopes, np.cumsum([x.shape[1] for x in xs])[:-1], axis=1),
    ),
    "Gemm": Rule(lambda xs, c: xs[0] @ c[0].T + sum(c[1:]), lambda slopes, _, __, c: [slopes @ c[0]]),
    "Mul": Rule(lambda xs, c: xs[0] * c[0], lambda slopes, _, __, c: [slopes * c[0]]),
    "ReduceMean": Rule(  # of a picture and its mirror image
        lambda xs, _: xs[0].mean(axis=0, keepdims=True),
        lambda slopes, xs, *_: [np.repeat(slopes, len(xs[0]), axis=0) / len(xs[0])],
    ),
    "Relu": Rule(lambda xs, _: np.maximum(xs[0], 0), lambda slopes, xs, *_: [slopes * (xs[0] > 0)]),
    "Softmax": Rule(
        lambda xs, _: _softmax(xs[0]),
        lambda slopes, _, y, __: [y * (slopes - (slopes * y).sum(axis=1, keepdims=True))],
    ),
    "Sqrt": Rule(lambda xs, _: np.sqrt(xs[0]), lambda slopes, _, y, __: [slopes / (2 * np.maximum(y, TINY))]),
}


def slopes(head: Head, maps: Mapping[str, FloatArray], by_logits_K: FloatArray) -> dict[str, FloatArray]:
    """Return how a sum of logits, each times its number in `by_logits_K`, changes with the means RC of each map.

    `maps` are a picture's feature maps RChw by name. The slopes are float64: their mean on the straight way from means
    of 0 to these maps', so that slopes times means add up to the whole change (Sundararajan et al. 2017,
    arXiv:1703.01365, equation 1). At the picture alone, they say too little where it is sure: there nothing changes.

    >>> head = Head({"mean": "map"}, (Operator("Gemm", ("mean",), (np.array([[3.0, 4.0], [5.0, 6.0]]),), "logits"),))
    >>> slopes(head, {"map": np.ones((1, 2, 7, 7))}, np.array([1.0, -1.0]))
    {'map': array([[-2., -2.]])}
    """
    means = {mean: maps[name].mean(axis=(2, 3), dtype=np.float64) for mean, name in head.maps.items()}
    total: dict[str, Any] = defaultdict(float)
    for share in (np.arange(STEPS) + 0.5) / STEPS:
        found = _slopes_at(head, {mean: share * value for mean, value in means.items()}, by_logits_K)
        for mean, name in head.maps.items():
            total[name] = total[name] + found[mean] / STEPS
    return dict(total)


def _slopes_at(head: Head, means: Mapping[str, FloatArray], by_logits_K: FloatArray) -> Mapping[str, FloatArray]:
    """Return the slopes by all that the head reads and makes, for `means` RC."""
    values = dict(means)
    for each in head.operators:
        values[each.output] = RULES[each.op].value([values[name] for name in each.inputs], each.constants)
    by: dict[str, Any] = defaultdict(float, {head.operators[-1].output: by_logits_K.astype(np.float64)[None]})
    for each in reversed(head.operators):
        inputs = [values[name] for name in each.inputs]
        found = RULES[each.op].slopes(by[each.output], inputs, values[each.output], each.constants)
        for name, slope in zip(each.inputs, found, strict=True):
            by[name] = by[name] + slope
    return by
