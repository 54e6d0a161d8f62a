"""A bundle and the labelled pictures that it is measured, attacked or certified on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from typing import TypeGuard

import numpy as np

from keensight.bundle.read import Bundle
from keensight.data.cache import decode
from keensight.data.in_hand import Data, places_of
from keensight.errors import UsageError, counted
from keensight.inference.predictor import Predictor, load
from keensight.pipeline.labelled import count_learnt, known_splits, no_such_split, open_for, part_of, split_asked
from keensight.pipeline.watch import Watcher
from keensight.values import IntArray, Pixels, Split, SplitName


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """An opened bundle, and a split of some data with labels in its order; the split is "all" if the data has none."""

    predictor: Predictor
    data: str
    split: str
    pictures: Split
    notes: tuple[str, ...] = ()  # what a reader of its numbers should know; told already

    @property
    def bundle(self) -> Bundle:
        """The content of its bundle.json."""
        return self.predictor.bundle


def open_part(
    bundle: str | Path,
    data: Data | Iterable[Data],
    split: str | None,
    label_pattern: str | None,
    key: str | Path | None,
    watcher: Watcher,
) -> Part:
    """Open a bundle, and one split of DATA: the one asked for, else test, val or train, the first that there is.

    For the data that the bundle was trained on, the same splits are drawn again. Notes what a reader should know: no
    signature, pictures left out, pictures that the model learnt from.

    Raises UsageError for an unknown split, DataError for data that cannot be used or has labels that the bundle does
    not know, BundleError for a bundle that cannot be used, GateError for one that is not what `key` signed.
    """
    name = split_asked(split)
    predictor = load(bundle, key)
    known = predictor.bundle
    watcher.opened(known)
    places = places_of(data)
    pixels = decode(open_for(places, [known], label_pattern), known.preprocessing, watcher.pictures)
    watcher.skipped(pixels.dataset)
    chosen, members = _choose(pixels, name, known)
    samples = [pixels.dataset.samples[i] for i in members]
    notes = []
    if learnt := count_learnt(known, [sample.sha256 for sample in samples]):
        notes.append(
            f"{learnt:,} of {counted(len(members), 'picture')} {'was' if learnt == 1 else 'were'} among those that the "
            "model learnt from, so these numbers are too good. Measure on others; --split test takes those held out of "
            "the training data."
        )
        watcher.note(notes[0])
    return Part(predictor, " ".join(map(str, places)), chosen, part_of(pixels, members), tuple(notes))


def _choose(pixels: Pixels, name: SplitName | None, bundle: Bundle) -> tuple[str, IntArray]:
    """Return the split's name and the indices of its samples."""
    dataset = pixels.dataset
    if name is None and not any(sample.split for sample in dataset.samples):
        return "all", np.arange(len(dataset.samples))
    splits = known_splits(pixels, bundle)
    chosen: str = name or next(n for n in ("test", "val", "train") if (splits == n).any())
    members = np.flatnonzero(splits == chosen)
    if not len(members):
        raise no_such_split(dataset, chosen)
    return chosen, members


def checked_seed(seed: int) -> int:
    """Return a seed. Raises UsageError unless it is from 0 to 2^32 - 1, as a recipe's."""
    if not 0 <= seed < 2**32:
        raise UsageError(f"--seed is {seed}. Give a whole number from 0 to {2**32 - 1}.")
    return seed


def checked_count(option: str, count: object) -> int:
    """Return a whole number of 1 or more. Raises UsageError, with the option's name, for anything else."""
    if not is_count(count):
        raise UsageError(f"{option} is {count!r}. Give a whole number of at least 1, such as {option} 100.")
    return int(count)


def is_count(count: object, least: int = 1) -> TypeGuard[Integral]:
    """Say whether something is a whole number of so many or more; a truth value is none."""
    return isinstance(count, Integral) and not isinstance(count, bool) and int(count) >= least
