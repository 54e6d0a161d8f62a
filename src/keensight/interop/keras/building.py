"""A network of ours under construction, while a Keras model is read layer by layer.

Shape letters: H height, W width, C channels, D numbers of a vector.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from keensight.models.graph import INPUT, MAX_NUMBERS, MAX_STEPS
from keensight.values import FloatArray

MOST = 4096  # pixels, strides, windows: what a configuration may ask for
MAX_WEIGHTS = 2**29  # of a network, 2 GiB, where a layer that is used twice counts twice

OTHER = "Import a model without it."

_REARRANGING = ("Flatten", "Unflatten", "ChannelOrder", "Resize2d")  # steps that could as well come before scaling

Config = Mapping[str, Any]


class UnfitError(Exception):
    """Why a layer cannot be imported, and what to do: a text that continues a sentence after the layer's name."""


@dataclass(frozen=True, slots=True)
class Value:
    """A step's output for one picture: the step's name, and Keras' shape there, without the batch.

    `shape` is (H, W, C), (H, W) or (D,). `flat_from` is the HWC that a vector was flattened from, if its numbers
    are in our order (CHW) and not in Keras'. `pixels`, of an output that is still only pixels in another shape, are the
    factor and the summand that were applied to them, as one number or one for each channel.
    """

    name: str
    shape: tuple[int, ...]
    flat_from: tuple[int, int, int] | None = None
    pixels: tuple[FloatArray, FloatArray] | None = None
    is_bgr: bool = False  # whether the channels of `pixels` stand in the reverse order
    is_raw: bool = False  # whether no layer with weights of its own came before


class Building:
    """A network under construction: its steps and weights so far, and the value that the next layer reads.

    `normalisation` is what pixels are multiplied with, and what is added, before the first step that is more than a
    change of shape; None until there is one.
    """

    def __init__(self, shape: tuple[int, ...], major: int) -> None:
        self.value = Value(INPUT, shape, None, (np.ones(1), np.zeros(1)), is_raw=True)
        self.major = major  # Keras' major version
        self.steps: list[dict[str, Any]] = []
        self.weights: dict[str, FloatArray] = {}
        self.normalisation: tuple[FloatArray, FloatArray] | None = None
        self.expects_bytes: bool | None = None  # whether the first layer shows that pixels go from 0 to 255
        self._room = MAX_WEIGHTS

    @property
    def shape(self) -> tuple[int, ...]:
        """Keras' shape of the value."""
        return self.value.shape

    @property
    def flat_from(self) -> tuple[int, int, int] | None:
        """The HWC that the value was flattened from; see `Value`."""
        return self.value.flat_from

    def add(
        self, layer: str, weights: Mapping[str, FloatArray] | None = None, reads: Sequence[str] = (), **options: Any
    ) -> None:
        """Add a step of a `graph`, with its weights in torch's shapes. It reads the value, unless `reads` are named."""
        if layer not in _REARRANGING and not _only_cuts(layer, options):
            self.settle()  # the others change no number that scaling would not change alike
        if len(self.steps) >= MAX_STEPS:
            raise UnfitError(f"is one more than the {MAX_STEPS:,} steps that a network may have. {OTHER}")
        number, before = len(self.steps), str(len(self.steps) - 1) if self.steps else INPUT
        for name, array in (weights or {}).items():
            self._room -= array.size
            self.weights[f"{number}.{name}"] = array
        if self._room < 0:
            raise UnfitError(f"brings its weights, each as often as it is used, to more than {MAX_WEIGHTS:,}. {OTHER}")
        inputs = list(reads) or [self.value.name]
        self.steps.append({"layer": layer, **({} if inputs == [before] else {"inputs": inputs}), **options})
        is_raw = self.value.is_raw and (layer in _REARRANGING or layer == "Concatenate")
        self.value = replace(self.value, name=str(number), is_raw=is_raw)

    def become(self, *shape: int, flat_from: tuple[int, int, int] | None = None) -> None:
        """Set the shape after a layer. Raises UnfitError if nothing is left, or far too much."""
        if min(shape) < 1 or math.prod(shape) > MAX_NUMBERS:
            raise UnfitError(
                f"turns {shown(self.shape)} into {shown(shape)}; between 1 and {MAX_NUMBERS:,} numbers are accepted. "
                "Import a model whose layers fit its pictures."
            )
        self.value = replace(self.value, shape=shape, flat_from=flat_from)

    def pictures(self) -> tuple[int, int, int]:
        """Return the shape HWC. Raises UnfitError if a layer for pictures gets something else."""
        if len(self.shape) != 3:
            raise UnfitError(f"reads pictures of height, width and channels, and gets {shown(self.shape)}. {OTHER}")
        height, width, channels = self.shape
        return height, width, channels

    def ours(self, array: FloatArray) -> FloatArray:
        """Return an array whose first axis is a vector in Keras' order, in our order."""
        if self.flat_from is None:
            return array
        order = np.arange(math.prod(self.flat_from)).reshape(self.flat_from).transpose(2, 0, 1).ravel()
        return array[order]

    def turn_channels(self) -> None:
        """Turn RGB into BGR, or BGR into RGB."""
        *_, channels = self.pictures()
        turned = None if self.value.pixels is None else (self.value.pixels[0][::-1], self.value.pixels[1][::-1])
        self.add("ChannelOrder", order=list(reversed(range(channels))))
        self.value = replace(self.value, pixels=turned, is_bgr=not self.value.is_bgr)

    def in_keras_order(self) -> None:
        """Turn a vector's numbers over, so that they stand in Keras' order."""
        if self.flat_from is None:
            return
        height, width, channels = self.flat_from
        self.add("Unflatten", dim=1, unflattened_size=[channels, height, width])
        self.add("Permute", dims=[2, 3, 1])
        self.add("Flatten")
        self.value = replace(self.value, flat_from=None)

    def affine(self, scale: FloatArray, offset: FloatArray) -> None:
        """Multiply and add, with one number for all, or one for each entry of the last axis."""
        if max(len(scale), len(offset)) not in (1, self.shape[-1]):
            raise UnfitError(f"has {max(len(scale), len(offset))} numbers for {shown(self.shape)}. {OTHER}")
        if self.value.is_raw:
            self._note_pixels(scale, offset)
        if self.value.pixels is not None and (len(scale) == len(offset) == 1 or len(self.shape) == 3):
            before, shift = self.value.pixels
            self.value = replace(self.value, pixels=(before * scale, shift * scale + offset))
            return
        self.settle()
        self._scale(scale, offset)

    def settle(self) -> None:
        """Make the value what Keras has there: the first one says how all pixels are normalised."""
        if self.value.pixels is None:
            return
        scale, offset = self.value.pixels
        if not scale.all():
            raise UnfitError(
                "reads pixels that were multiplied with 0, so that nothing is left of them. Save it with another scale."
            )
        turn = slice(None, None, -1 if self.value.is_bgr else 1)
        self.value = replace(self.value, pixels=None)
        if self.normalisation is None:
            self.normalisation = scale[turn], offset[turn]
        known, shift = (array[turn] for array in self.normalisation)
        factor, rest = scale / known, offset - shift * scale / known
        if (factor != 1).any() or (rest != 0).any():  # another branch normalises them otherwise
            if len(self.shape) == 1 and max(len(factor), len(rest)) > 1:
                raise UnfitError(f"reads flattened pixels, scaled otherwise than in another branch. {OTHER}")
            self._scale(factor, rest)

    def _scale(self, scale: FloatArray, offset: FloatArray) -> None:
        if len(self.shape) == 2:  # (H, W): a picture of one channel here, while Keras' last axis is W
            if len(scale) > 1 or len(offset) > 1:
                raise UnfitError(f"scales each column on its own. {OTHER}")
            channels = 1
        else:
            channels = self.shape[-1]
        weight, bias = (self.ours(np.broadcast_to(array, channels)) for array in (scale, offset))
        self.norm(np.zeros(channels), np.ones(channels), weight, bias, 0.0)

    def norm(self, mean: FloatArray, variance: FloatArray, weight: FloatArray, bias: FloatArray, eps: float) -> None:
        """Add what batch normalisation is once training is over, with its arrays in our order."""
        kind = "BatchNorm1d" if len(self.shape) == 1 else "BatchNorm2d"
        arrays = {"running_mean": mean, "running_var": variance, "weight": weight, "bias": bias}
        self.add(kind, arrays, num_features=len(mean), eps=eps)

    def _note_pixels(self, scale: FloatArray, offset: FloatArray) -> None:
        """Take from the first layer that scales pixels whether they go from 0 to 255."""
        if self.expects_bytes is None and ((scale != 1).any() or offset.any()):
            self.expects_bytes = bool(np.abs(scale).max() < 0.1 or np.abs(offset).max() > 2 * np.abs(scale).max())


def _only_cuts(layer: str, options: Mapping[str, Any]) -> bool:
    return layer == "ZeroPad2d" and max(options["padding"]) <= 0


def ints(config: Config, key: str, default: int | None = None, n: int = 2, most: int = MOST) -> tuple[int, ...]:
    """Return `n` numbers of 1 to `most`; a single number stands for all."""
    value = config.get(key, default)
    values = value if isinstance(value, list) else [value] * n
    if len(values) != n or not all(type(each) is int and 1 <= each <= most for each in values):
        raise UnfitError(f"has {key} {value!r}; whole numbers from 1 to {most:,} are accepted. {OTHER}")
    return tuple(values)


def number(value: Any) -> float:
    """Return a finite number."""
    if isinstance(value, (int, float)) and math.isfinite(value):
        return float(value)
    raise UnfitError(f"has {value!r} where a number should be. {OTHER}")


def numbers(value: Any) -> FloatArray:
    """Return a number, or a (nested) list of them, as a vector of finite float64."""
    array = np.asarray(value, np.float64).ravel()
    if not array.size or not np.isfinite(array).all():
        raise UnfitError(f"has {value!r} where numbers should be. {OTHER}")
    return array


def shown(shape: Any) -> str:
    """Return a shape as a refusal names it, such as 8x8x3."""
    return "x".join(map(str, shape)) or "nothing"
