"""`keensight serve`: answer for pictures over HTTP. No torch is loaded."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from pathlib import Path

from keensight.data.formats import COMMON
from keensight.errors import KeensightError, UsageError
from keensight.machine import return_memory
from keensight.serving.access import networks, read_api_keys
from keensight.serving.addresses import bind, is_loopback, urls_of
from keensight.serving.cors import origins
from keensight.serving.lifecycle import Reloader, run
from keensight.serving.limits import Batching, Limits
from keensight.serving.registry import Model, Registry, Source, load_model
from keensight.serving.service import Service, log
from keensight.serving.uploads import warm_up
from keensight.workspace import bundle_in

UNENCRYPTED = (
    "API keys cross the network by plain HTTP, which others can read. Let a proxy with TLS in front receive them, and "
    "name it with --trusted-proxy."
)


def serve(
    bundles: Sequence[str | Path],
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    key: str | Path | None = None,
    watch: str | Path | None = None,
    limits: Limits | None = None,
    batching: Batching | None = None,
    grace_s: float = 20.0,
    api_keys: str | Path | None = None,
    trusted_proxies: Sequence[str] = (),
    allow_origins: Sequence[str] = (),
    keep: str | Path | None = None,
    keep_db: str | None = None,
    no_explain: bool = False,
    on_ready: Callable[[Sequence[str], Registry], None] = lambda urls, models: None,
) -> signal.Signals:
    """Serve bundles until SIGTERM or SIGINT, and return that signal. SIGHUP reads the bundles again.

    Args:
        bundles: Folders of bundles, or the run folders around them. The first is the default model.
        host: The address to listen on; :: for all networks, 0.0.0.0 for all of IPv4.
        port: The port to listen on; 0 for any free one.
        key: Refuse bundles unless the owner of this public key signed them.
        watch: A folder of bundles, NAME or NAME/VERSION: new ones are loaded as they appear, or at once on SIGHUP.
        limits: What a request may cost.
        batching: How requests are batched.
        grace_s: How many seconds requests under way have to finish after SIGTERM.
        api_keys: Ask for an API key: a file of the keys' SHA-256 hashes, one per line.
        trusted_proxies: A network whose X-Forwarded-For or Forwarded is trusted, such as 10.0.0.0/8. Can be repeated.
        allow_origins: A site whose pages may ask (CORS), such as https://example.org. Can be repeated.
        keep: Keep pictures, answers and verdicts in this folder. Nothing is kept without it.
        keep_db: Keep answers in this database instead of SQLite: a SQLAlchemy URL.
        no_explain: Explain no answers: each takes as long as 2 to 53 predictions.
        on_ready: Called with the addresses, for this machine first and then for others, and the models.

    Raises:
        BundleError: a bundle cannot be used.
        GateError: it is not what `key` signed.
        SigningKeyError: the key cannot be used.
        UsageError: there is nothing to serve, or an option makes no sense.
        KeensightError: the address is taken, or a file cannot be read or written.
    """
    if not bundles and watch is None:
        raise UsageError("There is nothing to serve. Give a bundle, or a folder of them with --watch.")
    if keep_db is not None and keep is None:
        raise UsageError("--keep-db says where answers are kept, but pictures need a folder. Give --keep DIR with it.")
    public = None if key is None else Path(key)
    if public is not None:
        from keensight.bundle.keys import load_public  # importing cryptography takes a while

        load_public(public)
    limits, batching = limits or Limits(), batching or Batching()
    _check(limits, batching, grace_s)
    return_memory()
    bound = bind(host, port)
    try:
        registry = Registry(log)
        service = Service(
            registry,
            limits,
            api_keys=() if api_keys is None else read_api_keys(Path(api_keys)),
            trusted_proxies=networks(trusted_proxies),
            origins=origins(allow_origins),
            explains=not no_explain,
        )

        def load(source: Source) -> Model:
            model = load_model(
                source, public, batching, lambda name, n: service.metrics.batches.labels(name).observe(n)
            )
            if not model.is_signed or public is None:
                why = "it is not signed" if not model.is_signed else "no --key was given to check its signature"
                log("unverified", level="warning", model=model.name, version=model.version, reason=why)
            return model

        def refresh() -> None:
            try:
                service.api_keys = () if api_keys is None else read_api_keys(Path(api_keys))
            except KeensightError as error:
                log("refused", level="error", file=str(api_keys), reason=str(error))

        given = _distinct(bundles)
        reloader = Reloader(registry, given, None if watch is None else Path(watch), load, refresh)
        reloader.start()
        warm_up(*COMMON)
        if keep is not None:
            from keensight.serving.keep import Keeper  # SQLAlchemy is an extra

            service.keeper = Keeper(Path(keep), log, keep_db)

        def ready() -> None:
            first, *others = urls_of(bound)
            log("ready", url=first, others=others, models=[f"{model.name}@{model.version}" for model in registry])
            if api_keys is not None and not trusted_proxies and not is_loopback(bound):
                log("unencrypted", level="warning", reason=UNENCRYPTED)
            on_ready([first, *others], registry)
            service.decoders.submit(warm_up, "WEBP")  # with the readers of all rare formats: few send those at once

        try:
            return run(service, bound, reloader, grace_s, ready)
        finally:
            if service.keeper is not None:
                service.keeper.close()
    finally:
        bound.close()


def _distinct(bundles: Sequence[str | Path]) -> list[Source]:
    """Return the sources to load, in order; a bundle that is given twice, perhaps by its run folder, only once."""
    found: dict[Path, Source] = {}
    for bundle in map(Path, bundles):
        found.setdefault((bundle_in(bundle) or bundle).resolve(), Source(bundle))
    return list(found.values())


def _check(limits: Limits, batching: Batching, grace_s: float) -> None:
    positive = {
        "--max-bytes": limits.max_bytes,
        "--max-pixels": limits.max_pixels,
        "--max-pictures": limits.max_pictures,
        "--timeout": limits.request_s,
        "--keep-alive": limits.keep_alive_s,
        "--connections": limits.connections,
        "--queue": limits.queue,
        "--batch-size": batching.size,
        "--grace": grace_s,
    }
    for option, number in positive.items():
        if not number > 0:
            raise UsageError(f"{option} is {number}; it must be more than 0.")
    for option, number in (("--rate", limits.rate), ("--batch-wait", batching.wait_us)):
        if not number >= 0:
            raise UsageError(f"{option} is {number}; it must be 0 or more.")
    if limits.max_pictures > limits.queue:
        raise UsageError(
            f"--max-pictures is {limits.max_pictures}, but the queue has only {limits.queue} places. Give "
            "more to --queue."
        )
