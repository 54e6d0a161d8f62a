"""A folder whose pictures a metadata.csv or metadata.jsonl in it labels, as Hugging Face's imagefolder has them.

The file lies beside the pictures, or in each folder of a split: train/metadata.csv, test/metadata.csv.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from keensight.data.folders import list_folder
from keensight.data.layout import split_named
from keensight.data.listing import Listing
from keensight.data.manifest_rows import rows
from keensight.data.manifests import list_manifest
from keensight.errors import DataError
from keensight.values import SplitName

NAMES = ("metadata.csv", "metadata.jsonl")


def is_metadata_folder(path: Path) -> bool:
    """Say whether a folder has a metadata file that labels its pictures."""
    return path.is_dir() and bool(_files(path))


def list_metadata_folder(path: Path, pattern: str | None) -> Listing:
    """List and hash the pictures that the metadata name. Raises DataError as `list_manifest` does.

    A label pattern goes before: the folder is then one like any other.
    """
    if pattern:
        return list_folder(path, pattern)
    whole = Listing(path.name, path, "folder", [], {}, {})
    for split, file in _files(path):
        some = list_manifest(file, None)
        before = file.parent.relative_to(path).as_posix() + "/" if split else ""
        whole = replace(
            whole,
            entries=[
                *whole.entries,
                *(each._replace(path=before + each.path, split=split or each.split) for each in some.entries),
            ],
            hashes={**whole.hashes, **{before + name: sha256 for name, sha256 in some.hashes.items()}},
            unusable={**whole.unusable, **{before + name: why for name, why in some.unusable.items()}},
            skipped=[*whole.skipped, *(replace(each, path=before + each.path) for each in some.skipped)],
        )
    return whole


def _files(folder: Path) -> list[tuple[SplitName | None, Path]]:
    """Return the metadata files that give labels, with the split that each is for."""
    if file := _file_in(folder):
        return [(None, file)]
    with suppress(OSError):
        inner = [(split_named(each.name), each) for each in sorted(folder.iterdir()) if split_named(each.name)]
        found = [(split, file) for split, each in inner if (file := _file_in(each))]
        return found if len(found) == len(inner) else []
    return []


def _file_in(folder: Path) -> Path | None:
    """Return a folder's metadata file, unless it gives no labels: captions and boxes are kept in such files, too."""
    for file in (folder / name for name in NAMES):
        with suppress(DataError):
            if file.is_file() and {"file", "label"} <= set(next(rows(file), (0, {}))[1]):
                return file
    return None
