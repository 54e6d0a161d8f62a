"""What pixels a Keras model was trained with: by name, and what its file tells of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from keensight.values import FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class Pixels:
    """How pixels of 0 to 1 become a Keras model's: times `scale`, plus `offset`, of all or of each of R, G and B."""

    scale: FloatArray
    offset: FloatArray
    is_bgr: bool = False

    @property
    def needs_colour(self) -> bool:
        """Whether it says something of R, G and B."""
        return len(self.offset) == 3


def _range(low: float, high: float) -> Pixels:
    return Pixels(np.array([high - low]), np.array([low]))


_MEAN, _STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])  # of ImageNet, as torchvision has them
_CAFFE_MEAN = np.array([123.68, 116.779, 103.939])  # of ImageNet, as keras.applications has them
PIXELS = {
    "0-1": _range(0, 1),
    "0-255": _range(0, 255),
    "-1-1": _range(-1, 1),
    "tf": _range(-1, 1),
    "torch": Pixels(1 / _STD, -_MEAN / _STD),
    "caffe": Pixels(np.full(3, 255.0), -_CAFFE_MEAN, is_bgr=True),
}
# keras.applications whose pixels are made outside of the model, by preprocess_input; the others do it in their layers
_APPLICATIONS = {
    r"vgg(16|19)|resnet(50|101|152)": "caffe",
    r"resnet(50|101|152)v2|xception|mobilenet(v2)?_\d.*|mobilenetv2.*|inception_(v3|resnet_v2)|nasnet.*": "tf",
    r"densenet(121|169|201)": "torch",
}
_OVERRIDE = f"Where that is wrong, import it again with --pixels {', '.join(PIXELS)}."


def noted(expects_bytes: bool | None, names: Sequence[str], model: str) -> tuple[str, str]:
    """Return the pixels that a model is taken to want, a key of `PIXELS`, and a note of why.

    `expects_bytes` is what its first layer tells; `names` are its layers' names, and `model` its own.
    """
    if expects_bytes is not None:
        ends = "0 to 255" if expects_bytes else "0 to 1"
        return (
            "0-255" if expects_bytes else "0-1",
            f"Its first layer is made for pixels of {ends}, so it gets those. {_OVERRIDE}",
        )
    if {"dense_Dense1", "dense_Dense2"} <= set(names):
        return (
            "-1-1",
            f"Its layers have the names that Teachable Machine gives, so it gets pixels of -1 to 1. {_OVERRIDE}",
        )
    note = "Nothing in the file says what pixels it was trained with; 0 to 1 is assumed, as after division by 255. "
    for pattern, mode in _APPLICATIONS.items():
        if any(re.fullmatch(pattern, name) for name in (model, *names)):
            note += f"It holds a network of keras.applications whose preprocess_input is --pixels {mode}. "
            break
    return "0-1", note + _OVERRIDE
