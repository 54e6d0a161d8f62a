"""Writes a bundle, all that a server needs and a reviewer wants, into one folder, whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

from keensight.bundle.card import model_card
from keensight.bundle.info import BundleInfo
from keensight.bundle.read import Bundle
from keensight.bundle.sbom import SBOM, bill_of_materials
from keensight.evaluation.advice import warnings
from keensight.files import encoded, to_json, write_folder
from keensight.values import Report
from keensight.workspace import run_name


def write_bundle(bundle: Bundle, report: Report, onnx: bytes, weights: bytes, html: str) -> None:
    """Write a trained model's bundle, with the facts of its report."""
    info = replace(
        bundle.info,
        created=report.created,
        model={"name": report.model["name"], "parameters": report.model["parameters"]},
        metrics={"val": asdict(report.val), "test": asdict(report.test) if report.test else None},
        warnings=warnings(report),
        versions=report.versions,
    )
    texts = {"MODEL_CARD.md": model_card(report), "report.html": html}
    write_files(bundle.path, info, {**texts, "model.onnx": onnx, "model.safetensors": weights})


def write_files(path: Path, info: BundleInfo, files: Mapping[str, bytes | str]) -> None:
    """Write a bundle's files into a new folder, whole or not at all.

    `files` are all files but bundle.json and the bill of materials, which are made from `info`, and the signature.
    Raises KeensightError if the folder cannot be written.
    """
    belong = tuple(sorted({"bundle.json", SBOM, *files}))
    files = {"bundle.json": to_json(replace(info, files=belong).to_json()), **files}
    named = {name: encoded(content) if isinstance(content, str) else content for name, content in files.items()}
    name = run_name(path)
    bill = bill_of_materials(name, info, named)
    write_folder(path, {**named, SBOM: bill})
