"""A network's first layer as pictures: what it multiplies the pixels with.

Shape letters: F filters, cells or classes, K classes, C channels, H height, W width.
"""

from __future__ import annotations

import torch
from torch import nn

from keensight.evaluation.pictures import FirstLayer
from keensight.models.zoo import Classifier
from keensight.values import FloatArray, Preprocessing


def first_layer(model: Classifier, preprocessing: Preprocessing, class_names: tuple[str, ...]) -> FirstLayer | None:
    """Return the weights that a network's first layer has for the pixels, float32 FCHW; None where it has none.

    A convolution's filters and a dense layer's cells are as they are, for normalised pixels. A linear model's weights
    are `linear_weights`.
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
    if len(linears) == 1:
        return FirstLayer("linear", linear_weights(model, preprocessing), class_names)
    return FirstLayer("dense", _array(linears[0].weight).reshape(-1, *shape), class_names)


def linear_weights(model: Classifier, preprocessing: Preprocessing) -> FloatArray:
    """Return a linear model's weights for pixels in [0, 1] as float32 FCHW.

    For two classes F is 1: how the second logit gains on the first. For K classes F is K: how each logit gains on the
    mean of all, since only the differences between logits count.
    """
    shape = 1, preprocessing.channels, preprocessing.height, preprocessing.width
    image = torch.zeros(shape, device=model.mean.device, requires_grad=True)
    (logits_K,) = model(image)
    # the gradient is the same at every picture, and has the normalisation in it
    rows = [torch.autograd.grad(logit, image, retain_graph=True)[0][0] for logit in logits_K]
    weights_KCHW = torch.stack(rows)
    gains_FCHW = weights_KCHW[1:] - weights_KCHW[:1] if len(rows) == 2 else weights_KCHW - weights_KCHW.mean(dim=0)
    return _array(gains_FCHW)


def _array(tensor: torch.Tensor) -> FloatArray:
    return tensor.detach().float().cpu().contiguous().numpy()
