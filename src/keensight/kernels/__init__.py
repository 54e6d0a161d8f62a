"""Pooling and dropout by code of our own, compiled when keensight is installed if there was a C compiler.

`library()` is None where it was not compiled; torch then does the same, with the same results. Tensors are given by
their memory: they must be dense, with channels last, and stay alive until the call returns.
"""

from __future__ import annotations

import ctypes
import functools
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any

import torch

SIZES = {torch.bfloat16: 2, torch.float32: 4}  # bytes of an element


@functools.cache
def library() -> Any:
    """Return the compiled kernels, a `ctypes.CDLL`, or None where there are none."""
    for suffix in EXTENSION_SUFFIXES:
        file = Path(__file__).with_name(f"compiled{suffix}")
        if file.exists():
            try:
                return _declared(ctypes.CDLL(str(file)))
            except OSError:  # for another processor or C library, such as in a folder that two machines share
                return None
    return None


def address(tensor: torch.Tensor) -> ctypes.c_void_p:
    """Return where a tensor's memory begins."""
    return ctypes.c_void_p(tensor.data_ptr())


def _declared(kernels: ctypes.CDLL) -> ctypes.CDLL:
    place, whole, long = ctypes.c_void_p, ctypes.c_int, ctypes.c_int64
    pooling: list[Any] = [place] * 3 + [long] * 4 + [whole] * 3
    kernels.keensight_max_pool.argtypes = pooling
    kernels.keensight_max_pool_backward.argtypes = pooling
    kernels.keensight_dropout.argtypes = [place, place, place, long, ctypes.c_int32, ctypes.c_float, whole]
    for kernel in (kernels.keensight_max_pool, kernels.keensight_max_pool_backward, kernels.keensight_dropout):
        kernel.restype = None
    return kernels
