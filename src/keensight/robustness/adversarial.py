"""Losses of attacked pictures: one fast step, guarded against learning to fool it, and TRADES.

Shape letters: N images, C channels, H height, W width, K classes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from keensight.robustness.losses import Loss
from keensight.robustness.ramped import Ramped, risen
from keensight.robustness.still import held_still

STEP = 1.25  # of epsilon, after a random start (Wong et al., 2020)


def one_step(
    model: nn.Module, images_NCHW: torch.Tensor, labels_N: torch.Tensor, eps: float, draw: torch.Generator
) -> torch.Tensor:
    """Return pictures moved by one step of the gradient's sign from a random start within `eps`, in [0, 1].

    Fast adversarial training (Wong, Rice and Kolter, 2020, arXiv:2001.03994). The random start comes from `draw`.
    """
    start_NCHW = _random_start(images_NCHW, eps, draw)
    return _within(images_NCHW, start_NCHW + STEP * eps * _uphill(model, start_NCHW, labels_N), eps)


def fast_loss(eps: float, ramp: float) -> Ramped:
    """Return the cross-entropy of pictures attacked by one step, each the worse of the full step and half of it.

    Networks can learn to be right at the end of the one step and wrong on the way to it: "catastrophic overfitting",
    after which stronger attacks succeed always. It begins where half a step is worse than a whole one (Kim, Lee and
    Lee, 2020, arXiv:2010.01799), so that is checked for each picture, and the worse one is learnt. Epsilon grows from 0
    in the first part `ramp` of a run.
    """

    def at(progress: float) -> Loss:
        within = eps * risen(progress, ramp)

        def loss(
            model: nn.Module, images_NCHW: torch.Tensor, labels_N: torch.Tensor, draw: torch.Generator
        ) -> tuple[torch.Tensor, torch.Tensor]:
            with held_still(model):
                start_NCHW = _random_start(images_NCHW, within, draw)
                sign_NCHW = _uphill(model, start_NCHW, labels_N)
                full_NCHW, half_NCHW = (
                    _within(images_NCHW, start_NCHW + part * STEP * within * sign_NCHW, within) for part in (1, 0.5)
                )
                with torch.no_grad():
                    both_NCHW = torch.cat([full_NCHW, half_NCHW])
                    losses_N = F.cross_entropy(model(both_NCHW).float(), labels_N.repeat(2), reduction="none")
                full_N, half_N = losses_N.chunk(2)
                worst_NCHW = torch.where((half_N > full_N).view(-1, 1, 1, 1), half_NCHW, full_NCHW)
            logits_NK = model(worst_NCHW).float()
            return F.cross_entropy(logits_NK, labels_N), logits_NK

        return loss

    return Ramped(at)


def trades_loss(eps: float, ramp: float, steps: int, weight: float) -> Ramped:
    """Return cross-entropy + `weight` x the divergence of the answers to attacked pictures from those to the pictures.

    TRADES (Zhang et al., 2019, arXiv:1901.08573, equation 5): the attack makes `steps` steps of eps / 4 or, if they are
    many, 2.5 eps / steps, up that divergence, from a random start. Epsilon grows from 0 in the first part `ramp`.
    """

    def at(progress: float) -> Loss:
        within = eps * risen(progress, ramp)

        def loss(
            model: nn.Module, images_NCHW: torch.Tensor, labels_N: torch.Tensor, draw: torch.Generator
        ) -> tuple[torch.Tensor, torch.Tensor]:
            with held_still(model):
                with torch.no_grad():
                    clean_NK = model(images_NCHW).float().softmax(dim=1)
                attacked_NCHW = _random_start(images_NCHW, within, draw)
                for _ in range(steps):
                    attacked_NCHW = attacked_NCHW.detach().requires_grad_()
                    answers_NK = model(attacked_NCHW).float().log_softmax(dim=1)
                    divergence = F.kl_div(answers_NK, clean_NK, reduction="sum")
                    (gradient,) = torch.autograd.grad(divergence, attacked_NCHW)
                    step = max(within / 4, 2.5 * within / steps) * gradient.sign()
                    attacked_NCHW = _within(images_NCHW, attacked_NCHW.detach() + step, within)
            logits_NK = model(images_NCHW).float()
            attacked_NK = model(attacked_NCHW).float()
            apart = F.kl_div(attacked_NK.log_softmax(dim=1), logits_NK.softmax(dim=1), reduction="batchmean")
            return F.cross_entropy(logits_NK, labels_N) + weight * apart, logits_NK

        return loss

    return Ramped(at)


def _random_start(images_NCHW: torch.Tensor, eps: float, draw: torch.Generator) -> torch.Tensor:
    noise_NCHW = torch.rand(images_NCHW.shape, generator=draw).to(images_NCHW.device)
    return (images_NCHW + eps * (2 * noise_NCHW - 1)).clamp(0, 1)


def _uphill(model: nn.Module, images_NCHW: torch.Tensor, labels_N: torch.Tensor) -> torch.Tensor:
    """Return the sign of the loss's gradient at each pixel."""
    images_NCHW = images_NCHW.detach().requires_grad_()
    loss = F.cross_entropy(model(images_NCHW).float(), labels_N, reduction="sum")
    (gradient,) = torch.autograd.grad(loss, images_NCHW)
    return gradient.sign()


def _within(images_NCHW: torch.Tensor, moved_NCHW: torch.Tensor, eps: float) -> torch.Tensor:
    return torch.minimum(torch.maximum(moved_NCHW, images_NCHW - eps), images_NCHW + eps).clamp(0, 1).detach()
