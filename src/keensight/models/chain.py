"""A row of layers whose pooling, ReLU and dropout pass over memory once, not three times, while it learns."""

from __future__ import annotations

import torch
from torch import nn

from keensight.models.dropout import Dropout
from keensight.models.pooling import MaxPool2d


class Chain(nn.Sequential):
    """torch's Sequential, with the same bits. In Husky AI's network, these layers took a third of a step.

    A layer with hooks is called by itself.
    """

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return what the last layer makes of the inputs."""
        if not self.training:
            answer: torch.Tensor = super().forward(inputs)  # type: ignore[no-untyped-call]
            return answer
        layers = list(self)
        while layers:
            layer, *layers = layers
            has_relu = layers and type(layers[0]) is nn.ReLU and not _has_hooks(layer, layers[0])
            if isinstance(layer, MaxPool2d) and has_relu and layer.fits(inputs):
                _, *layers = layers
                dropout = _dropout_of(layer, layers)
                layers = layers if dropout is None else layers[1:]
                inputs = layer.above_zero(inputs, dropout)
            else:
                inputs = layer(inputs)
        return inputs


def _dropout_of(pool: MaxPool2d, layers: list[nn.Module]) -> Dropout | None:
    """Return the next layer if it is one that pooling can do as well."""
    if not layers or pool.kernel_size != pool.stride:
        return None
    dropout = layers[0]
    if not isinstance(dropout, Dropout) or _has_hooks(dropout):
        return None
    return dropout if dropout.training and dropout.p and dropout.generator is not None else None


def _has_hooks(*layers: nn.Module) -> bool:
    return any(
        layer._forward_hooks or layer._forward_pre_hooks or layer._backward_hooks or layer._backward_pre_hooks
        for layer in layers
    )
