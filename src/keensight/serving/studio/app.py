"""The studio's routes. Each change of the folder or of the work gives the state a new number, for which pages wait."""

from __future__ import annotations

import asyncio
import json
import mimetypes
import shutil
import sys
import tempfile
import traceback
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from keensight.data.folders import MAX_PICTURE_BYTES
from keensight.errors import KeensightError
from keensight.files import explained, make_folder
from keensight.serving.app import REPORT_CSP
from keensight.serving.limits import Limits, RefusalError
from keensight.serving.static import PAGE, page_files
from keensight.serving.studio.acts import Acts
from keensight.serving.studio.jobs import Job, Jobs
from keensight.serving.studio.models import answer, mistakes, models_of, run_named, zipped
from keensight.serving.studio.project import Project
from keensight.serving.studio.safety import Safety
from keensight.serving.studio.thumbs import thumb
from keensight.workspace import RunFolder

WAIT_S = 20.0
MOST_JSON = 2**22
BUDGETS = ("1m", "5m", "20m", "1h")
SHARED = ("/dom.js", "/style.css", "/icon.svg")  # with the page for end users
MAP_CSP = (
    "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:"
)
Endpoint = Callable[["Studio", Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Doing:
    """What the studio can do beyond files, given by the verb: verbs lie above this floor."""

    clean: Callable[..., object]
    sign: Callable[[Path, Path], Path]  # a bundle, with a key in this folder; returns the public key
    work: Sequence[str]  # the command of the process that works
    containers: Callable[[Path, Path, Path], None]  # a bundle, its public key, the folder to write


@dataclass(slots=True, eq=False)
class Studio:
    """The folder, the acts, the work, and the number of the state."""

    project: Project
    doing: Doing
    limits: Limits = field(default_factory=lambda: Limits(max_bytes=MAX_PICTURE_BYTES, max_pixels=80_000_000))
    number: int = 1
    is_over: bool = False
    findings: list[dict[str, Any]] | None = None
    compared: dict[str, Any] | None = None
    acts: Acts = field(init=False)
    jobs: Jobs = field(init=False)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.acts = Acts(self.project, self.doing.clean)
        self.jobs = Jobs(self.doing.work, self.change)

    def change(self) -> None:
        """Give the state a new number; whoever waits for it hears of it."""
        self.number += 1
        self._changed.set()
        self._changed = asyncio.Event()

    def leave(self) -> None:
        """Let nobody wait any longer: the studio ends."""
        self.is_over = True
        self.change()

    async def wait_after(self, number: int) -> None:
        """Wait until the state has another number than this, or for twenty seconds."""
        if number == self.number and not self.is_over:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), WAIT_S)

    def state(self) -> dict[str, Any]:
        """Return all that the page shows, but for the pictures."""
        unfinished = None if self.jobs.is_busy else self.project.unfinished_run()
        return {
            "number": self.number,
            "folder": str(self.project.pictures),
            "classes": [{"name": name, "count": count} for name, count in self.project.classes().items()],
            "job": None if self.jobs.latest is None else self.jobs.latest.told(),
            "models": models_of(self.project),
            "unfinished": None if unfinished is None else unfinished.name,
            "undo": self.acts.done[-1].title if self.acts.done else None,
            "findings": self.findings,
            "compared": self.compared,
            "budgets": BUDGETS,
        }


def create_studio(studio: Studio, token: str, hosts: frozenset[str]) -> Starlette:
    """Return the ASGI application, which answers under `hosts` to who has the token."""
    shared = {path: file for path, file in page_files(PAGE).items() if path in SHARED}
    own = page_files(Path(__file__).parent / "page")
    routes = [Route(path, _file(content, kind)) for path, (content, kind) in (shared | own).items()]
    routes += [Route(path, _told(endpoint, studio), methods=[method]) for method, path, endpoint in ROUTES]
    app = Starlette(routes=routes, middleware=[Middleware(Safety, token=token, hosts=hosts)])
    app.router.redirect_slashes = False
    return app


async def state(studio: Studio, request: Request) -> Response:
    """Return the state, once its number is another than `after`."""
    after = request.query_params.get("after", "")
    await studio.wait_after(int(after) if after.isdecimal() else 0)
    return _json(await asyncio.to_thread(studio.state))


async def make_class(studio: Studio, request: Request) -> Response:
    """Make a class."""
    studio.project.make_class(_text(await _asked(request), "name"))
    return _done(studio)


async def rename_class(studio: Studio, request: Request) -> Response:
    """Give a class another name."""
    asked = await _asked(request)
    old, new = _text(asked, "name"), _text(asked, "new")
    studio.project.rename_class(old, new)
    studio.acts.renamed(old, new)
    return _done(studio)


async def pictures(studio: Studio, request: Request) -> Response:
    """List a class's pictures."""
    name = request.query_params.get("class", "")
    return _json({"files": await asyncio.to_thread(studio.project.files, name)})


async def add_picture(studio: Studio, request: Request) -> Response:
    """Add one picture to a class. The page tells by `added` when a series of them is complete."""
    content = await _body(request, studio.limits.max_bytes)
    name, file = request.query_params.get("class", ""), request.query_params.get("file", "picture")
    path = await asyncio.to_thread(studio.project.add, name, file, content, studio.limits)
    return _json({"path": path})


async def added(studio: Studio, request: Request) -> Response:
    """Note which pictures were added together, so that they can be taken back together."""
    paths = (await _asked(request)).get("paths", [])
    studio.acts.added([str(path) for path in paths])
    return _done(studio)


async def add_archive(studio: Studio, request: Request) -> Response:
    """Add the pictures of a zip or tar file: to one class, or to its own classes."""
    name = request.query_params.get("class") or None
    suffix = "".join(Path(request.query_params.get("file", "a.zip")).suffixes[-2:])[-10:]
    folder = make_folder(studio.project.own / "incoming")
    with explained(folder), tempfile.NamedTemporaryFile(dir=folder, suffix=suffix) as file:
        async for chunk in request.stream():
            file.write(chunk)
        file.flush()
        paths, refused = await asyncio.to_thread(studio.project.add_archive, Path(file.name), name, studio.limits)
    studio.acts.added(paths)
    studio.change()
    return _json({"added": len(paths), "refused": refused})


async def small(studio: Studio, request: Request) -> Response:
    """Return a small picture of a picture."""
    file = studio.project.picture_file(request.path_params["path"])
    return Response(
        await asyncio.to_thread(thumb, file), media_type="image/jpeg", headers={"Cache-Control": "no-cache"}
    )


async def picture(studio: Studio, request: Request) -> Response:
    """Return a picture as it is."""
    file = studio.project.picture_file(request.path_params["path"])
    kind = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
    kind = kind if kind.startswith("image/") and "svg" not in kind else "application/octet-stream"
    return Response(await asyncio.to_thread(file.read_bytes), media_type=kind, headers={"Cache-Control": "no-cache"})


async def decide(studio: Studio, request: Request) -> Response:
    """Drop, move or keep pictures; `finding` is the number of the finding that it answers."""
    asked = await _asked(request)
    action, files = asked.get("action"), [str(each) for each in asked.get("files", [])]
    if action not in ("drop", "relabel", "keep") or not files:
        raise RefusalError(400, "bad_request", "A decision is drop, relabel or keep, about one picture or more.")
    label, why = asked.get("label"), str(asked.get("why", "looked at in the studio"))[:200]
    await asyncio.to_thread(studio.acts.decide, action, files, None if label is None else str(label), why)
    if studio.findings is not None and isinstance(number := asked.get("finding"), int):
        for each in studio.findings:
            if each["number"] == number:
                each["decided"] = sorted({*each.get("decided", []), *files})
    return _done(studio)


async def undo(studio: Studio, request: Request) -> Response:
    """Take the last act back."""
    title = await asyncio.to_thread(studio.acts.undo)
    studio.change()
    return _json({"undone": title})


async def train(studio: Studio, request: Request) -> Response:
    """Train a new model, or go on with the one that was interrupted."""
    asked = await _asked(request)
    budget, run = str(asked.get("budget", BUDGETS[0])), studio.project.unfinished_run()
    if budget not in BUDGETS:
        raise RefusalError(400, "bad_request", f"The time is one of {', '.join(BUDGETS)}.")
    counts = studio.project.classes()
    if sum(count > 0 for count in counts.values()) < 2:
        raise RefusalError(409, "too_few", "Learning needs two classes with pictures, or more.")
    order: dict[str, Any] = {"data": str(studio.project.pictures)}
    if asked.get("resume") and run is not None:
        order |= {"out": str(run), "resume": True}
    else:
        make_folder(studio.project.runs)
        order |= {"out": str(studio.project.next_run()), "budget": budget}
    await studio.jobs.start("train", order, lambda job: _after(studio, job))
    return _done(studio)


async def audit(studio: Studio, request: Request) -> Response:
    """Look for what is wrong with the pictures."""
    out = _free(make_folder(studio.project.own / "audits"))
    order = {"data": str(studio.project.pictures), "out": str(out)}
    await studio.jobs.start("audit", order, lambda job: _after(studio, job))
    return _done(studio)


async def explore(studio: Studio, request: Request) -> Response:
    """Draw the map of the pictures."""
    out = _free(make_folder(studio.project.own / "maps"))
    order = {"data": str(studio.project.pictures), "out": str(out)}
    await studio.jobs.start("explore", order, lambda job: _after(studio, job))
    return _done(studio)


async def compare(studio: Studio, request: Request) -> Response:
    """Compare the last two models on pictures that neither learnt."""
    runs = studio.project.finished_runs()
    if len(runs) < 2:
        raise RefusalError(409, "too_few", "There are no two models to compare yet.")
    out = _free(make_folder(studio.project.own / "comparisons"))
    bundles = [str(RunFolder(run).bundle) for run in runs[-2:]]
    order = {"bundles": bundles, "data": str(studio.project.pictures), "out": str(out)}
    await studio.jobs.start("compare", order, lambda job: _after(studio, job))
    return _done(studio)


async def enough(studio: Studio, request: Request) -> Response:
    """Ask training to end early, with the best so far."""
    await studio.jobs.enough()
    return _done(studio)


async def stop(studio: Studio, request: Request) -> Response:
    """End the work, whatever it has done."""
    await studio.jobs.end()
    return _done(studio)


async def try_picture(studio: Studio, request: Request) -> Response:
    """Return a model's answer for a picture."""
    run = run_named(studio.project, request.path_params["name"])
    content = await _body(request, studio.limits.max_bytes)
    return _json(await asyncio.to_thread(answer, run, content, "look" in request.query_params, studio.limits))


async def wrong(studio: Studio, request: Request) -> Response:
    """List the held-out pictures that a model gets wrong."""
    run = run_named(studio.project, request.path_params["name"])
    return _json({"mistakes": await asyncio.to_thread(mistakes, studio.project, run)})


async def report(studio: Studio, request: Request) -> Response:
    """Return a model's report: a page that runs no script and loads nothing."""
    page = RunFolder(run_named(studio.project, request.path_params["name"])).page
    return Response(page.read_bytes(), media_type="text/html", headers={"Content-Security-Policy": REPORT_CSP})


async def the_map(studio: Studio, request: Request) -> Response:
    """Return the last map: a page of its own, which may only run its script."""
    pages = sorted((studio.project.own / "maps").glob("*/explore.html"), key=lambda each: each.stat().st_mtime)
    if not pages:
        raise RefusalError(404, "not_found", "No map has been drawn yet.")
    headers = {"Content-Security-Policy": MAP_CSP}
    return Response(await asyncio.to_thread(pages[-1].read_bytes), media_type="text/html", headers=headers)


async def bundle(studio: Studio, request: Request) -> Response:
    """Return a model's signed bundle as a zip file, and with it the public key that checks it."""
    run = run_named(studio.project, request.path_params["name"])

    def packed() -> bytes:
        with tempfile.TemporaryDirectory() as folder:
            public = studio.doing.sign(RunFolder(run).bundle, studio.project.own)
            place = Path(folder)
            shutil.copytree(RunFolder(run).bundle, place / "bundle")
            (place / public.name).write_bytes(public.read_bytes())
            return zipped(place, f"keensight-model-{run.name}")

    return _download(await asyncio.to_thread(packed), f"keensight-model-{run.name}.zip")


async def onnx(studio: Studio, request: Request) -> Response:
    """Return a model's network as one ONNX file."""
    run = run_named(studio.project, request.path_params["name"])
    return _download((RunFolder(run).bundle / "model.onnx").read_bytes(), f"model-{run.name}.onnx")


async def containers(studio: Studio, request: Request) -> Response:
    """Return the files that build a container with the model, as a zip file."""
    run = run_named(studio.project, request.path_params["name"])

    def packed() -> bytes:
        public = studio.doing.sign(RunFolder(run).bundle, studio.project.own)
        with tempfile.TemporaryDirectory() as folder:
            studio.doing.containers(RunFolder(run).bundle, public, Path(folder) / "image")
            return zipped(Path(folder) / "image", f"container-{run.name}")

    return _download(await asyncio.to_thread(packed), f"container-{run.name}.zip")


ROUTES: tuple[tuple[str, str, Endpoint], ...] = (
    ("GET", "/api/state", state),
    ("POST", "/api/classes", make_class),
    ("POST", "/api/classes/rename", rename_class),
    ("GET", "/api/pictures", pictures),
    ("POST", "/api/pictures", add_picture),
    ("POST", "/api/added", added),
    ("POST", "/api/archive", add_archive),
    ("GET", "/api/small/{path:path}", small),
    ("GET", "/api/picture/{path:path}", picture),
    ("POST", "/api/decide", decide),
    ("POST", "/api/undo", undo),
    ("POST", "/api/train", train),
    ("POST", "/api/audit", audit),
    ("POST", "/api/explore", explore),
    ("POST", "/api/compare", compare),
    ("POST", "/api/enough", enough),
    ("POST", "/api/stop", stop),
    ("POST", "/api/models/{name}/try", try_picture),
    ("GET", "/api/models/{name}/mistakes", wrong),
    ("GET", "/api/models/{name}/report", report),
    ("GET", "/api/models/{name}/bundle", bundle),
    ("GET", "/api/models/{name}/onnx", onnx),
    ("GET", "/api/models/{name}/containers", containers),
    ("GET", "/api/map", the_map),
)


def _after(studio: Studio, job: Job) -> None:
    if job.what == "audit" and job.status == "done":
        studio.findings = [each | {"number": i} for i, each in enumerate(job.result.pop("findings"))]
    if job.what == "compare" and job.status == "done":
        studio.compared = job.result
    if job.what == "train" and job.status == "done":
        studio.compared = None


def _free(folder: Path) -> Path:
    return folder / str(1 + max((int(each.name) for each in folder.iterdir() if each.name.isdigit()), default=0))


def _told(endpoint: Endpoint, studio: Studio) -> Callable[[Request], Awaitable[Response]]:
    async def call(request: Request) -> Response:
        try:
            return await endpoint(studio, request)
        except RefusalError as error:
            return _error(error.status, error.code, str(error))
        except KeensightError as error:
            return _error(409, "failed", str(error))
        except ClientDisconnect:
            return _error(400, "gone", "The page was closed.")
        except OSError as error:
            return _error(507, "disk", f"The disk refused: {error.strerror}. Free some space, and try again.")
        except Exception as error:
            sys.stderr.write("".join(traceback.format_exception(error)))
            return _error(500, "internal", "The studio failed. Its window says where; your pictures are safe.")

    return call


async def _body(request: Request, most: int) -> bytes:
    chunks, total = [], 0
    async for chunk in request.stream():
        total += len(chunk)
        if total > most:
            raise RefusalError(413, "too_large", f"It has more than {most // 2**20} MiB, the most that is accepted.")
        chunks.append(chunk)
    return b"".join(chunks)


async def _asked(request: Request) -> dict[str, Any]:
    try:
        asked = json.loads(await _body(request, MOST_JSON) or b"{}")
    except (ValueError, RecursionError):
        asked = None
    if not isinstance(asked, dict):
        raise RefusalError(400, "bad_request", "The request has no JSON object.")
    return asked


def _text(asked: dict[str, Any], name: str) -> str:
    value = asked.get(name)
    if not isinstance(value, str):
        raise RefusalError(400, "bad_request", f"The request has no {name}.")
    return value.strip()


def _done(studio: Studio) -> Response:
    studio.change()
    return _json({"number": studio.number})


def _json(value: object) -> Response:
    return JSONResponse(value, headers={"Cache-Control": "no-store"})


def _error(status: int, code: str, message: str) -> Response:
    error = {"error": {"code": code, "message": message}}
    return JSONResponse(error, status, headers={"Cache-Control": "no-store"})


def _download(content: bytes, name: str) -> Response:
    return Response(
        content,
        media_type="application/octet-stream",
        headers={"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"},
    )


def _file(content: bytes, kind: str) -> Callable[[Request], Awaitable[Response]]:
    async def page_file(request: Request) -> Response:
        return Response(content, headers={"Content-Type": kind, "Cache-Control": "no-cache"})

    return page_file
