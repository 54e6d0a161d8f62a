"""Measures how much memory a server takes with a bundle, in a process of its own, so that a pod gets what it needs."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import TextIO

import numpy as np

from keensight.data.apart import own_python
from keensight.deploy.resources import MiB
from keensight.errors import KeensightError

STEP = 64 * MiB  # quantities are multiples of it, so that two measurements agree
MARGIN = 1.25  # for what differs between this machine and a pod's
ROOM = 512 * MiB  # the bodies of requests under way, at most 244 MiB, and large pictures being decoded
MOST_S = 300.0


@cache
def measured(bundle: Path, version: str, lanes: int, explains: bool) -> int:
    """Return the most memory of a server, in bytes, that answers for full batches in all its `lanes` at once.

    With `explains`, it explains an answer meanwhile. `version` is the bundle's: another one is measured again.
    Raises KeensightError where that cannot be measured.
    """
    command = own_python(__name__, "measure_for_another")
    orders = json.dumps([str(bundle.resolve()), lanes, explains])
    try:
        done = subprocess.run(  # noqa: S603  (this Python, with this program)
            command, input=orders, capture_output=True, text=True, timeout=MOST_S, check=True
        )
        return int(done.stdout)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        lines = str(getattr(error, "stderr", "") or error).strip().splitlines()
        raise KeensightError(
            f"How much memory {bundle} takes could not be measured ({lines[-1][:200] if lines else 'no answer'}). Give "
            "--memory and --memory-limit, such as 512Mi and 1Gi."
        ) from error


def request_for(peak: int) -> str:
    """Return what a pod with such a peak asks for.

    >>> request_for(100 * MiB)
    '128Mi'
    """
    return _rounded(peak)


def limit_for(peak: int) -> str:
    """Return the most that a pod with such a peak may take: a margin, and room for what clients send.

    >>> limit_for(100 * MiB)
    '640Mi'
    """
    return _rounded(peak * MARGIN + ROOM)


def _rounded(size: float) -> str:
    return f"{int(-(-size // STEP) * STEP) // MiB}Mi"


def measure_for_another(orders: TextIO, answers: TextIO) -> None:
    """Be the process of `measured`."""
    bundle, lanes, explains = json.load(orders)
    answers.write(f"{_measure(Path(bundle), lanes, explains)}\n")


def _measure(bundle: Path, lanes: int, explains: bool) -> int:
    """Load a bundle as a server with so many cores does, give it all that it can do at once, and return its peak."""
    import keensight.serving.lifecycle  # noqa: F401  all that a server imports
    from keensight.machine import return_memory
    from keensight.serving.heat import heat
    from keensight.serving.limits import Batching
    from keensight.serving.registry import Source, load_model

    return_memory()
    batching = Batching()
    model = load_model(Source(bundle), None, batching, num_cores=lanes)
    size = model.bundle.preprocessing
    picture_HWC = np.random.default_rng(0).integers(0, 256, (size.height, size.width, size.channels), np.uint8)

    async def answer() -> None:
        pictures = lanes * batching.size
        await asyncio.gather(*(model.batcher.submit(picture_HWC[None]) for _ in range(pictures)))

    with ThreadPoolExecutor(1) as beside:
        explained = beside.submit(heat, model, picture_HWC, None, lambda: False) if explains else None
        asyncio.run(answer())
        if explained is not None:
            explained.result()
    return _peak()


def _peak() -> int:
    status = Path("/proc/self/status")
    if status.exists():  # getrusage would count the process that started this one
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
