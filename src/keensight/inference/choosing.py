"""Which engine answers for many pictures: the fastest that may, as measured once for each network and machine.

For a few pictures none is chosen: ONNX Runtime starts soonest. What is measured of a model, in training and after it,
is ONNX Runtime's in float32 as well.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

import numpy as np

from keensight.bundle.info import BundleInfo
from keensight.bundle.read import Bundle
from keensight.cached import cached
from keensight.engines.table import BFLOAT16, DEFAULT, ENGINES, missing
from keensight.errors import KeensightError
from keensight.files import write_atomically
from keensight.machine import bfloat16_instructions, hardware, images_at_a_time
from keensight.values import Preprocessing, Uint8Array

QUICK_S = 0.0005  # of a core for a picture: to decode it takes as long, so another engine would hardly be noticed
FASTER = 1.1  # times: by less, clocks may be wrong
ROUNDS = 2  # in turns, each a batch to warm up and one to measure


@dataclass(frozen=True, slots=True)
class Candidate:
    """An engine, and how many pictures a second one core answers with it; or why it may not, or was not measured."""

    name: str
    images_per_s: float | None
    why_not: str = ""


def why_not(engine: str, info: BundleInfo) -> str:
    """Say why an engine may not answer for a bundle on this machine; "" if it may."""
    if lacking := missing(engine):
        return lacking
    if engine == BFLOAT16:
        allowed, here = info.bfloat16, bfloat16_instructions()
        if allowed is None:
            return "nothing says that its answers in bfloat16 would be the same"
        if allowed.instructions != here:
            return f"its answers in bfloat16 were compared on a processor with {allowed.instructions}; this has {here}"
    return ""


def fastest(info: BundleInfo, onnx: bytes) -> str:
    """Return the name of the engine for many pictures. It is measured only if it never was, on this machine."""
    allowed = [name for name in ENGINES if not why_not(name, info)]
    if allowed == [DEFAULT]:
        return DEFAULT
    seconds = _kept(onnx)
    if not _is_quick(seconds) and not set(allowed) <= set(seconds):
        keep(onnx, seconds := measure(allowed, onnx, info.preprocessing))
    return _best({name: each for name, each in seconds.items() if name in allowed})


def as_answered_by(engine: str, bundle: Bundle) -> Bundle:
    """Return a bundle as it decides when this engine answers."""
    return replace(bundle, info=bundle.info.in_bfloat16()) if engine == BFLOAT16 else bundle


def compare(info: BundleInfo, onnx: bytes) -> tuple[list[Candidate], str]:
    """Return all engines, those that may answer measured now, and the name of that which answers for many pictures."""
    reasons = {name: why_not(name, info) for name in ENGINES}
    allowed = [name for name, reason in reasons.items() if not reason]
    seconds = measure(allowed, onnx, info.preprocessing, all_of_them=True)
    keep(onnx, seconds)
    rates = {name: 1 / each for name, each in seconds.items()}
    return [Candidate(name, rates.get(name), reason) for name, reason in reasons.items()], _best(seconds)


def measure(names: Iterable[str], onnx: bytes, size: Preprocessing, *, all_of_them: bool = False) -> dict[str, float]:
    """Return the seconds of a core that each of these engines takes for a picture, in turns; `DEFAULT` is the first.

    If that is quick, the others are left out, unless `all_of_them` are asked for.
    """
    batch = images_at_a_time(size.height, size.width, size.channels, most=32) // 2
    shape = batch, size.height, size.width, size.channels
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    opened = {DEFAULT: ENGINES[DEFAULT](onnx, 1, False)}
    seconds = {DEFAULT: _seconds(opened[DEFAULT].run, images)}
    if _is_quick(seconds) and not all_of_them:
        return seconds
    opened |= {name: ENGINES[name](onnx, 1, False) for name in names if name != DEFAULT}
    for _ in range(ROUNDS):
        for name, engine in opened.items():
            seconds[name] = min(seconds.get(name, np.inf), _seconds(engine.run, images))
    return seconds


def keep(onnx: bytes, seconds: Mapping[str, float]) -> None:
    """Note what was measured. Where the cache cannot be written, it is measured again the next time."""
    with suppress(OSError, KeensightError):
        write_atomically(_file(onnx), json.dumps(seconds))


def _seconds(run: Callable[[Uint8Array], object], images_NHWC: Uint8Array) -> float:
    """Return the seconds of a core for a picture: processor time, as other programs may be running."""
    run(images_NHWC)
    begin = time.process_time()
    run(images_NHWC)
    return (time.process_time() - begin) / len(images_NHWC)


def _kept(onnx: bytes) -> dict[str, float]:
    try:
        found = json.loads(_file(onnx).read_text(encoding="utf-8"))
        return {str(name): float(seconds) for name, seconds in found.items()}
    except (OSError, KeensightError, ValueError, AttributeError, TypeError):
        return {}


def _file(onnx: bytes) -> Path:
    """Return where the speed of a network on this machine is kept."""
    said = f"{hardware()} {version('onnxruntime')} {'' if missing('openvino') else version('openvino')}"
    return cached("engines", f"{sha256(sha256(onnx).digest() + said.encode()).hexdigest()[:32]}.json")


def _is_quick(seconds: Mapping[str, float]) -> bool:
    return seconds.get(DEFAULT, np.inf) < QUICK_S


def _best(seconds: Mapping[str, float]) -> str:
    name = min(seconds, key=lambda each: seconds[each])
    return name if seconds[name] * FASTER < seconds[DEFAULT] else DEFAULT
