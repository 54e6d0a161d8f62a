"""The losses of recipes, in one visible table; `robustness/losses.py` defines what a loss is.

Shape letters: N images, C channels, H height, W width, K classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from keensight.robustness.adversarial import fast_loss, trades_loss
from keensight.robustness.certified import interval_loss
from keensight.robustness.losses import Loss, hinge
from keensight.robustness.needs import BOUNDED, LINEAR, TWO_CLASSES, Need
from keensight.values import Recipe, Split


def cross_entropy(label_smoothing: float = 0.0, class_weights_K: torch.Tensor | None = None) -> Loss:
    """Return mean cross-entropy, with class weights and label smoothing (Szegedy et al., 2015, arXiv:1512.00567).

    The mean is over images, weighted or not, as Keras has it: so the loss of a batch is the mean of its pieces' losses.
    """

    def loss(
        model: nn.Module, images_NCHW: torch.Tensor, labels_N: torch.Tensor, draw: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        logits_NK = model(images_NCHW).float()
        weights = None if class_weights_K is None else class_weights_K.to(logits_NK.device)
        total = F.cross_entropy(logits_NK, labels_N, weights, label_smoothing=label_smoothing, reduction="sum")
        return total / len(labels_N), logits_NK

    return loss


def squared_error() -> Loss:
    """Return the squared difference between probabilities and one-hot labels: summed over classes, mean over images."""

    def loss(
        model: nn.Module, images_NCHW: torch.Tensor, labels_N: torch.Tensor, draw: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        logits_NK = model(images_NCHW).float()
        targets_NK = F.one_hot(labels_N, logits_NK.shape[1]).float()
        return (logits_NK.softmax(dim=1) - targets_NK).square().sum(dim=1).mean(), logits_NK

    return loss


def balanced_weights(labels_N: torch.Tensor, num_classes: int) -> torch.Tensor:
    """Return weights K that give all classes the same total weight: N / (K x the class's pictures).

    >>> balanced_weights(torch.tensor([0, 0, 0, 1]), 2)
    tensor([0.6667, 2.0000])
    """
    counts = torch.bincount(labels_N, minlength=num_classes).clamp(min=1)
    return len(labels_N) / (num_classes * counts.float())


@dataclass(frozen=True, slots=True)
class LossRow:
    """A recipe's loss: how to make it for the training pictures and classes, and what it needs of a model.

    `hinge_eps` is the epsilon that a hinge loss counts on; other losses have none. Robust ones are those that train at
    the recipe's `eps`.
    """

    make: Callable[[Recipe, Split, int], Loss]
    needs: Callable[[Recipe], tuple[Need, ...]] = lambda recipe: ()
    hinge_eps: Callable[[Recipe], float] | None = None
    takes_eps: bool = False


def _hinge(eps: Callable[[Recipe], float], *, takes_eps: bool = False) -> LossRow:
    return LossRow(
        lambda recipe, train, num_classes: hinge(eps(recipe)),
        lambda recipe: (LINEAR, TWO_CLASSES) if eps(recipe) else (TWO_CLASSES,),
        eps,
        takes_eps,
    )


def reach(recipe: Recipe) -> float:
    """Return the epsilon that a recipe trains at: a little more than the one that it is for, if it says so."""
    return min(1.0, recipe.train.eps + recipe.train.eps_extra)


def _intervals(attacked: bool) -> LossRow:
    return LossRow(
        lambda recipe, train, num_classes: interval_loss(
            reach(recipe), recipe.train.kappa, recipe.train.ramp, attacked
        ),
        lambda recipe: (BOUNDED,),
        takes_eps=True,
    )


LOSSES: dict[str, LossRow] = {
    "cross-entropy": LossRow(
        lambda recipe, train, num_classes: cross_entropy(
            recipe.train.label_smoothing,
            balanced_weights(torch.from_numpy(train.labels), num_classes)
            if recipe.train.class_weights == "balanced"
            else None,
        )
    ),
    "squared-error": LossRow(lambda recipe, train, num_classes: squared_error()),
    "hinge": _hinge(lambda recipe: 0.0),
    "robust-hinge": _hinge(lambda recipe: recipe.train.eps, takes_eps=True),
    "intervals": _intervals(attacked=False),
    "intervals-attacked": _intervals(attacked=True),
    "fast": LossRow(lambda recipe, train, num_classes: fast_loss(reach(recipe), recipe.train.ramp), takes_eps=True),
    "trades": LossRow(
        lambda recipe, train, num_classes: trades_loss(
            reach(recipe), recipe.train.ramp, recipe.train.attack_steps, recipe.train.trades_weight
        ),
        takes_eps=True,
    ),
}


def loss_of(recipe: Recipe, train: Split, num_classes: int) -> Loss:
    """Return the loss that a recipe asks for."""
    return LOSSES[recipe.train.loss].make(recipe, train, num_classes)


def hinge_eps(recipe: Recipe) -> float | None:
    """Return the epsilon that a recipe's hinge loss counts on, or None if its loss is another."""
    of = LOSSES[recipe.train.loss].hinge_eps
    return of(recipe) if of else None
