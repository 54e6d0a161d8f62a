"""What settings are chosen with: training and validation pictures, a fresh network, and never the test split."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from keensight.data.cache import choose_preprocessing, decode, fingerprint
from keensight.data.sources import only
from keensight.data.splits import split
from keensight.models.zoo import Classifier, build
from keensight.training.checkpoint import load_weights
from keensight.training.recipe import with_epochs
from keensight.training.trainers import check_fits
from keensight.values import Dataset, Preprocessing, Recipe, Splits
from keensight.verbs.watch import Watcher


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
    model = fresh(recipe, preprocessing, len(dataset.class_names))
    check_fits(recipe, model, dataset.class_names)
    pixels = decode(dataset, preprocessing, watcher.pictures)
    splits = split(pixels, val_fraction=recipe.val_fraction, test_fraction=recipe.test_fraction, seed=recipe.seed)
    for note in splits.notes:
        watcher.note(note)
    watcher.skipped(pixels.dataset)
    splits = replace(splits, test=None)
    return Material(splits, with_epochs(recipe, model, splits), fingerprint(pixels.dataset))


def fresh(recipe: Recipe, preprocessing: Preprocessing, num_classes: int) -> Classifier:
    """Return the network that a run of `recipe` begins with."""
    model = build(recipe.model, recipe.options, preprocessing, num_classes, recipe.seed)
    if recipe.weights:
        load_weights(Path(recipe.weights), model)
    return model
