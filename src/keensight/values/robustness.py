"""How a model breaks: under corruptions, attacks, shifts and rotations, and what is proved."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Corrupted:
    """The accuracy under one corruption, at each of `severities` from 1 to 5; `about` says what it is in words."""

    name: str
    about: str
    kind: str
    severities: tuple[int, ...]
    accuracies: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Within:
    """The share of pictures, in [0, 1], that is still right within `eps`, or certified to be."""

    eps: float
    share: float


@dataclass(frozen=True, slots=True)
class ClassRobustness:
    """The shares of one class's `n` pictures: right, right when corrupted, right under attack, and certified."""

    name: str
    n: int
    clean: float
    corrupted: float
    attacked: float | None
    certified: float | None


@dataclass(frozen=True, slots=True)
class RobustnessReport:
    """How often a model is right on the same `n` pictures: as they are, corrupted, attacked, and by proof.

    `attacked` and `certified` are in linf, with pixels in [0, 1]; where there are no bounds, the latter is
    empty and `why_not_certified` says why. `shifted` is in whole pixels, `turned` in degrees, `l2` the root of the
    sum of all pixels' squared changes. What was not measured is empty.
    `eps` is the epsilon of the shares in `per_class`; None without attacks.
    """

    n: int
    clean: float
    corrupted: tuple[Corrupted, ...] = ()
    attacked: tuple[Within, ...] = ()
    certified: tuple[Within, ...] = ()
    why_not_certified: str = ""
    shifted: tuple[Within, ...] = ()
    turned: tuple[Within, ...] = ()
    l2: tuple[Within, ...] = ()
    gradient_masking: bool = False
    eps: float | None = None
    per_class: tuple[ClassRobustness, ...] = ()

    @property
    def mean_corrupted(self) -> float | None:
        """The mean accuracy over corruptions and severities; None if none was tried."""
        each = [accuracy for row in self.corrupted for accuracy in row.accuracies]
        return sum(each) / len(each) if each else None
