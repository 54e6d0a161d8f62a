"""Answers for many pictures by many workers, in parts: killed anywhere, the same command goes on."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keensight.bundle.read import file_of, read_bundle
from keensight.data.places import pictures_in
from keensight.data.stores import is_url, open_store, place_of
from keensight.data.unlabelled import Picture
from keensight.engines.table import ENGINES
from keensight.errors import RunError, UsageError
from keensight.inference.choosing import as_answered_by, fastest, why_not
from keensight.inference.predictor import Predictor
from keensight.pipeline.answer_parts import (
    MANIFEST,
    Part,
    begun,
    close,
    job_of,
    name_of,
    read_part,
    to_part,
)
from keensight.pipeline.watch import Watcher
from keensight.pipeline.workers import Hire, Json, Processes, Recipe, Work
from keensight.workspace import Kind, claim

PARTS = Kind("folder of answers", "Predict", home=Path("answers"), begun=MANIFEST, kept=MANIFEST, finished="")


@dataclass(frozen=True, slots=True)
class Answered:
    """A folder of answers that is complete: how many pictures have one, how many have none, and its parts.

    `kept` is the number of parts that were there already.
    """

    out: str
    answers: int
    failed: int
    parts: int
    kept: int


def predict_in_parts(
    bundle: str | Path,
    pictures: Sequence[str | Path],
    out: str | Path,
    workers: int,
    key: str | Path | None,
    watcher: Watcher,
    hire: Hire = Processes,
) -> Answered:
    """Answer for pictures into parts in `out`; those that are there already, and whole, are kept.

    Raises RunError if `out` holds something else, KeensightError as `predict` does.
    """
    if workers < 1:
        raise UsageError(f"workers is {workers}; give 1 or more, such as the number of cores.")
    store = open_store(out)
    opened = read_bundle(bundle, key)
    watcher.opened(opened)
    places = [str(place) for place in pictures]
    with ExitStack() as stack:
        names = [str(each.path) for each in pictures_in(map(place_of, places), stack, watcher.left_out)]
    if not names:
        raise RunError(f"{' '.join(map(str, pictures))} holds no pictures, so there is nothing to answer.")
    fresh = job_of(opened, names, fastest(opened.info, file_of(opened, "model.onnx")))
    before = begun(store, fresh)
    job, goes_on = before or fresh, before is not None
    if job.engine not in ENGINES or why_not(job.engine, opened.info):
        raise RunError(
            f"The answers in {store.place} were begun with the engine {job.engine[:50]!r}, which this machine lacks, "
            "and answers of two engines are not mixed. Go on where they were begun, or give another folder."
        )
    with ExitStack() as stack:
        if store.is_local:
            stack.enter_context(claim(Path(store.root), "answers", goes_on, PARTS))
        there = store.found()
        known = [read_part(store, job, unit) for unit in range(job.units) if name_of(unit) in there]
        parts = {part.unit: part for part in known if part is not None}
        kept = len(parts)
        missing = [unit for unit in range(job.units) if unit not in parts]
        settings = {
            "bundle": str(Path(bundle).absolute()), "key": None if key is None else str(Path(key).absolute()),
            "places": places, "folder": str(Path.cwd()), "out": str(out) if is_url(out) else store.root,
            "job": job.digest, "engine": job.engine,
        }  # fmt: skip
        if missing:
            crew = stack.enter_context(hire(min(workers, len(missing)), Recipe(__name__, "answerer", settings)))
            if not goes_on:
                store.write(MANIFEST, job.manifest())
            done = sum(part.rows for part in parts.values())
            for answer in crew.map(missing):
                part = Part(**answer)
                parts[part.unit] = part
                done += part.rows
                watcher.pictures(done, job.pictures)
        close(store, job, [parts[unit] for unit in sorted(parts)])
    failed = sum(part.failed for part in parts.values())
    return Answered(store.place, job.pictures - failed, failed, job.units, kept)


def answerer(settings: Json) -> Work:
    """Make a worker: what answers for the pictures of a unit, writes them as a part, and returns what that holds.

    Raises RunError where it sees another bundle, or other pictures, than whoever gave the order.
    """
    with suppress(OSError):  # on another machine, where only URLs may be needed
        os.chdir(settings["folder"])  # where paths begin; a worker is a process of its own
    opened = read_bundle(settings["bundle"], settings["key"])
    engine, onnx = settings["engine"], file_of(opened, "model.onnx")
    bundle = as_answered_by(engine, opened)
    predictor = Predictor(bundle, onnx, threads=1, spins=False, engine=engine, chooses=False)
    stack = ExitStack()  # archives stay open for as long as the worker lives
    pictures: list[Picture] = list(pictures_in(map(place_of, settings["places"]), stack, lambda *_: None))
    job, store = job_of(opened, (str(each.path) for each in pictures), engine), open_store(settings["out"])
    if job.digest != settings["job"]:
        raise RunError(
            "A worker sees another bundle, or other pictures, than the process that started it. Did they change "
            "meanwhile? On several machines, all must see the same folders or URLs."
        )

    if begun(store, job) is None:
        raise RunError(
            f"There is no {store.place}/{MANIFEST} here, which the process that gave the orders has written: answers "
            "would be scattered over several disks. Give --out a folder that all machines share, or a URL."
        )

    def work(unit: Json) -> dict[str, Any]:
        rows = job.rows(unit)
        answers = list(predictor.on_files(pictures[rows.start : rows.stop]))
        store.write(name_of(unit), to_part(job, unit, answers))
        written = read_part(store, job, unit)
        if written is None:
            raise RunError(f"{store.place}/{name_of(unit)} was written, but cannot be read again. Is the disk sound?")
        return {"unit": written.unit, "rows": written.rows, "failed": written.failed, "sha256": written.sha256}

    return work
