"""What an attack or a loss needs of a model and its data: checks, with words for messages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import nn

from keensight.models.linear import is_linear
from keensight.robustness.bounds.network import in_a_row
from keensight.robustness.opaque import Opaque


@dataclass(frozen=True, slots=True)
class Need:
    """A requirement on a model or its number of classes; `before` and `after` are the words around "models"."""

    is_met: Callable[[nn.Module, int], bool]
    before: str = ""
    after: str = ""


LINEAR = Need(lambda model, num_classes: is_linear(model), before="linear")
TWO_CLASSES = Need(lambda model, num_classes: num_classes == 2, after="of two classes")
GRADIENTS = Need(  # integer models have none
    lambda model, num_classes: not isinstance(model, Opaque) and all(p.is_floating_point() for p in model.parameters()),
    after="with gradients",
)
BOUNDED = Need(
    lambda model, num_classes: in_a_row(getattr(model, "network", model)) is not None,
    after="whose layers stand in a row and have bounds",
)


def are_met(needs: Sequence[Need], model: nn.Module, num_classes: int) -> bool:
    """Say whether a model with this number of classes meets all needs."""
    return all(need.is_met(model, num_classes) for need in needs)


def in_words(needs: Sequence[Need]) -> str:
    """Say which models meet all needs.

    >>> in_words([LINEAR, TWO_CLASSES]), in_words([GRADIENTS]), in_words([])
    ('linear models of two classes', 'models with gradients', 'models')
    """
    before, after = [need.before for need in needs], [need.after for need in needs]
    return " ".join(filter(None, [*before, "models", *after]))
