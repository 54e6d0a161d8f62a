"""The studio's trained models: what they measured, and their answers for pictures."""

from __future__ import annotations

import base64
import io
import json
import zipfile
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from keensight.data.unlabelled import Picture
from keensight.errors import PictureError
from keensight.inference.explaining import reasons
from keensight.inference.predictor import Predictor, load
from keensight.serving.heat import overlay
from keensight.serving.limits import Limits, RefusalError
from keensight.serving.studio.project import Project
from keensight.serving.uploads import refusals
from keensight.workspace import RunFolder

MOST_MISTAKES = 200


def models_of(project: Project) -> list[dict[str, Any]]:
    """Return what the page shows of each finished run; one whose report is damaged is left out."""
    found = []
    for run in project.finished_runs():
        with suppress(OSError, ValueError, LookupError, TypeError):
            found.append(model_of(run))
    return found


def model_of(run: Path) -> dict[str, Any]:
    """Return what the page shows of a finished run: its number, accuracy with interval, n, classes and time."""
    return dict(_model(run, RunFolder(run).report.stat().st_mtime_ns))


@lru_cache(64)
def _model(run: Path, _: int) -> tuple[tuple[str, Any], ...]:
    report = json.loads(RunFolder(run).report.read_text(encoding="utf-8"))
    split = "test" if report["test"] else "val"
    metrics = report[split]
    known = {name: metrics[name] for name in ("accuracy", "accuracy_low", "accuracy_high", "n")}
    return tuple(
        {
            "name": run.name,
            "split": split,
            **known,
            "classes": report["data"]["class_names"],
            "seconds": report["seconds"],
        }.items()
    )


def run_named(project: Project, name: str) -> Path:
    """Return the folder of a finished run. Raises RefusalError (404) if there is none of that name."""
    found = next((each for each in project.finished_runs() if each.name == name), None)
    if found is None:
        raise RefusalError(404, "not_found", "This model is not there any more.")
    return found


@lru_cache(2)
def predictor_of(bundle: Path, _: int) -> Predictor:
    """Return a loaded bundle. The second argument changes when its files do."""
    return load(bundle)


def opened(run: Path) -> Predictor:
    """Return a run's predictor, loaded once."""
    bundle = RunFolder(run).bundle
    return predictor_of(bundle, (bundle / "bundle.json").stat().st_mtime_ns)


def answer(run: Path, content: bytes, looks: bool, limits: Limits) -> dict[str, Any]:
    """Return a model's answer for an encoded picture; with `looks`, also an overlay of what it rests on.

    Raises RefusalError for a picture that cannot be used.
    """
    predictor = opened(run)
    with refusals(limits):
        ((_, seen_HWC, found),) = predictor.on_pictures([Picture(Path("picture"), lambda: content)])
        if isinstance(found, PictureError) or seen_HWC is None:
            raise found if isinstance(found, PictureError) else PictureError("it cannot be used")
    told = {
        "label": found.label,
        "probability": found.probability,
        "probabilities": dict(found.probabilities),
        "none": found.is_none_of_these,
        "abstained": found.abstained,
        "reasons": list(found.reasons),
        "notes": [each for each in found.notes if not any(each in reason for reason in found.reasons)],
    }
    if looks:
        index = predictor.bundle.labels.index(found.label)
        picture = overlay(reasons(predictor, seen_HWC, index).points_HW)
        told["look"] = "data:image/png;base64," + base64.b64encode(picture).decode()
    return told


def mistakes(project: Project, run: Path) -> list[dict[str, Any]]:
    """Return the held-out pictures that a model gets wrong, the surest first: their file, label and answer.

    Pictures that have been moved or removed since are left out.
    """
    lines = [json.loads(line) for line in RunFolder(run).splits.read_text(encoding="utf-8").splitlines()]
    held_out = {each["split"] for each in lines} & {"test", "val"}
    files: dict[Path, tuple[str, str]] = {}
    for each in lines:
        if each["split"] in held_out:
            try:
                files[project.picture_file(each["file"])] = (each["file"], each["label"])
            except RefusalError:
                continue
    found: list[dict[str, Any]] = []
    for path, given in opened(run).on_files(files):
        if not isinstance(given, PictureError) and given.label != files[path][1]:
            file, label = files[path]
            found.append({"file": file, "label": label, "answer": given.label, "probability": given.probability})
    return sorted(found, key=lambda each: -each["probability"])[:MOST_MISTAKES]


def zipped(folder: Path, name: str) -> bytes:
    """Return a folder as a zip file, in which all lies in one folder called `name`."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        for each in sorted(folder.rglob("*")):
            if each.is_file():
                packed.write(each, f"{name}/{each.relative_to(folder).as_posix()}")
    return file.getvalue()
