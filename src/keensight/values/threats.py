"""Threats, which bound what an attacker may do, and the outcomes of attacks.

Shape letter: N pictures.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from keensight.errors import KeensightError, RecipeError
from keensight.values.data import FloatArray

Norm = Literal["linf", "l2", "shift", "rotation"]


def levels(eps: float) -> str:
    """Return what to give instead of an epsilon that looks like levels of 255, as a sentence; nothing is converted.

    >>> levels(8), levels(-1)
    (' For 8 levels of 255, give 0.03137.', '')
    """
    return f" For {eps:g} levels of 255, give {eps / 255:.4g}." if 1 < eps <= 255 else ""


def fraction(text: str) -> float:
    """Read a number, also as a fraction. Raises ValueError for anything else.

    >>> fraction("0.25"), fraction("1/4")
    (0.25, 0.25)
    """
    above, _, below = text.partition("/")
    try:
        return float(above) / float(below or 1)
    except ZeroDivisionError:
        raise ValueError(f"{text} divides by 0") from None


@dataclass(frozen=True, slots=True)
class Threat:
    """A bound on an attacker: a picture may move by at most `eps` in a norm, with pixels in [0, 1].

    "linf" bounds every pixel's move, "l2" the root of the sum of their squares. "shift" and "rotation" bound how far
    the whole picture is moved: by whole pixels up, down, left or right, and in degrees. `steps` is how many gradients
    the attacker may compute; 0 leaves that to the attack.
    """

    norm: Norm
    eps: float
    steps: int = 0

    def __post_init__(self) -> None:
        if self.norm not in get_args(Norm):
            raise RecipeError(f"The norm is '{self.norm}'; {', '.join(get_args(Norm))} are accepted.")
        if self.norm == "linf" and not 0 <= self.eps <= 1:
            raise RecipeError(
                f"An epsilon of {self.eps:g} was asked for; pixels lie in [0, 1], and so must epsilon."
                f"{levels(self.eps)}"
            )
        if not 0 <= self.eps < math.inf:
            raise RecipeError(f"An epsilon of {self.eps} was asked for; give a finite number of 0 or more.")
        if self.norm == "shift" and self.eps != int(self.eps):
            raise RecipeError(f"A shift by {self.eps:g} pixels was asked for; give a whole number.")
        if self.norm == "rotation" and self.eps > 180:
            raise RecipeError(f"A rotation by {self.eps:g} degrees was asked for; give 0 to 180.")
        if self.steps < 0:
            raise RecipeError(f"{self.steps} steps were asked for; give 1 or more, or 0 to leave it to the attack.")


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """The result of an attack within `threat` on N pictures.

    `survived_N` (bool) says which of them the model still classifies correctly. `distance_N` (float) is how far, in the
    threat's norm, each of the others was moved; infinite for those that survived.
    """

    threat: Threat
    survived_N: NDArray[np.bool_]
    distance_N: FloatArray

    @property
    def accuracy(self) -> float:
        """The share of pictures, in [0, 1], that survived."""
        return int(self.survived_N.sum()) / len(self.survived_N)


@dataclass(frozen=True, slots=True, eq=False)
class Certificate:
    """What is proved of N pictures within `threat`.

    `correct_N` (bool) says which the model classifies correctly, `certified_N` (bool) which of these no attack can
    change, and `method_N` (text) what proved it: intervals, linear, cases, smoothing, or "".
    """

    threat: Threat
    correct_N: NDArray[np.bool_]
    certified_N: NDArray[np.bool_]
    method_N: NDArray[np.str_]

    @property
    def accuracy(self) -> float:
        """The share of pictures, in [0, 1], that are certified: no attack leaves less."""
        return int(self.certified_N.sum()) / len(self.certified_N)


@dataclass(frozen=True, slots=True)
class CertifiedResult:
    """A certificate as a row of a report: the share of `n` pictures that are certified within the threat."""

    threat: Threat
    accuracy: float
    n: int


@dataclass(frozen=True, slots=True)
class AttackResult:
    """An outcome as a row of a report: the accuracy on `n` pictures under the attack with this title."""

    attack: str
    threat: Threat
    accuracy: float
    n: int


def worst(outcomes: Sequence[Outcome]) -> Outcome:
    """Return the worst of several attacks within one threat on the same pictures: a picture must survive all of them.

    Its distance is the smallest that any of them found. Raises KeensightError for no outcomes, or for outcomes of
    different threats or different numbers of pictures.

    >>> threat = Threat("linf", 0.1)
    >>> one = Outcome(threat, np.array([True, False, False]), np.array([np.inf, 0.1, 0.05]))
    >>> other = Outcome(threat, np.array([True, True, False]), np.array([np.inf, np.inf, 0.1]))
    >>> worst([one, other]).survived_N, worst([one, other]).distance_N
    (array([ True, False, False]), array([ inf, 0.1 , 0.05]))
    """
    if len({(each.threat.norm, each.threat.eps, len(each.survived_N)) for each in outcomes}) != 1:
        told = ", ".join(f"{e.threat.norm} {e.threat.eps:g} on {len(e.survived_N):,}" for e in outcomes) or "none"
        raise KeensightError(
            f"The worst of these outcomes was asked for: {told}. Give one or more, of one norm and epsilon, on the "
            "same pictures."
        )
    return Outcome(
        outcomes[0].threat,
        np.logical_and.reduce([each.survived_N for each in outcomes]),
        np.minimum.reduce([each.distance_N for each in outcomes]),
    )
