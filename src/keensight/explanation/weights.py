"""A network's first layer as pictures: what it multiplies the pixels with.

Shape letters: F filters, cells or classes, K classes, C channels, H height, W width.
"""

from __future__ import annotations

import torch
from torch import nn

from keensight.evaluation.pictures import FirstLayer, gains
from keensight.models.linear import is_linear, pixel_weights
from keensight.models.zoo import Classifier
from keensight.values import FloatArray, Preprocessing


def first_layer(model: Classifier, preprocessing: Preprocessing, class_names: tuple[str, ...]) -> FirstLayer | None:
    """Return the weights that a network's first layer has for the pixels, float32 FCHW; None where it has none.

    A convolution's filters and a dense layer's cells are as they are, for normalised pixels. Of a linear model, they
    are the `gains` of its `pixel_weights`.
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
