"""Pictures as tensors, the device that they go to, and the precision that they are multiplied in."""

from __future__ import annotations

import functools
from pathlib import Path

import torch

from keensight.values import IntArray, Uint8Array


def to_images(images_NHWC: Uint8Array, rows: IntArray, device: torch.device) -> torch.Tensor:
    """Gather rows of uint8 NHWC as float NCHW in [0, 1]; NHWC bytes are channels_last for free."""
    batch = torch.from_numpy(images_NHWC[rows]).to(device)
    return batch.permute(0, 3, 1, 2).float().div_(255)


def device() -> torch.device:
    """Return the device to train on: a CUDA GPU where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def uses_bfloat16(precision: str, device: torch.device) -> bool:
    """Tell whether matrix products run in bfloat16: asked for, or "auto" on hardware that has it in silicon."""
    if precision != "auto":
        return precision == "bfloat16"
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return _cpu_has_bfloat16()


@functools.cache  # it is asked before every step, and the kernel takes its time to write this file
def _cpu_has_bfloat16() -> bool:
    cpu = Path("/proc/cpuinfo")
    return cpu.exists() and any(flag in cpu.read_text() for flag in ("avx512_bf16", "amx_bf16"))


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """Return the context in which matrix products have a recipe's `precision`: "auto", "float32" or "bfloat16"."""
    return torch.autocast(device.type, torch.bfloat16, enabled=uses_bfloat16(precision, device))
