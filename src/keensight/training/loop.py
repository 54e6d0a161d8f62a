"""The training loop: a generator of epochs. It knows nothing of progress bars, files or folders.

To stop, break out of the loop; for a progress bar, a log or checkpoints, wrap it:

    for epoch in fit(model, splits, recipe):
        print(epoch.number, epoch.val_accuracy)

Shape letters: N images, C channels, H height, W width, K classes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from keensight.errors import TrainingError
from keensight.machine import images_at_a_time
from keensight.models.classifier import Classifier, as_classifier, set_normalisation
from keensight.models.tensors import autocast, device, on_one_core, side_by_side, to_images
from keensight.robustness.losses import Loss
from keensight.robustness.ramped import moment
from keensight.training import augment
from keensight.training.draws import Draws, seed_of
from keensight.training.losses import loss_of
from keensight.training.optimizers import SGD, Adam, AdamW
from keensight.training.pieces import Pieces, enough_threads, with_pieces
from keensight.training.recipe import with_epochs
from keensight.training.schedule import SCHEDULES
from keensight.training.team import ALONE, Team, share
from keensight.values import Epoch, IntArray, Recipe, Split, Splits

GPU_BATCH = 512  # of evaluation
OnStep = Callable[[int, int], None]  # (steps done in this epoch, steps in an epoch)


@dataclass(frozen=True, slots=True)
class Partial:
    """What is done of an epoch: its steps and seconds, sums over its pictures, and each piece's buffers."""

    steps: int
    seconds: float
    loss_sum: torch.Tensor
    correct: torch.Tensor
    buffers: Sequence[torch.Tensor]


@dataclass(slots=True)
class State:
    """The state of a run: all that is needed to continue as if it had not been interrupted."""

    model: Classifier
    optimizer: torch.optim.Optimizer
    history: list[Epoch] = field(default_factory=list)
    seconds: float = 0.0  # of whole epochs
    partial: Partial | None = None


@dataclass(frozen=True, slots=True)
class Pauses:
    """Moments in the middle of an epoch at which the state is kept: by `keep`, whenever `every_s` seconds have gone.

    In a team, the first worker's clock counts, and `keep` is called in all of them.
    """

    every_s: float
    keep: Callable[[], object]


def start(model: nn.Module, splits: Splits, recipe: Recipe) -> State:
    """Return the state before the first epoch: the model normalised and on its device, and the recipe's optimiser.

    Any network that maps images NCHW in [0, 1] to logits NK will do; only one of ours is normalised.
    Raises TrainingError for one that does not.
    """
    model = as_classifier(model, splits.preprocessing, len(splits.class_names))
    if (
        recipe.model.normalise and not recipe.model.weights
    ):  # given weights include the normalisation that they were trained with
        set_normalisation(model, splits.train)
    model.to(device())
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # the stub lacks it
    return State(model, _optimizer(model, recipe))


def fit(
    model: nn.Module | State,
    splits: Splits,
    recipe: Recipe,
    loss: Loss | None = None,
    on_step: OnStep | None = None,
    *,
    team: Team = ALONE,
    pauses: Pauses | None = None,
) -> Iterator[Epoch]:
    """Train and yield an `Epoch` after each pass over the training pictures, until the recipe says to stop.

    The model is what `build` returns, or any network of your own that maps images NCHW in [0, 1] to logits NK: it is
    trained in place. Given a `State` instead, it continues after the epochs in its history, with the same bits as if it
    had never stopped; the state is up to date whenever an epoch is yielded, and at `pauses`. All randomness comes from
    the recipe's seed and from what a draw is for: the bits are the same for any number of threads, and of workers in a
    `team`, if the recipe's `pieces` are (and more than one: a batch that is not cut is shared by torch's threads).

    Raises:
        TrainingError: the loss is no longer a number, memory ran out, or the network does not fit the pictures.
        RecipeError: its batches cannot be cut into its pieces, or not shared by the team.
    """
    state = model if isinstance(model, State) else start(model, splits, recipe)
    recipe = with_pieces(with_epochs(recipe, state.model, splits), state.model, len(splits.train), team.size)
    if loss is None:
        loss = loss_of(recipe, splits.train, len(splits.class_names))
    while not (state.history and state.history[-1].stopped):
        begin = time.perf_counter()
        number = len(state.history) + 1
        try:
            train_loss, train_accuracy, rate = _train(state, splits.train, recipe, loss, number, on_step, team, pauses)
            val_loss, val_accuracy = evaluate(state.model, splits.val, recipe, team)
        except (MemoryError, torch.OutOfMemoryError) as error:
            raise _out_of_memory(recipe) from error
        except RuntimeError as error:
            if "not enough memory" in str(error) or "can't allocate memory" in str(error):
                raise _out_of_memory(recipe) from error
            raise
        seconds = time.perf_counter() - begin + (state.partial.seconds if state.partial else 0)
        state.seconds += seconds
        state.partial = None
        best = is_best(state.history, recipe, val_accuracy, val_loss)
        stopped = why_stop(state, recipe, number, val_accuracy, best)
        epoch = Epoch(
            number, train_loss, train_accuracy, val_loss, val_accuracy, rate, round(seconds, 3), best, stopped
        )
        state.history.append(epoch)
        yield epoch


def evaluate(model: Classifier, split: Split, recipe: Recipe, team: Team = ALONE) -> tuple[float, float]:
    """Return the mean cross-entropy (nats) and the accuracy in [0, 1] on a split."""
    logits_NK = predict_logits(model, split, recipe, team)
    labels_N = torch.from_numpy(split.labels)
    with on_one_core():  # so that the order of sums does not depend on the number of threads
        loss = F.cross_entropy(logits_NK, labels_N).item()
    return loss, (logits_NK.argmax(dim=1) == labels_N).double().mean().item()


def predict_logits(model: Classifier, split: Split, recipe: Recipe, team: Team = ALONE) -> torch.Tensor:
    """Return the model's logits for a split, float32 NK on the CPU, without augmentation or dropout.

    Batches are of one size, whoever answers them, so that each answer has the same bits.
    """
    model.eval()
    device = model.mean.device
    on_cpu = device.type == "cpu"
    size = images_at_a_time(*split.shape) if on_cpu else GPU_BATCH

    def answer(batch: slice) -> torch.Tensor:
        with torch.inference_mode():
            images_NCHW = to_images(split.gather(batch), device)
            with autocast(recipe.train.precision, device):
                logits_NK: torch.Tensor = model(images_NCHW).float().cpu()
            return logits_NK

    batches = list(split.batches(size))
    own = share(len(batches), team.rank, team.size)
    with side_by_side(torch.get_num_threads() if on_cpu else 1) as threads:
        answers = list(threads.map(answer, batches[own.start : own.stop]))
    return team.gather(torch.cat(answers) if answers else answer(slice(0, 1))[:0])


def _train(
    state: State,
    train: Split,
    recipe: Recipe,
    loss: Loss,
    number: int,
    on_step: OnStep | None,
    team: Team,
    pauses: Pauses | None,
) -> tuple[float, float, float]:
    """Make one pass over the training pictures; return mean loss, accuracy, and the last learning rate."""
    model, device = state.model, state.model.mean.device
    begin, last_pause = time.perf_counter(), time.monotonic()
    labels = torch.from_numpy(train.labels).to(device)
    model.train()
    batches = shuffled_batches(train, recipe, number)
    changes, draws = (seed_of(recipe.seed, number, purpose) for purpose in (1, 2))
    done = state.partial
    zero = torch.zeros((), device=device)
    loss_sum, correct = (done.loss_sum.to(device), done.correct.to(device)) if done else (zero, zero)
    rate, now = 0.0, loss

    def learn(seed: int, network: nn.Module, members: IntArray) -> tuple[torch.Tensor, torch.Tensor]:
        images_NCHW = to_images(train.gather(members), device)
        labels_N = labels[members]
        if recipe.augment.strengths:
            images_NCHW = augment.augment(images_NCHW, recipe.augment, Draws(changes, members))
        with autocast(recipe.train.precision, device):
            value, logits_NK = now(network, images_NCHW, labels_N, torch.Generator().manual_seed(seed))
        return value, (logits_NK.detach().argmax(dim=1) == labels_N).sum()

    def seconds() -> float:
        return time.perf_counter() - begin + (done.seconds if done else 0)

    with (
        enough_threads(model, recipe.train.batch_size, recipe.train.precision),
        torch.random.fork_rng(devices=[device] if device.type == "cuda" else []),
        Pieces(model, recipe.train.pieces, draws, team) as pieces,
    ):
        if done:
            pieces.load_buffers(done.buffers)
        for step, batch in enumerate(batches):
            if done and step < done.steps:
                continue
            progress = (number - 1 + step / len(batches)) / recipe.train.epochs
            if recipe.train.budget_s:
                elapsed = (state.seconds + seconds()) / recipe.train.budget_s
                if elapsed >= 1 and step > 0:
                    batches = batches[:step]
                    break
                progress = min(1.0, max(progress, elapsed))
            rate = recipe.train.learning_rate * SCHEDULES[recipe.train.schedule](progress)
            for group in state.optimizer.param_groups:
                group["lr"] = rate * group["lr_scale"]
            now = moment(loss, progress)
            asks = pauses is not None and team.rank == 0 and time.monotonic() - last_pause >= pauses.every_s
            value, right, pause = pieces.backward(learn, batch, step, asks)
            state.optimizer.step()
            loss_sum, correct = loss_sum + value * len(batch), correct + right
            if step % 50 == 0 and not math.isfinite(loss_sum.item()):
                break
            if on_step:
                on_step(step + 1, len(batches))
            if pauses and pause and step + 1 < len(batches):
                state.partial = Partial(step + 1, seconds(), loss_sum, correct, pieces.buffers())
                pauses.keep()
                last_pause = time.monotonic()
        pieces.settle()
    if not math.isfinite(loss_sum.item()):
        raise TrainingError(
            f"The loss is no longer a number in epoch {number}, at a learning rate of {rate:.2g}: the steps are too "
            f"large and training cannot recover. Try --set learning_rate={recipe.train.learning_rate / 10:g}, or "
            "--set precision=float32 if it was trained in bfloat16. Nothing of this epoch was kept."
        )
    seen = sum(map(len, batches))
    return loss_sum.item() / seen, correct.item() / seen, rate


def shuffled_batches(train: Split, recipe: Recipe, number: int) -> list[IntArray]:
    """Return the batches of an epoch, by the recipe's seed and the epoch's number; see `Split.shuffled`."""
    rng, pieces = np.random.default_rng([recipe.seed, number]), max(1, recipe.train.pieces)
    return train.shuffled(recipe.train.batch_size, rng, pieces)


def _optimizer(model: Classifier, recipe: Recipe) -> torch.optim.Optimizer:
    # A network may name parts with their own learning rate. Checkpoints number the parameters by group, so the order of
    # the groups must not change.
    scales: dict[str, float] = getattr(model.network, "lr_scales", {})
    groups: list[dict[str, Any]] = []
    for part in (None, *scales):
        named = model.network.named_parameters()
        parameters = [p for name, p in named if _part(name, scales) == part]
        scale = 1.0 if part is None else scales[part]
        # biases and normalisation are not decayed: pulling them to zero does not regularise
        weights = [p for p in parameters if p.dim() > 1]
        others = [p for p in parameters if p.dim() <= 1]
        groups += [
            {"params": weights, "weight_decay": recipe.train.weight_decay, "lr_scale": scale},
            {"params": others, "weight_decay": 0.0, "lr_scale": scale},
        ]
    if recipe.train.optimizer == "sgd":
        nesterov = recipe.train.momentum > 0
        return SGD(groups, lr=recipe.train.learning_rate, momentum=recipe.train.momentum, nesterov=nesterov, fused=True)
    kind: type[Adam] = {"adam": Adam, "adamw": AdamW}[recipe.train.optimizer]
    return kind(groups, lr=recipe.train.learning_rate, fused=True)


def _part(name: str, parts: Collection[str]) -> str | None:
    """Return the part, of a network's `parts`, with a parameter such as ``backbone.stem.conv.weight``, or None."""
    first = name.split(".", maxsplit=1)[0]
    return first if first in parts else None


def is_best(history: list[Epoch], recipe: Recipe, accuracy: float, loss: float) -> bool:
    """Say whether an epoch's weights are kept: for a higher accuracy than all before, or the same at a lower loss.

    If the recipe keeps the last, every epoch's are.
    """
    return recipe.train.keep == "last" or all(
        (accuracy, -loss) > (epoch.val_accuracy, -epoch.val_loss) for epoch in history
    )


def why_stop(state: State, recipe: Recipe, number: int, val_accuracy: float, best: bool) -> str:
    """Return why training ends after epoch `number`, or an empty string: `state.history` ends before that epoch."""
    if recipe.train.target_accuracy and val_accuracy >= recipe.train.target_accuracy:
        return f"validation accuracy reached {recipe.train.target_accuracy:g}"
    if recipe.train.budget_s and state.seconds >= recipe.train.budget_s:
        return f"the budget of {recipe.train.budget_s:g} s is used up"
    if number >= recipe.train.epochs:
        return f"all {recipe.train.epochs} epochs are done" if recipe.train.epochs > 1 else "its one epoch is done"
    last_best = number if best else max(epoch.number for epoch in state.history if epoch.best)
    if recipe.train.patience and number - last_best >= recipe.train.patience:
        return f"no better for {recipe.train.patience} epochs"
    return ""


def _out_of_memory(recipe: Recipe) -> TrainingError:
    size = recipe.train.batch_size
    return TrainingError(
        f"Memory ran out with batch_size={size}. Try --set batch_size={max(1, size // 2)}; "
        "if that is not enough, a smaller picture size or a smaller model. The last epoch is saved, and --resume "
        "continues from it."
    )
