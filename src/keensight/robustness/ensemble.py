"""Several attacks one after the other: each on the pictures that the earlier ones left.

Shape letter: N pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from torch import nn

from keensight.data.polarity import Borders
from keensight.errors import KeensightError
from keensight.robustness.answers import clean_outcome, outcome
from keensight.robustness.attacks.table import ATTACKS, ENSEMBLE, within
from keensight.robustness.needs import GRADIENTS, are_met
from keensight.values import Norm, Outcome, Split, Threat

# Signs of gradients that hide how weak a model is (Athalye, Carlini and Wagner, 2018, arXiv:1802.00420, section 3.1)
MASKED_SHARE, MASKED_LEAST = 0.01, 3  # of the pictures, those that only an attack without gradients fools
STEPS_SHARE = 0.02  # of the pictures, by how much one step may be better than many
LOOKED_AT = 200  # pictures for that


@dataclass(frozen=True, slots=True, eq=False)
class Left:
    """What an ensemble left within one threat: the worst outcome, and how many survived each attack and all before."""

    worst: Outcome
    after: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Masking:
    """Signs that gradients are masked within a threat, as counts of `n` pictures.

    `only_square` were fooled by the attack without gradients alone. On the first pictures, one step left `one_step`
    and many steps `many_steps`; both are None where the model has no gradients.
    """

    threat: Threat
    n: int
    only_square: int
    looked_at: int
    one_step: int | None
    many_steps: int | None

    @property
    def is_likely(self) -> bool:
        """Whether the model is probably weaker than its gradients let the attacks see."""
        by_chance = self.only_square < max(MASKED_LEAST, MASKED_SHARE * self.n)
        if self.one_step is None or self.many_steps is None:
            return False
        return not by_chance or self.many_steps - self.one_step > STEPS_SHARE * self.looked_at


def fitting(model: nn.Module, num_classes: int, norm: Norm) -> list[str]:
    """Return the names of the ensemble's attacks that handle a norm and fit a model; the exact one alone if it does.

    Two classes have one target only, so the targeted attack is left out, and the logits' differences add nothing new
    to the margin, which the minimal attack follows.
    """
    names = [name for name in ENSEMBLE if name in within(norm) and are_met(ATTACKS[name].needs, model, num_classes)]
    if exact := [name for name in names if ATTACKS[name].exact]:
        return exact
    return [name for name in names if name != "apgd-t" or num_classes > 2]


def ensemble(
    model: nn.Module,
    split: Split,
    threats: Sequence[Threat],
    attacks: Sequence[str],
    borders: Borders | None = None,
    seed: int = 0,
    watch: Callable[[str, Threat], None] = lambda name, threat: None,
) -> list[Left]:
    """Attack a split's pictures within each of several threats of one norm, smaller ones first.

    A picture that is fooled within one threat is fooled within every larger one, and is not attacked again. `watch`
    is told of every attack before it begins. All randomness comes from `seed`.

    Raises KeensightError for a split without pictures or threats that do not grow.
    """
    if any(one.norm != two.norm or one.eps > two.eps for one, two in pairwise(threats)):
        raise KeensightError("These threats do not grow. Give epsilons of one norm, the smallest first.")
    found: list[Left] = []
    worst = clean_outcome(model, split, borders)
    for threat in threats:
        worst, after = replace(worst, threat=threat), []
        for name in attacks:
            rows_N = np.flatnonzero(worst.survived_N)
            if len(rows_N):
                watch(name, threat)
                worst = _merged(worst, rows_N, outcome(model, split.take(rows_N), threat, name, borders, seed))
            after.append((name, int(worst.survived_N.sum())))
        found.append(Left(worst, tuple(after)))
    return found


def masking(
    model: nn.Module, split: Split, left: Left, num_classes: int, borders: Borders | None = None, seed: int = 0
) -> Masking:
    """Look for signs that a model's gradients hide its weakness within the threat of `left`."""
    counts, threat = dict(left.after), left.worst.threat
    names = list(counts)
    only_square = 0
    if "square" in names and names.index("square"):
        only_square = counts[names[names.index("square") - 1]] - counts["square"]
    few = split.thinned(LOOKED_AT)
    if threat.norm != "linf" or not are_met((GRADIENTS,), model, num_classes):
        return Masking(threat, len(split), only_square, len(few), None, None)
    one, many = (
        int(outcome(model, few, replace(threat, steps=steps), name, borders, seed).survived_N.sum())
        for name, steps in (("fgsm", 1), ("pgd", 20))
    )
    return Masking(threat, len(split), only_square, len(few), one, many)


def _merged(worst: Outcome, rows_N: np.ndarray, found: Outcome) -> Outcome:
    survived_N, distance_N = worst.survived_N.copy(), worst.distance_N.copy()
    survived_N[rows_N], distance_N[rows_N] = found.survived_N, found.distance_N
    return Outcome(worst.threat, survived_N, distance_N)
