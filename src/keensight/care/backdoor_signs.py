"""What is measured of a network to compare it with clean twins: trigger sizes, how sure it is, and its weights.

Shape letters: N images, C channels, H height, W width, K classes, F features that the last layer reads, U units.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from keensight.care.backdoor_search import KINDS, Trigger, margins, smallest_triggers
from keensight.models.classifier import Classifier
from keensight.models.features import features
from keensight.models.linear import TwoLogits
from keensight.models.tensors import to_images
from keensight.models.transfer import Transfer
from keensight.robustness.still import held_still
from keensight.values import FloatArray, Split

MOST = 1_000  # held-out pictures that are looked at
TINY = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class Signs:
    """A network's signs: arrays of one number for each class, or of one number, by the name of the sign.

    Sizes, margins and norms are logarithms, so that a difference is a ratio. `triggers` are those found.
    """

    values: Mapping[str, FloatArray]
    triggers: tuple[Trigger, ...] = ()


def signs_of(model: Classifier, held_out: Split, num_classes: int) -> Signs:
    """Measure a network on held-out pictures. A sign that it does not have is left out.

    A `Transfer` network's head is measured alone, and no trigger is searched for: on a CPU, gradients through a
    backbone take minutes for each class.
    """
    model, part = model.cpu(), held_out.thinned(MOST)
    labels_N = torch.from_numpy(part.labels)
    values, triggers = _head_signs(model, part, num_classes), []
    if not isinstance(model.network, Transfer):
        values |= _unit_signs(model)
        images_NCHW = to_images(part.gather(), torch.device("cpu"))
        for kind in KINDS:
            found = smallest_triggers(model, images_NCHW, labels_N, num_classes, kind)
            values[kind] = np.log([each.size for each in found])
            triggers += found
    return Signs(values, tuple(triggers))


def _head_signs(model: Classifier, part: Split, num_classes: int) -> dict[str, FloatArray]:
    """Return what the last layer and its inputs show."""
    last, labels_N = last_layer(model), torch.from_numpy(part.labels)
    features_NF, logits_NK = _answers(model, last, part)
    own_N = margins(logits_NK).gather(1, labels_N[:, None])[:, 0]
    sure_K = [own_N[labels_N == k].median() if (labels_N == k).any() else torch.ones(()) for k in range(num_classes)]
    found = {"margin": np.log(np.maximum(0.1, np.array([float(each) for each in sure_K])))}
    if last is None or features_NF is None:
        return found
    weight_KF = last.weight.detach()
    if len(weight_KF) > 1:
        found["row norm"] = _logs(weight_KF.norm(dim=1))
    if last.bias is not None:
        bias_K = last.bias.detach()
        bias_K = torch.cat([torch.zeros(1), bias_K]) if len(bias_K) == 1 else bias_K
        found["bias"] = (bias_K - bias_K.mean()).numpy().astype(np.float64)
    # what a unit adds to the differences between logits, on average
    spread_F = (weight_KF - weight_KF.mean(dim=0)).norm(dim=0) if len(weight_KF) > 1 else weight_KF.abs()[0]
    adds_F = features_NF.abs().mean(dim=0) * spread_F
    found["dominating unit"] = _logs(adds_F.max()[None]) - _logs(adds_F.mean()[None])
    found["silent units"] = np.array([float((features_NF.abs().amax(dim=0) < TINY).double().mean())])
    return found


def _answers(model: Classifier, last: nn.Linear | None, part: Split) -> tuple[torch.Tensor | None, torch.Tensor]:
    """Return what the last layer reads, NF, and the logits NK. Features of a frozen backbone are cached."""
    network = model.network
    if isinstance(network, Transfer) and network.is_frozen:
        features_NF = torch.from_numpy(features(model, part))
        with torch.no_grad():
            return features_NF, network.head(features_NF)
    read: list[torch.Tensor] = []
    handle = last.register_forward_hook(lambda _, inputs, __: read.append(inputs[0].detach())) if last else None
    with held_still(model), torch.no_grad():
        logits_NK = torch.cat([model(to_images(part.gather(batch), torch.device("cpu"))) for batch in part.batches(64)])
    if handle:
        handle.remove()
    return torch.cat(read) if read else None, logits_NK


def _unit_signs(model: Classifier) -> dict[str, FloatArray]:
    """Return how far the largest unit of each layer stands out: its weights' norm beside the median unit's."""
    layers = [layer for layer in model.network.modules() if isinstance(layer, nn.Linear | nn.Conv2d)]
    found: dict[str, FloatArray] = {}
    for number, layer in enumerate(layers[:-1], 1):
        norms_U = layer.weight.detach().flatten(1).norm(dim=1)
        found[f"largest unit of layer {number}"] = _logs(norms_U.max()[None]) - _logs(norms_U.median()[None])
    return found


def last_layer(model: Classifier) -> nn.Linear | None:
    """Return the linear layer whose outputs are the logits, or None where there is none."""
    leaves = [layer for layer in model.network.modules() if not list(layer.children())]
    leaves = [layer for layer in leaves if not isinstance(layer, TwoLogits)]
    return leaves[-1] if leaves and isinstance(leaves[-1], nn.Linear) else None


def _logs(values: torch.Tensor) -> FloatArray:
    logs: FloatArray = np.log(np.maximum(values.numpy().astype(np.float64), TINY))
    return logs
