"""`keensight scan`: where a bundle of small pictures finds what it knows in a large one."""

from __future__ import annotations

import csv
import io
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from keensight.data.scene_map import MapPlace, map_place
from keensight.data.scenes import Scene, bands, open_scene, shrunk
from keensight.errors import PictureError, UsageError, shortlist, suggestion
from keensight.executor import Threads
from keensight.files import to_json, write_atomically
from keensight.inference.predictor import Predictor, load
from keensight.inference.scanning import (
    Detection,
    HeatMap,
    Score,
    by_batches,
    confirmed,
    log_odds,
    peaks,
    smoothed,
    without_overlaps,
)
from keensight.machine import cores
from keensight.names import catch_alls_of
from keensight.pages.scene import with_boxes, with_heat
from keensight.pipeline.answer_files import FORMULA
from keensight.pipeline.watch import Watcher
from keensight.values import FloatArray, Uint8Array
from keensight.workspace import Kind, claim

PLACES = "found.geojson"
TABLE = "found.csv"
BOXES = "boxes.jpg"
HEAT = "heat.jpg"
SCAN = Kind("scan", "Scan", home=Path("scans"), begun=PLACES, kept=PLACES, finished=PLACES)
TILE = 512  # pixels of a tile, high and wide; larger ones leave the processor's caches
MOST_OVERVIEW = 2048  # pixels of the pictures that are written, at their longer side
LOOSER = 0.25  # a place is looked at alone if its shared score has so much of the least probability
LEAST_STEPS = 8  # places in the width of a window, by default


@dataclass(frozen=True, slots=True)
class Scan:
    """What was found in a scene of `height` x `width` pixels, and the folder that has it as files.

    `places` is how many windows were looked at, on `scales`; `sharing`, whether neighbours shared their work;
    `map_place`, where a GeoTIFF says that the scene lies.
    """

    bundle: Path
    scene: Path
    out: Path
    height: int
    width: int
    labels: tuple[str, ...]
    least: float
    scales: tuple[float, ...]
    step: int
    places: int
    sharing: bool
    seconds: float
    found: tuple[Detection, ...]
    map_place: MapPlace | None = None


@dataclass(frozen=True, slots=True, eq=False)
class _Tile:
    """A part of a scene, and the grid of places in it. Its outermost places belong to other tiles, if there are any."""

    top: int
    left: int
    pixels_HWC: Uint8Array
    is_first: tuple[bool, bool]  # in its column, in its row
    is_last: tuple[bool, bool]


def scan(
    bundle: str | Path,
    scene: str | Path,
    *,
    out: str | Path | None = None,
    find: Sequence[str] = (),
    least: float = 0.9,
    scales: Sequence[float] | None = None,
    step: int | None = None,
    overlap: float = 0.3,
    alone: bool = False,
    key: str | Path | None = None,
    watcher: Watcher | None = None,
) -> Scan:
    """Find in a large picture what a bundle of small pictures knows, and write where it is.

    The folder gets found.csv (boxes in pixels, from the top left), found.geojson (the same; of a GeoTIFF, in its map's
    coordinates), boxes.jpg, and heat.jpg.

    Args:
        bundle: The bundle's folder, or the run folder around it.
        scene: The large picture. A TIFF in strips or tiles, plain BMP, PPM or .npy may have any size, and only some of
            its rows are in memory at a time; PNG, JPEG and others may have 80 megapixels.
        out: The folder for what is found, new or empty; the first free name under scans/ if left out.
        find: A label to look for; give it again for each. If left out, all but those that mean "nothing here", such as
            noplane beside plane, or 0 beside 1.
        least: Leave out what is less probable than this.
        scales: How many times as large as the bundle's pictures, in pixels, are the things to find? Several, if they
            vary; 1 if left out.
        step: Look every so many pixels; an eighth of the bundle's pictures if left out.
        overlap: Of two boxes that overlap by more than this part of both together, keep the better one.
        alone: Look at each place by itself, even where the network would let neighbours share their work.
        key: Refuse the bundle unless the owner of this public key signed it.
        watcher: Is told of the progress.

    Raises:
        UsageError: the arguments make no sense, such as an unknown label.
        PictureError: the scene is no picture, is damaged, or is too large for its format.
        BundleError: the bundle cannot be used.
        GateError: it was changed after it was signed, or is not what `key` signed.
        RunError: `out` is not empty.

    Examples:
        >>> import keensight
        >>> keensight.scan("runs/planesnet", "airport.tif", scales=[1, 1.5]).found[0].label  # doctest: +SKIP
        'plane'
    """
    watcher, path = watcher or Watcher(), Path(scene)
    factors = _checked(least, scales, step, overlap)
    watcher.stage("opening the bundle")
    opened = load(bundle, key)
    predictor, known = Predictor(opened.bundle, opened.onnx, threads=1), opened.bundle
    watcher.opened(known)
    labels = wanted_labels(known.labels, find)
    if not find:
        watcher.note(f"Looking for {shortlist(labels)}. Name others by --find.")
    wanted = [known.labels.index(label) for label in labels]
    size = known.preprocessing
    side = min(size.height, size.width)
    if step is not None and step > side:
        raise UsageError(
            f"--step is {step}, and this bundle's pictures are {side} pixels wide: what lies between would never be "
            f"looked at. Give 1 to {side}."
        )
    step = step or max(1, round(side / LEAST_STEPS))
    score, sharing = (by_batches(predictor, step), False) if alone else _score(predictor, step, watcher)
    watcher.stage("opening the scene")
    try:
        opened_scene = open_scene(path, size.channels)
        for factor in factors:
            smaller = shrunk(opened_scene, factor)
            if smaller.height < size.height or smaller.width < size.width:
                raise PictureError(
                    f"at scale {factor:g} it has {smaller.width}x{smaller.height} pixels, fewer than the model's "
                    f"pictures, which have {size.width}x{size.height}"
                )
        if not opened_scene.is_flat:
            watcher.note("This file can only be decoded whole. A tiled TIFF takes little memory, whatever its size.")
        with claim(None if out is None else Path(out), path.stem, resume=False, kind=SCAN) as folder:
            began = time.monotonic()
            heat = HeatMap(opened_scene.height, opened_scene.width, MOST_OVERVIEW)
            found: list[Detection] = []
            places = 0
            for factor in factors:
                searched = _Search(predictor, shrunk(opened_scene, factor), factor, wanted, least, step, score, sharing)
                for count, some in searched.each(heat, watcher):
                    places += count
                    found += some
            result = Scan(
                known.path, path, folder, opened_scene.height, opened_scene.width, tuple(labels), least, factors, step,
                places, sharing, time.monotonic() - began, tuple(without_overlaps(found, overlap)), map_place(path),
            )  # fmt: skip
            _write(result, opened_scene, heat.heat_HW)
    except PictureError as error:
        raise PictureError(f"{path} cannot be scanned: {error}. Correct its name, or give another picture.") from error
    return result


def wanted_labels(labels: Sequence[str], find: Sequence[str]) -> list[str]:
    """Return the labels to look for: those named, or all but the ones that mean that nothing is there.

    Raises UsageError for a label that the bundle does not have.

    >>> wanted_labels(["noplane", "plane"], []), wanted_labels(["0", "1"], []), wanted_labels(["cat", "dog"], ["dog"])
    (['plane'], ['1'], ['dog'])
    """
    if unknown := [label for label in find if label not in labels]:
        raise UsageError(
            f"--find is '{unknown[0]}', which is none of the bundle's labels. {suggestion(unknown[0], labels)}"
            f"They are {shortlist(list(labels), 20)}."
        )
    if find:
        return list(dict.fromkeys(find))
    if set(labels) == {"0", "1"}:
        return ["1"]
    denied = catch_alls_of(labels)
    return [label for label in labels if label not in denied] or list(labels)


@dataclass(frozen=True, slots=True, eq=False)
class _Search:
    """The search of a scene at one scale."""

    predictor: Predictor
    scene: Scene
    factor: float
    wanted: Sequence[int]
    least: float
    step: int
    score: Score
    sharing: bool

    def each(self, heat: HeatMap, watcher: Watcher) -> Iterator[tuple[int, list[Detection]]]:
        """Yield, for each tile, how many places it has and what was found there; add to the heat map."""
        size = self.predictor.bundle.preprocessing
        watcher.stage("scanning")
        with Threads(cores(), _one_thread) as threads:
            for tile, share_hw, count, found in threads.map(self._search, self._tiles()):
                middle = ((tile.top + size.height / 2) * self.factor, (tile.left + size.width / 2) * self.factor)
                heat.add(share_hw, *middle, self.step * self.factor)
                yield count, found
                watcher.scanned(min(self.scene.height, tile.top + len(tile.pixels_HWC)), self.scene.height)

    def _tiles(self) -> Iterator[_Tile]:
        """Yield tiles from top to bottom; each has a ring of places around its own."""
        size, advance = self.predictor.bundle.preprocessing, max(1, TILE // self.step) * self.step
        overlap_y, overlap_x = size.height + self.step, size.width + self.step
        for top, rows_hWC in bands(self.scene, advance + overlap_y, overlap_y):
            if len(rows_hWC) < size.height:
                continue
            is_last_row = top + len(rows_hWC) >= self.scene.height
            for left in range(0, max(1, self.scene.width - overlap_x + 1), advance):
                right = min(self.scene.width, left + advance + overlap_x)
                is_last_column = right == self.scene.width
                edges = ((top == 0, left == 0), (is_last_row, is_last_column))
                yield _Tile(top, left, rows_hWC[:, left:right], *edges)
                if is_last_column:
                    break

    def _search(self, tile: _Tile) -> tuple[_Tile, FloatArray, int, list[Detection]]:
        """Return a tile, the probabilities hw of all its places, how many are its own, and what was found at these."""
        probabilities_hwK = self.score(tile.pixels_HWC)
        odds_hw = log_odds(probabilities_hwK, self.wanted)
        looser = self.least * (LOOSER if self.sharing else 1)
        places_N2 = peaks(odds_hw, math.log(looser / (1 - looser)))
        own = [slice(0 if tile.is_first[i] else 1, odds_hw.shape[i] - (0 if tile.is_last[i] else 1)) for i in (0, 1)]
        inside_N = np.all([(own[i].start <= places_N2[:, i]) & (places_N2[:, i] < own[i].stop) for i in (0, 1)], axis=0)
        places_N2 = places_N2[inside_N]
        means_N = smoothed(odds_hw)[places_N2[:, 0], places_N2[:, 1]]
        found = confirmed(self.predictor, tile.pixels_HWC, self.step * places_N2, means_N, self.wanted, self.least)
        share_hw = probabilities_hwK[..., list(self.wanted)].sum(axis=-1)
        count = math.prod(part.stop - part.start for part in own)
        return tile, share_hw, count, [self._in_scene(each, tile) for each in found]

    def _in_scene(self, each: Detection, tile: _Tile) -> Detection:
        moved = Detection(
            each.label, each.probability, each.x + tile.left, each.y + tile.top, each.width, each.height, each.rank
        )
        return moved.moved(self.factor)


def _score(predictor: Predictor, step: int, watcher: Watcher) -> tuple[Score, bool]:
    """Return what scores the places of a tile, and whether neighbours share their work."""
    try:
        from keensight.inference.sharing import by_sharing, sliding_of  # with torch, which the base install lacks
    except ModuleNotFoundError:
        watcher.note("Without torch, each place is looked at by itself, which is slower.")
        return by_batches(predictor, step), False
    network = sliding_of(predictor.bundle)
    if network is None or (network.stride % step and step % network.stride):
        why = (
            "its layers do not allow" if network is None else f"a step that fits its stride of {network.stride} allows"
        )
        watcher.note(f"Each place is looked at by itself: {why} to share work between neighbours.")
        return by_batches(predictor, step), False
    return by_sharing(network, predictor.bundle, step), True


def _one_thread() -> None:
    try:
        import torch
    except ModuleNotFoundError:
        return
    torch.set_num_threads(1)


def _checked(least: float, scales: Sequence[float] | None, step: int | None, overlap: float) -> tuple[float, ...]:
    """Return the scales. Raises UsageError for numbers that make no sense."""
    if not 0 < least < 1:
        raise UsageError(f"--least is {least:g}. Give a probability between 0 and 1, such as 0.9.")
    if not 0 <= overlap < 1:
        raise UsageError(f"--overlap is {overlap:g}. Give a part of 1, such as 0.3.")
    if step is not None and step < 1:
        raise UsageError(f"--step is {step}. Give a number of pixels, 1 or more.")
    factors = tuple(dict.fromkeys(scales or (1.0,)))
    if wrong := [each for each in factors if not 0.05 <= each <= 100]:
        raise UsageError(f"--scales has {wrong[0]:g}. Numbers from 0.05 to 100 are accepted, such as --scales 1 1.5 2.")
    return factors


def _write(result: Scan, scene: Scene, heat_HW: FloatArray) -> None:
    factor = max(1.0, max(scene.height, scene.width) / MOST_OVERVIEW)
    overview_HWC = np.concatenate(list(shrunk(scene, factor).strips()))
    write_atomically(result.out / BOXES, with_boxes(overview_HWC, result.found, factor))
    write_atomically(result.out / HEAT, with_heat(overview_HWC, heat_HW, factor))
    write_atomically(result.out / TABLE, _table(result.found))
    write_atomically(result.out / PLACES, to_json(_geojson(result)))


def _table(found: Sequence[Detection]) -> str:
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["label", "probability", "x", "y", "width", "height"])
    for each in found:
        label = FORMULA.sub(r"\1'\2", each.label)
        rows.writerow([label, f"{each.probability:.4f}", *(f"{n:g}" for n in _box(each))])
    return text.getvalue()


def _geojson(result: Scan) -> dict[str, object]:
    """Return a FeatureCollection of boxes, on the map of a GeoTIFF, else in pixels: x to the right, y down."""
    place = result.map_place
    units = "pixels" if place is None else f"EPSG:{place.epsg}" if place.epsg else "those of the scene's map"
    # RFC 7946 has one map only; GDAL and QGIS read the member "crs" that GeoJSON had before
    crs = {"type": "name", "properties": {"name": f"urn:ogc:def:crs:EPSG::{place.epsg}"}} if place else None
    return {
        "type": "FeatureCollection",
        **({"crs": crs} if place and place.epsg else {}),
        "scene": {"file": result.scene.name, "width": result.width, "height": result.height, "units": units},
        "features": [
            {
                "type": "Feature",
                "properties": {"label": each.label, "probability": round(each.probability, 6)},
                "geometry": {"type": "Polygon", "coordinates": [_corners(place, *_box(each))]},
            }
            for each in result.found
        ],
    }


def _corners(place: MapPlace | None, x: float, y: float, width: float, height: float) -> list[list[float]]:
    corners = [[x, y], [x + width, y], [x + width, y + height], [x, y + height], [x, y]]
    if place is None:
        return corners
    return [place.at(*corner) for corner in reversed(corners)]  # from the north, against the clock, as RFC 7946 asks


def _box(each: Detection) -> tuple[float, ...]:
    return tuple(round(number, 2) for number in (each.x, each.y, each.width, each.height))
