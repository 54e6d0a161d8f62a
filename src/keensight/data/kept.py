"""Who was where: the splits of an earlier run, by the pictures' content, for data that has grown since."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from keensight.data.splits import Listed, read_splits
from keensight.errors import RunError
from keensight.values import Dataset, SplitName
from keensight.workspace import BUNDLE, RunFolder

STRICTEST: tuple[SplitName, ...] = ("test", "val", "train")  # of two splits that held one picture, the first counts


def list_of(path: Path) -> Path:
    """Return the list of pictures of a run, given that list, the run's folder, or its bundle's folder."""
    if path.is_dir():
        path = path.parent if path.name == BUNDLE and RunFolder(path.parent).splits.exists() else path
        return RunFolder(path).splits
    return path


def keep_splits(dataset: Dataset, path: Path, needed: bool = True) -> Dataset:
    """Return the dataset with the split that each picture had in the list at `path`; others keep their own, or none.

    Raises RunError if there is no such list, or, where that is `needed`, none of its pictures is here.
    """
    if not path.is_file():
        raise RunError(
            f"There is no list of pictures {path}. Give a run's folder, its bundle, or its splits.jsonl: "
            "--set splits=runs/NAME."
        )
    known = splits_by_content(read_splits(path))
    samples = tuple(
        replace(sample, split=known[sample.sha256]) if sample.sha256 in known else sample for sample in dataset.samples
    )
    if needed and not any(sample.sha256 in known for sample in samples):
        raise RunError(
            f"None of the {len(known):,} pictures in {path} is in {dataset.name}, so no split can be kept. Give the "
            "old pictures beside the new ones (`keensight train OLD NEW`), or leave splits out."
        )
    return replace(dataset, samples=samples)


def splits_by_content(listed: Iterable[Listed]) -> dict[str, SplitName]:
    """Return each picture's split, by its sha256; of two, the one that keeps it from training counts."""
    known: dict[str, SplitName] = {}
    for each in listed:
        known[each.sha256] = min(each.split, known.get(each.sha256, each.split), key=STRICTEST.index)
    return known
