"""Write a bundle: all that a server needs and all that a reviewer wants, in one folder, whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from keensight.bundle.card import model_card
from keensight.bundle.read import FORMAT, Bundle
from keensight.data.pixels import DECODER_VERSION, Borders
from keensight.files import explained, make_folder, to_json, write_atomically
from keensight.values import Preprocessing, Recipe, Report
from keensight.version import __version__


def describe(
    path: Path,
    labels: tuple[str, ...],
    preprocessing: Preprocessing,
    borders: Borders,
    temperature: float,
    recipe: Recipe,
    data: Mapping[str, Any],
) -> Bundle:
    """Return the bundle-to-be: everything in `bundle.json` that predicting needs, before there are metrics."""
    info = {
        "format": FORMAT,
        "keensight": __version__,
        "labels": list(labels),
        "preprocessing": {**asdict(preprocessing), "resample": "bilinear", "decoder": DECODER_VERSION},
        "borders": asdict(borders),
        "temperature": temperature,
        "abstain_below": recipe.abstain_below,
        "recipe": asdict(recipe),
        "data": dict(data),
    }
    return Bundle(path, labels, preprocessing, borders, recipe.abstain_below, info)


def write_bundle(bundle: Bundle, report: Report, onnx: bytes, weights: bytes, html: str) -> None:
    """Write the bundle's files beside its place and rename the folder into it."""
    info = {
        **bundle.info,
        "created": report.created,
        "model": {"name": report.model["name"], "parameters": report.model["parameters"]},
        "metrics": {"val": asdict(report.val), "test": asdict(report.test) if report.test else None},
        "versions": dict(report.versions),
    }
    temporary = make_folder(bundle.path.with_name(f".{bundle.path.name}.{os.getpid()}"))
    try:
        write_atomically(temporary / "bundle.json", to_json(info))
        write_atomically(temporary / "model.onnx", onnx)
        write_atomically(temporary / "model.safetensors", weights)
        write_atomically(temporary / "MODEL_CARD.md", model_card(report))
        write_atomically(temporary / "report.html", html)
        with explained(bundle.path):
            temporary.rename(bundle.path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
