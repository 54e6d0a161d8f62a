"""What this program runs on: processor, cores, and the versions that decide its bits."""

from __future__ import annotations

import ctypes
import os
import platform
from pathlib import Path

from keensight.version import __version__


def hardware() -> str:
    """Return the processor's name and the cores that this process may use, such as "AMD EPYC, 2 cores"."""
    name = platform.processor() or platform.machine()
    cpu = Path("/proc/cpuinfo")
    if cpu.exists():
        names = [
            line.split(":", 1)[1].strip() for line in cpu.read_text().splitlines() if line.startswith("model name")
        ]
        name = names[0] if names else name
    count = cores()
    return f"{name}, {count} core{'s' if count > 1 else ''}"


def cores() -> int:
    """Return how many processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def images_at_a_time(height: int, width: int, channels: int, most: int = 256) -> int:
    """Return how many images a network is best given at once on the CPU: few enough that what it makes of them stays
    in the processor's caches. At 224x224x3, 8 at a time take half the time that 32 do.
    """
    return max(8, min(most, 1_200_000 // (height * width * channels)))


def share_the_cores() -> None:
    """Let OpenMP's threads sleep soon when they wait for each other. Call it before torch is loaded.

    By default they spin for milliseconds. On two cores that other programs use too, that made training two to ten
    times slower; this shorter spin is as fast on idle cores (benchmarks/LOG.md). What the user has set is kept.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "20000")


def keep_memory() -> None:
    """Let the C library keep freed memory for the next step. Call it before threads start; glibc alone understands it.

    By default it returns every large block to the kernel, which clears it again, page by page, when the next step asks
    for the same: fine-tuning a backbone spent 28 % of its time so (benchmarks/LOG.md).
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return
    mallopt(-3, 32 * 2**20)  # M_MMAP_THRESHOLD: the most that glibc accepts
    mallopt(-1, 2**30)  # M_TRIM_THRESHOLD


def versions() -> dict[str, str]:
    """Return the versions of Python, keensight and the libraries that take part in the numbers."""
    from importlib.metadata import PackageNotFoundError, version  # 20 ms that `--help` does not need

    found = {"keensight": __version__, "python": platform.python_version()}
    for package in ("torch", "numpy", "pillow", "onnx", "onnxruntime", "safetensors", "scikit-learn"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
