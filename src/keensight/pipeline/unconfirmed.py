"""Gathered pictures whose labels nobody has looked at."""

from __future__ import annotations

from contextlib import suppress

from keensight.errors import DataError
from keensight.values import Dataset


def unconfirmed_note(dataset: Dataset) -> str:
    """Say how many labels are only a search's guess, or nothing where there are none."""
    from keensight.care.gather.folder import JOURNAL  # which --help need not load
    from keensight.care.gather.manifest import MANIFEST, unconfirmed

    guessed: dict[str, str] = {}
    if (dataset.root / JOURNAL).is_file():
        with suppress(DataError):  # whatever is wrong with it, `gather` says so; the pictures can be used
            guessed = unconfirmed(dataset.root / MANIFEST)
    names = dataset.class_names
    count = sum(guessed.get(sample.sha256) == names[sample.label] for sample in dataset.samples)
    if not count:
        return ""
    return (
        f"{count:,} of {len(dataset.samples):,} labels are a search's guess, and nobody has looked at them. `keensight "
        "clean` notes which are confirmed (docs/gather.md)."
    )
