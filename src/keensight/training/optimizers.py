"""torch's optimisers, which step by themselves here: without torch._dynamo, whose import takes up to two seconds.

torch imports its compiler in an optimiser's first call, whether it is compiled or not. What is called here are the
functions inside of the decorators that do so: the steps, and their bits, are torch's own.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.optim import Optimizer


class _Alone(Optimizer):
    """An optimiser whose methods are what torch's decorators wrap."""

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters with settings of their own."""
        Optimizer.add_param_group.__wrapped__(self, param_group)  # type: ignore[attr-defined]

    def state_dict(self) -> dict[str, Any]:
        """Return the state as torch's optimisers have it."""
        state: dict[str, Any] = Optimizer.state_dict.__wrapped__(self)  # type: ignore[attr-defined]
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a state."""
        Optimizer.load_state_dict.__wrapped__(self, state_dict)  # type: ignore[attr-defined]

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget all gradients."""
        Optimizer.zero_grad.__wrapped__(self, set_to_none)  # type: ignore[attr-defined]


class LBFGS(_Alone, torch.optim.LBFGS):
    """Limited-memory BFGS (Liu and Nocedal, 1989), whose step takes a closure."""


class SGD(_Alone, torch.optim.SGD):
    """Stochastic gradient descent."""

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        """Make one step."""
        torch.optim.SGD.step.__wrapped__(self)  # type: ignore[attr-defined]


class Adam(_Alone, torch.optim.Adam):
    """Adam (Kingma and Ba, 2014, arXiv:1412.6980)."""

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        """Make one step."""
        torch.optim.Adam.step.__wrapped__(self)  # type: ignore[attr-defined]


class AdamW(Adam, torch.optim.AdamW):
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2017, arXiv:1711.05101)."""
