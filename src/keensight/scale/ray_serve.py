"""A bundle behind Ray Serve: each replica is a server of ours, to which Ray passes requests. Needs ray[serve].

In a Serve configuration, as `keensight deploy kubernetes --serve ray` writes it:

    import_path: keensight.scale.ray_serve:app
    args: {bundle: /models/digits, key: /key/key.pub}
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from starlette.applications import Starlette

from keensight.data.formats import COMMON
from keensight.errors import UsageError
from keensight.serving.app import create_app
from keensight.serving.limits import Batching
from keensight.serving.registry import Registry, Source, load_model
from keensight.serving.service import Service, log
from keensight.serving.uploads import warm_up

DEPLOYMENT = "server"  # its name in a Serve configuration


def app(args: Mapping[str, Any]) -> Any:
    """Return Ray Serve's application for a `bundle`, verified with a `key` if one is given.

    Raises UsageError for other arguments.
    """
    if unknown := sorted(set(args) - {"bundle", "key", "explain"}) or ([] if "bundle" in args else ["no bundle"]):
        raise UsageError(
            f"The arguments of keensight have {unknown[0]!r:.100}. Give bundle, and perhaps key and explain."
        )
    from ray import serve

    def build() -> Starlette:  # in each replica
        return server(args["bundle"], args.get("key"), bool(args.get("explain", True)))

    return serve.deployment(name=DEPLOYMENT)(serve.ingress(build)()).bind()


def server(bundle: str, key: str | None = None, explains: bool = True) -> Starlette:
    """Return the ASGI application of `keensight serve`, with one bundle loaded and warm.

    Raises BundleError, GateError and SigningKeyError, as `keensight.load` does.
    """
    service, source = Service(Registry(log), explains=explains), Source(Path(bundle))
    public = None if key is None else Path(key)
    model = load_model(source, public, Batching(), lambda name, n: service.metrics.batches.labels(name).observe(n))
    service.registry.put(source, model)
    warm_up(*COMMON, "WEBP")
    log("ready", models=[f"{model.name}@{model.version}"])
    return create_app(service)
