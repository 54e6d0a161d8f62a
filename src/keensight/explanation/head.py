"""How a network gets from the means of its last feature maps to its logits, and how these depend on the means.

It is computed and differentiated in NumPy, operator by operator: a runtime for inference gives no gradients.
Shape letters: S steps of a way, R rows (1, or 2 for a picture and its mirror image), C channels, F features, K classes;
h, w of a map.
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
    """An operator's output for its inputs SRF and constants, and the slopes by each input, given those by its output.

    `slopes` gets the slopes by the output, the inputs, the output and the constants.
    """

    value: Callable[[Arrays, Arrays], FloatArray]
    slopes: Callable[[FloatArray, Arrays, FloatArray, Arrays], Arrays]


def _softmax(x_SRF: FloatArray) -> FloatArray:
    powers_SRF: FloatArray = np.exp(x_SRF - x_SRF.max(axis=2, keepdims=True))
    return np.asarray(powers_SRF / powers_SRF.sum(axis=2, keepdims=True))


def _sigmoid(x_SRF: FloatArray) -> FloatArray:
    return np.asarray((1 + np.tanh(x_SRF / 2)) / 2)  # which overflows nowhere


NOTHING = Rule(lambda xs, _: xs[0], lambda slopes, *_: [slopes])
RULES: dict[str, Rule] = {
    # a change of shape alone, and int8, whose steps have no slope: that of the line which they follow
    **dict.fromkeys(("Flatten", "Reshape", "Unsqueeze", "QuantizeLinear", "DequantizeLinear"), NOTHING),
    "Add": Rule(lambda xs, c: xs[0] + c[0], lambda slopes, *_: [slopes]),
    "Concat": Rule(
        lambda xs, _: np.concatenate(xs, axis=2),
        lambda slopes, xs, *_: np.split(slopes, np.cumsum([x.shape[2] for x in xs])[:-1], axis=2),
    ),
    "Conv": Rule(  # of one pixel, the mean: as Gemm
        lambda xs, c: xs[0] @ c[0][:, :, 0, 0].T + sum(c[1:]),
        lambda slopes, _, __, c: [slopes @ c[0][:, :, 0, 0]],
    ),
    "Gemm": Rule(lambda xs, c: xs[0] @ c[0].T + sum(c[1:]), lambda slopes, _, __, c: [slopes @ c[0]]),
    "HardSwish": Rule(  # x times a line from 0 at -3 to 1 at 3
        lambda xs, _: xs[0] * np.clip(xs[0] / 6 + 0.5, 0, 1),
        lambda slopes, xs, *_: [slopes * np.select([xs[0] <= -3, xs[0] >= 3], [0.0, 1.0], xs[0] / 3 + 0.5)],
    ),
    "Mul": Rule(lambda xs, c: xs[0] * c[0], lambda slopes, _, __, c: [slopes * c[0]]),
    "ReduceMean": Rule(  # of a picture and its mirror image
        lambda xs, _: xs[0].mean(axis=1, keepdims=True),
        lambda slopes, xs, *_: [np.broadcast_to(slopes / xs[0].shape[1], xs[0].shape)],
    ),
    "Relu": Rule(lambda xs, _: np.maximum(xs[0], 0), lambda slopes, xs, *_: [slopes * (xs[0] > 0)]),
    "Softmax": Rule(
        lambda xs, _: _softmax(xs[0]),
        lambda slopes, _, y, __: [y * (slopes - (slopes * y).sum(axis=2, keepdims=True))],
    ),
    "Sigmoid": Rule(lambda xs, _: _sigmoid(xs[0]), lambda slopes, _, y, __: [slopes * y * (1 - y)]),
    "Sqrt": Rule(lambda xs, _: np.sqrt(xs[0]), lambda slopes, _, y, __: [slopes / (2 * np.maximum(y, TINY))]),
    "Tanh": Rule(lambda xs, _: np.tanh(xs[0]), lambda slopes, _, y, __: [slopes * (1 - y**2)]),
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
    way = ((np.arange(STEPS) + 0.5) / STEPS)[:, None, None]
    values = {mean: way * maps[name].mean(axis=(2, 3), dtype=np.float64) for mean, name in head.maps.items()}
    for each in head.operators:
        values[each.output] = RULES[each.op].value([values[name] for name in each.inputs], each.constants)
    last = head.operators[-1].output
    by: dict[str, Any] = defaultdict(float, {last: np.broadcast_to(by_logits_K, values[last].shape)})
    for each in reversed(head.operators):
        inputs = [values[name] for name in each.inputs]
        found = RULES[each.op].slopes(by[each.output], inputs, values[each.output], each.constants)
        for name, slope in zip(each.inputs, found, strict=True):
            by[name] = by[name] + slope
    total: dict[str, Any] = defaultdict(float)
    for mean, name in head.maps.items():
        total[name] = total[name] + by[mean].mean(axis=0)
    return dict(total)
