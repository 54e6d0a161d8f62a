"""A multilayer perceptron: layers in which every cell sees every cell of the layer before."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn


def dense(
    height: int, width: int, channels: int, num_classes: int, hidden: Sequence[int] = (512,), dropout: float = 0.0
) -> nn.Sequential:
    """Build a dense ReLU network with the `hidden` layers given: NCHW to logits NK."""
    layers: list[nn.Module] = [nn.Flatten()]
    cells = channels * height * width
    for wider in hidden:
        layers += [nn.Linear(cells, wider), nn.ReLU()]
        if dropout:
            layers.append(nn.Dropout(dropout))
        cells = wider
    return nn.Sequential(*layers, nn.Linear(cells, num_classes))
