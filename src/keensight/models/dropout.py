"""Dropout with its own generator: the same bits in every run, whatever other threads draw, and faster than torch's."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn
from torch.autograd.function import once_differentiable

from keensight.kernels import library
from keensight.kernels.tensors import SIZES, address

LEVELS = 1 << 16  # probabilities are rounded to multiples of 1 / LEVELS


class Dropout(nn.Module):
    """Set each input to 0 with probability `p` while training, and scale the others up (Hinton et al., 2012).

    It draws from `generator`, or from torch's global one if that is None, as on a GPU. Four inputs share a draw of 64
    bits: torch's own draws, a float64 for each input, took a third of the husky network's step.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p
        self.generator: np.random.Generator | None = None

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return inputs of any shape, some of them 0."""
        if not self.training or self.p == 0:
            return inputs
        if self.generator is None:
            return inputs * torch.empty_like(inputs).bernoulli_(1 - self.p).div_(1 - self.p)
        bits = self.drawn(inputs.numel())
        if inputs.device.type == "cpu" and inputs.dtype in SIZES and _is_dense(inputs) and library() is not None:
            scale = self.scale(inputs.dtype)
            scaled: torch.Tensor = _Dropped.apply(inputs, bits, self.least, scale)  # type: ignore[no-untyped-call]
            return scaled
        kept = torch.empty_like(inputs)  # in the order of the inputs' memory
        return inputs * kept.copy_((bits >= self.least).as_strided(kept.shape, kept.stride())).div_(1 - self.p)

    def drawn(self, count: int) -> torch.Tensor:
        """Return 16 random bits int16 for each of `count` inputs, which are kept from `least` on."""
        assert self.generator is not None
        draws = self.generator.integers(0, 2**64, -(-count // 4), np.uint64).view(np.int16)
        return torch.from_numpy(draws[:count])

    @property
    def least(self) -> int:
        """The least bits of an input that is kept."""
        return round(self.p * LEVELS) - LEVELS // 2

    def scale(self, dtype: torch.dtype) -> float:
        """Return what inputs that are kept are multiplied with, rounded to their type."""
        return torch.ones((), dtype=dtype).div_(1 - self.p).item()


class _Dropped(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: torch.Tensor, bits: torch.Tensor, least: int, scale: float) -> torch.Tensor:
        ctx.bits, ctx.strides, ctx.how = bits, inputs.stride(), (least, scale)
        return _dropped(inputs, bits, least, scale)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:
        if gradient.stride() != ctx.strides:  # the bits are in the order of the inputs' memory
            gradient = torch.empty_strided(gradient.shape, ctx.strides, dtype=gradient.dtype).copy_(gradient)
        return _dropped(gradient, ctx.bits, *ctx.how), None, None, None


def _dropped(inputs: torch.Tensor, bits: torch.Tensor, least: int, scale: float) -> torch.Tensor:
    outputs = torch.empty_like(inputs)
    size = SIZES[inputs.dtype]
    library().keensight_dropout(address(inputs), address(bits), address(outputs), inputs.numel(), least, scale, size)
    return outputs


def _is_dense(inputs: torch.Tensor) -> bool:
    return inputs.is_contiguous() or (inputs.dim() == 4 and inputs.is_contiguous(memory_format=torch.channels_last))


def seed_dropout(network: nn.Module, seed: int) -> None:
    """Give all dropout layers of a network on the CPU one seeded generator."""
    generator = np.random.Generator(np.random.SFC64(seed))
    for module in network.modules():
        if isinstance(module, Dropout):
            module.generator = generator
