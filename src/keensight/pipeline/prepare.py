"""The start of training, tuning and a range test: decoded pictures, their splits, and a fresh model."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from keensight.care.cheap import cheap_findings
from keensight.care.unconfirmed import unconfirmed_labels
from keensight.data.cache import choose_preprocessing, decode
from keensight.data.decided import finding_of
from keensight.data.detail import blown_up
from keensight.data.kept import keep_splits
from keensight.data.rare import common_classes
from keensight.data.shard_index import is_shards
from keensight.data.sources import only
from keensight.data.splits import split
from keensight.errors import DataError
from keensight.models.classifier import Classifier
from keensight.models.external import expected_of, is_external
from keensight.pages.findings import sentence
from keensight.pipeline.notes import notes, pictures_of_backbone
from keensight.pipeline.onwards import bundle_behind, preprocessing_of, take_over
from keensight.pipeline.watch import Watcher, account
from keensight.training.pieces import with_pieces
from keensight.training.recipe import with_epochs
from keensight.training.trainers import check_fits, fresh
from keensight.values import Dataset, Finding, Pixels, Recipe, Splits


@dataclass(frozen=True, slots=True, eq=False)
class Material:
    """Decoded pictures, their splits, the recipe with its epochs chosen, and its untrained model."""

    pixels: Pixels
    splits: Splits
    recipe: Recipe
    model: Classifier


def prepare(
    dataset: Dataset, recipe: Recipe, watcher: Watcher, *, choosing: bool = False, workers: int = 1
) -> Material:
    """Decode and divide a dataset as a recipe says, and build its model.

    With `choosing`, settings are only chosen: the test split is drawn but dropped, no cautions are given, and the
    number of pieces stays open.

    Raises RecipeError if the recipe does not fit the data, DataError if the data cannot be divided.
    """
    settings, whole = recipe.data, dataset
    if settings.splits:
        dataset = keep_splits(dataset, Path(settings.splits), needed=not recipe.model.weights)
    if settings.skip_rare and not settings.classes:
        kept = common_classes(dataset, settings.val_fraction, settings.test_fraction, recipe.seed)
        recipe = recipe if kept == dataset.class_names else recipe.having(classes=kept)
    if recipe.data.classes:
        dataset = only(dataset, recipe.data.classes)
    watcher.found(dataset, recipe.data.label_pattern)
    backbone = str(recipe.model.options.get("backbone", ""))
    if recipe.model.name == "transfer" and is_external(backbone) and not recipe.data.size:
        expected = expected_of(backbone)
        recipe = recipe.having(size=expected.size_px, fit=expected.fit)  # what it was trained with
        watcher.note(pictures_of_backbone(backbone, expected))
    preprocessing = choose_preprocessing(dataset, recipe)
    if bundle := bundle_behind(recipe):
        preprocessing = preprocessing_of(bundle, preprocessing)
        model = fresh(recipe.having(weights=""), preprocessing, dataset.class_names)
        watcher.note(take_over(model, bundle, recipe, preprocessing, dataset.class_names))
    else:
        model = fresh(recipe, preprocessing, dataset.class_names)  # refuses a model that does not fit, before any work
    pixels = decode(dataset, preprocessing, watcher.pictures)
    if settings.damaged == "stop":
        _stop_if_damaged(pixels.dataset, dataset)
    splits = split(
        pixels, val_fraction=recipe.data.val_fraction, test_fraction=recipe.data.test_fraction, seed=recipe.seed
    )
    if settings.skip_rare and (rare := _left_out(whole, dataset)):
        splits = replace(splits, findings=(*splits.findings, rare))
    if not choosing:
        cheap = (blown_up(pixels.dataset), *cheap_findings(pixels))
        splits = replace(splits, findings=(*splits.findings, *filter(None, cheap)))
    findings = [sentence(finding) for finding in splits.findings]
    for note in findings if choosing else notes(splits, recipe, dataset.name):
        watcher.note(note)
    if choosing:
        splits = replace(splits, test=None)
    watcher.skipped(pixels.dataset, listed_in="" if choosing else "the report")
    # the watcher has told these two already
    told = (unconfirmed_labels(pixels.dataset), finding_of(dataset.decisions))
    splits = replace(splits, findings=(*splits.findings, *filter(None, told)))
    recipe = with_epochs(recipe, model, splits)
    recipe = recipe if choosing else with_pieces(recipe, model, len(splits.train), workers)
    if workers > 1:
        check_fits(recipe, model, dataset.class_names)  # once more, as not every network can be cut into pieces
    return Material(pixels, splits, recipe, model)


def _stop_if_damaged(read: Dataset, listed: Dataset) -> None:
    """Raise DataError if a picture could not be read. What else lies beside pictures was never one."""
    damaged = read.skipped if is_shards(listed.root) else read.skipped[len(listed.skipped) :]
    if damaged:
        raise DataError(
            f"{listed.name} is damaged: {account(damaged)}. Put it right, or train on the rest: leave out damaged=stop."
        )


def _left_out(whole: Dataset, dataset: Dataset) -> Finding | None:
    counts = Counter(whole.class_names[sample.label] for sample in whole.samples)
    left_out = {name: counts[name] for name in whole.class_names if name not in dataset.class_names}
    return Finding("rare", evidence={"left_out": left_out}) if left_out else None
