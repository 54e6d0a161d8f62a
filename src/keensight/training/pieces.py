"""Cuts a batch into pieces and sums their gradients: each piece on its own thread.

That is faster than one layer at a time on all threads (`models/tensors.py` says why).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType

import numpy as np
import torch
from torch import nn

from keensight.models.dropout import seed_dropout
from keensight.models.tensors import side_by_side
from keensight.values import IntArray

# (number of the piece, its replica of the network, its members of the split) to their mean loss, and how many are right
Learn = Callable[[int, nn.Module, IntArray], tuple[torch.Tensor, torch.Tensor]]
LEAST = 8  # images in a piece
SMALL = 30_000_000  # multiplications of a batch, up to which one thread is faster than several that wait for each other
LEAST_TO_NORMALISE = 32  # with batch normalisation, which measures each piece by itself


def num_pieces(model: nn.Module, batch_size: int) -> int:
    """Return the best number of pieces for a batch: one for each of torch's threads, if they are not too small.

    Networks without convolutions stay whole: their few large products share the cores well (0.56 times as fast cut).
    """
    kinds = {type(module) for module in model.modules()}
    on_cpu = all(p.device.type == "cpu" for p in model.parameters())
    if not on_cpu or nn.Conv2d not in kinds or any(issubclass(kind, nn.modules.dropout._DropoutNd) for kind in kinds):
        return 1  # torch's own dropout draws from one generator for all threads, in no fixed order
    normalises = any(
        isinstance(module, nn.modules.batchnorm._NormBase) and module.training for module in model.modules()
    )
    return max(1, min(torch.get_num_threads(), batch_size // (LEAST_TO_NORMALISE if normalises else LEAST)))


@contextmanager
def enough_threads(model: nn.Module, batch_size: int) -> Iterator[None]:
    """Let torch use one thread inside the `with` block if a batch's products are too small to share.

    This is for networks without convolutions, whose batches stay whole (see `num_pieces`). Logistic regression took
    up to twenty times as long with two threads on a busy machine, as each of its tiny layers waits for both.
    """
    before = torch.get_num_threads()
    is_flat = not any(isinstance(module, nn.Conv2d) for module in model.modules())
    if is_flat and batch_size * sum(p.numel() for p in model.parameters()) < SMALL:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Pieces:
    """A model, and replicas of it that share its parameters, for the pieces of a batch.

    The gradients are those of the whole batch, up to the order of sums; batch normalisation sees a piece at a time, and
    its running statistics are the mean of the replicas' at the end.
    """

    def __init__(self, model: nn.Module, count: int, seed: int) -> None:
        shared = {id(p): p for p in model.parameters()}
        self._model = model
        self._parameters = [p for p in model.parameters() if p.requires_grad]
        self._replicas = [copy.deepcopy(model, dict(shared)) for _ in range(count)] if count > 1 else [model]
        if all(p.device.type == "cpu" for p in self._parameters):
            for i, replica in enumerate(self._replicas):
                seed_dropout(replica, seed + i)
        self._context = side_by_side(count)

    def __enter__(self) -> Pieces:
        self._threads = self._context.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._context.__exit__(kind, error, tb)
        if len(self._replicas) > 1:
            with torch.no_grad():
                for buffer, *copies in zip(self._model.buffers(), *(r.buffers() for r in self._replicas), strict=True):
                    if buffer.is_floating_point():
                        buffer.copy_(torch.stack(copies).mean(dim=0))
                    else:
                        buffer.copy_(copies[0])

    def backward(self, learn: Learn, batch: IntArray) -> tuple[torch.Tensor, torch.Tensor]:
        """Leave the gradients of the mean loss over a batch in the model; return that loss, and how many are right.

        `batch` are members of the split.
        """
        if len(self._replicas) == 1:
            value, right = learn(0, self._model, batch)
            for parameter in self._parameters:
                parameter.grad = None
            value.backward()  # type: ignore[no-untyped-call]
            return value.detach(), right
        pieces = np.array_split(batch, len(self._replicas))

        def answer(i: int) -> tuple[torch.Tensor, torch.Tensor, list[torch.Tensor]]:
            value, right = learn(i, self._replicas[i], pieces[i])
            value = value * (len(pieces[i]) / len(batch))
            gradients = torch.autograd.grad(value, self._parameters, allow_unused=True, materialize_grads=True)
            return value.detach(), right, list(gradients)

        values, rights, gradients = zip(*self._threads.map(answer, range(len(pieces))), strict=True)
        total = gradients[0]
        for others in gradients[1:]:
            torch._foreach_add_(total, others)
        for parameter, gradient in zip(self._parameters, total, strict=True):
            # fused optimisers walk raw memory: a gradient must have its parameter's strides, not only its shape
            same = gradient.stride() == parameter.stride()
            parameter.grad = gradient if same else torch.empty_like(parameter).copy_(gradient)
        return torch.stack(values).sum(), torch.stack(rights).sum()
