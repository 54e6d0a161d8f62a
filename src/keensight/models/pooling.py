"""Max pooling that keeps each maximum's place in one byte, not eight, and writes its gradient in one pass (kernels/).

Shape letters: N images, C channels, H height, W width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable

from keensight.kernels import library
from keensight.kernels.tensors import SIZES, address
from keensight.models.dropout import Dropout

MOST = 15  # pixels of a window, high and wide, so that a byte can hold a place, or that there is none


class MaxPool2d(nn.MaxPool2d):
    """torch's layer, with the same answers, and the same gradients where no two windows overlap.

    Where they do, a bfloat16 gradient is rounded once, not after every addition.
    """

    def forward(self, inputs_NCHW: torch.Tensor) -> torch.Tensor:
        """Return the largest value of each window."""
        return _pooled(self, inputs_NCHW, False, None) if self.fits(inputs_NCHW) else super().forward(inputs_NCHW)

    def above_zero(self, inputs_NCHW: torch.Tensor, dropout: Dropout | None = None) -> torch.Tensor:
        """Return what ReLU, and then dropout, leave of the largest values, for inputs that fit.

        Dropout is for windows that do not overlap.
        """
        assert self.fits(inputs_NCHW) and (dropout is None or self.kernel_size == self.stride)
        return _pooled(self, inputs_NCHW, True, dropout)

    def fits(self, inputs_NCHW: torch.Tensor) -> bool:
        """Whether the kernel is made for such inputs."""
        kernel = self.kernel_size
        return (
            self.is_plain
            and isinstance(kernel, int)
            and isinstance(self.stride, int)
            and inputs_NCHW.device.type == "cpu"
            and inputs_NCHW.dtype in SIZES
            and inputs_NCHW.dim() == 4
            and min(MOST, *inputs_NCHW.shape[2:]) >= kernel
            and inputs_NCHW.is_contiguous(memory_format=torch.channels_last)
            and library() is not None
        )

    @property
    def is_plain(self) -> bool:
        """Whether all options but size and stride are torch's defaults."""
        return (self.padding, self.dilation, self.ceil_mode, self.return_indices) == (0, 1, False, False)


def _pooled(pool: MaxPool2d, inputs_NCHW: torch.Tensor, relu: bool, dropout: Dropout | None) -> torch.Tensor:
    answers_NCHW: torch.Tensor = _MaxPool.apply(  # type: ignore[no-untyped-call]
        inputs_NCHW, pool.kernel_size, pool.stride, relu, dropout
    )
    return answers_NCHW


class _MaxPool(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, inputs_NCHW: torch.Tensor, kernel: int, stride: int, relu: bool, dropout: Dropout | None
    ) -> torch.Tensor:
        n, c, h, w = inputs_NCHW.shape
        shape = (n, c, (h - kernel) // stride + 1, (w - kernel) // stride + 1)
        pooled_NCHW = torch.empty(shape, dtype=inputs_NCHW.dtype, memory_format=torch.channels_last)
        places = torch.empty(pooled_NCHW.numel(), dtype=torch.uint8)  # of the largest in each window
        ctx.sizes = (n, h, w, c, kernel, stride, SIZES[inputs_NCHW.dtype])
        bits, least, ctx.scale = None, 0, 1.0
        if dropout is not None:
            bits, least, ctx.scale = dropout.drawn(places.numel()), dropout.least, dropout.scale(inputs_NCHW.dtype)
        library().keensight_pool(
            address(inputs_NCHW), address(pooled_NCHW), address(places), *ctx.sizes,
            relu, None if bits is None else address(bits), least, ctx.scale,
        )  # fmt: skip
        ctx.save_for_backward(places)
        return pooled_NCHW

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_NCHW: torch.Tensor) -> tuple[torch.Tensor, None, None, None, None]:
        (places,) = ctx.saved_tensors
        n, h, w, c, *_ = ctx.sizes
        gradient_NCHW = gradient_NCHW.contiguous(memory_format=torch.channels_last)
        inputs_NCHW = torch.empty((n, c, h, w), dtype=gradient_NCHW.dtype, memory_format=torch.channels_last)
        addresses = address(gradient_NCHW), address(places), address(inputs_NCHW)
        library().keensight_pool_backward(*addresses, *ctx.sizes, ctx.scale)
        return inputs_NCHW, None, None, None, None
