"""Softmax regression on pixels, in NumPy: its steps are so small that torch's overhead would take most of the time.

Shape letters: N images, D levels of an image (H, W, C in a row), K classes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from keensight.models.classifier import channel_statistics
from keensight.models.scratch import cross_entropy
from keensight.values import IntArray, Split, Uint8Array

Float32Array = NDArray[np.float32]
AT_A_TIME = 256  # images that are answered at a time


@dataclass(frozen=True, slots=True, eq=False)
class Answerer:
    """The parameters: `weights_DK` for levels from 0 to 255, and `biases_K`."""

    weights_DK: Float32Array
    biases_K: Float32Array

    def accuracy(self, split: Split) -> float:
        """Return the share of a split's pictures, in [0, 1], whose largest logit is the label's; 0 without any."""
        right = 0
        for batch in split.batches(AT_A_TIME):
            logits_NK = _levels(split.gather(batch)) @ self.weights_DK + self.biases_K
            right += int((logits_NK.argmax(axis=1) == split.labels[batch]).sum())
        return right / max(1, len(split))


def learn(
    train: Split, num_classes: int, passes: Iterable[Iterable[tuple[IntArray, float]]], weight_decay: float
) -> Iterator[Answerer]:
    """Yield the parameters after each of the `passes` over the training pictures, by AdamW from zero.

    A pass is a list of steps: the members of `train` in a batch, and the learning rate.

    The pictures are normalised as in a model, but by changing the weights, which are fewer numbers.
    """
    mean_C, std_C = channel_statistics(train)
    per_channel = math.prod(train.shape[:2])
    scale_D1 = np.tile(1 / (255 * std_C), per_channel).astype(np.float32)[:, None]
    shift_D1 = np.tile(255 * mean_C, per_channel).astype(np.float32)[:, None]
    weights_DK, biases_K = np.zeros((len(scale_D1), num_classes), np.float32), np.zeros(num_classes, np.float32)
    move_weights, move_biases = _AdamW(weights_DK, weight_decay), _AdamW(biases_K, decay=0.0)

    def answerer() -> Answerer:
        scaled_DK = weights_DK * scale_D1
        return Answerer(scaled_DK, biases_K - (shift_D1 * scaled_DK).sum(axis=0))

    for steps in passes:
        for batch, rate in steps:
            now, levels_ND = answerer(), _levels(train.gather(batch))
            _, blame_NK = cross_entropy(levels_ND @ now.weights_DK + now.biases_K, train.labels[batch])
            blame_K = blame_NK.sum(axis=0)
            move_weights.step(rate, scale_D1 * (levels_ND.T @ blame_NK - shift_D1 * blame_K))
            move_biases.step(rate, blame_K)
        yield answerer()


def _levels(images_NHWC: Uint8Array) -> Float32Array:
    return images_NHWC.reshape(len(images_NHWC), -1).astype(np.float32)


class _AdamW:
    """Loshchilov and Hutter (2017, arXiv:1711.05101), with torch's settings; it changes `parameters` in place."""

    def __init__(self, parameters: Float32Array, decay: float) -> None:
        self._parameters, self._decay, self._steps = parameters, decay, 0
        self._mean, self._square = np.zeros_like(parameters), np.zeros_like(parameters)

    def step(self, rate: float, gradient: Float32Array) -> None:
        """Make one step; this overwrites the gradient."""
        self._steps += 1
        self._mean += 0.1 * (gradient - self._mean)
        gradient *= gradient
        self._square += 0.001 * (gradient - self._square)
        spread = np.sqrt(self._square)
        spread /= math.sqrt(1 - 0.999**self._steps)
        spread += 1e-8
        self._parameters *= 1 - rate * self._decay
        self._parameters -= rate / (1 - 0.9**self._steps) * self._mean / spread
