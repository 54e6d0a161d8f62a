"""Measure what `keensight audit` finds: planted near-duplicates and flipped labels. Prints JSON Lines.

    make audit-bench            one seed: some minutes
    make audit-bench SEEDS=3

Copies: of huskies.zip's pictures, 100 get one copy for each change, of other pictures each. A pair is right if both are
made of one picture. Labels: one in twenty is another than it was. Models: see backdoors.py. Intervals are 95 % ones.
"""

from __future__ import annotations

import argparse
import io
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance, ImageOps
from scipy.ndimage import map_coordinates, zoom
from sklearn.metrics import roc_auc_score

from backdoors import ROWS, backdoors
from keensight import choose_preprocessing, decode, open_dataset
from keensight.care.duplicates import near_duplicates
from keensight.care.labels import LEAST_MARGIN, components_of, doubts_of, features_of
from keensight.care.patches import patches
from keensight.data.in_time import HERE_WORK
from keensight.data.looks import looks
from keensight.data.pixels import whole_if_quick
from keensight.data.scaling import NEAREST, two_faces
from keensight.data.sources import reader
from keensight.evaluation.metrics import accuracy_interval
from keensight.values import IntArray, Pixels, Recipe, Uint8Array

COPIES_OF_EACH = 100
FLIPPED = 0.05
HIDDEN_PX, HIDDEN_OF_EACH = (32, 64, 128), 10
MNIST = 5_000  # pictures
Pattern = Callable[[int, int, np.random.Generator], IntArray]  # side and channels
PATTERNS: Mapping[str, Pattern] = {
    "noise": lambda side, channels, draw: draw.integers(0, 2, (side, side, channels)) * 255,
    "checker": lambda side, channels, _: np.repeat((np.indices((side, side)).sum(0) % 2 * 255)[..., None], channels, 2),
    "low contrast": lambda side, channels, draw: 128 + 12 * draw.choice([-1, 1], (side, side, channels)),
    "flat white": lambda side, channels, _: np.full((side, side, channels), 255),
    "flat black": lambda side, channels, _: np.zeros((side, side, channels), np.int64),
}
SHARES = (0.002, 0.01, 0.05)
SMALL = {"planesnet.zip": 3_000, "digits": 1_797, "mnist": 3_000}  # pictures
Change = Callable[[Image.Image, np.random.Generator], Image.Image]


def _saved(image: Image.Image, _: np.random.Generator) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "jpeg", quality=50)
    return Image.open(file)


def _cropped(image: Image.Image, draw: np.random.Generator) -> Image.Image:
    width, height = image.size
    left, top = draw.uniform(0, 0.1, 2)
    box = (left * width, top * height, (left + 0.9) * width, (top + 0.9) * height)
    return image.crop(tuple(round(side) for side in box))


CHANGES: Mapping[str, Change] = {
    "mirrored": lambda image, _: ImageOps.mirror(image),
    "upside down": lambda image, _: ImageOps.flip(image),
    "half the size": lambda image, _: image.resize((max(1, image.width // 2), max(1, image.height // 2))),
    "JPEG of quality 50": _saved,
    "10 % of height and width cropped": _cropped,
    "brightness 0.7 or 1.3": lambda image, draw: ImageEnhance.Brightness(image).enhance(draw.choice([0.7, 1.3])),
}


def copies(data: Path, seed: int) -> dict[str, object]:
    """Return the recall for each change, and the precision of all pairs."""
    draw = np.random.default_rng(seed)
    dataset = open_dataset(data)
    pixels = decode(dataset, choose_preprocessing(dataset, Recipe("audit")))
    _, blank = looks(pixels)
    size = pixels.preprocessing
    images = list(pixels.images[pixels.rows])
    source, change_of = list(range(len(images))), [""] * len(images)
    order = draw.permutation(np.flatnonzero(~blank))
    with reader(pixels.dataset) as read:
        for c, (name, change) in enumerate(CHANGES.items()):
            for i in order[c * COPIES_OF_EACH : (c + 1) * COPIES_OF_EACH].tolist():
                content = read(pixels.dataset.samples[i])
                assert isinstance(content, bytes)
                changed = change(Image.open(io.BytesIO(content)).convert("RGB"), draw)
                images.append(np.asarray(changed.resize((size.width, size.height), Image.Resampling.BILINEAR)))
                source.append(i)
                change_of.append(name)
    shown = np.flatnonzero(np.concatenate([~blank, np.ones(len(images) - len(blank), bool)]))
    pairs = [(shown[p.whole], shown[p.copy]) for p in near_duplicates(np.stack(images), shown)]
    right = [(one, other) for one, other in pairs if source[one] == source[other]]
    found = {max(pair) for pair in right}
    recalls = {name: _share(sum(change_of[i] == name for i in found), COPIES_OF_EACH) for name in CHANGES}
    return {
        "what": "copies", "data": data.name, "seed": seed, "recall": recalls,
        "recall_of_all": _share(len(found), COPIES_OF_EACH * len(CHANGES)),
        "precision": _share(len(right), max(1, len(pairs))),
    }  # fmt: skip


def labels(data: Path, most: int | None, seed: int) -> dict[str, object]:
    """Return how well flipped labels are ranked and named."""
    dataset, draw = open_dataset(data), np.random.default_rng(seed)
    kept = np.sort(np.random.default_rng(0).permutation(len(dataset.samples))[:most])
    dataset = replace(dataset, samples=tuple(dataset.samples[i] for i in kept))
    pixels: Pixels = decode(dataset, choose_preprocessing(dataset, Recipe("audit")))
    features_NF = features_of(pixels)
    assert not isinstance(features_NF, str), features_NF
    true_N = np.array([sample.label for sample in pixels.dataset.samples], np.int64)
    units_N = np.unique([sample.sha256 for sample in pixels.dataset.samples], return_inverse=True)[1].astype(np.int64)
    num_classes, given_N = len(dataset.class_names), true_N.copy()
    flipped = draw.permutation(len(true_N))[: round(FLIPPED * len(true_N))]
    given_N[flipped] = (given_N[flipped] + draw.integers(1, num_classes, len(flipped))) % num_classes
    doubts = doubts_of(features_NF, given_N, num_classes, units_N, seed)
    wrong_N, named_N = given_N != true_N, doubts.suspect & (doubts.margin >= LEAST_MARGIN)
    return {
        "what": "labels", "data": data.name, "pictures": len(true_N), "seed": seed,
        "auroc": round(float(roc_auc_score(wrong_N, doubts.margin)), 4),
        "precision": _share(int(wrong_N[named_N].sum()), int(named_N.sum())),
        "recall": _share(int(wrong_N[named_N].sum()), int(wrong_N.sum())),
    }  # fmt: skip


def labels_of_people(data: Path, judged: Path) -> dict[str, object]:
    """Return where the ranking has those of MNIST's test labels that people found wrong, of 100 that they looked at.

    `judged` is mturk/mnist_mturk.json of github.com/cleanlab/label-errors (Northcutt, Athalye and Mueller 2021,
    arXiv:2103.14749): five people each. The 100 were chosen by another network, so others may be wrong too.
    """
    dataset = open_dataset(data)
    dataset = replace(dataset, samples=tuple(sample for sample in dataset.samples if sample.split == "test"))
    pixels = decode(dataset, choose_preprocessing(dataset, Recipe("audit")))
    features_NF = features_of(pixels)
    assert not isinstance(features_NF, str), features_NF
    given_N = np.array([sample.label for sample in pixels.dataset.samples], np.int64)
    doubts = doubts_of(features_NF, given_N, len(dataset.class_names), np.arange(len(given_N)))
    wrong_N = np.zeros(len(given_N), bool)
    wrong_N[[each["id"] for each in json.loads(judged.read_text()) if each["mturk"]["given"] < 3]] = True
    rank_N = np.argsort(np.argsort(-doubts.margin))
    return {
        "what": "labels that people found wrong", "pictures": len(given_N), "wrong": int(wrong_N.sum()),
        "ranks": sorted(1 + int(rank) for rank in rank_N[wrong_N]),
        "auroc": round(float(roc_auc_score(wrong_N, doubts.margin)), 4),
    }  # fmt: skip


def scaling(data: Path, seed: int) -> dict[str, object]:
    """Return how many hidden pictures are found, and how many honest ones are named: all, each for all sizes."""
    dataset, draw = open_dataset(data), np.random.default_rng(seed)
    with reader(dataset) as read:
        contents = [read(sample) for sample in dataset.samples]
    decoded = [whole_if_quick(content, 1, HERE_WORK) for content in contents if isinstance(content, bytes)]
    greys = [grey[..., 0] for grey in decoded if grey is not None]
    named = sum(two_faces(grey) is not None for grey in greys)
    found = found_in_jpeg = tried = 0
    for side in HIDDEN_PX:
        for times in (3, 4):
            for way in NEAREST:
                for shown, hidden in draw.choice(len(greys), (HIDDEN_OF_EACH, 2), replace=False):
                    attack = np.array(Image.fromarray(greys[shown]).resize((times * side, times * side + 7)))
                    at = (np.floor(NEAREST[way](length, side)).astype(int) for length in attack.shape)
                    attack[np.ix_(*at)] = np.asarray(Image.fromarray(greys[hidden]).resize((side, side)))
                    file = io.BytesIO()
                    Image.fromarray(attack).save(file, "jpeg", quality=95)
                    found += two_faces(attack) is not None
                    found_in_jpeg += two_faces(_decoded(file.getvalue())) is not None
                    tried += 1
    return {
        "what": "scaling", "data": data.name, "seed": seed, "found": _share(found, tried),
        "found_in_jpeg_95": _share(found_in_jpeg, tried), "tried": tried, "named": _share(named, len(greys)),
    }  # fmt: skip


def patches_planted(name: str, images: Uint8Array, labels_N: IntArray, seed: int) -> Iterator[dict[str, object]]:
    """Yield how many pictures with a planted patch are found, and how many others are named."""
    num_classes = int(labels_N.max()) + 1
    named = {i for patch in patches(images, labels_N, num_classes) for i in patch.members.tolist()}
    yield {"what": "patches", "data": name, "pictures": len(images), "planted": "none", "named": len(named)}
    for kind in PATTERNS:
        for moving in (False, True):
            for share in SHARES:
                hits = found = planted = 0
                for number, side in enumerate((3, 4, 5)):
                    draw = np.random.default_rng([seed, number])
                    poisoned, rows = _poisoned(images, labels_N, PATTERNS[kind], side, share, moving, draw)
                    named = {i for p in patches(poisoned, labels_N, num_classes) for i in p.members.tolist()}
                    hits, found, planted = hits + len(named & rows), found + len(named), planted + len(rows)
                yield {
                    "what": "patches", "data": name, "seed": seed, "kind": kind, "share_of_class": share,
                    "place": "any" if moving else "one", "planted": planted, "tpr": _share(hits, planted),
                    "fpr": _share(found - hits, 3 * len(images) - planted),
                }  # fmt: skip


def whole_pictures_planted(name: str, images: Uint8Array, labels_N: IntArray, seed: int) -> Iterator[dict[str, object]]:
    """Yield how many blended and warped pictures, of other classes but labelled 1, are named as patches or labels."""
    num_classes = int(labels_N.max()) + 1
    for kind in ("blend", "warp"):
        draw = np.random.default_rng(seed)
        poisoned, given_N = images.copy(), labels_N.copy()
        rows = draw.choice(np.flatnonzero(labels_N != 1), round(FLIPPED * int((labels_N == 1).sum())), replace=False)
        poisoned[rows] = _blended(images[rows], draw) if kind == "blend" else _warped(images[rows], draw)
        given_N[rows] = 1
        flat_NF = poisoned.reshape(len(poisoned), -1).astype(np.float32)
        doubts = doubts_of(components_of(flat_NF / 255), given_N, num_classes, np.arange(len(given_N)), seed)
        doubtful = set(np.flatnonzero(doubts.suspect & (doubts.margin >= LEAST_MARGIN)).tolist())
        patched = {i for patch in patches(poisoned, given_N, num_classes) for i in patch.members.tolist()}
        hidden = set(rows.tolist())
        yield {
            "what": "whole pictures", "data": name, "seed": seed, "kind": kind, "planted": len(rows),
            "as_labels": _share(len(doubtful & hidden), len(rows)),
            "as_patches": _share(len(patched & hidden), len(rows)),
            "others_as_labels": _share(len(doubtful - hidden), len(images) - len(rows)),
            "others_as_patches": _share(len(patched - hidden), len(images) - len(rows)),
        }  # fmt: skip


def _blended(images: Uint8Array, draw: np.random.Generator) -> Uint8Array:
    """Mix one picture of noise into all, at 15 %."""
    return np.round(0.85 * images + 0.15 * draw.integers(0, 256, images.shape[1:])).astype(np.uint8)


def _warped(images: Uint8Array, draw: np.random.Generator) -> Uint8Array:
    """Bend all by the same smooth field of up to two pixels, as WaNet does (Nguyen and Tran 2021, arXiv:2102.10369)."""
    height, width = images.shape[1:3]
    down, along = (zoom(draw.uniform(-2, 2, (4, 4)), (height / 4, width / 4), order=3) for _ in range(2))
    places = np.indices((height, width)) + np.stack([down, along])
    bent = [[map_coordinates(c, places, order=1, mode="nearest") for c in np.moveaxis(i, 2, 0)] for i in images]
    return np.moveaxis(np.array(bent, np.uint8), 1, 3)


def _poisoned(
    images: Uint8Array, labels_N: IntArray, pattern: Pattern, side: int, share: float, moving: bool,
    draw: np.random.Generator,
) -> tuple[Uint8Array, set[int]]:  # fmt: skip
    """Return the pictures with a patch in a share of class 1, one pixel or more from the rim, and which have it."""
    poisoned, members = images.copy(), np.flatnonzero(labels_N == 1)
    rows = draw.choice(members, max(1, round(share * len(members))), replace=False)
    patch, (height, width, channels) = pattern(side, images.shape[3], draw), images.shape[1:]
    assert channels == patch.shape[2]
    top, left = draw.integers(1, (height - side, width - side))
    for i in rows:
        if moving:
            top, left = draw.integers(1, (height - side, width - side))
        poisoned[i, top : top + side, left : left + side] = patch
    return poisoned, set(rows.tolist())


def small_pictures(asked: Path, name: str, most: int) -> tuple[Uint8Array, IntArray]:
    """Return pictures of a data set of small ones and their labels, a sample of at most as many as `most`."""
    pattern = "{label}__*" if name.startswith("planes") else None
    dataset = open_dataset("digits" if name == "digits" else asked / name, label_pattern=pattern)
    kept = np.sort(np.random.default_rng(0).permutation(len(dataset.samples))[:most])
    dataset = replace(dataset, samples=tuple(dataset.samples[i] for i in kept))
    pixels = decode(dataset, choose_preprocessing(dataset, Recipe("audit")))
    return pixels.images[pixels.rows], np.array([sample.label for sample in pixels.dataset.samples], np.int64)


def _decoded(content: bytes) -> Uint8Array:
    grey = whole_if_quick(content, 1, HERE_WORK)
    assert grey is not None
    return grey[..., 0]


def _share(count: int, n: int) -> list[float]:
    """Return a share and its interval."""
    return [round(float(each), 4) for each in (count / n, *accuracy_interval(count, n))]


def main() -> None:
    """Measure, and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--judged", type=Path, help="mnist_mturk.json of github.com/cleanlab/label-errors")
    asked = parser.parse_args()
    if asked.judged:
        print(json.dumps(labels_of_people(asked.data / "mnist", asked.judged)), flush=True)
    for seed in range(asked.seeds):
        for name, most in SMALL.items():
            for line in patches_planted(name, *small_pictures(asked.data, name, most), seed):
                print(json.dumps(line), flush=True)
            for line in whole_pictures_planted(name, *small_pictures(asked.data, name, most), seed):
                print(json.dumps(line), flush=True)
        print(json.dumps(scaling(asked.data / "huskies.zip", seed)), flush=True)
        print(json.dumps(copies(asked.data / "huskies.zip", seed)), flush=True)
        print(json.dumps(labels(asked.data / "mnist", MNIST, seed)), flush=True)
        print(json.dumps(labels(asked.data / "huskies.zip", None, seed)), flush=True)
    for name in ROWS:  # whose seeds are their own
        for line in backdoors(name, asked.data):
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
