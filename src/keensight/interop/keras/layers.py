"""Translates Keras' layers, one by one, from their configuration and weights to the steps of a `graph`.

Keras' pictures are NHWC, ours NCHW: kernels are transposed here, and so are the weights of a layer that reads a
flattened picture. Shape letters: H height, W width, C channels, I inputs, O outputs, D numbers of a vector.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from keensight.errors import PAGES, suggestion
from keensight.interop.keras.activations import ACTIVATION_LAYERS, Take, add_activation, check_activation
from keensight.interop.keras.building import MOST, OTHER, Building, Config, UnfitError, ints, number, numbers, shown
from keensight.values import FloatArray


def add_layer(building: Building, kind: str, config: Config, take: Take) -> None:
    """Add a Keras layer's steps; ``take({"kernel": shape})`` reads its weights. Raises UnfitError."""
    if kind not in IDENTITIES:
        LAYERS[kind](building, config, take)
    if kind not in ACTIVATION_LAYERS:
        add_activation(building, config.get("activation"))


def holds_arrays(kind: str, config: Config) -> bool:
    """Say whether a layer has weights, where others of its class have some."""
    if kind in ("LayerNormalization", "GroupNormalization"):
        return bool(config.get("scale", True) or config.get("center", True))
    return kind != "Normalization" or config.get("mean") is None


def check_layer(kind: str, config: Config, joints: Iterable[str]) -> None:
    """Raise UnfitError, by name, for a class or an activation function that is not in the tables here or `joints`."""
    if kind not in LAYERS and kind not in IDENTITIES:
        known = [*LAYERS, *joints, *IDENTITIES]
        raise UnfitError(
            f"is not one of the {len(known)} classes that can be imported. {suggestion(kind, known)}"
            f"{PAGES}keras.md lists them; import a model of those."
        )
    data_format = config.get("data_format")
    if data_format not in (None, "channels_last"):
        raise UnfitError(
            f"has data_format '{data_format}'; channels_last, Keras' default, is accepted. Build the model again with "
            "it, and copy the weights over with get_weights and set_weights."
        )
    check_activation(config.get("activation"))


def _rescaling(building: Building, config: Config, take: Take) -> None:
    scale, offset = numbers(config["scale"]), numbers(config.get("offset", 0.0))
    building.affine(scale, offset)


def _normalization(building: Building, config: Config, take: Take) -> None:
    axis = config.get("axis", -1)
    axes = axis if isinstance(axis, list) else [] if axis is None else [axis]
    if [a for a in axes if a not in (-1, len(building.shape))] or config.get("invert"):
        raise UnfitError(f"normalises the axes {axis}, or backwards; the last axis is accepted. {OTHER}")
    if config.get("mean") is not None:
        mean, variance = numbers(config["mean"]), numbers(config["variance"])
    else:
        shape = (building.shape[-1],) if axes else ()
        mean, variance, _ = map(np.atleast_1d, take({"mean": shape, "variance": shape, "count": ()}))
    spread = np.maximum(np.sqrt(variance.astype(np.float64)), 1e-7)
    building.affine(1 / spread, -mean / spread)


def _batch_norm(building: Building, config: Config, take: Take) -> None:
    axis = config.get("axis", -1)
    if len(building.shape) == 2 or axis not in (-1, len(building.shape), [len(building.shape)], [-1]):
        raise UnfitError(f"normalises the axis {axis} of {shown(building.shape)}; the last is accepted. {OTHER}")
    if config.get("renorm"):
        raise UnfitError(f"renormalises batches. {OTHER}")
    channels = building.shape[-1]
    names = ["gamma"] * config.get("scale", True) + ["beta"] * config.get("center", True)
    arrays = dict.fromkeys([*names, "moving_mean", "moving_variance"], (channels,))
    held = dict(zip(arrays, map(building.ours, take(arrays)), strict=True))
    ones, zeros = np.ones(channels, np.float32), np.zeros(channels, np.float32)
    building.norm(
        held["moving_mean"], held["moving_variance"], held.get("gamma", ones), held.get("beta", zeros),
        number(config.get("epsilon", 1e-3)),
    )  # fmt: skip


def _layer_norm(building: Building, config: Config, take: Take) -> None:
    axis = config.get("axis", -1)
    axes = axis if isinstance(axis, list) else [axis]
    if len(building.shape) == 2 or len(axes) != 1 or axes[0] not in (-1, len(building.shape)):
        raise UnfitError(f"normalises the axes {axis} of {shown(building.shape)}; the last is accepted. {OTHER}")
    if config.get("rms_scaling"):
        raise UnfitError(f"has rms_scaling. {OTHER}")
    channels = building.shape[-1]
    names = ["gamma"] * config.get("scale", True) + ["beta"] * config.get("center", True)
    arrays = dict.fromkeys(names, (channels,))
    held = dict(zip(arrays, map(building.ours, take(arrays) if arrays else []), strict=True))
    weight, bias = held.get("gamma", np.ones(channels)), held.get("beta", np.zeros(channels))
    eps = number(config.get("epsilon", 1e-3))
    building.add("ChannelNorm", {"weight": weight, "bias": bias}, num_channels=channels, eps=eps)


def _group_norm(building: Building, config: Config, take: Take) -> None:
    axis, groups, channels = config.get("axis", -1), config.get("groups", 32), building.shape[-1]
    if len(building.shape) == 2 or axis not in (-1, len(building.shape)):
        raise UnfitError(f"normalises the axis {axis} of {shown(building.shape)}; the last is accepted. {OTHER}")
    groups = channels if groups == -1 else groups
    if type(groups) is not int or groups < 1 or channels % groups:
        raise UnfitError(f"divides {channels} channels into {groups} groups. {OTHER}")
    building.in_keras_order()
    names = ["gamma"] * config.get("scale", True) + ["beta"] * config.get("center", True)
    arrays = dict.fromkeys(names, (channels,))
    held = dict(zip(arrays, take(arrays) if arrays else [], strict=True))
    weights = {"weight": held.get("gamma", np.ones(channels)), "bias": held.get("beta", np.zeros(channels))}
    eps = number(config.get("epsilon", 1e-3))
    building.add("GroupNorm", weights, num_groups=groups, num_channels=channels, eps=eps)


def _layer_scale(building: Building, config: Config, take: Take) -> None:
    (gamma,) = take({"gamma|variable|Variable": (building.shape[-1],)})
    building.affine(gamma, np.zeros(1))


def _conv(building: Building, config: Config, take: Take) -> None:
    _, _, channels = building.pictures()
    (filters,), (groups,) = ints(config, "filters", n=1, most=2**20), ints(config, "groups", 1, n=1)
    if channels % groups or filters % groups:
        raise UnfitError(f"divides {channels} channels into {groups} groups. {OTHER}")
    shape = (*ints(config, "kernel_size"), channels // groups, filters)
    kernel, bias = _with_bias(config, take, {"kernel": shape}, filters)
    _add_conv(building, config, kernel.transpose(3, 2, 0, 1), bias, groups)


def _depthwise(building: Building, config: Config, take: Take) -> None:
    _, _, channels = building.pictures()
    (times,) = ints(config, "depth_multiplier", 1, n=1)
    shape = (*ints(config, "kernel_size"), channels, times)
    kernel, bias = _with_bias(config, take, {"kernel|depthwise_kernel": shape}, channels * times)
    _add_conv(building, config, _per_channel(kernel), bias, channels)


def _separable(building: Building, config: Config, take: Take) -> None:
    _, _, channels = building.pictures()
    (times,), (filters,) = ints(config, "depth_multiplier", 1, n=1), ints(config, "filters", n=1, most=2**20)
    shapes = {
        "depthwise_kernel": (*ints(config, "kernel_size"), channels, times),
        "pointwise_kernel": (1, 1, channels * times, filters),
    }
    depthwise, pointwise, bias = _with_bias(config, take, shapes, filters)
    _add_conv(building, config, _per_channel(depthwise), None, channels)
    _add_conv(building, {}, pointwise.transpose(3, 2, 0, 1), bias, 1)


def _per_channel(kernel_HWCM: FloatArray) -> FloatArray:
    height, width, channels, times = kernel_HWCM.shape
    return kernel_HWCM.transpose(2, 3, 0, 1).reshape(channels * times, 1, height, width)


def _with_bias(config: Config, take: Take, shapes: dict[str, tuple[int, ...]], cells: int) -> list[Any]:
    """Return the arrays of `shapes`, and the bias, or None if the layer has none."""
    if config.get("use_bias", True):
        return list(take(shapes | {"bias": (cells,)}))
    return [*take(shapes), None]


def _add_conv(
    building: Building, config: Config, kernel_OIHW: FloatArray, bias: FloatArray | None, groups: int
) -> None:
    kernel = kernel_OIHW.shape[2], kernel_OIHW.shape[3]
    strides, dilation = ints(config, "strides", 1), ints(config, "dilation_rate", 1)
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    pads, (height, width) = _windows(building, config, reach, strides)
    around = [pads[2], pads[0]] if pads[0] == pads[1] and pads[2] == pads[3] else [0, 0]
    if any(pads) and not any(around):
        building.add("ZeroPad2d", padding=pads)
    building.add(
        "Conv2d", {"weight": kernel_OIHW} | ({} if bias is None else {"bias": bias}),
        in_channels=kernel_OIHW.shape[1] * groups, out_channels=len(kernel_OIHW), kernel_size=list(kernel),
        stride=list(strides), padding=around, dilation=list(dilation), groups=groups, bias=bias is not None,
    )  # fmt: skip
    building.become(height, width, len(kernel_OIHW))


def _windows(building: Building, config: Config, reach: Any, strides: Any) -> tuple[list[int], list[int]]:
    """Return the padding (left, right, top, bottom) of windows, and their number along each side."""
    sizes, padding = building.pictures()[:2], config.get("padding", "valid")
    if padding not in ("valid", "same"):
        raise UnfitError(f"has padding {padding!r}; valid and same are accepted. {OTHER}")
    pads: list[int] = []
    numbers = []
    for size, far, stride in zip(sizes, reach, strides, strict=True):
        number = math.ceil(size / stride) if padding == "same" else (size - far) // stride + 1
        total = max((number - 1) * stride + far - size, 0) if padding == "same" else 0
        pads = [total // 2, total - total // 2, *pads]  # an odd pixel goes to the right or bottom; W comes before H
        numbers.append(number)
    return pads, numbers


def _pool(kind: str, plain: str) -> Callable[[Building, Config, Take], None]:
    def pool(building: Building, config: Config, take: Take) -> None:
        *_, channels = building.pictures()
        window = ints(config, "pool_size", 2)
        strides = ints(config, "strides") if config.get("strides") is not None else window
        pads, (height, width) = _windows(building, config, window, strides)
        if any(pads):
            building.add("PaddedPool2d", kind=kind, kernel_size=list(window), stride=list(strides), pads=pads)
        else:
            building.add(plain, kernel_size=list(window), stride=list(strides))
        building.become(height, width, channels)

    return pool


def _global_pool(step: str) -> Callable[[Building, Config, Take], None]:
    def pool(building: Building, config: Config, take: Take) -> None:
        *_, channels = building.pictures()
        building.add(step, output_size=1)
        building.become(1, 1, channels)
        if not config.get("keepdims"):
            _flatten(building, config, take)

    return pool


def _zero_padding(building: Building, config: Config, take: Take) -> None:
    building.pictures()
    _pad(building, _sides(config["padding"], "pads"), 1)


def _sides(given: Any, does: str) -> tuple[int, int, int, int]:
    """Return how much at top, bottom, left and right, of a number, two, or two pairs."""
    rows, columns = given if isinstance(given, list) and len(given) == 2 else [given, given]
    (top, bottom), (left, right) = (side if isinstance(side, list) else [side, side] for side in (rows, columns))
    if not all(type(side) is int and 0 <= side <= MOST for side in (top, bottom, left, right)):
        raise UnfitError(f"{does} with {given}; numbers from 0 to {MOST} are accepted. {OTHER}")
    return top, bottom, left, right


def _pad(building: Building, sides: tuple[int, int, int, int], sign: int) -> None:
    """Put zeros around pictures, or, with the sign -1, cut so much off."""
    height, width, channels = building.pictures()
    top, bottom, left, right = (sign * side for side in sides)
    if any(sides):
        building.add("ZeroPad2d", padding=[left, right, top, bottom])
        building.become(height + top + bottom, width + left + right, channels)


def _dense(building: Building, config: Config, take: Take) -> None:
    (units,) = ints(config, "units", n=1, most=2**24)
    if len(building.shape) == 2:
        raise UnfitError(f"reads each row of {shown(building.shape)} on its own. Put a Flatten layer before it.")
    numbers = building.shape[-1]
    kernel_IO, bias = _with_bias(config, take, {"kernel": (numbers, units)}, units)
    if len(building.shape) == 3:  # the same cells at every position: a convolution of 1x1
        _add_conv(building, {}, kernel_IO.T[:, :, None, None], bias, 1)
        return
    weights = {"weight": building.ours(kernel_IO).T} | ({} if bias is None else {"bias": bias})
    building.add("Linear", weights, in_features=numbers, out_features=units, bias=bias is not None)
    building.become(units)


def _flatten(building: Building, config: Config, take: Take) -> None:
    if len(building.shape) == 1:
        return
    height, width, channels = (*building.shape, 1)[:3]
    building.add("Flatten")
    turned = channels > 1 and height * width > 1
    building.become(height * width * channels, flat_from=(height, width, channels) if turned else None)


def _reshape(building: Building, config: Config, take: Take) -> None:
    target = list(config["target_shape"])
    numbers = math.prod(building.shape)
    if target.count(-1) == 1:
        rest = -math.prod(target)
        target[target.index(-1)] = numbers // rest if rest > 0 else 0
    if not 1 <= len(target) <= 3 or math.prod(target) != numbers or min(target) < 1:
        raise UnfitError(f"turns {shown(building.shape)} into {shown(target)}. {OTHER}")
    height, width, channels = (*target, 1, 1)[:3]
    if len(target) > 1 and [*building.shape, 1][:3] == [height, width, channels]:
        building.become(*target)  # one channel axis more, or less
        return
    _flatten(building, config, take)
    if len(target) == 1:
        return
    if building.flat_from not in (None, (height, width, channels)):
        building.in_keras_order()
    if building.flat_from is not None or channels == 1 or height * width == 1:
        building.add("Unflatten", dim=1, unflattened_size=[channels, height, width])
    else:
        building.add("Unflatten", dim=1, unflattened_size=target)
        building.add("Permute", dims=[3, 1, 2])
    building.become(*target)


def _permute(building: Building, config: Config, take: Take) -> None:
    dims, rank = config["dims"], len(building.shape)
    if rank == 1 or not isinstance(dims, list) or sorted(dims) != list(range(1, rank + 1)):
        raise UnfitError(f"puts the axes of {shown(building.shape)} into the order {dims}. {OTHER}")
    axes = {1: 2, 2: 3, 3: 1}  # Keras' axes here, where the channels come first
    kept = {axes[to]: axes[axis] for to, axis in enumerate(dims, start=1)}
    building.add("Permute", dims=[kept.get(to, to) for to in (1, 2, 3)])
    building.become(*(building.shape[axis - 1] for axis in dims))


def _resizing(building: Building, config: Config, take: Take) -> None:
    if config.get("crop_to_aspect_ratio") or config.get("pad_to_aspect_ratio"):
        raise UnfitError(f"crops or pads what it resizes. {OTHER}")
    (height,), (width,) = ints(config, "height", n=1), ints(config, "width", n=1)
    _resize(building, height, width, config.get("interpolation", "bilinear"))


def _upsampling(building: Building, config: Config, take: Take) -> None:
    height, width, _ = building.pictures()
    down, right = ints(config, "size", 2)
    _resize(building, height * down, width * right, config.get("interpolation", "nearest"))


def _resize(building: Building, height: int, width: int, interpolation: Any) -> None:
    if interpolation not in ("bilinear", "nearest"):
        raise UnfitError(f"has interpolation {interpolation!r}; bilinear and nearest are accepted. {OTHER}")
    *size, channels = building.pictures()
    if size != [height, width]:
        building.become(height, width, channels)
        building.add("Resize2d", from_size=size, size=[height, width], bilinear=interpolation == "bilinear")


def _cropping(building: Building, config: Config, take: Take) -> None:
    building.pictures()
    _pad(building, _sides(config["cropping"], "crops"), -1)


def _center_crop(building: Building, config: Config, take: Take) -> None:
    height, width, _ = building.pictures()
    rows, columns = height - ints(config, "height", n=1)[0], width - ints(config, "width", n=1)[0]
    if min(rows, columns) < 0:
        raise UnfitError(f"cuts {config['height']}x{config['width']} out of {height}x{width}. {OTHER}")
    _pad(building, (rows // 2, rows - rows // 2, columns // 2, columns - columns // 2), -1)


def _random_crop(building: Building, config: Config, take: Take) -> None:
    if building.pictures()[:2] != (config["height"], config["width"]):  # what Keras does then differs by release
        raise UnfitError(f"crops {shown(building.shape)} to {config['height']}x{config['width']}. {OTHER}")


def _just_activation(building: Building, config: Config, take: Take) -> None:
    """Add nothing: the `activation` that every layer may have is added elsewhere."""


LAYERS: dict[str, Callable[[Building, Config, Take], None]] = {
    "Rescaling": _rescaling,
    "Normalization": _normalization,
    "Conv2D": _conv,
    "DepthwiseConv2D": _depthwise,
    "SeparableConv2D": _separable,
    "ZeroPadding2D": _zero_padding,
    "Cropping2D": _cropping,
    "CenterCrop": _center_crop,
    "RandomCrop": _random_crop,
    "Resizing": _resizing,
    "UpSampling2D": _upsampling,
    "MaxPooling2D": _pool("max", "MaxPool2d"),
    "AveragePooling2D": _pool("average", "AvgPool2d"),
    "GlobalAveragePooling2D": _global_pool("AdaptiveAvgPool2d"),
    "GlobalMaxPooling2D": _global_pool("AdaptiveMaxPool2d"),
    "BatchNormalization": _batch_norm,
    "LayerNormalization": _layer_norm,
    "GroupNormalization": _group_norm,
    "LayerScale": _layer_scale,
    "Dense": _dense,
    "Flatten": _flatten,
    "Reshape": _reshape,
    "Permute": _permute,
    "Activation": _just_activation,
    **ACTIVATION_LAYERS,
}
IDENTITIES = (  # in evaluation
    "Identity", "Dropout", "SpatialDropout2D", "GaussianDropout", "AlphaDropout", "GaussianNoise",
    "ActivityRegularization", "RandomFlip", "RandomRotation", "RandomZoom", "RandomTranslation", "RandomContrast",
    "RandomBrightness", "RandomShear", "RandomHue", "RandomSaturation", "RandomSharpness", "RandomGrayscale",
    "RandomErasing", "RandomPosterization", "RandomColorJitter", "RandomColorDegeneration", "RandomGaussianBlur",
    "RandomPerspective", "RandomInvert", "RandomElasticTransform", "RandAugment", "AugMix", "MixUp", "CutMix",
    "Solarization", "Equalization", "StochasticDepth",
)  # fmt: skip
