"""The studio's routes for work that takes a while: training, looking for problems, the map, comparing."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from keensight.errors import KeensightError
from keensight.files import make_folder
from keensight.serving.limits import RefusalError
from keensight.serving.studio.exchange import asked_in, done, text_in
from keensight.serving.studio.jobs import Job
from keensight.serving.studio.state import BUDGETS, Studio
from keensight.workspace import RunFolder

SOURCES, COUNTS, MOST_WORDS = ("openverse", "commons", "inaturalist"), (20, 50, 100), 80  # that need no key
PATIENCE = "30s"  # somebody sits before the page
PLACE = "found"  # the label of a search, whose folder is moved into the class
MAP_CSP = (
    "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:"
)


async def train(studio: Studio, request: Request) -> Response:
    """Train a new model, or go on with the one that was interrupted."""
    asked = await asked_in(request)
    budget, run = str(asked.get("budget", BUDGETS[0])), studio.project.unfinished_run()
    if budget not in BUDGETS:
        raise RefusalError(400, "bad_request", f"The time is one of {', '.join(BUDGETS)}.")
    counts = studio.project.classes()
    if sum(count > 0 for count in counts.values()) < 2:
        raise RefusalError(409, "too_few", "Learning needs two classes with pictures, or more.")
    order: dict[str, Any] = {"data": str(studio.project.pictures)}
    if asked.get("resume"):
        if run is None:
            raise RefusalError(409, "nothing", "There is no training to go on with. Begin a new one.")
        order |= {"out": str(run), "resume": True}
    else:
        make_folder(studio.project.runs)
        order |= {"out": str(studio.project.next_run()), "budget": budget}
    await studio.jobs.start("train", order, lambda job: _after(studio, job))
    return done(studio)


async def audit(studio: Studio, request: Request) -> Response:
    """Look for what is wrong with the pictures."""
    out = _free(make_folder(studio.project.own / "audits"))
    order = {"data": str(studio.project.pictures), "out": str(out)}
    await studio.jobs.start("audit", order, lambda job: _after(studio, job))
    return done(studio)


async def explore(studio: Studio, request: Request) -> Response:
    """Draw the map of the pictures."""
    out = _free(make_folder(studio.project.own / "maps"))
    order = {"data": str(studio.project.pictures), "out": str(out)}
    await studio.jobs.start("explore", order, lambda job: _after(studio, job))
    return done(studio)


async def compare(studio: Studio, request: Request) -> Response:
    """Compare the last two models on pictures that neither learnt."""
    runs = studio.project.finished_runs()
    if len(runs) < 2:
        raise RefusalError(409, "too_few", "There are no two models to compare yet.")
    out = _free(make_folder(studio.project.own / "comparisons"))
    bundles = [str(RunFolder(run).bundle) for run in runs[-2:]]
    order = {"bundles": bundles, "data": str(studio.project.pictures), "out": str(out)}
    await studio.jobs.start("compare", order, lambda job: _after(studio, job))
    return done(studio)


async def gather(studio: Studio, request: Request) -> Response:
    """Look for pictures of a class in a collection that lends them, and fetch them with their licences."""
    asked = await asked_in(request)
    name, words, source = (text_in(asked, each) for each in ("class", "words", "source"))
    count = asked.get("count")
    if source not in SOURCES or count not in COUNTS or not words or len(words) > MOST_WORDS or "," in words:
        raise RefusalError(
            400, "bad_request", f"A search is 1 to {MOST_WORDS} letters without commas, and one of the collections."
        )
    studio.project.class_folder(name)
    out = _free(make_folder(studio.project.own / "gathered"))
    order = {"query": f"{PLACE}={words}", "out": str(out), "source": [source], "count": count, "patience": PATIENCE}
    if contact := str(asked.get("contact", "")).strip():
        order["contact"] = contact
    job = await studio.jobs.start("gather", order, lambda job: _after(studio, job))
    job.about["class"] = name
    return done(studio)


async def enough(studio: Studio, request: Request) -> Response:
    """Ask training to end early, with the best so far."""
    await studio.jobs.enough()
    return done(studio)


async def stop(studio: Studio, request: Request) -> Response:
    """End the work, whatever it has done."""
    await studio.jobs.end()
    return done(studio)


async def the_map(studio: Studio, request: Request) -> Response:
    """Return the last map: a page of its own, which may only run its script."""
    pages = sorted((studio.project.own / "maps").glob("*/explore.html"), key=lambda each: each.stat().st_mtime)
    if not pages:
        raise RefusalError(404, "not_found", "No map has been drawn yet.")
    headers = {"Content-Security-Policy": MAP_CSP}
    return Response(await asyncio.to_thread(pages[-1].read_bytes), media_type="text/html", headers=headers)


def _after(studio: Studio, job: Job) -> None:
    if job.what == "gather" and job.status == "done":
        _take_in(studio, job)
    if job.what == "audit" and job.status == "done":
        studio.findings = [each | {"number": i} for i, each in enumerate(job.result.pop("findings"))]
    if job.what == "compare" and job.status == "done":
        studio.compared = job.result
    if job.what == "train" and job.status == "done":
        studio.compared = None


def _free(folder: Path) -> Path:
    return folder / str(1 + max((int(each.name) for each in folder.iterdir() if each.name.isdigit()), default=0))


def _take_in(studio: Studio, job: Job) -> None:
    """Add what a search found to its class. Its folder keeps the licences: a manifest, and a list for people."""
    name, rows, refused = str(job.about["class"]), [], []
    for row in job.result.pop("rows"):
        try:
            content = (Path(job.about["out"]) / row["file"]).read_bytes()
            rows.append(row | {"file": studio.project.add(name, Path(row["file"]).name, content, studio.limits)})
        except (RefusalError, KeensightError, OSError) as error:
            refused.append(str(error))
    studio.acts.added([row["file"] for row in rows])
    studio.gathered = {"class": name, "pictures": rows, "folder": job.about["out"], "refused": len(refused)}
