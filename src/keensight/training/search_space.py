"""The search space of tuning: each key with its range, around the recipe's value."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from keensight.errors import RecipeError, UsageError, shortlist, suggestion
from keensight.models.classifier import Classifier
from keensight.models.transfer import Transfer
from keensight.models.zoo import options_of
from keensight.training.recipe import choices_of, keys_of
from keensight.values import Recipe
from keensight.values.recipe import Around, Key, OneOf, UpTo, name_of

STANDARD = ("learning_rate", "batch_size", "epochs", "weight_decay", "label_smoothing", "dropout")
BY_HAND = ("learning_rate", "batch_size", "epochs")  # gradient descent by hand has no other keys


@dataclass(frozen=True, slots=True)
class Dimension:
    """One key and the values it may take: `choices`, or else `low` to `high`, both included."""

    key: str
    low: float = 0.0
    high: float = 0.0
    log: bool = False  # spread evenly over orders of magnitude
    whole: bool = False  # whole numbers only
    choices: tuple[Any, ...] = ()

    def nearest(self, value: Any) -> Any:
        """Return `value` as for a recipe: three digits, inside the range.

        >>> Dimension("learning_rate", 0.0001, 0.1, log=True).nearest(0.01234567)
        0.0123
        """
        if self.choices:
            return value
        if self.whole:
            return int(min(self.high, max(self.low, round(value))))
        return min(self.high, max(self.low, tidy(value)))


def search_space(
    recipe: Recipe, num_train: int, fixed: Collection[str] = (), search: Sequence[str] = ()
) -> tuple[Dimension, ...]:
    """Return the search space around `recipe`, whose `epochs` are known: learning rate, batch size, epochs and so on.

    Every range holds the recipe's own value. `num_train` training pictures bound the batch size. Keys in `fixed` are
    left out; `search` names the keys in place of the standard ones, and may name augmentation and more.

    Raises UsageError for a key that cannot be searched, or is fixed and searched at once, and if no key is left.
    """
    known = _dimensions(recipe, num_train)
    search, fixed = [name_of(key) for key in search], [name_of(key) for key in fixed]
    if unknown := [key for key in search if key not in known]:
        raise UsageError(
            f"--search names '{unknown[0]}', which cannot be searched here. {suggestion(unknown[0], known)}"
            f"The keys for the model '{recipe.model.name}' are {', '.join(known)}."
        )
    if both := [key for key in search if key in fixed]:
        raise UsageError(f"--set fixes {both[0]}, and --search names it. Leave it out of one of the two.")
    keys = list(dict.fromkeys(search)) or [key for key in STANDARD if key in known and key not in fixed]
    if not keys:
        others = [key for key in known if key not in fixed]
        raise UsageError(
            f"Nothing is left to search: --set fixes {', '.join(key for key in STANDARD if key in known)}. Leave one "
            f"of them out, or name another with --search, such as {shortlist(others) or 'learning_rate'}."
        )
    return tuple(known[key] for key in keys)


def values_of(recipe: Recipe, names: Collection[str]) -> dict[str, Any]:
    """Return a recipe's values for some keys, the model's own included."""
    values = options_of(recipe.model.name) | recipe.flat()
    return {name: values[name] for name in names}


def check_can_be_tuned(model: Classifier) -> None:
    """Raise RecipeError if no key of the optimiser affects the result."""
    if isinstance(model.network, Transfer) and model.network.is_frozen:
        raise RecipeError(
            "With backbone_rate = 0 only the head of the network learns, and it is fitted exactly: there is no rate, "
            "batch size or number of epochs to choose. Train as it is, or let the backbone learn as well with --set "
            "backbone_rate=0.1."
        )


def tidy(value: float) -> float:
    """Round to three significant digits."""
    return float(f"{value:.3g}")


def _dimensions(recipe: Recipe, num_train: int) -> dict[str, Dimension]:
    """Return every key that can be searched with this recipe, the standard ones first."""
    keys, values = keys_of(recipe.model.name), options_of(recipe.model.name) | recipe.flat()
    without = [] if recipe.train.loss == "cross-entropy" else ["label_smoothing", "class_weights"]
    without += [] if recipe.train.optimizer == "sgd" else ["momentum"]
    if recipe.model.name == "scratch":
        without = [name for name in keys if name not in BY_HAND]
    found = [_dimension(key, values[name], num_train) for name, key in keys.items() if name not in without]
    known = {dimension.key: dimension for dimension in found if dimension}
    return {name: known[name] for name in [*STANDARD, *known] if name in known}


def _dimension(key: Key, value: Any, num_train: int) -> Dimension | None:
    """Return the range or choices of a key around the recipe's value, or None."""
    if isinstance(key.search, OneOf):
        choices = key.search.values or choices_of(key)
        if key.name == "batch_size":
            choices = tuple(sorted({value, *(size for size in choices if size <= max(num_train, min(choices)))}))
        return Dimension(key.name, choices=choices)
    if isinstance(key.search, UpTo):
        return Dimension(key.name, 0.0, max(key.search.most, value))
    if not isinstance(key.search, Around):
        return None
    if value:
        low, high = max(key.low or 0, value / key.search.down), min(key.high or math.inf, value * key.search.up)
        if type(value) is int:
            return Dimension(key.name, max(1, math.ceil(low)), high, log=True, whole=True)
        return Dimension(key.name, min(value, tidy(low)), max(value, tidy(high)), log=True)
    return Dimension(key.name, choices=key.search.at_zero) if key.search.at_zero else None
