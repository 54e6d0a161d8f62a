"""Losses that train for certificates: cross-entropy of the worst logits that interval bounds allow.

Shape letters: N images, C channels, H height, W width, K classes.
"""

from __future__ import annotations

from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import nn

from keensight.robustness.adversarial import one_step
from keensight.robustness.bounds.intervals import box, margins
from keensight.robustness.bounds.network import Node, nodes_of
from keensight.robustness.losses import Loss
from keensight.robustness.ramped import Ramped, risen

_NODES: WeakKeyDictionary[nn.Module, list[Node]] = WeakKeyDictionary()


def interval_loss(eps: float, kappa: float, ramp: float, attacked: bool = False) -> Ramped:
    """Return kappa x the cross-entropy of the pictures + (1 - kappa) x that of the worst logits within bounds.

    The worst logits are the interval bounds of all differences to the label's logit (Gowal et al., 2018,
    arXiv:1810.12715, section 3). In the first part `ramp` of a run, epsilon grows from 0 to `eps` and kappa falls from
    1. That short a warm-up needs a network that starts with tight bounds (Shi et al., 2021, arXiv:2103.15887), such as
    `strided`. If `attacked`, the pictures are moved by one step of an attack within `eps` first: MTL-IBP (De Palma et
    al., 2023, arXiv:2305.13991), whose clean pictures lose less.
    """

    def at(progress: float) -> Loss:
        height = risen(progress, ramp)
        weight = 1 - (1 - kappa) * height

        def loss(
            model: nn.Module, images_NCHW: torch.Tensor, labels_N: torch.Tensor, draw: torch.Generator
        ) -> tuple[torch.Tensor, torch.Tensor]:
            value, logits_NK = images_NCHW.new_zeros(()), None
            if weight > 0:  # else a third of the work is saved, and answers are counted as right if they are certified
                shown_NCHW = one_step(model, images_NCHW, labels_N, eps * height, draw) if attacked else images_NCHW
                logits_NK = model(shown_NCHW).float()
                value = weight * F.cross_entropy(logits_NK, labels_N)
            if weight < 1:
                margins_NK = margins(_nodes(model), *box(images_NCHW, eps * height), labels_N).float()
                value = value + (1 - weight) * F.cross_entropy(-margins_NK, labels_N)
                logits_NK = -margins_NK if logits_NK is None else logits_NK
            assert logits_NK is not None
            return value, logits_NK

        return loss

    return Ramped(at)


def _nodes(model: nn.Module) -> list[Node]:
    if model not in _NODES:
        _NODES[model] = nodes_of(model)  # type: ignore[arg-type]  # all models in training are Classifiers
    return _NODES[model]
