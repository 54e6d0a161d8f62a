"""A network as a table: a row for each layer, with its shape, parameters and work."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from keensight.models.classifier import Classifier
from keensight.values import Preprocessing


@dataclass(frozen=True, slots=True)
class Layer:
    """One row of a model's table: its kind, its output shape for one picture, and its parameters."""

    name: str
    shape: tuple[int, ...]
    parameters: int
    multiplications: int  # for one picture


def layer_table(model: Classifier, preprocessing: Preprocessing) -> list[dict[str, Any]]:
    """Return `layers` as reports and `keensight info` show them: a list of {"name", "shape", "parameters"}."""
    return [
        {"name": layer.name, "shape": list(layer.shape), "parameters": layer.parameters}
        for layer in layers(model, preprocessing)
    ]


def layers(model: Classifier, preprocessing: Preprocessing) -> list[Layer]:
    """Return the model's table: a row for each layer, from input to output."""
    rows: list[Layer] = []

    def note(module: nn.Module, _: Any, output: torch.Tensor) -> None:
        shape = tuple(output.shape[1:])
        positions = output[0].numel() // output.shape[1]
        weights = sum(p.numel() for p in module.parameters() if p.dim() > 1)
        parameters = sum(p.numel() for p in module.parameters())
        rows.append(Layer(type(module).__name__, shape, parameters, weights * positions))

    hooks = [m.register_forward_hook(note) for m in model.modules() if not list(m.children())]
    was_training = model.training
    model.eval()
    with torch.no_grad():
        shape = (1, preprocessing.channels, preprocessing.height, preprocessing.width)
        model(torch.zeros(shape, device=model.mean.device))
    model.train(was_training)
    for hook in hooks:
        hook.remove()
    return rows
