"""Measure `keensight scan` on scenes composed of real PlanesNet chips, and rewrite docs/scan.md's figures.

    python benchmarks/scan.py --data ../shared/data        trains `planes-by-scene` first: some minutes
    python benchmarks/scan.py --run runs/planesnet         with a run that is there

The chips are those of satellite scenes that training never saw. Chips without a plane cover the whole scene, and chips
with a plane lie on some places of the same grid, none beside another. A third of PlanesNet's chips "without a plane"
are cut from beside one and show part of it; by the coordinates in their names, those within 30 pixels of a plane are
left out. A detection is right if it overlaps a plane's chip by half or more (intersection over union), and each plane
counts once. The least probability is scan's default. Speed: places per second of
processor time, against a loop that asks the bundle for one place after the other, in turns.
"""

from __future__ import annotations

import argparse
import functools
import io
import json
import math
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import keensight
from keensight.evaluation.metrics import accuracy_interval
from keensight.files import to_json, write_atomically
from keensight.inference.predictor import Predictor, load
from keensight.inference.scanning import Detection, by_batches, overlap
from keensight.inference.sharing import by_sharing, sliding_of
from keensight.machine import hardware

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "scan.json"
SIDE = 20
ROWS, COLUMNS, PLANES = 60, 100, 300
SCENES = 4  # for each split
NEAR = 30  # pixels from a plane's middle, within which a chip shows part of it
STEP, TURNS = 2, 5


def main() -> None:
    """Compose scenes, scan them, and write down what was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, help="a run of planes-by-scene; else one is trained")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--note", default="", help="what a reader of the speed must know: what else was running")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder, run, source = Path(temporary), asked.run, asked.data / "planesnet.zip"
        if run is None:
            run = keensight.train(source, recipe="planes-by-scene", out=folder / "run").bundle.parent
        found: dict[str, Any] = {}
        for split in ("val", "test"):
            for method, scenes, words in (("shared", SCENES, []), ("alone", 1, ["--alone"])):
                place = folder / f"{split} {method}"
                found[f"{split} {method}"] = figures(source, run, place, split, scenes, words)
                print(split, method, found[f"{split} {method}"], flush=True)
        ratio = ratios(run, scene(source, run, "test", 0)[0])
    result = {
        "found": found,
        "ratio": ratio,
        "hardware": hardware(),
        "date": datetime.now(UTC).date().isoformat(),
        "note": asked.note,
    }
    print(ratio)
    write_atomically(RESULTS, to_json(result))


def figures(source: Path, run: Path, folder: Path, split: str, scenes: int, words: list[str]) -> dict[str, Any]:
    """Scan the scenes of a split; return precision and recall with their 95 % intervals, and places per second."""
    right = said = planes = places = 0
    folder.mkdir()
    for seed in range(scenes):
        pixels, truth = scene(source, run, split, seed)
        if words:  # a sixth of it, as that takes long
            pixels, truth = pixels[: SIDE * ROWS // 6], [(x, y) for x, y in truth if y < SIDE * (ROWS // 6 - 1)]
        Image.fromarray(pixels).save(folder / f"{seed}.png")
        command = ["scan", str(run), str(folder / f"{seed}.png"), "--out", str(folder / f"{seed}"), "--json", *words]
        done = subprocess.run(
            [sys.executable, "-m", "keensight", *command], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True
        )
        answer = json.loads(done.stdout)
        boxes = [Detection("", each["probability"], each["x"], each["y"], SIDE, SIDE, 0) for each in answer["found"]]
        right, said, planes = right + matched(boxes, truth), said + len(boxes), planes + len(truth)
        places += answer["places"]
    return {
        "planes": planes,
        "detections": said,
        "right": right,
        "recall": [right / planes, *accuracy_interval(right, planes)],
        "precision": [right / max(1, said), *accuracy_interval(right, max(1, said))],
        "places": places,
    }


def matched(boxes: list[Detection], truth: list[tuple[int, int]]) -> int:
    """Return how many planes have a detection that overlaps their chip by half or more; each detection counts once."""
    free, count = list(boxes), 0
    for x, y in truth:
        chip = Detection("", 1.0, x, y, SIDE, SIDE, 0)
        best = max(free, key=lambda each: overlap(each, chip), default=None)
        if best is not None and overlap(best, chip) >= 0.5:
            free.remove(best)
            count += 1
    return count


def scene(source: Path, run: Path, split: str, seed: int) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """Return a scene of a split's chips, uint8 HWC, and the top left corner (x, y) of each plane's chip."""
    rng = np.random.default_rng(seed)
    names = chips_of(run, split)
    cells = [(row, column) for row in range(1, ROWS - 1) for column in range(1, COLUMNS - 1)]
    chosen: set[tuple[int, int]] = set()
    for place in rng.permutation(len(cells)):
        row, column = cells[place]
        if not any((row + i, column + j) in chosen for i in (-1, 0, 1) for j in (-1, 0, 1)):
            chosen.add((row, column))
        if len(chosen) == PLANES:
            break
    pixels = np.zeros((SIDE * ROWS, SIDE * COLUMNS, 3), np.uint8)
    with zipfile.ZipFile(source) as chips:
        for row in range(ROWS):
            for column in range(COLUMNS):
                name = rng.choice(names["1" if (row, column) in chosen else "0"])
                chip = np.asarray(Image.open(io.BytesIO(chips.read(name))).convert("RGB"))
                pixels[SIDE * row : SIDE * (row + 1), SIDE * column : SIDE * (column + 1)] = chip
    return pixels, [(SIDE * column, SIDE * row) for row, column in sorted(chosen)]


@functools.cache
def chips_of(run: Path, split: str) -> dict[str, list[str]]:
    """Return the files of a split's chips without a plane, "0", and with one, "1"."""
    lines = [json.loads(line) for line in (run / "splits.jsonl").read_text().splitlines()]
    planes: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for each in lines:
        if each["label"] == "1":
            planes[satellite_scene(each["file"])].append(coordinates(each["file"]))
    some = [each for each in lines if each["split"] == split]
    near = lambda file: any(  # noqa: E731
        distance(coordinates(file), plane) < NEAR for plane in planes[satellite_scene(file)]
    )
    return {
        "0": [each["file"] for each in some if each["label"] == "0" and not near(each["file"])],
        "1": [each["file"] for each in some if each["label"] == "1"],
    }


def satellite_scene(file: str) -> str:
    """Return the satellite scene in a chip's name, label__scene__longitude_latitude.png."""
    return file.rpartition("/")[2].split("__")[1]


def coordinates(file: str) -> tuple[float, float]:
    """Return the longitude and latitude in a chip's name."""
    longitude, latitude = file.removesuffix(".png").split("__")[2].split("_")
    return float(longitude), float(latitude)


def distance(a: tuple[float, float], b: tuple[float, float]) -> float:
    """Return how many pixels, of 3 m, lie between two places."""
    x, y = (a[0] - b[0]) * 111_320 * math.cos(math.radians(a[1])), (a[1] - b[1]) * 110_540
    return math.hypot(x, y) / 3


def ratios(run: Path, pixels: np.ndarray) -> dict[str, float]:
    """Return how many times as many places as a loop that asks for one after the other, in processor time.

    All three take turns on the same part of a scene, so that what else runs slows all of them.
    """
    known = load(run)
    predictor = Predictor(known.bundle, known.onnx, threads=1)
    network = sliding_of(predictor.bundle)
    assert network is not None
    tile, strip = pixels[:520, :520], pixels[: SIDE + 2 * STEP, :520]
    shared, alone = by_sharing(network, predictor.bundle, STEP), by_batches(predictor, STEP)

    def naive(part: np.ndarray) -> np.ndarray:
        corners = [(y, x) for y in range(0, 3 * STEP, STEP) for x in range(0, 501, STEP)]
        answers = [predictor.on_images(part[None, y : y + SIDE, x : x + SIDE])[0].probability for y, x in corners]
        return np.array(answers)[None]

    ways = {"naive": (naive, strip), "alone": (alone, strip), "shared": (shared, tile)}
    spent, places = dict.fromkeys(ways, 0.0), dict.fromkeys(ways, 0)
    for turn in range(1 + TURNS):
        for name, (score, part) in ways.items():
            began = time.process_time()
            found = score(part)
            if turn:  # the first warms up
                spent[name] += time.process_time() - began
                places[name] += found.shape[0] * found.shape[1]
    rate = {name: places[name] / spent[name] for name in spent}
    return {name: rate[name] / rate["naive"] for name in ("alone", "shared")}


if __name__ == "__main__":
    main()
