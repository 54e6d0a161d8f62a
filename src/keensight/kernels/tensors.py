"""Tensors as the compiled functions take them: dense memory, which must live until the call returns."""

from __future__ import annotations

import ctypes

import torch

SIZES = {torch.bfloat16: 2, torch.float32: 4}  # bytes of an element


def address(tensor: torch.Tensor) -> ctypes.c_void_p:
    """Return the address of a tensor's memory."""
    return ctypes.c_void_p(tensor.data_ptr())
