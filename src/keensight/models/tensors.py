"""Pictures as tensors, the device, and the precision of matrix products."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from threadpoolctl import ThreadpoolController

from keensight.executor import Threads
from keensight.machine import bfloat16_instructions
from keensight.values import Uint8Array


def to_images(images_NHWC: Uint8Array, device: torch.device) -> torch.Tensor:
    """Return uint8 NHWC as float NCHW in [0, 1]; NHWC bytes are channels_last for free."""
    return torch.from_numpy(images_NHWC).to(device).permute(0, 3, 1, 2).float().div_(255)


@contextmanager
def side_by_side(count: int, *, caller_too: bool = False) -> Iterator[Threads]:
    """Yield `count` threads to map over, each with one core for torch; at the end, torch's threads are as before.

    Threads that share every small layer wait for each other at its end: that costs up to a third of the time on two
    idle cores, and more than half on a busy machine (benchmarks/LOG.md). With `caller_too`, who calls has one core as
    well: an optimiser's step for 29,000 weights, which woke a second thread for each of them, took 6 ms of a busy
    machine and takes 0.3.
    """
    with _KEPT.block(), Threads(count, _take_one_core) as threads:
        if caller_too and count > 1:
            torch.set_num_threads(1)
        yield threads


def _take_one_core() -> None:
    torch.get_num_threads()  # a new thread takes the number set last by any thread, at its first use of torch: now
    torch.set_num_threads(1)


@contextmanager
def on_one_core() -> Iterator[None]:
    """Let torch and NumPy use one core, for many small steps one after the other; at the end, all is as before.

    NumPy's threads wait for each other in the same way: a report's logistic regression took .46 s of one core, and with
    two 1.7 s beside other programs, and no less on idle ones.
    """
    with _KEPT.block(), ThreadpoolController().limit(limits=1, user_api="blas"):  # it looks for libraries: 2 ms
        torch.set_num_threads(1)
        yield


class _Kept:
    """Torch's number of threads, for blocks that change it and may end in any order: the last gives it back."""

    def __init__(self) -> None:
        self._lock, self._blocks, self._before = threading.Lock(), 0, 0

    @contextmanager
    def block(self) -> Iterator[None]:
        with self._lock:
            if self._blocks == 0:
                self._before = torch.get_num_threads()
            self._blocks += 1
        try:
            yield
        finally:
            with self._lock:
                self._blocks -= 1
                if self._blocks == 0:
                    torch.set_num_threads(self._before)


_KEPT = _Kept()


def device() -> torch.device:
    """Return the device to train on: a CUDA GPU if there is one, else Apple's (MPS), else the CPU.

    MPS has no float64, so what is computed in it (folding, export, accuracies) is computed on the CPU.
    """
    has_mps = torch.backends.mps.is_available()
    return torch.device("cuda" if torch.cuda.is_available() else "mps" if has_mps else "cpu")


def uses_bfloat16(precision: str, device: torch.device) -> bool:
    """Say whether matrix products run in bfloat16: on request, or with "auto" on hardware that supports it."""
    if precision != "auto":
        return precision == "bfloat16"
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and bool(bfloat16_instructions())


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """Return the context in which matrix products have a recipe's `precision`: "auto", "float32" or "bfloat16"."""
    return torch.autocast(device.type, torch.bfloat16, enabled=uses_bfloat16(precision, device))
