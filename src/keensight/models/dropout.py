"""Dropout that draws from a generator of its own: the same bits in every run, whatever threads do, and cheap ones."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

LEVELS = 1 << 16  # a chance is rounded to one of so many


class Dropout(nn.Module):
    """Set each input to 0 with the chance `p` while training, and scale the others up (Hinton et al., 2012).

    It draws from `generator`, or from torch's global one where that is None, as on a GPU. Four inputs share a draw of
    64 bits: torch's own draws, a float64 for each input, were a third of the husky network's step.
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
            kept = torch.empty_like(inputs).bernoulli_(1 - self.p)
        else:
            kept = self._draw(torch.empty_like(inputs), self.generator)
        return inputs * kept.div_(1 - self.p)

    def _draw(self, kept: torch.Tensor, generator: np.random.Generator) -> torch.Tensor:
        """Fill a dense tensor with 0 and 1, in the order of its memory."""
        draws = generator.integers(0, 2**64, -(-kept.numel() // 4), np.uint64).view(np.int16)
        above = torch.from_numpy(draws[: kept.numel()]) >= round(self.p * LEVELS) - LEVELS // 2
        return kept.copy_(above.as_strided(kept.shape, kept.stride()))


def seed_dropout(network: nn.Module, seed: int) -> None:
    """Give the dropout layers of a network on the CPU one generator, seeded."""
    generator = np.random.Generator(np.random.SFC64(seed))
    for module in network.modules():
        if isinstance(module, Dropout):
            module.generator = generator
