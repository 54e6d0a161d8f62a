"""Transfer learning, head first: a linear head is fitted to features in a second, then the network is fine-tuned.

Shape letters: N images, F features, K classes.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from keensight.machine import cores, images_at_a_time
from keensight.models.classifier import Classifier
from keensight.models.features import OnProgress, features, transfer_of
from keensight.models.tensors import side_by_side
from keensight.robustness.losses import Loss
from keensight.training.folds import folds
from keensight.training.loop import OnStep, Pauses, State, fit, start, why_stop
from keensight.training.losses import balanced_weights
from keensight.training.optimizers import LBFGS
from keensight.training.team import ALONE, Team, share
from keensight.values import Epoch, Recipe, Split, Splits

L2 = (10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001)
FOLDS = 5
MOST_FOLDED = 3_000  # training pictures: with more, validation chooses as well, and folds would take minutes
Labelled = tuple[torch.Tensor, torch.Tensor]  # features NF, labels N


@dataclass(frozen=True, slots=True)
class FoldScore:
    """How heads do on `n` pictures that they have not learnt from, with the strength `l2` that has the lowest loss.

    `loss` is the mean cross-entropy in nats.
    """

    l2: float
    loss: float
    correct: int
    n: int

    @property
    def accuracy(self) -> float:
        """Return the share of correct answers."""
        return self.correct / self.n


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
    team: Team = ALONE,
    pauses: Pauses | None = None,
) -> Iterator[Epoch]:
    """Train a `Transfer` network with the interface of `fit`: its first epoch fits the head, and the others fine-tune.

    The head is fitted to features of unchanged pictures, with cross-entropy, whatever `loss` and augmentation the other
    epochs use. With a frozen backbone, training stops after that. Given a `State` with a history, it continues after
    that, as `fit` does. Features are shared out in a `team`, and each of its workers fits the same head.
    """
    state = model if isinstance(model, State) else start(model, splits, recipe)
    if not state.history:
        yield _head_epoch(state, splits, recipe, on_progress, team)
    yield from fit(state, splits, recipe, loss, on_step, team=team, pauses=pauses)


def fit_head(model: Classifier, splits: Splits, recipe: Recipe, on_progress: OnProgress | None = None) -> Head:
    """Fit the head of a `Transfer` network to the training pictures' features, in place, and return it.

    The strength of its regularisation is chosen by the loss in cross-validation, or on the validation pictures where
    more than `MOST_FOLDED` are learnt from; or it is the network's own `l2`.
    """
    train, val = (_labelled(model, split, on_progress) for split in (splits.train, splits.val))
    return _fit(model, splits.train, train, val, recipe)


def fold_score(model: Classifier, train: Split, recipe: Recipe, on_progress: OnProgress | None = None) -> FoldScore:
    """Say how the head of a `Transfer` network does on training pictures that it has not learnt from.

    Raises DataError for pictures that cannot be divided into folds.
    """
    return _in_folds(model, train, _labelled(model, train, on_progress), recipe)


def regularisation_path(
    features_NF: torch.Tensor,
    labels_N: torch.Tensor,
    num_classes: int,
    l2: Sequence[float],
    class_weights_K: torch.Tensor | None = None,
    before: Head | None = None,
    blocks: Sequence[int] = (),
) -> Iterator[Head]:
    """Yield multinomial logistic regression for each strength in `l2`, the strongest first, each from the one before.

    Minimises the mean cross-entropy plus ``l2 / 2 * |weight|^2``, with the weights of standardised features; the
    heads that it yields take the features as they are. Given the head `before`, weights are pulled to its, not to zero.
    With `blocks`, numbers of features that lie side by side, each block is scaled as a whole, to a mean variance of 1.
    """
    mean_F = features_NF.mean(dim=0)
    std_F = features_NF.std(dim=0, correction=0).clamp(min=1e-6)
    if blocks:
        std_F = torch.cat([part.square().mean().sqrt().expand(len(part)) for part in torch.split(std_F, list(blocks))])
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


def _head_epoch(
    state: State, splits: Splits, recipe: Recipe, on_progress: OnProgress | None, team: Team
) -> Epoch:  # fmt: skip
    begin = time.perf_counter()
    train, val = (_labelled(state.model, split, on_progress, team) for split in (splits.train, splits.val))
    head = _fit(state.model, splits.train, train, val, recipe)
    (train_loss, train_accuracy), (val_loss, val_accuracy) = _score(head, *train), _score(head, *val)
    seconds = time.perf_counter() - begin
    state.seconds += seconds
    stopped = why_stop(state, recipe, 1, val_accuracy, best=True)
    if transfer_of(state.model).is_frozen:  # whatever else was reached, there is nothing left to train
        stopped = "the head is fitted, and the backbone is frozen"
    epoch = Epoch(
        1, train_loss, train_accuracy, val_loss, val_accuracy, 0.0, round(seconds, 3), best=True, stopped=stopped
    )
    state.history.append(epoch)
    return epoch


def _fit(model: Classifier, train: Split, known: Labelled, val: Labelled, recipe: Recipe) -> Head:
    head, l2 = transfer_of(model).head, transfer_of(model).l2
    weights_K = _class_weights(model, known[1], recipe)
    before = Head(head.weight.detach().clone(), head.bias.detach().clone(), 0.0) if transfer_of(model).goes_on else None
    if not l2 and before is None and len(train) <= MOST_FOLDED and _num_units(train) > 1:
        l2 = _in_folds(model, train, known, recipe).l2
    strengths = [*(each for each in L2 if each > l2), l2] if l2 else L2
    path = regularisation_path(*known, head.out_features, strengths, weights_K, before, transfer_of(model).blocks)
    steps = _in_step([path], strengths) if len(train) <= MOST_FOLDED else zip(path, strict=True)
    if l2:
        *_, (found,) = steps
    else:
        found = _on_validation(steps, val)
    with torch.no_grad():
        head.weight.copy_(found.weight_KF)
        head.bias.copy_(found.bias_K)
    return found


def best_head(features_NF: torch.Tensor, labels_N: torch.Tensor, num_classes: int, val: Labelled) -> Head:
    """Return the head with the strength of regularisation that has the lowest loss on the pictures of `val`."""
    return _on_validation(zip(regularisation_path(features_NF, labels_N, num_classes, L2), strict=True), val)


def _on_validation(steps: Iterable[tuple[Head, ...]], val: Labelled) -> Head:
    _, (found,) = _strength(steps, [val])
    return found


def _in_folds(model: Classifier, train: Split, known: Labelled, recipe: Recipe) -> FoldScore:
    (features_NF, labels_N), num_classes = known, transfer_of(model).head.out_features
    paths, held_out = [], []
    for learnt, held in folds(train.labels, train.units, FOLDS, recipe.seed):
        labels = labels_N[learnt]
        weights_K = _class_weights(model, labels, recipe)
        paths.append(
            regularisation_path(
                features_NF[learnt], labels, num_classes, L2, weights_K, blocks=transfer_of(model).blocks
            )
        )
        held_out.append((features_NF[held], labels_N[held]))
    return _strength(_in_step(paths, L2), held_out)[0]


def _in_step(paths: Sequence[Iterator[Head]], strengths: Sequence[float]) -> Iterator[tuple[Head, ...]]:
    """Yield the heads of all paths, one strength after the other: small problems, so each has one core to itself."""
    with side_by_side(min(cores(), len(paths))) as threads:
        for _ in strengths:
            yield tuple(threads.map(next, paths))


def _strength(steps: Iterable[tuple[Head, ...]], held_out: Sequence[Labelled]) -> tuple[FoldScore, tuple[Head, ...]]:
    """Return the best strength on all that is held out, and its heads: one for each of the held-out parts."""
    labels_N = torch.cat([labels for _, labels in held_out])
    best: tuple[FoldScore, tuple[Head, ...]] | None = None
    since_best = 0
    for heads in steps:
        logits_NK = torch.cat([head.logits(features) for head, (features, _) in zip(heads, held_out, strict=True)])
        loss, correct = F.cross_entropy(logits_NK, labels_N).item(), int((logits_NK.argmax(dim=1) == labels_N).sum())
        since_best += 1
        if best is None or loss < best[0].loss:
            best, since_best = (FoldScore(heads[0].l2, loss, correct, len(labels_N)), heads), 0
        if since_best == 2:  # the loss falls and then rises along the path, and weak regularisation is slow to fit
            break
    assert best is not None
    return best


def _class_weights(model: Classifier, labels_N: torch.Tensor, recipe: Recipe) -> torch.Tensor | None:
    if recipe.train.class_weights != "balanced":
        return None
    return balanced_weights(labels_N.cpu(), transfer_of(model).head.out_features).to(labels_N.device)


def _num_units(split: Split) -> int:
    return len(split) if split.units is None else len(np.unique(split.units))


def _labelled(model: Classifier, split: Split, on_progress: OnProgress | None, team: Team = ALONE) -> Labelled:
    size = images_at_a_time(*split.shape)  # whole batches, as another size may have other bits
    own = share(-(-len(split) // size), team.rank, team.size)
    part = split.take(slice(own.start * size, own.stop * size)) if own else split.take(slice(0, 1))
    found_NF = torch.from_numpy(features(model, part, on_progress))
    features_NF = team.gather(found_NF if own else found_NF[:0]).to(model.mean.device)
    return features_NF, torch.from_numpy(split.labels).to(model.mean.device)


def _score(head: Head, features_NF: torch.Tensor, labels_N: torch.Tensor) -> tuple[float, float]:
    logits_NK = head.logits(features_NF)
    accuracy = (logits_NK.argmax(dim=1) == labels_N).sum().item() / len(labels_N)
    return F.cross_entropy(logits_NK, labels_N).item(), accuracy
