"""Shortcuts: what tells classes apart without looking at what pictures show, so that a model may learn just that.

A small decision tree learns from one group of facts at a time (the file's size, its format, the camera...), and is
asked about pictures that it has not learnt from. Groups that no content can explain are accused at a quarter of the
way from the floor to no mistakes; those that content may explain (borders, corners, colours) from half or more of it.
Shape letters: N pictures, F facts, H height, W width, C channels, K classes.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from keensight.care.containers import parts_of
from keensight.care.exif import exif_of, private
from keensight.data.formats import formats_of
from keensight.data.sources import reader
from keensight.errors import PictureError
from keensight.evaluation.metrics import accuracy_interval
from keensight.training.folds import folds
from keensight.values import Dataset, Finding, FloatArray, IntArray, Pixels

FOLDS, DEPTH = 5, 4
LEAST = 10  # pictures of each class
MOST = 20_000  # pictures that are looked at
AT_A_TIME = 512


@dataclass(frozen=True, slots=True)
class Group:
    """Facts that are looked at together: by name, how much of the way from floor to 1 accuses, how sure that is."""

    facts: tuple[str, ...]
    gain: float
    sure: float


FILE_FACTS = ("width", "height", "shape", "format", "mode", "tables", "sampling", "bytes", "density", "camera")
GROUPS: Mapping[str, Group] = {
    "size": Group(("width", "height", "shape"), 0.25, 0.9),
    "format": Group(("format", "mode"), 0.25, 0.95),
    "jpeg": Group(("tables", "sampling"), 0.25, 0.95),
    "camera": Group(("camera",), 0.25, 0.9),
    "bytes": Group(("bytes", "density"), 0.6, 0.7),  # busy pictures have more bytes: content explains some
    "border": Group(("border",), 0.5, 0.7),
    "corners": Group(("corners",), 0.5, 0.7),
    "colour": Group(("colour",), 0.8, 0.5),
}


def shortcuts(
    pixels: Pixels, units_N: IntArray | None = None, seed: int = 0, groups: Mapping[str, Group] = GROUPS
) -> Iterator[Finding]:
    """Yield a finding for each group of facts by which classes are told apart, the strongest first.

    `units_N` numbers what stays together in a fold, and `groups` are looked at. `evidence` has the accuracy of the
    group alone, its interval, and the `floor`: the share of the largest class.
    """
    samples = pixels.dataset.samples
    rows = np.arange(len(samples)) if len(samples) <= MOST else np.linspace(0, len(samples) - 1, MOST).astype(np.int64)
    labels_N = np.array([samples[i].label for i in rows], np.int64)
    counts_K = np.bincount(labels_N, minlength=len(pixels.dataset.class_names))
    if counts_K.min() < LEAST:
        return
    units_N = np.arange(len(samples)) if units_N is None else units_N
    facts = _facts_of_files(pixels.dataset, rows)
    if any(fact not in FILE_FACTS for group in groups.values() for fact in group.facts):
        facts |= _facts_of_pixels(pixels, rows)
    floor, found = counts_K.max() / len(rows), list[Finding]()
    for name, group in groups.items():
        known = [facts[each] for each in group.facts if each in facts]
        if not known or not np.ptp(facts_NF := np.concatenate(known, axis=1), axis=0).any():
            continue
        right = int((out_of_fold(facts_NF, labels_N, units_N[rows], seed) == labels_N).sum())
        low, high = accuracy_interval(right, len(rows))
        accuracy = right / len(rows)
        if low > floor and accuracy - floor > group.gain * (1 - floor):
            evidence = {
                "what": name, "accuracy": round(accuracy, 4), "accuracy_low": round(low, 4),
                "accuracy_high": round(high, 4), "floor": round(float(floor), 4), "share": accuracy - floor,
            }  # fmt: skip
            found.append(Finding("shortcut", (), group.sure, evidence))
    yield from sorted(found, key=lambda each: -each.evidence["accuracy"] * each.score)


def out_of_fold(facts_NF: FloatArray, labels_N: IntArray, units_N: IntArray, seed: int) -> IntArray:
    """Return what small trees say of pictures that they have not learnt from, labels N."""
    from sklearn.tree import DecisionTreeClassifier  # here, as its import takes a second, and arrays have no files

    said_N = np.zeros(len(labels_N), np.int64)
    for learnt, held_out in folds(labels_N, units_N, FOLDS, seed):
        tree = DecisionTreeClassifier(max_depth=DEPTH, min_samples_leaf=max(3, len(learnt) // 500), random_state=seed)
        said_N[held_out] = tree.fit(facts_NF[learnt], labels_N[learnt]).predict(facts_NF[held_out])
    return said_N


def _facts_of_files(dataset: Dataset, rows: IntArray) -> dict[str, FloatArray]:
    """Return facts N1 of the files by name, without any for arrays; what cannot be read is -1."""
    if dataset.kind == "arrays":
        return {}
    facts_NF = np.full((len(rows), len(FILE_FACTS)), -1.0)
    with reader(dataset) as read:
        for i, row in enumerate(rows):
            try:
                picture = read(dataset.samples[row])
            except PictureError:
                continue
            if isinstance(picture, bytes):
                facts_NF[i] = _facts(picture)
    return {name: facts_NF[:, [f]] for f, name in enumerate(FILE_FACTS)}


def _facts(picture: bytes) -> Sequence[float]:
    try:
        with Image.open(io.BytesIO(picture), formats=formats_of(picture)) as image:
            width, height, kind, mode = *image.size, image.format or "", image.mode
            tables = [level for _, table in sorted(getattr(image, "quantization", {}).items()) for level in table]
            layers = [layer[1:3] for layer in getattr(image, "layer", [])]
    except Exception:  # Pillow's parsers may raise anything for a hostile file
        return [-1.0] * len(FILE_FACTS)
    parts = parts_of(picture)
    camera = private(exif_of(picture, parts.exif), parts.xmp).camera
    return (
        width, height, width / height, _number(kind), _number(mode), float(np.mean(tables or [0])),
        _number(str(layers)), len(picture), len(picture) / (width * height), _number(camera),
    )  # fmt: skip


def _number(text: str) -> float:
    """Return a number that is the same for the same text: a tree may cut between any two."""
    return float(zlib.crc32(text.encode())) if text else 0.0


def _facts_of_pixels(pixels: Pixels, rows: IntArray) -> dict[str, FloatArray]:
    """Return facts NF of the outermost pixels, the corners, and the colours, by name."""
    parts: dict[str, list[FloatArray]] = {"border": [], "corners": [], "colour": []}
    height, width = pixels.images.shape[1:3]
    edge, corner = max(1, min(height, width) // 32), max(2, min(height, width) // 6)
    for first in range(0, len(rows), AT_A_TIME):
        images_NHWC = pixels.images[pixels.rows[rows[first : first + AT_A_TIME]]].astype(np.float32)
        sides = [images_NHWC[:, :edge], images_NHWC[:, -edge:], images_NHWC[:, :, :edge], images_NHWC[:, :, -edge:]]
        rim_NPC = np.concatenate([side.reshape(len(side), -1, side.shape[-1]) for side in sides], axis=1)
        parts["border"].append(_spread(rim_NPC))
        ends = (slice(0, corner), slice(-corner, None))
        squares = [images_NHWC[:, top, left] for top in ends for left in ends]
        corners = [square.reshape(len(square), -1, square.shape[-1]) for square in squares]
        parts["corners"].append(np.concatenate([_spread(each) for each in corners], axis=1))
        parts["colour"].append(images_NHWC.mean(axis=(1, 2)))
    return {name: np.concatenate(each) for name, each in parts.items()}


def _spread(pixels_NPC: FloatArray) -> FloatArray:
    """Return the mean of each channel and the spread of all levels."""
    return np.concatenate([pixels_NPC.mean(axis=1), pixels_NPC.std(axis=(1, 2))[:, None]], axis=1)
