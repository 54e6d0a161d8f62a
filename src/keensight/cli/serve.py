"""keensight serve."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from keensight import verbs
from keensight.cli.options import options_of
from keensight.cli.output import say
from keensight.errors import shortlist
from keensight.machine import keep_what_is_loaded
from keensight.serving.limits import Batching, Limits

if TYPE_CHECKING:
    from keensight.serving.registry import Registry


@options_of("serve.serve")
def serve(
    *,
    bundles: tuple[Path, ...] = (),
    host: Annotated[str, Parameter(allow_repeating=True)],
    key: Annotated[Path | None, Parameter(allow_repeating=True)],
    limits: Limits,
    batching: Batching,
    grace_s: Annotated[float, Parameter(name="--grace")],
    trusted_proxies: Annotated[tuple[str, ...], Parameter(name="--trusted-proxy")],
    allow_origins: Annotated[tuple[str, ...], Parameter(name="--allow-origin")],
    keep_db: str | None,
    no_explain: Annotated[bool, Parameter(allow_repeating=True)],
    new_api_key: bool = False,
    export_kept: Path | None = None,
    model: str | None = None,
    out: Path | None = None,
    **asked: Any,
) -> int:
    """Serve, or make an API key, or export kept pictures. An image sets --host and --key; later ones override them.

    Args:
        new_api_key: Print a new API key and its line for that file, and exit.
        export_kept: Write the judged pictures in this folder as a manifest to train on, and exit.
        model: The model whose answers go into that manifest, if the folder has those of several.
        out: The manifest's file; manifest.csv in that folder by default.
    """
    if new_api_key:
        from keensight.serving.access import new_api_key as make

        secret, line = make()
        say("API key        give it to a user of the server; it is shown only now:")
        say(secret)
        say("its line       for the file that --api-keys names:")
        say(line)
        return 0
    if export_kept is not None:
        from keensight.serving.keep import export_kept as export

        out = out or export_kept / "manifest.csv"
        count, without = export(export_kept, out, keep_db, model)
        left_out = f"; {without:,} judged wrong without a label left out" if without else ""
        say(f"manifest       {out}: {count:,} judged picture{'s' * (count > 1)}{left_out}")
        return 0

    if hasattr(signal, "SIGHUP"):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})  # until the server can handle it
    keep_what_is_loaded()
    ended_by = verbs.serve.serve(
        bundles, host=host, key=key, limits=limits, batching=batching, grace_s=grace_s, trusted_proxies=trusted_proxies,
        allow_origins=allow_origins, keep_db=keep_db, no_explain=no_explain, **asked, on_ready=_ready,
    )  # fmt: skip
    return 130 if ended_by is signal.SIGINT else 0


def _ready(urls: Sequence[str], models: Registry) -> None:
    unsigned = sorted({model.name for model in models if not model.is_signed})
    if unsigned:
        say(
            f"keensight: warning: served without a signature: {', '.join(unsigned)}. Anyone could have changed "
            f"{'it' if len(unsigned) == 1 else 'them'}. Sign with `keensight sign`, and give the public key to --key.",
            file=sys.stderr,
        )
    for name, files in sorted({(model.name, model.bundle.edited) for model in models if not model.is_signed}):
        if files:
            say(
                f"keensight: warning: changed since {name} was made: {shortlist(list(files), 3)}. If that was not you, "
                "get it again from where it was made.",
                file=sys.stderr,
            )
    unchecked = sorted({model.name for model in models if model.is_signed and not model.is_verified})
    if unchecked:
        say(
            f"keensight: warning: the signature was not checked: {', '.join(unchecked)}. Give the public key to --key.",
            file=sys.stderr,
        )
    default = models.find() if len(models) > 1 else None
    names = (
        ", ".join(f"{model.name}@{model.version}{' (default)' * (model is default)}" for model in models)
        or "no model yet"
    )
    say(f"serving        {names} on {urls[0]}")
    if len(urls) > 1:
        say(f"for others     {', '.join(urls[1:])}")
    sys.stdout.flush()
