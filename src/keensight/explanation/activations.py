"""The activations of a network's convolutional layers for one picture.

Shape letters: N images, C channels, H height, W width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from keensight.models.classifier import Classifier
from keensight.values import FloatArray, Uint8Array

RECTIFIERS = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Mish, nn.Hardswish)


@dataclass(frozen=True, slots=True, eq=False)
class Activation:
    """A convolutional layer's output: `maps_CHW` float32, one map for each channel; `layer` is its name."""

    layer: str
    maps_CHW: FloatArray


def activations(model: Classifier, image_HWC: Uint8Array) -> tuple[Activation, ...]:
    """Return each convolutional layer's activation for one uint8 picture, in the order of the computation.

    A layer is taken together with the pooling, normalisation and activation function behind it, in whatever order they
    come: that is what the next layer reads, not the bare output between a convolution and its batch normalisation.
    Where no activation function follows before the next convolution (the narrow ends of an EfficientNet's blocks),
    maps may be negative. A network without convolutions has none.
    """
    found: dict[str, torch.Tensor] = {}
    at = ""  # the convolution whose value is still being passed on

    def watch(name: str) -> Any:
        def note(module: nn.Module, _: Any, output: torch.Tensor) -> None:
            nonlocal at
            if isinstance(module, nn.Conv2d):
                at = name
            elif not at or output.dim() != 4 or output.shape[1] != found[at].shape[1]:
                at = ""
                return
            found[at] = output.detach().clone()  # a later layer may change it in place
            if isinstance(module, RECTIFIERS):
                at = ""

        return note

    leaves = [(name, module) for name, module in model.named_modules() if not list(module.children())]
    hooks = [module.register_forward_hook(watch(name)) for name, module in leaves]
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            model(torch.from_numpy(image_HWC.copy()).to(model.mean.device).permute(2, 0, 1)[None].float() / 255)
    finally:
        model.train(was_training)
        for hook in hooks:
            hook.remove()
    return tuple(Activation(name, maps_NCHW[0].float().cpu().numpy()) for name, maps_NCHW in found.items())
