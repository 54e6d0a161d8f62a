"""Notes that a reader needs besides the numbers: findings about the data, and the recipe's cautions."""

from __future__ import annotations

from collections.abc import Iterator

from keensight.pages.findings import sentence
from keensight.values import Recipe, Splits


def notes(splits: Splits, recipe: Recipe, dataset: str) -> list[str]:
    """Return the notes on a run of `recipe` on the data set of this name: findings first, then cautions."""
    return [*map(sentence, splits.findings), *cautions(recipe, dataset)]


def cautions(recipe: Recipe, dataset: str) -> Iterator[str]:
    """Return the recipe's caution about its own data, or else one about its backbone's pretraining."""
    if recipe.model.weights and recipe.data.splits:
        yield (
            "It goes on from what an earlier run learnt, and keeps that run's splits: pictures that were held out "
            "there are held out here."
        )
    elif recipe.model.weights:
        yield (
            "It started from given weights. If they were trained on this data with another split or seed, they know "
            "pictures that are held out here, and these numbers flatter the model."
        )
    if recipe.caution and recipe.is_for(dataset):
        yield " ".join(recipe.caution.split())
    elif recipe.model.name == "transfer":
        yield (
            "The backbone was trained on ImageNet's photographs from the web. If yours come from there too, it may "
            "have seen them, and these numbers flatter the model."
        )
