"""All attacks by name, in one visible table."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from keensight.errors import KeensightError, shortlist
from keensight.robustness.attacks.auto import APGD_CE, APGD_DLR, APGD_TARGETED
from keensight.robustness.attacks.descent import PGD
from keensight.robustness.attacks.gradient_sign import FGSM
from keensight.robustness.attacks.linear import EXACT_LINEAR
from keensight.robustness.attacks.minimal import MINIMAL
from keensight.robustness.attacks.moved import ROTATIONS, SHIFTS
from keensight.robustness.attacks.row import AttackRow
from keensight.robustness.attacks.square import SQUARE
from keensight.robustness.needs import are_met
from keensight.values import Norm

ATTACKS: dict[str, AttackRow] = {
    "fgsm": FGSM,
    "exact": EXACT_LINEAR,
    "pgd": PGD,
    "apgd-ce": APGD_CE,
    "apgd-dlr": APGD_DLR,
    "apgd-t": APGD_TARGETED,
    "minimal": MINIMAL,
    "square": SQUARE,
    "shifts": SHIFTS,
    "rotations": ROTATIONS,
}
# what `keensight attack` runs one after the other, each on the pictures that the earlier ones left: cheap ones first
ENSEMBLE = ("exact", "fgsm", "apgd-ce", "apgd-dlr", "apgd-t", "minimal", "square", "shifts", "rotations")


def within(norm: Norm) -> list[str]:
    """Return the names of the attacks that handle a norm."""
    return [name for name, row in ATTACKS.items() if norm in row.norms]


def quickest(models: Sequence[nn.Module], num_classes: int) -> str:
    """Return the name of an attack that fits all models and takes one look: an exact one if there is one, else FGSM."""
    fitting = [name for name, row in ATTACKS.items() if all(are_met(row.needs, m, num_classes) for m in models)]
    exact = [name for name in fitting if ATTACKS[name].exact]
    if exact or "fgsm" in fitting:
        return exact[0] if exact else "fgsm"
    raise KeensightError(
        f"No attack in one look fits these models of {num_classes} classes: {shortlist(['fgsm', 'exact'])} need "
        "gradients. Choose other models, or no attack, with an empty list of epsilons."
    )
