"""Holding a model still while an attack looks for its picture."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def held_still(model: nn.Module) -> Iterator[None]:
    """Let a model answer as it does after training: its parts are as they were when the block ends.

    Inside a training step, an attack asks the model about pictures that nobody has: batch normalisation must not
    measure them, and dropout must neither hide the way from the attacker nor draw for it. Pang et al. (2020,
    arXiv:2010.00467, section 3.2) found that this costs no robustness, and gains accuracy on clean pictures.
    """
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
