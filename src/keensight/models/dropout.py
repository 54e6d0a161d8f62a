"""Dropout that draws from a generator of its own, so that threads side by side draw the same bits in every run."""

from __future__ import annotations

import torch
from torch import nn


class Dropout(nn.Module):
    """Set each input to 0 with the chance `p` while training, and scale the others up (Hinton et al., 2012).

    It draws from `generator`, or from torch's global one where that is None.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p
        self.generator: torch.Generator | None = None

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return inputs of any shape, some of them 0."""
        if not self.training or self.p == 0:
            return inputs
        kept = torch.empty_like(inputs).bernoulli_(1 - self.p, generator=self.generator)
        return inputs * kept.div_(1 - self.p)


def seed_dropout(network: nn.Module, seed: int) -> None:
    """Give the dropout layers of a network on the CPU one generator, seeded."""
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, Dropout):
            module.generator = generator
