"""Multilayer perceptrons: every cell of a layer reads every cell of the layer before.

Shape letters: I inputs and O outputs of a layer.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from keensight.errors import DataError
from keensight.models import scratch
from keensight.models.dropout import Dropout
from keensight.values import FloatArray


def dense(
    height: int, width: int, channels: int, num_classes: int, hidden: Sequence[int] = (512,), dropout: float = 0.0
) -> nn.Sequential:
    """Build a dense ReLU network with the `hidden` layers given: NCHW to logits NK."""
    layers: list[nn.Module] = [nn.Flatten()]
    cells = channels * height * width
    for wider in hidden:
        layers += [nn.Linear(cells, wider), nn.ReLU()]
        if dropout:
            layers.append(Dropout(dropout))
        cells = wider
    return nn.Sequential(*layers, nn.Linear(cells, num_classes))


class ByHand(nn.Sequential):
    """A dense network that learns by hand: its weights come from NumPy, see `training/byhand.py`."""


def by_hand(height: int, width: int, channels: int, num_classes: int, hidden: int = 512) -> ByHand:
    """Build the network of `scratch.py`, one hidden layer, with the weights that NumPy draws for torch's seed."""
    seed = torch.initial_seed() % 2**63
    drawn = scratch.initialise(channels * height * width, hidden, num_classes, seed)
    return ByHand(*from_arrays(*scratch.arrays(drawn)))


def from_arrays(*arrays: FloatArray) -> nn.Sequential:
    """Build the dense network with these float32 weights: IO and O for each layer, from the pixels on.

    It is what `dense` builds, without dropout, and answers as NumPy does: ``from_arrays(*scratch.arrays(parameters))``
    brings a network trained by hand into reports, bundles and ONNX. A picture's pixels are in the order CHW.

    Raises DataError for shapes that do not fit together, and for values that are not finite.

    >>> from_arrays(np.ones((4, 3)), np.zeros(3), np.ones((3, 2)), np.zeros(2))(torch.ones(1, 1, 2, 2)).tolist()
    [[12.0, 12.0]]
    """
    weights, biases = arrays[::2], arrays[1::2]
    sizes = [np.shape(weights[0])[0], *(np.size(bias) for bias in biases)] if weights and np.ndim(weights[0]) else []
    wanted = [shape for before, after in itertools.pairwise(sizes) for shape in ((before, after), (after,))]
    shapes = [np.shape(array) for array in arrays]
    if not shapes or shapes != wanted or 0 in sizes:
        raise DataError(
            f"Arrays of the shapes {', '.join(map(str, shapes)) or 'none'} were given. IO and O for each layer are "
            "accepted, each I the O before it, such as (784, 512), (512,), (512, 10), (10,); check their order."
        )
    if not all(np.isfinite(array).all() for array in arrays):
        raise DataError(
            "Some weights are not finite numbers. Finite ones are accepted; train again at a lower learning rate."
        )
    with torch.random.fork_rng(
        devices=[]
    ):  # the weights drawn here are replaced, and must not advance the caller's generator
        network = dense(1, 1, sizes[0], sizes[-1], hidden=sizes[1:-1])
    linears = [module for module in network if isinstance(module, nn.Linear)]
    with torch.no_grad():
        for linear, weights_IO, biases_O in zip(linears, weights, biases, strict=True):
            linear.weight.copy_(torch.tensor(np.transpose(weights_IO)))
            linear.bias.copy_(torch.tensor(biases_O))
    return network
