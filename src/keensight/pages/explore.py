"""An exploration as one HTML page that needs no network and no other file: samples, a map, facts about each class.

The map is drawn by a script (explore.js) from sheets of small pictures, so that 30,000 of them stay fluid.
Shape letters: N pictures, K classes, B bins, H height, W width, C channels.
"""

from __future__ import annotations

import base64
import colorsys
import io
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from PIL import Image

from keensight.care.overview import Overview
from keensight.care.quality import Look
from keensight.errors import PictureError, shortlist
from keensight.pages.audit import TITLES, Read
from keensight.pages.pictures import file_data_uri
from keensight.pages.report import render, script
from keensight.values import SPLIT_NAMES, Finding, FloatArray, IntArray, Pixels, Uint8Array

MOST_ON_MAP = 30_000  # pictures; of more, these are spread evenly over all
MOST_CLASSES = 200  # with pictures of their own on the page
THUMB_PX = ((12_000, 64), (MOST_ON_MAP, 48))  # a picture's side on the map, by how many there are
SHEET, QUALITY = 16, 70  # pictures along a sheet's side; of its JPEG
SAMPLE_PX = 84
BINS = 10
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#a68a00", "#56a0d3", "#7a5195", "#8c564b", "#5b8c00", "#e0457b")


@dataclass(frozen=True, slots=True)
class ClassLook:
    """What pictures of a class are like. Brightness is in [0, 1], in ten bins; `colour` is their mean, as #rrggbb."""

    name: str
    pictures: int
    splits: dict[str, int]
    width_px: int
    height_px: int
    formats: dict[str, int]
    grey: float
    colour: str
    brightness: float
    bins: tuple[int, ...]
    looks_like: tuple[tuple[str, float], ...]


def render_html(
    pixels: Pixels, seen: Overview, look: Look, findings: Sequence[Finding], read: Read, data: str
) -> tuple[str, tuple[ClassLook, ...]]:
    """Return the page, and what it says of each class. `read` gives a sample's picture as its file has it."""
    samples, names = pixels.dataset.samples, pixels.dataset.class_names
    labels_N = np.array([sample.label for sample in samples], np.int64)
    classes = class_looks(pixels, seen, look, labels_N)
    on_map = np.arange(len(samples))
    if len(samples) > MOST_ON_MAP:
        on_map = np.arange(MOST_ON_MAP) * len(samples) // MOST_ON_MAP
    on_map = on_map[neighbours_first(seen.places[on_map], SHEET * SHEET)]
    marks = _marks(findings)
    side = next((px for most, px in THUMB_PX if len(on_map) <= most))
    height, width = _thumb(pixels, side)
    facts = {
        "tile": [width, height],
        "columns": SHEET,
        "names": list(names),
        "colours": colours(len(names)),
        "places": _packed(np.round(seen.places[on_map] * 65535)),
        "labels": _packed(labels_N[on_map]),
        "paths": [samples[i].path for i in on_map],
        "splits": [samples[i].split or "" for i in on_map],
        "marks": {str(at): marks[samples[i].path] for at, i in enumerate(on_map) if samples[i].path in marks},
    }
    html = render(
        "pages/explore.html",
        name=pixels.dataset.name,
        data=data,
        num_pictures=len(samples),
        num_on_map=len(on_map),
        classes=classes,
        colours=facts["colours"],
        grids=_grids(pixels, seen, labels_N, read),
        most_classes=MOST_CLASSES,
        sizes=_sizes(look),
        marked=_counts(findings),
        why_not=seen.why_not,
        facts=facts,
        sheets=list(sheets(pixels, on_map, (height, width))),
        script=script("pages/explore.js"),
    )
    return html, classes


def in_words(looked: Mapping[str, Any]) -> str:
    """Say what pictures of a class are like, given a ClassLook's fields."""
    like = ", ".join(f"{name} {share:.0%}".replace("%", " %") for name, share in looked["looks_like"])
    size = f"about {looked['width_px']}×{looked['height_px']} px, " if looked["width_px"] else ""
    made = shortlist([f"{kind} {count:,}" for kind, count in looked["formats"].items()], 3)
    count = looked["pictures"]
    what = f"{count:,} picture{'' if count == 1 else 's'}, {size}{made}, brightness {looked['brightness']:.2f}"
    return f"{what}; looks like {like}" if like else what


def class_looks(pixels: Pixels, seen: Overview, look: Look, labels_N: IntArray) -> tuple[ClassLook, ...]:
    """Return what the pictures of each class are like."""
    samples = pixels.dataset.samples
    bright_N, colour_N3 = _light(pixels)
    answer = []
    for k, name in enumerate(pixels.dataset.class_names):
        members = np.flatnonzero(labels_N == k)
        sides = look.sides[members]
        sides = sides[sides[:, 0] > 0]
        height, width = np.median(sides, axis=0) if len(sides) else (0, 0)
        splits = Counter(samples[i].split for i in members)
        mean_3 = colour_N3[members].mean(axis=0) if len(members) else np.zeros(3)
        formats = Counter(_format(samples[i].path, pixels.dataset.kind == "arrays") for i in members)
        answer.append(
            ClassLook(
                name=name,
                pictures=len(members),
                splits={split: splits[split] for split in SPLIT_NAMES if splits[split]},
                width_px=round(float(width)),
                height_px=round(float(height)),
                formats=dict(formats.most_common()),
                grey=round(float((look.colour[members] < 1).mean()), 4) if len(members) else 0.0,
                colour="#" + "".join(f"{round(float(level)):02x}" for level in mean_3),
                brightness=round(float(bright_N[members].mean()), 4) if len(members) else 0.0,
                bins=tuple(np.histogram(bright_N[members], BINS, (0, 1))[0].tolist()),
                looks_like=seen.looks_like[k] if seen.looks_like else (),
            )
        )
    return tuple(answer)


def sheets(pixels: Pixels, rows: IntArray, size: tuple[int, int]) -> list[str]:
    """Return small pictures of these samples on sheets of 16 by 16, as JPEG data URIs; `size` is height and width."""
    height, width = size
    uris = []
    for first in range(0, len(rows), SHEET * SHEET):
        some = rows[first : first + SHEET * SHEET]
        sheet_HWC = np.zeros((-(-len(some) // SHEET) * height, SHEET * width, pixels.images.shape[3]), np.uint8)
        for at, i in enumerate(some):
            top, left = at // SHEET * height, at % SHEET * width
            sheet_HWC[top : top + height, left : left + width] = _small(pixels.images[pixels.rows[i]], size)
        buffer = io.BytesIO()
        Image.fromarray(sheet_HWC.squeeze()).save(buffer, "jpeg", quality=QUALITY)
        uris.append(f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}")
    return uris


def neighbours_first(places_N2: FloatArray, per_sheet: int) -> IntArray:
    """Return an order in which pictures that are near each other follow each other, so that few sheets are decoded."""
    strips = max(1, round(np.sqrt(len(places_N2) / per_sheet)))
    across = np.argsort(places_N2[:, 0], kind="stable")
    parts = np.array_split(across, strips)
    return np.concatenate([part[np.argsort(places_N2[part, 1], kind="stable")] for part in parts])


def colours(count: int) -> list[str]:
    """Return a colour for each class: ten that are told apart well, then others all around the circle of hues."""
    more = (colorsys.hls_to_rgb(0.618 * k % 1, 0.5, 0.55) for k in range(count - len(COLOURS)))
    return [*COLOURS[:count], *("#" + "".join(f"{round(255 * level):02x}" for level in each) for each in more)]


def _grids(pixels: Pixels, seen: Overview, labels_N: IntArray, read: Read) -> list[list[tuple[str, list[Any]]]]:
    """Return for each class its samples: evenly spread, the most typical, and those furthest from the typical."""
    num_classes = len(pixels.dataset.class_names)
    each, few = (8, 5) if num_classes <= 30 else (4, 2)
    answer: list[list[tuple[str, list[Any]]]] = []
    for k in range(min(num_classes, MOST_CLASSES)):
        members = np.flatnonzero(labels_N == k)
        near = members[np.argsort(seen.distance[members], kind="stable")]
        spread = members[np.unique(np.arange(each) * len(members) // each)] if len(members) else members
        kinds = [("Evenly spread", spread)]
        if len(members) > 2 * few:
            kinds += [("Most typical", near[:few]), ("Least typical", near[: -few - 1 : -1])]
        answer.append([(title, [_shown(pixels, i, read) for i in some]) for title, some in kinds])
    return answer


def _shown(pixels: Pixels, row: int, read: Read) -> tuple[str, str]:
    sample = pixels.dataset.samples[row]
    with suppress(PictureError):
        return file_data_uri(read(sample), pixels.preprocessing, SAMPLE_PX), sample.path
    return "", sample.path


def _light(pixels: Pixels) -> tuple[FloatArray, FloatArray]:
    """Return each picture's mean brightness in [0, 1], and its mean colour in levels, N3."""
    means = [
        pixels.images[pixels.rows[first : first + 256]].mean(axis=(1, 2)) for first in range(0, len(pixels.rows), 256)
    ]
    mean_NC = np.concatenate(means)
    colour_N3 = np.broadcast_to(mean_NC, (len(mean_NC), 3)) if mean_NC.shape[1] == 1 else mean_NC
    return mean_NC.mean(axis=1) / 255, colour_N3


def _format(path: str, is_array: bool) -> str:
    return "pixels" if is_array else PurePosixPath(path).suffix.lower().lstrip(".") or "no suffix"


def _sizes(look: Look) -> list[tuple[str, int]]:
    counts = Counter(f"{width:.0f}×{height:.0f}" for height, width in look.sides if height)
    return counts.most_common(6)


def _marks(findings: Sequence[Finding]) -> dict[str, str]:
    """Return what was found about pictures, by path."""
    said: dict[str, list[str]] = defaultdict(list)
    for finding in findings:
        for path in finding.samples:
            said[path].append(TITLES[finding.evidence.get("what", finding.kind)].lower())
    return {path: ", ".join(dict.fromkeys(some)) for path, some in said.items()}


def _counts(findings: Sequence[Finding]) -> list[tuple[str, int]]:
    return [(TITLES[each.evidence.get("what", each.kind)], len(each.samples)) for each in findings]


def _thumb(pixels: Pixels, side: int) -> tuple[int, int]:
    height, width = pixels.images.shape[1:3]
    scale = min(1.0, side / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def _small(picture_HWC: Uint8Array, size: tuple[int, int]) -> Uint8Array:
    height, width = size
    if picture_HWC.shape[:2] == size:
        return picture_HWC
    image = Image.fromarray(picture_HWC.squeeze(axis=2) if picture_HWC.shape[2] == 1 else picture_HWC)
    small = np.asarray(image.resize((width, height), Image.Resampling.BOX))
    return small.reshape(height, width, -1)


def _packed(numbers: FloatArray | IntArray) -> str:
    """Return numbers as little-endian uint16 in base64: a tenth of the text, and no parsing."""
    return base64.b64encode(numbers.astype("<u2").tobytes()).decode()
