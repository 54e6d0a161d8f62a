"""Cuts a batch into pieces and sums their gradients: each piece on one core, of this machine or of another.

That is faster than one layer at a time on all threads (`models/tensors.py` says why). And as the number of pieces
belongs to the recipe, the bits of the weights do not depend on how many threads or workers share the pieces.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType

import numpy as np
import torch
from torch import nn

from keensight.errors import RecipeError
from keensight.models.dropout import Dropout, seed_dropout
from keensight.models.tensors import side_by_side, uses_bfloat16
from keensight.training.draws import seed_of
from keensight.training.team import ALONE, Node, Team, add_up, share, whole_nodes
from keensight.values import IntArray, Recipe

# (a seed of the piece's own, its replica of the network, its members of the split) to their mean loss, and how many are
# right
Learn = Callable[[int, nn.Module, IntArray], tuple[torch.Tensor, torch.Tensor]]
Sums = Sequence[torch.Tensor]  # of a node of the tree
LEAST = 8  # images in a piece
FEW_WEIGHTS = 1_000_000  # so few that an optimiser's step is over before a second thread wakes
SMALL = 30_000_000  # multiplications of a batch, up to which one thread is faster than several that wait for each other
SMALL_IN_BFLOAT16 = 4 * SMALL  # they take a quarter of the time
LEAST_TO_NORMALISE = 32  # with batch normalisation, which measures each piece by itself


def with_pieces(recipe: Recipe, model: nn.Module, num_train: int, workers: int = 1) -> Recipe:
    """Return the recipe with its number of pieces, chosen for this machine's threads if it is open.

    Raises RecipeError if there are fewer pictures in a batch than pieces, fewer pieces than workers, or a time to keep.
    """
    if workers > 1 and recipe.train.budget_s:
        raise RecipeError(
            f"budget_s is {recipe.train.budget_s:g}, and {workers} workers were asked for, whose clocks differ: how "
            "far one gets, the others do not know. Leave it and --budget out and set epochs, or use one worker."
        )
    least = smallest_batch(num_train, recipe.train.batch_size)
    most = min(recipe.train.batch_size, num_train)
    pieces = recipe.train.pieces or min(least, num_pieces(model, most, workers))
    if pieces > least:
        raise RecipeError(
            f"A batch has {least} pictures here (batch_size={recipe.train.batch_size}, {num_train:,} to learn from) "
            f"and cannot be cut into {pieces} pieces. Set pieces to {least} or fewer, or leave it out."
        )
    if pieces < workers:
        enough = workers * _least(model)
        ways = [f"--workers {pieces}" if pieces > 1 else "one worker"]
        ways += [f"set batch_size to {enough} or more and leave pieces out"] if enough <= num_train else []
        raise RecipeError(
            f"{workers} workers were asked for, and a batch of {most} pictures is cut into {pieces} "
            f"piece{'s' * (pieces > 1)} here: each worker needs one, of about {_least(model)} pictures or more. "
            f"Use {', or '.join(ways)}."
        )
    return recipe.having(pieces=pieces)


def smallest_batch(num_train: int, batch_size: int) -> int:
    """Return the size of the smallest batch: pictures are cut into batches of almost equal size.

    >>> smallest_batch(129, 128), smallest_batch(1000, 128)
    (64, 125)
    """
    return num_train // -(-num_train // batch_size)


def num_pieces(model: nn.Module, batch_size: int, workers: int = 1) -> int:
    """Return the best number of pieces for a batch: one for each worker's thread, if they are not too small.

    On one machine, networks without convolutions stay whole: their few large products share the cores well (0.56 times
    as fast cut). So do those with torch's own dropout, whose draws come one after the other, and those on a GPU.
    """
    flat = not any(isinstance(module, nn.Conv2d) for module in model.modules())
    threads = 1 if flat or _draws_globally(model) or not _on_cpu(model) else torch.get_num_threads()
    return max(1, min(workers * threads, batch_size // _least(model)))


def _least(model: nn.Module) -> int:
    normalises = any(
        isinstance(module, nn.modules.batchnorm._NormBase) and module.training for module in model.modules()
    )
    return LEAST_TO_NORMALISE if normalises else LEAST


def _draws_globally(model: nn.Module) -> bool:
    return any(isinstance(module, nn.modules.dropout._DropoutNd) for module in model.modules())


def _on_cpu(model: nn.Module) -> bool:
    return all(p.device.type == "cpu" for p in model.parameters())


@contextmanager
def enough_threads(model: nn.Module, batch_size: int, precision: str = "float32") -> Iterator[None]:
    """Let torch use one thread inside the `with` block if a batch's products are too small to share.

    This is for networks without convolutions, whose batches stay whole (see `num_pieces`). Logistic regression took
    up to twenty times as long with two threads on a busy machine, as each of its tiny layers waits for both.
    """
    before = torch.get_num_threads()
    is_flat = not any(isinstance(module, nn.Conv2d) for module in model.modules())
    small = SMALL_IN_BFLOAT16 if uses_bfloat16(precision, torch.device("cpu")) else SMALL
    if is_flat and batch_size * sum(p.numel() for p in model.parameters()) < small:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Pieces:
    """A model, and replicas of it that share its parameters, for this worker's pieces of a batch.

    The gradients are those of the whole batch, up to the order of sums. Batch normalisation sees a piece at a time:
    each has buffers of its own for an epoch, and `settle` makes their mean the model's.
    """

    def __init__(self, model: nn.Module, count: int, seed: int, team: Team = ALONE) -> None:
        self._model, self._count, self._seed, self._team = model, count, seed, team
        self._own = share(count, team.rank, team.size)
        self._nodes = whole_nodes(self._own, count)
        shared = {id(p): p for p in model.parameters()}
        self._parameters = [p for p in model.parameters() if p.requires_grad]
        self._replicas = [copy.deepcopy(model, dict(shared)) for _ in self._own] if count > 1 else [model]
        # asked once, as going through all modules and parameters takes a twentieth of a small network's step
        self._on_cpu = _on_cpu(model)
        self._one_by_one = _draws_globally(model) or not self._on_cpu
        self._drops = self._on_cpu and any(isinstance(module, Dropout) for module in model.modules())
        threads = 1 if self._one_by_one else min(torch.get_num_threads(), len(self._own))
        few = sum(p.numel() for p in self._parameters) < FEW_WEIGHTS
        self._context = side_by_side(threads, caller_too=few)

    def __enter__(self) -> Pieces:
        self._threads = self._context.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._context.__exit__(kind, error, tb)

    def backward(
        self, learn: Learn, batch: IntArray, step: int, asks: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor, bool]:
        """Leave the gradients of the mean loss over a batch in the model; return that loss, and how many are right.

        `batch` are members of the split, and `step` the batch's number in the epoch. The third answer is whether any
        worker `asks`: all of them are told, with no message of its own.
        """
        if self._count == 1:
            value, right = learn(self._sow(0, step), self._model, batch)
            for parameter in self._parameters:
                parameter.grad = None
            value.backward()  # type: ignore[no-untyped-call]
            return value.detach(), right, asks
        members = np.array_split(batch, self._count)

        def answer(i: int) -> list[torch.Tensor]:
            piece = members[self._own[i]]
            value, right = learn(self._sow(i, step), self._replicas[i], piece)
            value = value.float() * (len(piece) / len(batch))
            found = torch.autograd.grad(value, self._parameters, allow_unused=True, materialize_grads=True)
            gradients = [_as_laid_out(g, p) for g, p in zip(found, self._parameters, strict=True)]
            return [*gradients, value.detach(), right.float(), torch.full_like(value.detach(), asks)]

        leaves: dict[Node, Sums] = {(i, i + 1): sums for i, sums in zip(self._own, self._map(answer), strict=True)}
        sums = self._team.total([add_up(node, leaves, _add) for node in self._nodes], self._count)
        *gradients, value, right, asked = sums
        for parameter, gradient in zip(self._parameters, gradients, strict=True):
            parameter.grad = gradient
        return value, right, bool(asks if self._team.size == 1 else asked.item() > 0)

    def settle(self) -> None:
        """Make the model's buffers the mean of the pieces'; those of whole numbers, such as counts, the first one's."""
        if self._count == 1:
            return
        with torch.no_grad():
            for buffer, copies in zip(self._model.buffers(), self.buffers(), strict=True):
                if buffer.is_floating_point():
                    known = {(i, i + 1): each for i, each in enumerate(copies)}
                    buffer.copy_(add_up((0, self._count), known, torch.add) / self._count)
                else:
                    buffer.copy_(copies[0])

    def buffers(self) -> list[torch.Tensor]:
        """Return all pieces' buffers: for each of the model's, one tensor with a first dimension of pieces."""
        own = zip(*(replica.buffers() for replica in self._replicas), strict=True)
        return [self._team.gather(torch.stack(copies)) for copies in own]

    def load_buffers(self, buffers: Sequence[torch.Tensor]) -> None:
        """Give this worker's pieces the buffers that `buffers` returned."""
        with torch.no_grad():
            for copies, *own in zip(buffers, *(replica.buffers() for replica in self._replicas), strict=True):
                for i, buffer in zip(self._own, own, strict=True):
                    buffer.copy_(copies[i])

    def _map(self, answer: Callable[[int], list[torch.Tensor]]) -> Iterator[list[torch.Tensor]]:
        return self._threads.map(answer, range(len(self._own)))

    def _sow(self, i: int, step: int) -> int:
        """Seed all that draws in a replica, for a step; return a seed for its losses."""
        seed = seed_of(self._seed, step, self._own[i])
        if self._one_by_one or self._count == 1:
            self._seed_globally(seed)  # for networks that use the global generator
        if self._drops:
            seed_dropout(self._replicas[i], seed)
        return seed + 1  # another one, as the loss draws from a generator of the same kind

    def _seed_globally(self, seed: int) -> None:
        if self._on_cpu:
            # torch.manual_seed also writes down three stack traces, for devices that have not been used yet: 0.2 ms, of
            # the 3 ms that a step of a small dense network takes
            torch.default_generator.manual_seed(seed)
        else:
            torch.manual_seed(seed)


def _as_laid_out(gradient: torch.Tensor, parameter: torch.Tensor) -> torch.Tensor:
    # fused optimisers walk raw memory: a gradient must have its parameter's strides, not only its shape
    same = gradient.stride() == parameter.stride()
    return gradient if same else torch.empty_like(parameter).copy_(gradient)


def _add(one: Sums, other: Sums) -> Sums:
    torch._foreach_add_(list(one), list(other))
    return one
