"""torch's optimisers without torch._dynamo, whose import takes up to two seconds.

torch imports its compiler in an optimiser's first call, compiled or not. Here the functions inside those decorators are
called directly: the steps, and their bits, are torch's own.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.optim import Optimizer


class _Alone(Optimizer):
    """An optimiser whose methods are the functions inside torch's decorators."""

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters with their own settings."""
        Optimizer.add_param_group.__wrapped__(self, param_group)  # type: ignore[attr-defined]

    def state_dict(self) -> dict[str, Any]:
        """Return the state as torch's optimisers have it."""
        state: dict[str, Any] = Optimizer.state_dict.__wrapped__(self)  # type: ignore[attr-defined]
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state."""
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
        parameters = [each for group in self.param_groups for each in group["params"]]
        if not all(group["fused"] for group in self.param_groups) or len({each.dtype for each in parameters}) > 1:
            torch.optim.Adam.step.__wrapped__(self)  # type: ignore[attr-defined]
            return
        # torch's own way to the same kernel takes 0.1 ms more, of the 2 ms that a step of a small dense network takes
        for group in self.param_groups:
            listed: tuple[list[torch.Tensor], ...] = [], [], [], [], [], []
            self._init_group(group, *listed)  # type: ignore[no-untyped-call]
            if listed[0]:
                kernel = torch._fused_adamw_ if group["decoupled_weight_decay"] else torch._fused_adam_
                beta1, beta2 = group["betas"]
                torch._foreach_add_(listed[-1], 1)
                kernel(*listed, lr=group["lr"], beta1=beta1, beta2=beta2, weight_decay=group["weight_decay"],
                       eps=group["eps"], amsgrad=group["amsgrad"], maximize=group["maximize"])  # fmt: skip


class AdamW(Adam, torch.optim.AdamW):
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2017, arXiv:1711.05101)."""
