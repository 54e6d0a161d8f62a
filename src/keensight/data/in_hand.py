"""Labelled pictures that a caller has in hand: a Hugging Face `Dataset`, or a torch `Dataset` with `classes`.

Several in a mapping from splits' names, such as a Hugging Face `DatasetDict`, keep these splits.

They are written once, as PNG files with a manifest in the cache, named by their content: so a run can be resumed, its
list of pictures read again, and all that is known of files holds for them. Pictures of any size are accepted.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeAlias, TypeGuard, runtime_checkable

import numpy as np

from keensight.cached import cached
from keensight.data.given import as_image, pixels_in_hand
from keensight.data.layout import split_named
from keensight.data.named import NAMES
from keensight.data.stores import is_url
from keensight.errors import DataError, PictureError, UsageError, shortlist
from keensight.files import filling
from keensight.values import Uint8Array

ACCEPTED = (
    "Accepted are a Hugging Face Dataset with a column of pictures and one of labels, and a torch Dataset of (PIL "
    "image or uint8 array, label) that has `classes`; or a DatasetDict, or another mapping of them by split"
)


@runtime_checkable
class Rows(Protocol):
    """Pictures with labels, by their number."""

    def __len__(self) -> int:
        """Return how many there are."""

    def __getitem__(self, row: int, /) -> Any:
        """Return one: a mapping with a picture and a label, or the two."""


Data: TypeAlias = str | Path | Rows | Mapping[str, Rows]


def places_of(data: Data | Iterable[Data]) -> list[str | Path]:
    """Return DATA as paths and names; what is in hand is written to the cache.

    Raises DataError for pictures or labels in hand that cannot be used, and UsageError for anything else.
    """
    is_one = isinstance(data, str | Path) or _is_in_hand(data) or not isinstance(data, Iterable)
    each: list[Any] = [data] if is_one else list(data)  # type: ignore[arg-type]
    if strange := [one for one in each if not (isinstance(one, str | os.PathLike) or _is_in_hand(one))]:
        kind = type(strange[0] if isinstance(data, list | tuple) else data).__name__
        raise UsageError(f"DATA is of the type {kind}. {ACCEPTED}, and paths and names as `keensight train` has them.")
    places = [_written(one) if _is_in_hand(one) else one for one in each]
    _check_none_again(places)
    return places


def _check_none_again(places: Iterable[str | Path]) -> None:
    """Raise UsageError for a place that is an earlier one, also by another path, and for a folder inside another.

    Names and URLs are compared as they are.
    """
    seen: dict[str, str | Path] = {}
    for place in places:
        is_name = place in ("", *NAMES) or is_url(place) or "\0" in str(place)
        key = str(place) if is_name else os.path.realpath(place)
        if key in seen:
            raise UsageError(f"{place} was given twice, and each of its pictures would count twice. Give it once.")
        seen[key] = place
    for key, place in seen.items():
        outer = next((seen[str(above)] for above in Path(key).parents if str(above) in seen), None)
        if outer is not None and os.path.isdir(key):  # noqa: PTH112  # Path.is_dir raises for a name that is too long
            raise UsageError(
                f"{place} lies in {outer}, which was given too, and each of its pictures would count twice. Leave one "
                "of them out."
            )


def _is_in_hand(data: object) -> TypeGuard[Rows | Mapping[str, Rows]]:
    if isinstance(data, Mapping):
        return bool(data) and all(_is_in_hand(each) and not isinstance(each, Mapping) for each in data.values())
    return isinstance(data, Rows) and (hasattr(data, "features") or hasattr(data, "classes"))


def _written(data: Rows | Mapping[str, Rows]) -> Path:
    """Return the manifest of what is in hand, after writing it and the pictures if they are not in the cache."""
    parts = _by_split(data)
    digest = hashlib.sha256()
    for split, rows in parts.items():
        for pixels, label in _rows(rows):
            digest.update(f"{split}{label!r} {pixels.shape}\n".encode() + pixels.tobytes())
    folder = cached("datasets", f"in-hand-{digest.hexdigest()[:32]}")
    if not folder.exists():
        with filling(folder) as new:
            table = io.StringIO(newline="")
            writer = csv.writer(table, lineterminator="\n")
            writer.writerow(["file", "label", *["split"] * ("" not in parts)])
            for split, rows in parts.items():
                for row, (pixels, label) in enumerate(_rows(rows)):
                    file = f"{split and f'{split}-'}{row}.png"
                    image = as_image(pixels)
                    image.save(new / file, compress_level=1)
                    writer.writerow([file, label, *[split] * (split != "")])
            (new / "in-hand.csv").write_text(table.getvalue(), encoding="utf-8")
    return folder / "in-hand.csv"


def _by_split(data: Rows | Mapping[str, Rows]) -> Mapping[str, Rows]:
    """Return what is in hand by the names of its splits; without any, all of it under an empty name."""
    if not isinstance(data, Mapping):
        return {"": data}
    parts = {split_named(str(name)): rows for name, rows in data.items()}
    if None in parts or len(parts) < len(data):
        raise DataError(
            f"The {type(data).__name__} has the splits {shortlist([str(name) for name in data], 12)}. Accepted are "
            "train, validation and test, each once; rename them, or give one alone."
        )
    return {name: rows for name, rows in parts.items() if name}


def _rows(data: Rows) -> Iterator[tuple[Uint8Array, str]]:
    """Yield each picture, uint8 HWC, and its label."""
    names, image_key, label_key = _keys(data)
    for row in range(len(data)):
        try:
            given = data[row]
            picture, label = given[image_key], given[label_key]
        except (LookupError, TypeError, ValueError) as error:
            raise DataError(f"Row {row} of {_kind(data)} is no picture with a label ({error}). {ACCEPTED}.") from error
        if isinstance(picture, str | Path):
            raise DataError(f"Row {row} of {_kind(data)} has a path for a picture. {ACCEPTED}; or give the folder.")
        try:
            pixels = pixels_in_hand(picture)
        except PictureError as error:
            raise DataError(
                f"The picture in row {row} of {_kind(data)} cannot be used: {error}. {ACCEPTED}; without a transform "
                "to tensors."
            ) from error
        yield np.asarray(pixels, np.uint8), _label(data, row, label, names)


def _keys(data: Rows) -> tuple[list[str] | None, Any, Any]:
    """Return the classes' names, if there are any, and where in a row the picture and the label are."""
    features: Any = getattr(data, "features", None)
    if not hasattr(features, "items"):
        return [str(name) for name in data.classes], 0, 1  # type: ignore[attr-defined]
    kinds = {name: type(feature).__name__ for name, feature in features.items()}
    images = [name for name, kind in kinds.items() if kind == "Image"]
    labels = [name for name, kind in kinds.items() if kind == "ClassLabel"] or [n for n in kinds if n == "label"]
    if len(images) != 1 or len(labels) != 1:
        raise DataError(
            f"The Dataset has the columns {shortlist([f'{name} ({kind})' for name, kind in kinds.items()], 12)}. One "
            "of Image, and one of ClassLabel or called label, are accepted; choose them with select_columns."
        )
    names = getattr(features[labels[0]], "names", None)
    return list(names) if names else None, images[0], labels[0]


def _label(data: Rows, row: int, label: Any, names: list[str] | None) -> str:
    if names is None:
        return str(label)
    if isinstance(label, str) and label in names:
        return label
    try:
        number = int(label)
        if number != label or not 0 <= number < len(names):
            raise ValueError
    except (TypeError, ValueError):
        raise DataError(
            f"Row {row} of {_kind(data)} has the label {label!r}; accepted are 0 to {len(names) - 1}, the places of "
            f"{shortlist(names)}. Leave out rows without a label."
        ) from None
    return names[number]


def _kind(data: Rows) -> str:
    return f"the {type(data).__name__}"
