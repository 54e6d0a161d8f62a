"""The learning-rate range test (Smith 2015, arXiv:1506.01186, section 3.3): which rates work, and which diverge.

A fresh network takes some hundred steps on real training batches while the rate grows from far too small to far too
large. Where the loss begins to fall, training begins to work; where it turns up again, steps are too large. The network
is thrown away. `sweep` and `read_curve` know nothing of networks: a step is any function of a rate.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from keensight.errors import TrainingError
from keensight.models.tensors import autocast, to_images
from keensight.training import augment
from keensight.training.draws import Draws, seed_of
from keensight.training.loop import State, shuffled_batches
from keensight.training.losses import loss_of
from keensight.training.search_space import tidy
from keensight.values import FloatArray, Recipe, Split, Splits

LOW, HIGH, STEPS = 1e-6, 100.0, 240  # eight decades, thirty steps in each
BLOWN_UP = 3.0  # stop when the loss is this many times the first one
SMOOTHING = 5.0  # steps: the standard deviation of a Gaussian, a sixth of a decade
STABLE = 5  # steps at each end that are averaged, as one batch is noisy


@dataclass(frozen=True, slots=True)
class LrRange:
    """The loss over growing rates, and the rates that it points to.

    `rates`, `losses` (in the recipe's loss, mean over a batch, before its step) and `smoothed` have one entry for
    each step. `diverges` is None if the loss stayed low up to the highest rate.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]
    steepest: float  # where it falls fastest
    lowest: float  # where it is lowest
    diverges: float | None  # where it has lost a quarter of its gain
    suggested: float  # a tenth of `lowest`


def lr_range_test(
    state: State, splits: Splits, recipe: Recipe, on_step: Callable[[int, int], None] | None = None
) -> LrRange:
    """Train the network of `state` at growing rates, and return its losses. This ruins the network.

    Batches, augmentation, loss and optimiser are those of training; batches start over when all are used.

    Raises TrainingError if no rate lowers the loss, or memory runs out.
    """
    rates = np.geomspace(LOW, HIGH, STEPS)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.seed)  # dropout draws from the global generator
            pairs = []
            for done, pair in enumerate(sweep(_step(state, splits, recipe), rates), start=1):
                pairs.append(pair)
                if on_step:
                    on_step(done, len(rates))
    except (MemoryError, torch.OutOfMemoryError) as error:
        size = recipe.train.batch_size
        raise TrainingError(
            f"Memory ran out with batch_size={size}. Try --set batch_size={max(1, size // 2)}; "
            "if that is not enough, a smaller picture size or a smaller model."
        ) from error
    return read_curve([rate for rate, _ in pairs], [loss for _, loss in pairs])


def sweep(step: Callable[[float], float], rates: Sequence[float] | FloatArray) -> Iterator[tuple[float, float]]:
    """Yield (rate, loss) as `step` goes through `rates`, and stop when the loss has exploded or is not a number.

    `step` takes one step at a rate and returns the loss before it.
    """
    losses: list[float] = []
    for rate in rates:
        loss = step(float(rate))
        if not math.isfinite(loss):
            return
        losses.append(loss)
        yield float(rate), loss
        first, last = float(np.mean(losses[:STABLE])), float(np.mean(losses[-STABLE:]))
        if len(losses) > 2 * STABLE and last > BLOWN_UP * first:
            return


def read_curve(rates: Sequence[float], losses: Sequence[float]) -> LrRange:
    """Return the marks of a curve of losses over evenly spaced logarithms of rates.

    The losses are smoothed by a symmetric Gaussian (a running mean would lag by a third of a decade), after clipping
    them at twice the first: otherwise one exploded step would outweigh all before it. The suggestion is fastai's rule
    of thumb, a tenth of the rate with the lowest loss, as the largest rate of a schedule such as one-cycle.

    Raises TrainingError if the loss never falls by a fiftieth of its first value.
    """
    raw = np.asarray(losses, np.float64)
    if len(raw) <= 2 * STABLE:
        raise _nothing_learnt(rates)
    first = float(raw[:STABLE].mean())
    distance = np.subtract.outer(np.arange(len(raw)), np.arange(len(raw)))
    kernel = np.exp(-0.5 * (distance / SMOOTHING) ** 2)
    smoothed = (kernel @ np.minimum(raw, 2 * abs(first))) / kernel.sum(axis=1)
    lowest = int(smoothed.argmin())
    if smoothed[lowest] > first - 0.02 * abs(first):
        raise _nothing_learnt(rates)
    slope = np.gradient(smoothed)[: lowest + 1]
    above = np.flatnonzero(smoothed[lowest:] > smoothed[lowest] + 0.25 * (first - smoothed[lowest]))
    diverges = rates[lowest + above[0]] if len(above) else None
    return LrRange(
        rates=tuple(map(float, rates)),
        losses=tuple(map(float, raw)),
        smoothed=tuple(map(float, smoothed)),
        steepest=tidy(rates[int(slope.argmin())]),
        lowest=tidy(rates[lowest]),
        diverges=None if diverges is None else tidy(diverges),
        suggested=float(f"{rates[lowest] / 10:.1g}"),  # one digit is enough for a rule of thumb
    )


def _step(state: State, splits: Splits, recipe: Recipe) -> Callable[[float], float]:
    """Return a function that takes one step of training at a rate, and returns the loss before it."""
    model, device = state.model, state.model.mean.device
    loss = loss_of(recipe, splits.train, len(splits.class_names))
    labels = torch.from_numpy(splits.train.labels).to(device)
    draw = torch.Generator().manual_seed(recipe.seed)
    batches = enumerate(_endless(splits.train, recipe))
    model.train()

    def step(rate: float) -> float:
        number, batch = next(batches)
        for group in state.optimizer.param_groups:
            group["lr"] = rate * group["lr_scale"]
        images_NCHW = to_images(splits.train.gather(batch), device)
        if recipe.augment.strengths:
            images_NCHW = augment.augment(images_NCHW, recipe.augment, Draws(seed_of(recipe.seed, number), batch))
        with autocast(recipe.train.precision, device):
            value, _ = loss(model, images_NCHW, labels[batch], draw)
        state.optimizer.zero_grad(set_to_none=True)
        value.backward()  # type: ignore[no-untyped-call]
        state.optimizer.step()
        return float(value.item())

    return step


def _endless(train: Split, recipe: Recipe) -> Iterator[np.typing.NDArray[np.int64]]:
    epoch = 1
    while True:
        yield from shuffled_batches(train, recipe, epoch)
        epoch += 1


def _nothing_learnt(rates: Sequence[float]) -> TrainingError:
    span = f"from {rates[0]:.1g} to {rates[-1]:.1g}" if len(rates) else f"at {LOW:.1g}"
    return TrainingError(
        f"The loss did not fall at any learning rate {span}: this network learns nothing from these pictures. Check "
        "the labels with keensight info DATA, leave normalise = true, and try another model."
    )
