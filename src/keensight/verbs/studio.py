"""`keensight studio`: one local page from an empty folder to a model."""

from __future__ import annotations

import asyncio
import secrets
import socket
import webbrowser
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import uvicorn

from keensight.bundle.folder import SIGNATURE
from keensight.data.apart import own_python
from keensight.serving.addresses import bind
from keensight.serving.studio.app import create_studio
from keensight.serving.studio.project import Project, open_project
from keensight.serving.studio.state import Doing, Studio

KEY = "signing-key.pem"


def studio(
    folder: str | Path = "keensight-studio",
    *,
    port: int = 0,
    no_browser: bool = False,
    on_ready: Callable[[str], None] = print,
) -> None:
    """Open a page on this machine on which pictures become a model: collect, check, train, try, take away.

    All that it makes lies in the folder, as `train` takes it: a folder for each class, and the runs.

    Args:
        folder: The studio's folder, new, or with pictures in class folders.
        port: The port to listen on, on this machine alone; 0 for any free one.
        no_browser: Only print the page's address, and open no browser.
        on_ready: Called with the page's address, which holds a token: nobody else can open it.

    Raises:
        KeensightError: the folder cannot be used, or the port is taken.
    """
    project = open_project(Path(folder))
    bound = bind("127.0.0.1", port)
    try:
        port = bound.getsockname()[1]
        token = secrets.token_urlsafe(24)
        doing = Doing(_clean, _sign, own_python("keensight.verbs.studio_work", "main"), _containers, _page)
        url = f"http://127.0.0.1:{port}/?token={token}"

        def ready() -> None:
            on_ready(url)
            if not no_browser:
                webbrowser.open(url)

        with suppress(KeyboardInterrupt):
            asyncio.run(_serve(bound, project, doing, token, ready))
    finally:
        bound.close()


async def _serve(bound: socket.socket, project: Project, doing: Doing, token: str, ready: Callable[[], None]) -> None:
    studio, port = Studio(project, doing), bound.getsockname()[1]
    app = create_studio(studio, token, frozenset({f"127.0.0.1:{port}", f"localhost:{port}"}))
    config = uvicorn.Config(app, lifespan="off", log_config=None, access_log=False, server_header=False, ws="none")
    config.timeout_graceful_shutdown = 1
    server = _Server(config, ready, studio.leave)
    try:
        await server.serve(sockets=[bound])
    finally:
        await studio.jobs.end()


class _Server(uvicorn.Server):
    """A server that says when it is ready, and when it ends."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None], ending: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready, self._ending = ready, ending

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._ending()
        await super().shutdown(sockets)


def _clean(*args: Any, **named: Any) -> object:
    from keensight.verbs.clean import clean

    return clean(*args, **named)


def _sign(bundle: Path, folder: Path) -> Path:
    """Sign a bundle, unless it is, with the studio's key, made if needed; return the public key's file."""
    from keensight.bundle.keys import new_key
    from keensight.verbs.sign import sign

    private = folder / KEY
    public = private.with_name(f"{KEY}.pub")
    if not private.exists():
        new_key(private)
    if not (bundle / SIGNATURE).exists():
        sign(bundle, key=private)
    return public


def _containers(bundle: Path, public: Path, out: Path) -> None:
    from keensight.verbs.deploy import deploy_docker

    deploy_docker(bundle, out=out, key=public)


def _page(bundle: Path, public: Path, out: Path) -> Path:
    from keensight.verbs.deploy import deploy_page

    return deploy_page(bundle, out=out, key=public).file
