"""What training, tuning and a range test begin with: decoded pictures, their splits, and a fresh model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from keensight.data.cache import choose_preprocessing, decode
from keensight.data.sources import only
from keensight.data.splits import split
from keensight.models.classifier import Classifier
from keensight.pipeline.watch import Watcher
from keensight.training.recipe import with_epochs
from keensight.training.trainers import fresh
from keensight.values import Dataset, Pixels, Recipe, Splits


@dataclass(frozen=True, slots=True, eq=False)
class Material:
    """Decoded pictures, their splits, the recipe with its epochs known, and its model, which has learnt nothing yet."""

    pixels: Pixels
    splits: Splits
    recipe: Recipe
    model: Classifier


def prepare(dataset: Dataset, recipe: Recipe, watcher: Watcher, *, choosing: bool = False) -> Material:
    """Decode and divide a dataset as a recipe says, and build its model.

    Where settings are only chosen, with `choosing`, the test split is drawn and let go of, and no cautions are told.

    Raises RecipeError where the recipe does not fit the data, DataError where the data cannot be divided.
    """
    if recipe.data.classes:
        dataset = only(dataset, recipe.data.classes)
    preprocessing = choose_preprocessing(dataset, recipe)
    model = fresh(recipe, preprocessing, dataset.class_names)  # what does not fit is refused before any work
    pixels = decode(dataset, preprocessing, watcher.pictures)
    splits = split(
        pixels, val_fraction=recipe.data.val_fraction, test_fraction=recipe.data.test_fraction, seed=recipe.seed
    )
    told = () if choosing else _cautions(dataset, recipe)
    splits = replace(splits, test=None if choosing else splits.test, notes=(*splits.notes, *told))
    for note in splits.notes:
        watcher.note(note)
    watcher.skipped(pixels.dataset, listed_in="" if choosing else "the report")
    return Material(pixels, splits, with_epochs(recipe, model, splits), model)


def _cautions(dataset: Dataset, recipe: Recipe) -> Iterator[str]:
    """Say what the recipe knows about the data that it was written for, or else of what its backbone has seen."""
    if recipe.model.weights:
        yield (
            "It started from given weights. Where they were learnt from this data under another split or seed, they "
            "know pictures that are held out here, and these numbers flatter the model."
        )
    if recipe.caution and recipe.is_for(dataset.name):
        yield " ".join(recipe.caution.split())
    elif recipe.model.name == "transfer":
        yield (
            "The backbone has learnt from ImageNet's photographs from the web. If yours come from there too, it may "
            "have met them, and these numbers flatter the model."
        )
