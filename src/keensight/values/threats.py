"""What an attacker may do, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from keensight.errors import RecipeError


@dataclass(frozen=True, slots=True)
class Threat:
    """What an attacker may do: move every pixel by at most `eps`, as a fraction of the range [0, 1]."""

    norm: Literal["linf"]
    eps: float

    def __post_init__(self) -> None:
        if not 0 <= self.eps <= 1:
            raise RecipeError(f"An epsilon of {self.eps} was asked for; pixels lie in [0, 1], and so must epsilon.")


@dataclass(frozen=True, slots=True)
class AttackResult:
    """Accuracy on `n` pictures after an attack within `threat`."""

    attack: str
    threat: Threat
    accuracy: float
    n: int
