"""The studio's routes for classes and their pictures, and for what was decided about them."""

from __future__ import annotations

import asyncio
import mimetypes
import tempfile
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from keensight.files import explained, make_folder
from keensight.serving.limits import RefusalError
from keensight.serving.studio.exchange import as_json, asked_in, body_of, done, text_in
from keensight.serving.studio.state import Studio
from keensight.serving.studio.thumbs import thumb


async def make_class(studio: Studio, request: Request) -> Response:
    """Make a class."""
    studio.project.make_class(text_in(await asked_in(request), "name"))
    return done(studio)


async def rename_class(studio: Studio, request: Request) -> Response:
    """Give a class another name."""
    asked = await asked_in(request)
    old, new = text_in(asked, "name"), text_in(asked, "new")
    studio.project.rename_class(old, new)
    studio.acts.renamed(old, new)
    return done(studio)


async def pictures(studio: Studio, request: Request) -> Response:
    """List a class's pictures."""
    name = request.query_params.get("class", "")
    return as_json({"files": await asyncio.to_thread(studio.project.files, name)})


async def add_picture(studio: Studio, request: Request) -> Response:
    """Add one picture to a class. The page tells by `added` when a series of them is complete."""
    content = await body_of(request, studio.limits.max_bytes)
    name, file = request.query_params.get("class", ""), request.query_params.get("file", "picture")
    path = await asyncio.to_thread(studio.project.add, name, file, content, studio.limits)
    return as_json({"path": path})


async def added(studio: Studio, request: Request) -> Response:
    """Note which pictures were added together, so that they can be taken back together."""
    paths = (await asked_in(request)).get("paths", [])
    if not isinstance(paths, list) or not all(isinstance(path, str) for path in paths):
        raise RefusalError(400, "bad_request", "What was added is a list of pictures' paths.")
    studio.acts.added([path for path in paths if studio.project.has_picture(path)])
    return done(studio)


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
    return as_json({"added": len(paths), "refused": refused})


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
    asked = await asked_in(request)
    action, files = asked.get("action"), [str(each) for each in asked.get("files", [])]
    if action not in ("drop", "relabel", "keep") or not files:
        raise RefusalError(400, "bad_request", "A decision is drop, relabel or keep, about one picture or more.")
    label, why = asked.get("label"), str(asked.get("why", "looked at in the studio"))[:200]
    finding = number if isinstance(number := asked.get("finding"), int) else None
    await asyncio.to_thread(studio.acts.decide, action, files, None if label is None else str(label), why, finding)
    return done(studio)


async def undo(studio: Studio, request: Request) -> Response:
    """Take the last act back."""
    title = await asyncio.to_thread(studio.acts.undo)
    studio.change()
    return as_json({"undone": title})
