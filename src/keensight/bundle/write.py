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
from keensight.bundle.sbom import SBOM, bill_of_materials
from keensight.data.pixels import DECODER_VERSION, Borders
from keensight.evaluation.words import warnings
from keensight.files import encoded, explained, make_folder, to_json, write_atomically
from keensight.values import Preprocessing, Recipe, Report
from keensight.version import __version__
from keensight.workspace import run_name


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
        "abstain_below": recipe.evaluate.abstain_below,
        "recipe": recipe.table(),
        "data": dict(data),
    }
    return Bundle(path, labels, preprocessing, borders, recipe.evaluate.abstain_below, info)


def write_bundle(bundle: Bundle, report: Report, onnx: bytes, weights: bytes, html: str) -> None:
    """Write a trained model's bundle, with all that its report tells."""
    info = {
        **bundle.info,
        "created": report.created,
        "model": {"name": report.model["name"], "parameters": report.model["parameters"]},
        "metrics": {"val": asdict(report.val), "test": asdict(report.test) if report.test else None},
        "warnings": warnings(report),
        "versions": dict(report.versions),
    }
    texts = {"bundle.json": to_json(info), "MODEL_CARD.md": model_card(report), "report.html": html}
    write_files(bundle.path, {**texts, "model.onnx": onnx, "model.safetensors": weights})


def write_files(path: Path, files: Mapping[str, bytes | str]) -> None:
    """Write a bundle's files, and their bill of materials, beside its place and rename the folder into it.

    `files` are all but the bill and the signature; bundle.json must be among them. Raises KeensightError where the
    folder cannot be written.
    """
    named = {name: encoded(content) if isinstance(content, str) else content for name, content in files.items()}
    name = run_name(path)
    bill = bill_of_materials(name, named)
    temporary = make_folder(path.with_name(f".{path.name}.{os.getpid()}"))
    try:
        for file, content in {**named, SBOM: encoded(bill)}.items():
            write_atomically(temporary / file, content)
        with explained(path):
            temporary.rename(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
