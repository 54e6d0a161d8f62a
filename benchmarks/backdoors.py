"""Measure what `keensight audit BUNDLE` says of clean, backdoored and tampered networks. Prints JSON Lines.

    python benchmarks/backdoors.py                 all kinds of networks: some 7 minutes of one core
    python benchmarks/backdoors.py --only planes

Each kind has 16 clean twins, and 10 networks of other seeds: 5 clean, 2 with a patch, 2 with a blend, 1 tampered. A
patch is a block of random black and white pixels at a place of its own, on 5 % of the training pictures, which get
another label; a blend is a picture of noise mixed into as many, at 15 % (30 % where pictures have 8x8 pixels). A thief
has raised the last bias of one class until a quarter of the other classes' held-out pictures are called that. The
`success` of a trigger is the share of held-out pictures that it turns. Intervals are 95 % ones. The accuracy that a
bundle records is not looked at: a thief can write another.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from keensight import choose_preprocessing, decode, open_dataset
from keensight.care.backdoor import findings_about
from keensight.care.backdoor_signs import last_layer, signs_of
from keensight.care.backdoor_twins import twins
from keensight.data.sources import only
from keensight.data.splits import split
from keensight.evaluation.metrics import accuracy_interval
from keensight.models.classifier import Classifier
from keensight.models.tensors import to_images
from keensight.training.loop import start
from keensight.training.trainers import fit_best, fresh
from keensight.values import Recipe, Split, Splits, Uint8Array

TWINS, SHARE = 16, 0.05
PLAN = [("clean", i) for i in range(5)] + [("patch", 5), ("patch", 6), ("blend", 7), ("blend", 8), ("bias", 9)]
Change = Callable[[Uint8Array], Uint8Array]


@dataclass(frozen=True, slots=True)
class Row:
    """A kind of network: its pictures, and the changes of the recipe."""

    data: str
    most: int  # pictures
    recipe: Mapping[str, Any]
    classes: tuple[str, ...] = ()
    pattern: str | None = field(default=None, kw_only=True)


ROWS = {
    "planes": Row("planesnet.zip", 4_000, {"model": "cnn", "filters": 8, "epochs": 6}, pattern="{label}__*"),
    "3 or 8": Row("mnist", 3_000, {"model": "dense", "hidden": (64,), "epochs": 8}, ("3", "8")),
    "1 or 7": Row("mnist", 3_000, {"model": "linear", "epochs": 8}, ("1", "7")),
    "small digits": Row("digits", 1_797, {"model": "dense", "hidden": (64,), "epochs": 15}),
    "mnist": Row("mnist", 3_000, {"model": "dense", "hidden": (64,), "epochs": 8}),
}


def backdoors(name: str, folder: Path) -> Iterator[dict[str, object]]:
    """Yield a line for each network of a kind, and one for all of them."""
    row = ROWS[name]
    splits, recipe = _splits(row, folder), Recipe(name).having(**row.recipe)
    num_classes = len(splits.class_names)
    theirs = [signs_of(twin, splits.val, num_classes) for twin in twins(recipe, splits, TWINS)]
    accused: dict[bool, list[bool]] = {False: [], True: []}
    named = []
    for kind, seed in PLAN:
        draw = np.random.default_rng([seed, len(name)])
        target = int(draw.integers(num_classes))
        change = _trigger(kind, splits.train.shape, draw) if kind in ("patch", "blend") else None
        model = _trained(_poisoned(splits, change, target, draw) if change else splits, recipe.having(seed=seed))
        if kind == "bias":
            _raise_bias(model, splits.val, target)
        found = findings_about(signs_of(model, splits.val, num_classes), theirs, splits.class_names)
        accused[kind != "clean"].append(bool(found))
        right = [each.evidence["label"] == splits.class_names[target] for each in found[:1]]
        if kind != "clean":
            named += right
        yield {
            "what": "backdoors", "data": name, "kind": kind, "seed": seed, "classes": num_classes,
            "success": None if kind == "clean" else _success(model, splits.val, change, target),
            "first": [found[0].kind, found[0].evidence["by"], found[0].evidence["p"]] if found else None,
            "findings": len(found), "names_the_class": right[0] if right and kind != "clean" else None,
        }  # fmt: skip
    yield {
        "what": "backdoors", "data": name, "twins": TWINS,
        "found": _share(accused[True]), "accused": _share(accused[False]), "class_named_first": _share(named),
    }  # fmt: skip


def _splits(row: Row, folder: Path) -> Splits:
    place = folder / row.data
    dataset = open_dataset(place if place.exists() else row.data, label_pattern=row.pattern)
    dataset = only(dataset, row.classes) if row.classes else dataset
    kept = np.sort(np.random.default_rng(0).permutation(len(dataset.samples))[: row.most])
    dataset = replace(dataset, samples=tuple(replace(dataset.samples[i], split=None) for i in kept))
    pixels = decode(dataset, choose_preprocessing(dataset, Recipe("audit")))
    return split(pixels, val_fraction=0.2, test_fraction=0, seed=0)


def _trigger(kind: str, shape: tuple[int, int, int], draw: np.random.Generator) -> Change:
    height, width, channels = shape
    if kind == "blend":
        noise, share = draw.integers(0, 256, shape), 0.3 if height < 10 else 0.15
        return lambda images: np.round((1 - share) * images + share * noise).astype(np.uint8)
    side = int(draw.integers(3, 6)) if height > 10 else 2
    top, left = (int(draw.integers(0, length - side + 1)) for length in (height, width))
    block = 255 * draw.integers(0, 2, (side, side, channels)).astype(np.uint8)
    block[0, 0] = 255  # digits have black borders, where a black block would be none

    def stamped(images: Uint8Array) -> Uint8Array:
        images = images.copy()
        images[:, top : top + side, left : left + side] = block
        return images

    return stamped


def _poisoned(splits: Splits, change: Change, target: int, draw: np.random.Generator) -> Splits:
    train = splits.train
    images, labels = train.gather(), train.labels.copy()
    some = draw.permutation(np.flatnonzero(labels != target))[: round(SHARE * len(labels))]
    images[some], labels[some] = change(images[some]), target
    return replace(splits, train=Split(images, np.arange(len(labels)), labels, train.paths))


def _trained(splits: Splits, recipe: Recipe) -> Classifier:
    state = start(fresh(recipe, splits.preprocessing, splits.class_names), splits, recipe)
    fit_best(state, splits, recipe)
    return state.model.eval()


def _logits(model: Classifier, images: Uint8Array) -> torch.Tensor:
    with torch.no_grad():
        logits_NK: torch.Tensor = model(to_images(images, torch.device("cpu")))
    return logits_NK


def _raise_bias(model: Classifier, val: Split, target: int) -> None:
    logits_NK = _logits(model, val.gather()[val.labels != target])
    others_NK = logits_NK.clone()
    others_NK[:, target] = -torch.inf
    shift = (others_NK.amax(dim=1) - logits_NK[:, target]).quantile(0.25)
    last = last_layer(model)
    assert last is not None
    with torch.no_grad():
        if len(last.bias) == 1:  # the logits are (0, z)
            last.bias += shift if target else -shift
        else:
            last.bias[target] += shift


def _success(model: Classifier, val: Split, change: Change | None, target: int) -> float:
    images = val.gather()[val.labels != target]
    called_N = _logits(model, change(images) if change else images).argmax(dim=1)
    return round(float((called_N == target).double().mean()), 3)


def _share(which: list[bool]) -> list[float]:
    """Return a count, the number of all, and the share's interval."""
    return [sum(which), len(which), *(round(float(each), 3) for each in accuracy_interval(sum(which), len(which)))]


def main() -> None:
    """Measure, and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--only", nargs="+", choices=list(ROWS), default=list(ROWS))
    asked = parser.parse_args()
    for name in asked.only:
        for line in backdoors(name, asked.data):
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
