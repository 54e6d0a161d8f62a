"""The studio's application: its page, its routes, and who may use them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from keensight.serving.static import PAGE, page_files
from keensight.serving.studio import routes_models as models
from keensight.serving.studio import routes_pictures as pictures
from keensight.serving.studio import routes_work as work
from keensight.serving.studio.exchange import Endpoint, as_json, told
from keensight.serving.studio.safety import Safety
from keensight.serving.studio.state import Studio

SHARED = ("/dom.js", "/style.css", "/icon.svg")  # with the page for end users


def create_studio(studio: Studio, token: str, hosts: frozenset[str]) -> Starlette:
    """Return the ASGI application, which answers under `hosts` to who has the token."""
    shared = {path: file for path, file in page_files(PAGE).items() if path in SHARED}
    own = page_files(Path(__file__).parent / "page")
    routes = [Route(path, _file(content, kind)) for path, (content, kind) in (shared | own).items()]
    routes += [Route(path, told(endpoint, studio), methods=[method]) for method, path, endpoint in ROUTES]
    app = Starlette(routes=routes, middleware=[Middleware(Safety, token=token, hosts=hosts)])
    app.router.redirect_slashes = False
    return app


async def state(studio: Studio, request: Request) -> Response:
    """Return the state, once its number is another than `after`."""
    after = request.query_params.get("after", "")
    await studio.wait_after(int(after) if after.isdecimal() else 0)
    return as_json(await asyncio.to_thread(studio.state))


ROUTES: tuple[tuple[str, str, Endpoint], ...] = (
    ("GET", "/api/state", state),
    ("POST", "/api/classes", pictures.make_class),
    ("POST", "/api/classes/rename", pictures.rename_class),
    ("GET", "/api/pictures", pictures.pictures),
    ("POST", "/api/pictures", pictures.add_picture),
    ("POST", "/api/added", pictures.added),
    ("POST", "/api/archive", pictures.add_archive),
    ("GET", "/api/small/{path:path}", pictures.small),
    ("GET", "/api/picture/{path:path}", pictures.picture),
    ("POST", "/api/decide", pictures.decide),
    ("POST", "/api/undo", pictures.undo),
    ("POST", "/api/train", work.train),
    ("POST", "/api/audit", work.audit),
    ("POST", "/api/explore", work.explore),
    ("POST", "/api/compare", work.compare),
    ("POST", "/api/gather", work.gather),
    ("POST", "/api/enough", work.enough),
    ("POST", "/api/stop", work.stop),
    ("POST", "/api/models/{name}/try", models.try_picture),
    ("GET", "/api/models/{name}/mistakes", models.wrong),
    ("GET", "/api/models/{name}/report", models.report),
    ("GET", "/api/models/{name}/bundle", models.bundle),
    ("GET", "/api/models/{name}/page", models.page),
    ("GET", "/api/models/{name}/onnx", models.onnx),
    ("GET", "/api/models/{name}/containers", models.containers),
    ("GET", "/api/map", work.the_map),
)


def _file(content: bytes, kind: str) -> Callable[[Request], Awaitable[Response]]:
    async def page_file(request: Request) -> Response:
        return Response(content, headers={"Content-Type": kind, "Cache-Control": "no-cache"})

    return page_file
