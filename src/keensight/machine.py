"""The machine and software that this program runs on: processor, cores, memory settings, and versions."""

from __future__ import annotations

import atexit
import ctypes
import functools
import gc
import math
import os
from pathlib import Path, PurePosixPath

from keensight.version import __version__

RARELY = 100_000  # new objects after which garbage is looked for
_COLLECTS_AFTER = gc.get_threshold()


def hardware() -> str:
    """Return the processor's name and the cores that this process may use, such as "AMD EPYC, 2 cores"."""
    import platform  # 2 ms that `--help` does not need

    name = platform.processor() or platform.machine()
    cpu = Path("/proc/cpuinfo")
    if cpu.exists():
        names = [
            line.split(":", 1)[1].strip() for line in cpu.read_text().splitlines() if line.startswith("model name")
        ]
        name = names[0] if names else name
    count = cores()
    return f"{name}, {count} core{'s' if count > 1 else ''}"


@functools.cache  # asked before every step of training, and reading this file is slow
def bfloat16_instructions() -> str:
    """Return the best instructions that this processor has for bfloat16, "amx_bf16" or "avx512_bf16"; "" if none."""
    cpu = Path("/proc/cpuinfo")
    flags = cpu.read_text().split() if cpu.exists() else []
    return next((each for each in ("amx_bf16", "avx512_bf16") if each in flags), "")


def cores() -> int:
    """Return the number of cores that this process may use, by its affinity and its container's limit."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limit = cpu_limit()
    return count if limit is None else max(1, min(count, math.ceil(limit)))


def cpu_limit(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> float | None:
    """Return the limit of Linux' control groups (version 2 or 1) on processor time, in cores, or None.

    A group's limit also holds for the groups inside it, so the smallest from here to the root counts.
    """
    try:
        groups = [line.split(":", 2)[1:] for line in own.read_text().splitlines()]
    except (OSError, UnicodeDecodeError):
        return None
    limits = []
    for controllers, group in groups:
        if controllers and "cpu" not in controllers.split(","):
            continue
        home = root if not controllers else root / "cpu"
        path = PurePosixPath(group)
        # in a container, the path may be the host's, and the limit at the mount's top
        for place in (home / str(folder).lstrip("/") for folder in (path, *path.parents)):
            limits += [limit for limit in (_quota(place),) if limit is not None]
    return min(limits, default=None)


def _quota(group: Path) -> float | None:
    try:
        if (group / "cpu.max").exists():
            quota, period = (group / "cpu.max").read_text().split()
        else:
            quota, period = ((group / f"cpu.cfs_{name}_us").read_text().strip() for name in ("quota", "period"))
        return None if quota in ("max", "-1") else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None


def images_at_a_time(height: int, width: int, channels: int, most: int = 256, kept: bool = False) -> int:
    """Return the best number of images per call of a network on the CPU: few enough that its activations stay
    in the processor's caches. At 224x224x3, 8 at a time take half the time that 32 do. Half as many where all
    activations are `kept` for backpropagation, which is as fast, and takes half the memory.
    """
    least, values = (4, 600_000) if kept else (8, 1_200_000)
    return max(least, min(most, values // (height * width * channels)))


def share_the_cores() -> None:
    """Make waiting threads of OpenMP and OpenBLAS sleep sooner. Call it before torch and NumPy are loaded.

    By default they spin for milliseconds. On two cores that other programs use too, that made training two to ten
    times slower; this shorter spin is as fast on idle cores (benchmarks/LOG.md). NumPy's OpenBLAS spins from the moment
    it is loaded, for 40 ms of a core, though a server never multiplies matrices with it. A setting of the user's is
    kept.
    """
    os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "18")  # a power of two, in ticks: some 0.1 ms
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "20000")


def keep_memory() -> None:
    """Let the C library keep freed memory for the next step. Call it before threads start; glibc alone understands it.

    By default it returns every large block to the kernel, which clears it again, page by page, at the next step:
    fine-tuning a backbone spent 28 % of its time in this way (benchmarks/LOG.md).
    """
    _set_malloc(mmap_threshold=32 * 2**20, trim_threshold=2**30)  # the former is the most that glibc accepts


def bound_memory(more_bytes: int) -> None:
    """Let this process take at most so many bytes more than it has now; past it, MemoryError is raised. Linux only."""
    try:
        import resource

        (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmData:"))
        most = int(line.split()[1]) * 1024 + more_bytes
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (most if hard < 0 else min(most, hard), hard))
    except (ImportError, OSError, ValueError):
        return


def return_memory() -> None:
    """Let the C library return freed memory, and Python collect garbage by default, as a server should.

    Otherwise one large picture made it 300 MB larger for good.
    """
    _set_malloc(mmap_threshold=2**20, trim_threshold=2**20)
    gc.set_threshold(*_COLLECTS_AFTER)


def keep_what_is_loaded() -> None:
    """Leave all that is there out of collections for good: the first would take 20 ms, each full one nearly as long.

    For the command line alone, as another program's own garbage would stay, too.
    """
    gc.freeze()


def collect_rarely() -> None:
    """Let Python collect cyclic garbage after 100,000 new objects, not 700, and not at exit.

    Imports and lists of 70,000 samples triggered it over and over, and at exit it went once more through all of torch's
    objects: 2.5 of the 9 seconds of a short `train` (benchmarks/LOG.md). Training leaves no
    tensors in cycles, so memory does not grow.
    """
    gc.set_threshold(RARELY, *_COLLECTS_AFTER[1:])
    atexit.register(gc.freeze)


def _set_malloc(mmap_threshold: int, trim_threshold: int) -> None:
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return
    mallopt(-3, mmap_threshold)  # M_MMAP_THRESHOLD
    mallopt(-1, trim_threshold)  # M_TRIM_THRESHOLD


def versions() -> dict[str, str]:
    """Return the versions of Python, keensight and the libraries that affect the numbers."""
    import platform
    from importlib.metadata import PackageNotFoundError, version  # 20 ms that `--help` does not need

    found = {"keensight": __version__, "python": platform.python_version()}
    for package in ("torch", "numpy", "pillow", "onnx", "onnxruntime", "openvino", "safetensors", "scikit-learn"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
