"""A cluster of Ray's: to connect with it, what it has, and whether its machines are like this one. No torch is loaded.

Only this package imports Ray.
"""

from __future__ import annotations

import contextlib
import os
import platform
import re
import socket
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from keensight.errors import KeensightError, RunError, UsageError
from keensight.machine import versions

ANSWERS_S = 5.0  # within which a cluster's address answers
START_S = 120.0  # for a worker to start: importing torch takes seconds, and much longer on a busy machine
HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"  # RFC 9113, 3.4: Ray speaks gRPC
SETTINGS = b"\4"  # the kind of frame that answers it; Ray itself would try for minutes
WAIT_S = 300.0  # for processors to come back, before all ends
# What all machines need in one version, or bits may differ: to train, to try settings, and to answer.
SAME_TO_TRAIN = ("keensight", "python", "torch")
SAME_TO_TRY = (*SAME_TO_TRAIN, "optuna")
SAME_TO_ANSWER = ("keensight", "python", "numpy", "pillow", "onnxruntime", "openvino")


class LostError(Exception):
    """A worker is gone, or its team fell apart: the others cannot go on without it."""


@contextmanager
def connected(cluster: str | None, workers: int, asked: str = "--workers") -> Iterator[Any]:
    """Yield Ray, connected to a cluster, or to one of this machine alone that ends with the block.

    Raises UsageError without Ray, which the option `asked` needs, and RunError where a cluster does not take this
    program.
    """
    if cluster is not None:
        check_address(cluster)  # first, as importing Ray takes a second
    try:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to Ray's makers
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # as will be its default
        import ray
    except ModuleNotFoundError:
        raise UsageError(
            f"{asked} needs Ray, which is not installed. Install it on each machine, with pip install "
            f'"keensight[scale]"; without {asked}, this machine\'s own cores do the work.'
        ) from None
    quiet: dict[str, Any] = {"logging_level": "ERROR", "log_to_driver": False}
    try:
        if cluster is None:
            ray.init(num_cpus=workers, include_dashboard=False, **quiet)
        else:
            ray.init(address=cluster, **quiet)
    except Exception as error:  # Ray raises plain ones, too
        raise RunError(
            f"The cluster {f'at {cluster} ' if cluster else ''}does not take this program: "
            f"{first_line(error).rstrip('.')}. All machines need the same versions (here Python "
            f"{platform.python_version()}, Ray {ray.__version__}), and the same token where they have one."
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def check_address(cluster: str) -> None:
    """Raise UsageError for what is no address of a cluster, RunError where nobody answers."""
    host, separator, port = cluster.removeprefix("ray://").rpartition(":")
    if not separator or not port.isdigit():
        raise UsageError(
            f"--cluster is '{cluster}'. Give the head's address, such as 10.0.0.1:6379: `ray start --head` prints it."
        )
    try:
        with socket.create_connection((host, int(port)), ANSWERS_S) as connection:
            if os.environ.get("RAY_USE_TLS", "0") != "0":
                return  # it answers to none but Ray
            connection.sendall(HELLO)
            answer = connection.makefile("rb").read(4)
    except (OSError, OverflowError) as error:
        raise RunError(
            f"Nobody answers at {cluster} ({error}). Start Ray there with `ray start --head`, check the address and "
            "the firewall, or leave --cluster out: then this machine alone is used."
        ) from error
    if answer[3:4] != SETTINGS:
        raise RunError(
            f"What answers at {cluster} is no Ray cluster. Give the head's address with the port of its `ray start "
            "--head --port`, usually 6379; 8265 is that of its dashboard."
        )


def about_here() -> dict[str, Any]:
    """Return what a worker says of its machine: its address in the cluster, and its versions."""
    import ray

    host = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
    return {"host": host, "versions": versions()}


def check_versions(known: Sequence[Mapping[str, Any]], names: Collection[str]) -> None:
    """Raise RunError for a machine where Python or a package has another version than here."""
    own = versions()
    for each in known:
        for name in names:
            here, there = own.get(name), each["versions"].get(name)
            if here != there:
                raise RunError(
                    f"The machine {each['host']} has {name} {there or 'not at all'}, and here it is "
                    f"{here or 'not installed'}: other versions give other bits. Install the same on all machines: "
                    "`pip freeze` on one lists them."
                )


def processors(ray: Any, kind: str = "CPU") -> int:
    """Return how many processors, or GPUs, the cluster's living machines have."""
    return int(sum(node["Resources"].get(kind, 0) for node in ray.nodes() if node["Alive"]))


def free_processors(ray: Any, kind: str = "CPU") -> int:
    """Return how many of them nobody uses: neither this program nor others on a shared cluster."""
    return int(ray.available_resources().get(kind, 0))


def wait_for_processors(ray: Any, note: Callable[[str], None]) -> tuple[str, int]:
    """Return how many GPUs the cluster has or, if it has none, processors, as soon as there are some."""
    begin = time.monotonic()
    while True:
        for kind in ("GPU", "CPU"):
            if count := processors(ray, kind):
                return kind, count
        if time.monotonic() - begin > WAIT_S:
            raise RunError(
                f"The cluster has had no processors for {WAIT_S:g} s. Start nodes with `ray start --address=...`, and "
                "go on: with --resume, or the same command of predict."
            )
        if time.monotonic() - begin < 1:
            note("The cluster has no processors now; waiting for some.")
        time.sleep(1)


def answer_of(ray: Any, ref: Any) -> Any:
    """Return a worker's answer. Raises what keensight raised there, and LostError for all else."""
    errors = ray.exceptions
    try:
        return ray.get(ref)
    except errors.RayTaskError as error:
        cause = error.cause
        if isinstance(cause, KeensightError):
            raise cause from None
        if isinstance(cause, ModuleNotFoundError):
            raise RunError(f"A worker lacks a package: {cause}. Install the same on each machine.") from None
        raise LostError(first_line(cause)) from error
    except errors.RayError as error:
        if found := re.search(r"\b(ModuleNotFoundError|ImportError): .*", str(error)):  # the actor could not be made
            raise RunError(f"A worker cannot load its program: {found[0]}. Install the same on each machine.") from None
        raise LostError(first_line(error)) from error


def hire(ray: Any, worker: type, *given: Any, kind: str = "CPU") -> Any:
    """Start a worker as an actor, on one processor, or on a GPU beside it; machines get them by turns."""
    options = {"num_cpus": 1, "num_gpus": 1 if kind == "GPU" else 0, "scheduling_strategy": "SPREAD"}
    return ray.remote(worker).options(**options).remote(*given)


def stop(ray: Any, actor: Any) -> None:
    """Stop a worker, if it is still there."""
    with contextlib.suppress(Exception):
        ray.kill(actor)


def first_line(error: object) -> str:
    """Return the first line of what an error says, or what kind it is."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__
