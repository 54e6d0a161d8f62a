"""What settings are chosen with: training and validation pictures, and never the test split."""

from __future__ import annotations

from dataclasses import dataclass, replace

from keensight.data.cache import choose_preprocessing, decode, fingerprint
from keensight.data.sources import only
from keensight.data.splits import split
from keensight.pipeline.watch import Watcher
from keensight.training.recipe import with_epochs
from keensight.training.trainers import fresh
from keensight.values import Dataset, Recipe, Splits


@dataclass(frozen=True, slots=True)
class Material:
    """Pictures without a test split, the recipe with its epochs known, and a digest of the pictures and labels."""

    splits: Splits
    recipe: Recipe
    fingerprint: str


def prepare(dataset: Dataset, recipe: Recipe, watcher: Watcher) -> Material:
    """Decode and divide a dataset as `train` does with the same recipe, and let go of its test split.

    Raises RecipeError where the recipe does not fit the data, DataError where the data cannot be divided.
    """
    if recipe.classes:
        dataset = only(dataset, recipe.classes)
    preprocessing = choose_preprocessing(dataset, recipe)
    model = fresh(recipe, preprocessing, dataset.class_names)
    pixels = decode(dataset, preprocessing, watcher.pictures)
    splits = split(pixels, val_fraction=recipe.val_fraction, test_fraction=recipe.test_fraction, seed=recipe.seed)
    for note in splits.notes:
        watcher.note(note)
    watcher.skipped(pixels.dataset)
    splits = replace(splits, test=None)
    return Material(splits, with_epochs(recipe, model, splits), fingerprint(pixels.dataset))
