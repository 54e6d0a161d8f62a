"""keensight serve."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

if TYPE_CHECKING:
    from keensight.serving.registry import Registry


def serve(
    *bundles: Path,
    host: str = "127.0.0.1",
    port: int = 8000,
    key: Path | None = None,
    watch: Path | None = None,
    batch_size: int = 32,
    batch_wait: int = 500,
    queue: int = 256,
    max_bytes: int = 10_000_000,
    max_pixels: int = 25_000_000,
    max_pictures: int = 32,
    timeout: float = 30.0,
    connections: int = 512,
    rate: float = 0.0,
    trusted_proxy: Annotated[tuple[str, ...], Parameter(negative=())] = (),
    api_keys: Path | None = None,
    new_api_key: Annotated[bool, Parameter(negative=())] = False,
    grace: float = 20.0,
    keep: Path | None = None,
    keep_db: str | None = None,
    export_kept: Path | None = None,
    model: str | None = None,
    out: Path | None = None,
) -> int:
    """Answer for pictures over HTTP, and show a web page.

    Parameters
    ----------
    bundles
        Folders of bundles, or the run folders around them. The first is the default model.
    host
        The address to listen on; 0.0.0.0 is all networks.
    port
        The port to listen on; 0 is any that is free.
    key
        Refuse bundles unless the owner of this public key signed them.
    watch
        A folder of bundles, NAME or NAME/VERSION: new ones are loaded as they appear. SIGHUP loads at once.
    batch_size
        The most pictures that go through a model together; 1 turns batching off.
    batch_wait
        How many microseconds a batch waits for pictures that are being decoded.
    queue
        The most pictures under way; further ones are refused with status 503.
    max_bytes
        The most bytes of a request.
    max_pixels
        The most pixels of a picture.
    max_pictures
        The most pictures of a request.
    timeout
        The most seconds for a request.
    connections
        The most open connections.
    rate
        The most requests a second from one client; 0 is no limit.
    trusted_proxy
        A network whose X-Forwarded-For is believed, such as 10.0.0.0/8. Can be repeated.
    api_keys
        Ask for an API key: a file of their SHA-256 hashes, one a line.
    new_api_key
        Print a new API key and the line for that file, and end.
    grace
        How many seconds requests under way have to finish after SIGTERM.
    keep
        Keep pictures, answers and verdicts in this folder. Nothing is kept without it.
    keep_db
        Keep answers in this database instead of SQLite: SQLAlchemy's URL.
    export_kept
        Write the judged pictures that were kept in this folder as a manifest to train on, and end.
    model
        Whose answers go into that manifest, where the folder has those of several models.
    out
        The manifest's file; manifest.csv in that folder by default.
    """
    if new_api_key:
        from keensight.serving.access import new_api_key as make

        secret, line = make()
        print(f"API key        {secret}: for one who is to use the server; it is not kept")
        print(f"its line       {line}")
        return 0
    if export_kept is not None:
        from keensight.serving.keep import export_kept as export

        out = out or export_kept / "manifest.csv"
        count, without = export(export_kept, out, keep_db, model)
        left_out = f"; {without:,} judged wrong without a label left out" if without else ""
        print(f"manifest       {out}: {count:,} judged picture{'s' * (count > 1)}{left_out}")
        return 0

    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})  # until the server can load again
    from keensight.serving.limits import Limits
    from keensight.serving.registry import Batching
    from keensight.verbs.serve import serve as verb

    ended_by = verb(
        bundles,
        host=host,
        port=port,
        key=key,
        watch=watch,
        limits=Limits(
            max_bytes=max_bytes,
            max_pixels=max_pixels,
            max_pictures=max_pictures,
            request_s=timeout,
            connections=connections,
            queue=queue,
            rate=rate,
        ),
        batching=Batching(batch_size, batch_wait),
        grace_s=grace,
        api_keys=api_keys,
        trusted_proxies=trusted_proxy,
        keep=keep,
        keep_db=keep_db,
        on_ready=_ready,
    )
    return 130 if ended_by is signal.SIGINT else 0


def _ready(url: str, models: Registry) -> None:
    unsigned = sorted({model.name for model in models if not model.is_signed})
    if unsigned:
        print(
            f"keensight: warning: served without a signature: {', '.join(unsigned)}. Anyone could have changed "
            f"{'it' if len(unsigned) == 1 else 'them'}. Sign with `keensight sign`, and give the public key to --key.",
            file=sys.stderr,
        )
    unchecked = sorted({model.name for model in models if model.is_signed and not model.is_verified})
    if unchecked:
        print(
            f"keensight: warning: signed, but by whom was not checked: {', '.join(unchecked)}. Give the public key "
            "to --key.",
            file=sys.stderr,
        )
    default = models.find() if len(models) > 1 else None
    names = (
        ", ".join(f"{model.name}@{model.version}{' (default)' * (model is default)}" for model in models)
        or "no model yet"
    )
    print(f"serving        {names} on {url}", flush=True)
