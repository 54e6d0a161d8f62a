"""All attacks by name, in one visible table."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from keensight.errors import KeensightError, shortlist
from keensight.robustness.attacks.gradient_sign import FGSM
from keensight.robustness.attacks.linear import EXACT_LINEAR
from keensight.robustness.attacks.row import AttackRow
from keensight.robustness.needs import are_met

# weaker attacks first; the last one has the strictest needs
ATTACKS: dict[str, AttackRow] = {
    "fgsm": FGSM,
    "exact": EXACT_LINEAR,
}


def strongest(models: Sequence[nn.Module], num_classes: int) -> str:
    """Return the name of the strongest attack that fits all models, the last such one in the table."""
    fitting = [name for name, row in ATTACKS.items() if all(are_met(row.needs, m, num_classes) for m in models)]
    if not fitting:
        raise KeensightError(
            f"No attack fits these models of {num_classes} classes: {shortlist(list(ATTACKS))} were tried. Choose "
            "other models, or no attack, with an empty list of epsilons."
        )
    return fitting[-1]
