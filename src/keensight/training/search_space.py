"""What is searched when a recipe is tuned: each key with its range, around what the recipe says."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from keensight.errors import RecipeError, UsageError, shortlist, suggestion
from keensight.models.classifier import Classifier
from keensight.models.transfer import Transfer
from keensight.models.zoo import options_of
from keensight.training.recipe import CHOICES, RANGES
from keensight.values import Recipe

FACTOR = 30.0  # a rate is searched from a thirtieth of the recipe's to thirty times it: three decades
BATCH_SIZES = (32, 64, 128, 256, 512)
DECAYS = (0.0, 1e-4, 1e-3, 1e-2, 1e-1)  # where the recipe has none, which a logarithmic range cannot hold
STANDARD = ("learning_rate", "batch_size", "epochs", "weight_decay", "label_smoothing", "dropout")
BY_HAND = ("learning_rate", "batch_size", "epochs")  # gradient descent by hand has no other keys
AUGMENTATION = {"rotate": 30.0, "shear": 0.3, "zoom": 0.3, "shift": 0.2, "brightness": 0.4, "contrast": 0.4}


@dataclass(frozen=True, slots=True)
class Dimension:
    """One key and the values it may take: `choices`, or else `low` to `high`, both included."""

    key: str
    low: float = 0.0
    high: float = 0.0
    log: bool = False  # evenly spread over orders of magnitude, rather than over values
    whole: bool = False  # whole numbers only
    choices: tuple[Any, ...] = ()

    def nearest(self, value: Any) -> Any:
        """Return `value` as a recipe would say it: three digits, inside the range.

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
    """Return what is searched around `recipe`, whose `epochs` are known: learning rate, batch size, epochs and so on.

    Every range holds the recipe's own value. `num_train` training pictures bound the batch size. Keys in `fixed` are
    left out; `search` names the keys in place of the standard ones, and may name augmentation and more.

    Raises UsageError for a key that cannot be searched, is fixed and searched at once, or where none is left.
    """
    known = _dimensions(recipe, num_train)
    if unknown := [key for key in search if key not in known]:
        raise UsageError(
            f"--search names '{unknown[0]}', which cannot be searched here. {suggestion(unknown[0], known)}"
            f"The keys for the model '{recipe.model}' are {', '.join(known)}."
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


def values_of(recipe: Recipe, keys: Collection[str]) -> dict[str, Any]:
    """Return what a recipe says for some keys, the model's own among them."""
    options = {**options_of(recipe.model), **recipe.options}
    return {key: options[key] if key in options else getattr(recipe, key) for key in keys}


def with_values(recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
    """Return `recipe` with other values for some of its keys, the model's own among them."""
    own = {field.name for field in fields(Recipe)}
    options = {**recipe.options, **{key: value for key, value in values.items() if key not in own}}
    return replace(recipe, options=options, **{key: value for key, value in values.items() if key in own})


def check_can_be_tuned(model: Classifier) -> None:
    """Raise RecipeError where no key of the optimiser changes what is learnt."""
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
    most = int(RANGES["epochs"][1])
    sizes = sorted({recipe.batch_size, *(size for size in BATCH_SIZES if size <= max(num_train, min(BATCH_SIZES)))})
    found = [
        _around("learning_rate", recipe.learning_rate),
        Dimension("batch_size", choices=tuple(sizes)),
        # whole numbers of passes: a quarter of the recipe's may be enough, and twice as many may not be
        Dimension("epochs", max(1, math.ceil(recipe.epochs / 4)), min(2 * recipe.epochs, most), log=True, whole=True),
    ]
    if recipe.model == "scratch":
        return {dimension.key: dimension for dimension in found if dimension.key in BY_HAND}
    decays = Dimension("weight_decay", choices=DECAYS)
    found.append(_around("weight_decay", recipe.weight_decay) if recipe.weight_decay else decays)
    if recipe.loss == "cross-entropy":
        found += [_up_to("label_smoothing", 0.2, recipe), Dimension("class_weights", choices=CHOICES["class_weights"])]
    if "dropout" in options_of(recipe.model):
        found.append(_up_to("dropout", 0.5, recipe))
    if rate := values_of(recipe, ["backbone_rate"])["backbone_rate"] if recipe.model == "transfer" else 0:
        found.append(Dimension("backbone_rate", tidy(rate / FACTOR), min(1.0, tidy(rate * FACTOR)), log=True))
    if recipe.optimizer == "sgd":
        found.append(_up_to("momentum", 0.99, recipe))
    found += [
        Dimension("optimizer", choices=CHOICES["optimizer"]),
        Dimension("schedule", choices=CHOICES["schedule"]),
        Dimension("flip", choices=(False, True)),
    ]
    found += [_up_to(key, most, recipe) for key, most in AUGMENTATION.items()]
    return {dimension.key: dimension for dimension in found}


def _around(key: str, value: float) -> Dimension:
    least, most = RANGES[key]
    low, high = max(least, value / FACTOR), min(most, value * FACTOR)
    return Dimension(key, min(value, tidy(low)), max(value, tidy(high)), log=True)


def _up_to(key: str, most: float, recipe: Recipe) -> Dimension:
    return Dimension(key, 0.0, max(most, values_of(recipe, [key])[key]))
