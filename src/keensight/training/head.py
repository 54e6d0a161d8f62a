"""Transfer learning, head first: a linear head is fitted to features in a second, then the network is fine-tuned.

Shape letters: N images, F features, K classes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from keensight.models.classifier import Classifier
from keensight.models.features import OnProgress, features, transfer_of
from keensight.robustness.losses import Loss
from keensight.training.loop import OnStep, State, fit, start, why_stop
from keensight.training.losses import balanced_weights
from keensight.training.optimizers import LBFGS
from keensight.values import Epoch, Recipe, Split, Splits

L2 = (10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001)
Labelled = tuple[torch.Tensor, torch.Tensor]  # features NF, labels N


@dataclass(frozen=True, slots=True, eq=False)
class Head:
    """A linear classifier on features: logits are `features @ weight.T + bias`."""

    weight_KF: torch.Tensor
    bias_K: torch.Tensor
    l2: float

    def logits(self, features_NF: torch.Tensor) -> torch.Tensor:
        """Return logits NK."""
        return F.linear(features_NF, self.weight_KF, self.bias_K)


def fit_transfer(
    model: Classifier | State,
    splits: Splits,
    recipe: Recipe,
    loss: Loss | None = None,
    on_step: OnStep | None = None,
    on_progress: OnProgress | None = None,
) -> Iterator[Epoch]:
    """Train a `Transfer` network with the interface of `fit`: its first epoch fits the head, and the others fine-tune.

    The head is fitted to features of unchanged pictures, with cross-entropy, whatever `loss` and augmentation the other
    epochs use. With a frozen backbone, training stops after that. Given a `State` with a history, it continues after
    that, as `fit` does.
    """
    state = model if isinstance(model, State) else start(model, splits, recipe)
    if not state.history:
        yield _head_epoch(state, splits, recipe, on_progress)
    yield from fit(state, splits, recipe, loss, on_step)


def fit_head(model: Classifier, splits: Splits, recipe: Recipe, on_progress: OnProgress | None = None) -> Head:
    """Fit the head of a `Transfer` network to the training pictures' features, in place, and return it.

    The strength of its regularisation is chosen by the loss on the validation pictures.
    """
    return _fit(model, _labelled(model, splits.train, on_progress), _labelled(model, splits.val, on_progress), recipe)


def regularisation_path(
    features_NF: torch.Tensor,
    labels_N: torch.Tensor,
    num_classes: int,
    l2: tuple[float, ...],
    class_weights_K: torch.Tensor | None = None,
    before: Head | None = None,
) -> Iterator[Head]:
    """Yield multinomial logistic regression for each strength in `l2`, the strongest first, each from the one before.

    Minimises the mean cross-entropy plus ``l2 / 2 * |weight|^2``, with the weights of standardised features; the
    heads that it yields take the features as they are. Given the head `before`, weights are pulled to its, not to zero.
    """
    mean_F = features_NF.mean(dim=0)
    std_F = features_NF.std(dim=0, correction=0).clamp(min=1e-6)
    standard_NF = (features_NF - mean_F) / std_F
    weight_KF = torch.zeros(num_classes, features_NF.shape[1], device=features_NF.device, requires_grad=True)
    bias_K = torch.zeros(num_classes, device=features_NF.device, requires_grad=True)
    if before is not None:
        weight_KF.data.copy_(before.weight_KF * std_F)
        bias_K.data.copy_(before.bias_K + before.weight_KF @ mean_F)
    home_KF = None if before is None else weight_KF.detach().clone()
    for strength in sorted(l2, reverse=True):
        optimizer = LBFGS(
            [weight_KF, bias_K], max_iter=100, tolerance_grad=1e-4, tolerance_change=1e-7,
            line_search_fn="strong_wolfe",
        )  # fmt: skip

        def closure(optimizer: LBFGS = optimizer, strength: float = strength) -> torch.Tensor:
            optimizer.zero_grad()
            logits_NK = F.linear(standard_NF, weight_KF, bias_K)
            pulled_KF = weight_KF if home_KF is None else weight_KF - home_KF
            value = F.cross_entropy(logits_NK, labels_N, class_weights_K) + strength / 2 * pulled_KF.square().sum()
            value.backward()  # type: ignore[no-untyped-call]
            return value

        optimizer.step(closure)  # type: ignore[no-untyped-call]
        scaled_KF = weight_KF.detach() / std_F
        yield Head(scaled_KF, bias_K.detach() - scaled_KF @ mean_F, strength)


def _head_epoch(state: State, splits: Splits, recipe: Recipe, on_progress: OnProgress | None) -> Epoch:
    begin = time.perf_counter()
    train, val = (_labelled(state.model, split, on_progress) for split in (splits.train, splits.val))
    head = _fit(state.model, train, val, recipe)
    (train_loss, train_accuracy), (val_loss, val_accuracy) = _score(head, *train), _score(head, *val)
    seconds = time.perf_counter() - begin
    state.seconds += seconds
    stopped = why_stop(state, recipe, 1, val_accuracy, best=True)
    if transfer_of(state.model).is_frozen:
        stopped = stopped or "the head is fitted, and the backbone is frozen"
    epoch = Epoch(
        1, train_loss, train_accuracy, val_loss, val_accuracy, 0.0, round(seconds, 3), best=True, stopped=stopped
    )
    state.history.append(epoch)
    return epoch


def _fit(model: Classifier, train: Labelled, val: Labelled, recipe: Recipe) -> Head:
    (train_NF, labels_N), (val_NF, val_labels_N) = train, val
    head = transfer_of(model).head
    weights_K = None
    if recipe.train.class_weights == "balanced":
        weights_K = balanced_weights(labels_N.cpu(), head.out_features).to(labels_N.device)
    best, best_loss, since_best = None, math.inf, 0
    before = Head(head.weight.detach(), head.bias.detach(), 0.0) if transfer_of(model).goes_on else None
    for fitted in regularisation_path(train_NF, labels_N, head.out_features, L2, weights_K, before):
        loss = F.cross_entropy(fitted.logits(val_NF), val_labels_N).item()
        since_best += 1
        if best is None or loss < best_loss:
            best, best_loss, since_best = fitted, loss, 0
        if since_best == 2:  # the loss falls and then rises along the path, and weak regularisation is slow to fit
            break
    assert best is not None
    with torch.no_grad():
        head.weight.copy_(best.weight_KF)
        head.bias.copy_(best.bias_K)
    return best


def _labelled(model: Classifier, split: Split, on_progress: OnProgress | None) -> Labelled:
    features_NF = torch.from_numpy(features(model, split, on_progress)).to(model.mean.device)
    return features_NF, torch.from_numpy(split.labels).to(model.mean.device)


def _score(head: Head, features_NF: torch.Tensor, labels_N: torch.Tensor) -> tuple[float, float]:
    logits_NK = head.logits(features_NF)
    accuracy = (logits_NK.argmax(dim=1) == labels_N).sum().item() / len(labels_N)
    return F.cross_entropy(logits_NK, labels_N).item(), accuracy
