"""Labelled pictures for existing bundles: DATA with their labels, and the splits of their training."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from keensight.bundle.read import Bundle
from keensight.data.cache import fingerprint
from keensight.data.kept import splits_by_content
from keensight.data.layout import split_named
from keensight.data.looks import looks
from keensight.data.sources import only, open_dataset
from keensight.data.splits import BY_PIXELS, assign, read_splits
from keensight.errors import DataError, PatternError, UsageError
from keensight.values import SPLIT_NAMES, Dataset, IntArray, Pixels, Split, SplitName
from keensight.values.recipe import flattened
from keensight.workspace import RunFolder


def open_for(
    data: str | Path | Iterable[str | Path], bundles: Sequence[Bundle], label_pattern: str | None = None
) -> Dataset:
    """Open DATA as it was opened for training, with the first bundle's classes in its order.

    All `bundles` know the same labels. If one of them learnt only some of its data's classes (the recipe's `classes`),
    pictures of the others are left out; if one took labels from file names, its pattern is tried as well.

    Raises DataError if the data cannot be used, or has labels that the bundles do not know.
    """
    recipes = [flattened(bundle.info.recipe or {}) for bundle in bundles]
    is_part = any(recipe.get("classes") for recipe in recipes)
    labels = bundles[0].labels

    def opened(pattern: str | None) -> Dataset:
        if is_part:
            with suppress(DataError):  # it does not have all of them; some may be enough
                return only(open_dataset(data, label_pattern=pattern), labels)
        return open_dataset(data, label_pattern=pattern, class_names=labels)

    try:
        return opened(label_pattern)
    except DataError as error:
        learnt = next((recipe["label_pattern"] for recipe in recipes if recipe.get("label_pattern")), None)
        if label_pattern or not learnt:
            raise
        try:
            return opened(learnt)
        except PatternError:
            raise DataError(
                f"{error} (The label pattern with which the bundle was trained, '{learnt}', fits none of the names "
                "either; --label-pattern gives another.)"
            ) from None


def split_asked(name: str | None) -> SplitName | None:
    """Return the split that a user asked for, by any of its names, or None. Raises UsageError for an unknown one."""
    split = None if name is None else split_named(name)
    if name is not None and split is None:
        raise UsageError(f"There is no split '{name}'. It can be {', '.join(SPLIT_NAMES)}.")
    return split


def known_splits(pixels: Pixels, bundle: Bundle) -> NDArray[np.str_]:
    """Return each sample's split: as drawn for training if this is the training data, else its own, or "" for none.

    `pixels` are decoded as the bundle says, with its classes in its order.
    """
    dataset, trained = pixels.dataset, bundle.info.data  # the latter is unknown for an imported model
    if trained and not trained.get("by_hand") and fingerprint(dataset) == trained["sha256"]:
        fractions, draw = (trained["val_fraction"], trained["test_fraction"]), trained.get("draw", 1)
        seen = looks(pixels)[0] if draw >= BY_PIXELS else None
        return assign(dataset, *fractions, trained["seed"], seen, draw)[0]
    listed = RunFolder(bundle.path.parent).splits
    if trained and trained.get("listed") and listed.is_file():
        known = splits_by_content(read_splits(listed))
        return np.array([known.get(sample.sha256, "") for sample in dataset.samples])
    return np.array([sample.split or "" for sample in dataset.samples])


def no_such_split(dataset: Dataset, name: str) -> DataError:
    """Return the error for a split `name` that neither the data nor the bundle has."""
    own = sorted({sample.split for sample in dataset.samples if sample.split})
    held = f"has the splits {', '.join(own)}" if own else "has no splits of its own"
    return DataError(
        f"{dataset.name} has no {name} split: it {held}, and it is not the data that the bundle was trained on, so "
        "the training's splits cannot be drawn again. Leave --split out to use all of it."
    )


def part_of(pixels: Pixels, members: IntArray) -> Split:
    """Return the samples with these indices as a split."""
    samples = [pixels.dataset.samples[i] for i in members]
    labels = np.array([sample.label for sample in samples], np.int64)
    return Split(pixels.images, pixels.rows[members], labels, tuple(sample.path for sample in samples))


def count_learnt(bundle: Bundle, hashes: Iterable[str]) -> int:
    """Count the pictures, by sha256, that the run learnt from, if the bundle is still in its run folder.

    Raises RunError if that folder's list of pictures is damaged.
    """
    file = RunFolder(bundle.path.parent).splits
    if not file.is_file():
        return 0
    trained = {each.sha256 for each in read_splits(file) if each.split == "train"}
    return sum(sha256 in trained for sha256 in hashes)
