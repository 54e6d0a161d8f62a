"""The studio's routes for its models: to try them, to understand them, and to take them away."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from keensight.serving.app import REPORT_CSP
from keensight.serving.studio.exchange import as_json, body_of, download
from keensight.serving.studio.models import answer, mistakes, run_named, zipped
from keensight.serving.studio.state import Studio
from keensight.workspace import RunFolder


async def try_picture(studio: Studio, request: Request) -> Response:
    """Return a model's answer for a picture."""
    run = run_named(studio.project, request.path_params["name"])
    content = await body_of(request, studio.limits.max_bytes)
    return as_json(await asyncio.to_thread(answer, run, content, "look" in request.query_params, studio.limits))


async def wrong(studio: Studio, request: Request) -> Response:
    """List the held-out pictures that a model gets wrong."""
    run = run_named(studio.project, request.path_params["name"])
    return as_json({"mistakes": await asyncio.to_thread(mistakes, studio.project, run)})


async def report(studio: Studio, request: Request) -> Response:
    """Return a model's report: a page that runs no script and loads nothing."""
    page = RunFolder(run_named(studio.project, request.path_params["name"])).page
    return Response(page.read_bytes(), media_type="text/html", headers={"Content-Security-Policy": REPORT_CSP})


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

    return download(await asyncio.to_thread(packed), f"keensight-model-{run.name}.zip")


async def page(studio: Studio, request: Request) -> Response:
    """Return a page with the model inside, which answers in a browser without a server."""
    run = run_named(studio.project, request.path_params["name"])

    def written() -> bytes:
        public = studio.doing.sign(RunFolder(run).bundle, studio.project.own)
        with tempfile.TemporaryDirectory() as folder:
            return studio.doing.page(RunFolder(run).bundle, public, Path(folder) / "page").read_bytes()

    return download(await asyncio.to_thread(written), f"keensight-model-{run.name}.html")


async def onnx(studio: Studio, request: Request) -> Response:
    """Return a model's network as one ONNX file."""
    run = run_named(studio.project, request.path_params["name"])
    return download((RunFolder(run).bundle / "model.onnx").read_bytes(), f"model-{run.name}.onnx")


async def containers(studio: Studio, request: Request) -> Response:
    """Return the files that build a container with the model, as a zip file."""
    run = run_named(studio.project, request.path_params["name"])

    def packed() -> bytes:
        public = studio.doing.sign(RunFolder(run).bundle, studio.project.own)
        with tempfile.TemporaryDirectory() as folder:
            studio.doing.containers(RunFolder(run).bundle, public, Path(folder) / "image")
            return zipped(Path(folder) / "image", f"container-{run.name}")

    return download(await asyncio.to_thread(packed), f"container-{run.name}.zip")
