"""The beginning of a convolutional network, where it has the most to remember, in one go while it learns.

Shape letters: N images, C channels, H height, W width; F filters.
"""

from __future__ import annotations

import functools
from typing import Any, TypeGuard

import torch
from torch import nn
from torch.autograd.function import once_differentiable

from keensight.kernels import library
from keensight.kernels.tensors import SIZES, address
from keensight.models.pooling import MaxPool2d

MOST_CHANNELS = 4  # of pictures: with more, torch is faster


class Layers(nn.Sequential):
    """torch's Sequential, faster to train where it begins with a 3x3 convolution of a picture and 2x2 max pooling.

    What the two answer is torch's up to the rounding of float32, as sums have another order. In bfloat16 only the
    pooled answers are rounded, and not the picture, the weights and all answers.
    """

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return what the layers make of the inputs, one after another."""
        layers = list(self)
        first = next((i for i, layer in enumerate(layers) if isinstance(layer, nn.Conv2d)), len(layers))
        for layer in layers[:first]:
            inputs = layer(inputs)
        rest = layers[first:]
        if self.training and len(rest) > 1 and _is_stem(rest[0], rest[1]) and _fits(inputs, rest[0]):
            inputs, rest = _pooled(inputs, rest[0]), rest[2:]
        for layer in rest:
            inputs = layer(inputs)
        return inputs


def _is_stem(convolution: nn.Module, pooling: nn.Module) -> TypeGuard[nn.Conv2d]:
    return (
        isinstance(convolution, nn.Conv2d)
        and convolution.kernel_size == (3, 3)
        and convolution.stride == convolution.dilation == (1, 1)
        and convolution.padding in ((0, 0), (1, 1))
        and convolution.padding_mode == "zeros"
        and convolution.groups == 1
        and convolution.in_channels <= MOST_CHANNELS
        and isinstance(pooling, MaxPool2d)
        and pooling.is_plain
        and (pooling.kernel_size, pooling.stride) == (2, 2)
    )


def _fits(images_NCHW: torch.Tensor, convolution: nn.Conv2d) -> bool:
    return (
        images_NCHW.device.type == "cpu"
        and images_NCHW.dtype == convolution.weight.dtype == torch.float32
        and images_NCHW.dim() == 4
        and not images_NCHW.requires_grad  # as an attack wants it
        and min(images_NCHW.shape[2:]) + 2 * int(convolution.padding[0]) >= 4
        and torch.get_autocast_dtype("cpu") in SIZES
        and _is_compiled()
    )


@functools.cache
def _is_compiled() -> bool:
    return library() is not None and bool(library().keensight_has_stem())


def _pooled(images_NCHW: torch.Tensor, convolution: nn.Conv2d) -> torch.Tensor:
    dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else images_NCHW.dtype
    padding = int(convolution.padding[0])
    pooled_NFHW: torch.Tensor = _Stem.apply(  # type: ignore[no-untyped-call]
        images_NCHW, convolution.weight, convolution.bias, padding, dtype
    )
    return pooled_NFHW


class _Stem(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        images_NCHW: torch.Tensor,
        weight_FCHW: torch.Tensor,
        bias_F: torch.Tensor | None,
        padding: int,
        dtype: torch.dtype,
    ) -> torch.Tensor:
        images_NCHW = images_NCHW.contiguous(memory_format=torch.channels_last)
        weight_FCHW = weight_FCHW.contiguous()
        shift_F = weight_FCHW.new_zeros(len(weight_FCHW)) if bias_F is None else bias_F.contiguous()
        n, c, h, w = images_NCHW.shape
        shape = (n, len(weight_FCHW), (h + 2 * padding - 2) // 2, (w + 2 * padding - 2) // 2)
        pooled_NFHW = torch.empty(shape, dtype=dtype, memory_format=torch.channels_last)
        places = torch.empty(pooled_NFHW.numel(), dtype=torch.uint8)  # of the largest in each window
        sizes = (n, h, w, c, padding, len(weight_FCHW), SIZES[dtype])
        given = [address(tensor) for tensor in (images_NCHW, weight_FCHW, shift_F, pooled_NFHW, places)]
        if not library().keensight_stem(*given, *sizes):
            raise MemoryError
        ctx.save_for_backward(images_NCHW, places)
        ctx.sizes, ctx.dtype, ctx.has_bias = sizes, dtype, bias_F is not None
        return pooled_NFHW

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_NFHW: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        images_NCHW, places = ctx.saved_tensors
        *_, channels, _, filters, _ = ctx.sizes
        gradient_NFHW = gradient_NFHW.to(ctx.dtype).contiguous(memory_format=torch.channels_last)
        weight_FCHW, bias_F = torch.empty(filters, channels, 3, 3), torch.empty(filters)
        given = [address(tensor) for tensor in (images_NCHW, gradient_NFHW, places, weight_FCHW, bias_F)]
        if not library().keensight_stem_backward(*given, *ctx.sizes):
            raise MemoryError
        return None, weight_FCHW, bias_F if ctx.has_bias else None, None, None
