"""An attack: one row of the table.

Shape letters: N images, C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import nn

from keensight.robustness.needs import Need
from keensight.values import Norm, Threat

# (model, images float NCHW in [0, 1], labels N, threat, draw) to images that the model should misclassify.
# `draw` is a generator on the CPU: an attack with a random start draws only from it.
Attack: TypeAlias = Callable[[nn.Module, torch.Tensor, torch.Tensor, Threat, torch.Generator], torch.Tensor]


@dataclass(frozen=True, slots=True)
class AttackRow:
    """An attack, and all facts that recipes, verbs, pages and tests need about it.

    `title` is its name in a sentence. It handles threats in its `norms`, and `needs` say what it can attack. If it
    `clips`, pixels stay in [0, 1]. An `exact` attack is the worst possible within a threat.
    """

    run: Attack
    title: str
    norms: tuple[Norm, ...]
    needs: tuple[Need, ...]
    clips: bool = True
    exact: bool = False
