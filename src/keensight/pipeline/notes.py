"""What a reader must know besides the numbers, in sentences: what was found in the data, and what the recipe says."""

from __future__ import annotations

from collections.abc import Iterator

from keensight.pages.findings import sentence
from keensight.values import Recipe, Splits


def notes(splits: Splits, recipe: Recipe, dataset: str) -> list[str]:
    """Return the notes on a run of `recipe` on the data set of this name: findings first, then cautions."""
    return [*map(sentence, splits.findings), *cautions(recipe, dataset)]


def cautions(recipe: Recipe, dataset: str) -> Iterator[str]:
    """Say what the recipe knows about the data that it was written for, or else of what its backbone has seen."""
    if recipe.model.weights:
        yield (
            "It started from given weights. Where they were learnt from this data under another split or seed, they "
            "know pictures that are held out here, and these numbers flatter the model."
        )
    if recipe.caution and recipe.is_for(dataset):
        yield " ".join(recipe.caution.split())
    elif recipe.model.name == "transfer":
        yield (
            "The backbone has learnt from ImageNet's photographs from the web. If yours come from there too, it may "
            "have met them, and these numbers flatter the model."
        )
