"""The weights of a network's first layer, as pictures.

Shape letters: F filters, cells or classes, K classes, C channels, H height, W width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from keensight.models.classifier import Classifier
from keensight.models.linear import is_linear, pixel_weights
from keensight.values import FloatArray, Preprocessing


@dataclass(frozen=True, slots=True, eq=False)
class FirstLayer:
    """The first layer's weights: `weights` float FCHW, a picture for each filter, class or cell.

    `names` are the classes of a linear network, which has a picture for each; for two classes it has a single one, the
    second class against the first. Other networks have no names.
    """

    kind: Literal["convolution", "linear", "dense"]
    weights: FloatArray
    names: tuple[str, ...]


def first_layer(model: Classifier, preprocessing: Preprocessing, class_names: tuple[str, ...]) -> FirstLayer | None:
    """Return the weights by which a network's first layer multiplies pixels, float32 FCHW; None if it has none.

    Of a convolution or a dense layer, they are the filters or cells, for normalised pixels. Of a linear model, they are
    the `gains` of its `pixel_weights`.
    """
    modules = list(model.network.modules())
    convolutions = [module for module in modules if isinstance(module, nn.Conv2d)]
    linears = [module for module in modules if isinstance(module, nn.Linear)]
    if convolutions:
        if convolutions[0].in_channels not in (1, 3):
            return None
        return FirstLayer("convolution", _array(convolutions[0].weight), class_names)
    shape = preprocessing.channels, preprocessing.height, preprocessing.width
    if not linears or linears[0].in_features != shape[0] * shape[1] * shape[2]:
        return None
    if is_linear(model):
        return FirstLayer("linear", gains(_array(pixel_weights(model)).reshape(-1, *shape)), class_names)
    return FirstLayer("dense", _array(linears[0].weight).reshape(-1, *shape), class_names)


def _array(tensor: torch.Tensor) -> FloatArray:
    return tensor.detach().float().cpu().contiguous().numpy()


def gains(weights_KCHW: FloatArray) -> FloatArray:
    """Return the differences of a linear model's weights for K logits: only differences decide its answers.

    For two classes float 1CHW, the second less the first. Else float KCHW, each less their mean.

    >>> import numpy as np
    >>> gains(np.array([[1.0], [4.0]])).tolist(), gains(np.array([[1.0], [4.0], [1.0]])).tolist()
    ([[3.0]], [[-1.0], [2.0], [-1.0]])
    """
    return weights_KCHW[1:] - weights_KCHW[:1] if len(weights_KCHW) == 2 else weights_KCHW - weights_KCHW.mean(axis=0)
