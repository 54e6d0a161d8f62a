"""Keeps a model unchanged while an attack searches for its picture."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from keensight.robustness.one_channel import towards_pictures


@contextmanager
def held_still(model: nn.Module) -> Iterator[None]:
    """Put a model into evaluation mode without tracking; after the block, its modules are as they were before.

    Inside a training step, an attack runs the model on pictures of its own: batch normalisation must not measure
    them, and dropout must neither hide gradients from the attacker nor use random draws. Pang et al. (2020,
    arXiv:2010.00467, section 3.2) found that this costs no robustness, and gains accuracy on clean pictures.
    Gradients are for the pictures; `towards_pictures` says which weights get none.
    """
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with towards_pictures(model):
            yield
    finally:
        for module, training in modes:
            module.training = training
