"""Translates Keras' layers, one by one, from their configuration and weights to the steps of a `chain`.

Keras' pictures are NHWC, ours NCHW: kernels are transposed here, and so are the weights of a layer that reads a
flattened picture. Shape letters: H height, W width, C channels, I inputs, O outputs, D numbers of a vector.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from keensight.errors import suggestion
from keensight.values import FloatArray

MOST = 4096  # the largest pixels, strides or windows that a configuration may have
MAX_NUMBERS = 2**26  # the largest output of a layer for one picture

OTHER = "Import a model without it."

Config = Mapping[str, Any]
Take = Callable[[Mapping[str, tuple[int, ...]]], list[FloatArray]]


class UnfitError(Exception):
    """Why a layer cannot be imported, and what to do: a text that continues a sentence after the layer's name."""


class Building:
    """A chain under construction: its steps and weights so far, and Keras' output shape there, without the batch.

    `shape` is (H, W, C), (H, W) or (D,). `flat_from` is the HWC that a vector was flattened from, if its numbers are
    in our order (CHW) and not in Keras'. Until the first step that is more than a change of shape, `scale` and `offset`
    are the factor and the summand that were applied to pixels, as one number or one for each channel.
    """

    def __init__(self, shape: tuple[int, ...], major: int) -> None:
        self.shape = shape
        self.major = major  # Keras' major version
        self.flat_from: tuple[int, int, int] | None = None
        self.steps: list[dict[str, Any]] = []
        self.weights: dict[str, FloatArray] = {}
        self.scale: FloatArray = np.ones(1)
        self.offset: FloatArray = np.zeros(1)
        self.expects_bytes: bool | None = None  # whether the first layer shows that pixels go from 0 to 255

    @property
    def is_leading(self) -> bool:
        """Whether the next layer reads the pixels themselves."""
        return all(step["layer"] in ("Flatten", "Unflatten") for step in self.steps)

    def add(self, layer: str, weights: Mapping[str, FloatArray] | None = None, **options: Any) -> None:
        """Add a step of a `chain`, with its weights in torch's shapes."""
        for name, array in (weights or {}).items():
            self.weights[f"{len(self.steps)}.{name}"] = array
        self.steps.append({"layer": layer, **options})

    def become(self, *shape: int) -> None:
        """Set the shape after a layer. Raises UnfitError if nothing is left, or far too much."""
        if min(shape) < 1 or math.prod(shape) > MAX_NUMBERS:
            raise UnfitError(
                f"turns {_x(self.shape)} into {_x(shape)}; between 1 and {MAX_NUMBERS:,} numbers are accepted. "
                "Import a model whose layers fit its pictures."
            )
        self.shape = shape

    def pictures(self) -> tuple[int, int, int]:
        """Return the shape HWC. Raises UnfitError if a layer for pictures gets something else."""
        if len(self.shape) != 3:
            raise UnfitError(f"reads pictures of height, width and channels, and gets {_x(self.shape)}. {OTHER}")
        height, width, channels = self.shape
        return height, width, channels

    def ours(self, array: FloatArray) -> FloatArray:
        """Return an array whose first axis is a vector in Keras' order, in our order."""
        if self.flat_from is None:
            return array
        order = np.arange(math.prod(self.flat_from)).reshape(self.flat_from).transpose(2, 0, 1).ravel()
        return array[order]

    def affine(self, scale: FloatArray, offset: FloatArray) -> None:
        """Multiply and add, with one number for all, or one for each entry of the last axis."""
        if self.is_leading and (len(scale) == len(offset) == 1 or len(self.shape) == 3):
            self.scale, self.offset = self.scale * scale, self.offset * scale + offset
            return
        if len(self.shape) == 2:  # (H, W): a picture of one channel here, while Keras' last axis is W
            if len(scale) > 1 or len(offset) > 1:
                raise UnfitError(f"scales each column on its own. {OTHER}")
            channels = 1
        else:
            channels = self.shape[-1]
        weight, bias = (self.ours(np.broadcast_to(array, channels)) for array in (scale, offset))
        _norm(self, np.zeros(channels), np.ones(channels), weight, bias, 0.0)


def add_layer(building: Building, kind: str, config: Config, take: Take) -> None:
    """Add a Keras layer's steps; ``take({"kernel": shape})`` reads its weights. Raises UnfitError."""
    data_format = config.get("data_format")
    if data_format not in (None, "channels_last"):
        raise UnfitError(
            f"has data_format '{data_format}'; channels_last, Keras' default, is accepted. Build the model again with "
            "it, and copy the weights over with get_weights and set_weights."
        )
    if kind not in IDENTITIES:
        LAYERS[kind](building, config, take)
    if kind not in ACTIVATION_LAYERS:
        _activation(building, config.get("activation"))


def check_layer(kind: str, config: Config) -> None:
    """Raise UnfitError, by name, for a class or an activation function that is not in the tables here."""
    if kind not in LAYERS and kind not in IDENTITIES:
        known = [*LAYERS, *IDENTITIES]
        raise UnfitError(
            f"is not one of the {len(known)} classes that can be imported. {suggestion(kind, known)}docs/keras.md "
            "lists them; import a model of those."
        )
    activation = config.get("activation")
    if isinstance(activation, dict) and activation.get("class_name") in ACTIVATION_LAYERS:
        return
    if activation is not None and (not isinstance(activation, str) or activation not in ACTIVATIONS):
        name = activation.get("class_name") if isinstance(activation, dict) else activation
        raise UnfitError(
            f"has the activation {name!r}, which cannot be imported. Those that can are {', '.join(ACTIVATIONS)}; use "
            "one of them."
        )


def _activation(building: Building, value: Any) -> None:
    if isinstance(value, dict):
        ACTIVATION_LAYERS[value["class_name"]](building, value["config"], _takes_nothing)
    elif value is not None:
        ACTIVATIONS[value](building)


def _takes_nothing(wanted: Mapping[str, tuple[int, ...]]) -> list[FloatArray]:
    raise UnfitError(f"has an activation with weights. {OTHER}")


def _rescaling(building: Building, config: Config, take: Take) -> None:
    scale, offset = _numbers(config["scale"]), _numbers(config.get("offset", 0.0))
    if building.expects_bytes is None and building.is_leading:
        building.expects_bytes = bool(np.abs(scale).max() < 0.1)
    building.affine(scale, offset)


def _normalization(building: Building, config: Config, take: Take) -> None:
    axis = config.get("axis", -1)
    axes = axis if isinstance(axis, list) else [] if axis is None else [axis]
    if [a for a in axes if a not in (-1, len(building.shape))] or config.get("invert"):
        raise UnfitError(f"normalises the axes {axis}, or backwards; the last axis is accepted. {OTHER}")
    if config.get("mean") is not None:
        mean, variance = _numbers(config["mean"]), _numbers(config["variance"])
    else:
        shape = (building.shape[-1],) if axes else ()
        mean, variance, _ = map(np.atleast_1d, take({"mean": shape, "variance": shape, "count": ()}))
    if building.expects_bytes is None and building.is_leading:
        building.expects_bytes = bool(mean.max() > 2)
    spread = np.maximum(np.sqrt(variance.astype(np.float64)), 1e-7)
    building.affine(1 / spread, -mean / spread)


def _batch_norm(building: Building, config: Config, take: Take) -> None:
    axis = config.get("axis", -1)
    if len(building.shape) == 2 or axis not in (-1, len(building.shape), [len(building.shape)], [-1]):
        raise UnfitError(f"normalises the axis {axis} of {_x(building.shape)}; the last is accepted. {OTHER}")
    if config.get("renorm"):
        raise UnfitError(f"renormalises batches. {OTHER}")
    channels = building.shape[-1]
    names = ["gamma"] * config.get("scale", True) + ["beta"] * config.get("center", True)
    arrays = dict.fromkeys([*names, "moving_mean", "moving_variance"], (channels,))
    held = dict(zip(arrays, map(building.ours, take(arrays)), strict=True))
    ones, zeros = np.ones(channels, np.float32), np.zeros(channels, np.float32)
    _norm(building, held["moving_mean"], held["moving_variance"], held.get("gamma", ones), held.get("beta", zeros),
          _number(config.get("epsilon", 1e-3)))  # fmt: skip


def _norm(
    building: Building, mean: FloatArray, variance: FloatArray, weight: FloatArray, bias: FloatArray, eps: float
) -> None:
    kind = "BatchNorm1d" if len(building.shape) == 1 else "BatchNorm2d"
    arrays = {"running_mean": mean, "running_var": variance, "weight": weight, "bias": bias}
    building.add(kind, arrays, num_features=len(mean), eps=eps)


def _layer_norm(building: Building, config: Config, take: Take) -> None:
    axis = config.get("axis", -1)
    axes = axis if isinstance(axis, list) else [axis]
    if len(building.shape) == 2 or len(axes) != 1 or axes[0] not in (-1, len(building.shape)):
        raise UnfitError(f"normalises the axes {axis} of {_x(building.shape)}; the last is accepted. {OTHER}")
    if config.get("rms_scaling"):
        raise UnfitError(f"has rms_scaling. {OTHER}")
    channels = building.shape[-1]
    names = ["gamma"] * config.get("scale", True) + ["beta"] * config.get("center", True)
    arrays = dict.fromkeys(names, (channels,))
    held = dict(zip(arrays, map(building.ours, take(arrays) if arrays else []), strict=True))
    weight, bias = held.get("gamma", np.ones(channels)), held.get("beta", np.zeros(channels))
    eps = _number(config.get("epsilon", 1e-3))
    building.add("ChannelNorm", {"weight": weight, "bias": bias}, num_channels=channels, eps=eps)


def _conv(building: Building, config: Config, take: Take) -> None:
    _, _, channels = building.pictures()
    (filters,), (groups,) = _ints(config, "filters", n=1, most=2**20), _ints(config, "groups", 1, n=1)
    if channels % groups or filters % groups:
        raise UnfitError(f"divides {channels} channels into {groups} groups. {OTHER}")
    shape = (*_ints(config, "kernel_size"), channels // groups, filters)
    kernel, bias = _with_bias(config, take, {"kernel": shape}, filters)
    _add_conv(building, config, kernel.transpose(3, 2, 0, 1), bias, groups)


def _depthwise(building: Building, config: Config, take: Take) -> None:
    _, _, channels = building.pictures()
    (times,) = _ints(config, "depth_multiplier", 1, n=1)
    shape = (*_ints(config, "kernel_size"), channels, times)
    kernel, bias = _with_bias(config, take, {"kernel|depthwise_kernel": shape}, channels * times)
    _add_conv(building, config, _per_channel(kernel), bias, channels)


def _separable(building: Building, config: Config, take: Take) -> None:
    _, _, channels = building.pictures()
    (times,), (filters,) = _ints(config, "depth_multiplier", 1, n=1), _ints(config, "filters", n=1, most=2**20)
    shapes = {
        "depthwise_kernel": (*_ints(config, "kernel_size"), channels, times),
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
    strides, dilation = _ints(config, "strides", 1), _ints(config, "dilation_rate", 1)
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
        window = _ints(config, "pool_size", 2)
        strides = _ints(config, "strides") if config.get("strides") is not None else window
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
    height, width, channels = building.pictures()
    given = config["padding"]
    rows, columns = [given, given] if isinstance(given, int) else given
    (top, bottom), (left, right) = ([side, side] if isinstance(side, int) else side for side in (rows, columns))
    if not all(isinstance(side, int) and 0 <= side <= MOST for side in (top, bottom, left, right)):
        raise UnfitError(f"pads with {given}; numbers from 0 to {MOST} are accepted. {OTHER}")
    building.add("ZeroPad2d", padding=[left, right, top, bottom])
    building.become(height + top + bottom, width + left + right, channels)


def _dense(building: Building, config: Config, take: Take) -> None:
    (units,) = _ints(config, "units", n=1, most=2**24)
    if len(building.shape) == 2:
        raise UnfitError(f"reads each row of {_x(building.shape)} on its own. Put a Flatten layer before it.")
    numbers = building.shape[-1]
    kernel_IO, bias = _with_bias(config, take, {"kernel": (numbers, units)}, units)
    if len(building.shape) == 3:  # the same cells at every position: a convolution of 1x1
        _add_conv(building, {}, kernel_IO.T[:, :, None, None], bias, 1)
        return
    weights = {"weight": building.ours(kernel_IO).T} | ({} if bias is None else {"bias": bias})
    building.add("Linear", weights, in_features=numbers, out_features=units, bias=bias is not None)
    building.become(units)
    building.flat_from = None


def _flatten(building: Building, config: Config, take: Take) -> None:
    if len(building.shape) == 1:
        return
    height, width, channels = (*building.shape, 1)[:3]
    building.add("Flatten")
    building.flat_from = (height, width, channels) if channels > 1 and height * width > 1 else None
    building.become(height * width * channels)


def _reshape(building: Building, config: Config, take: Take) -> None:
    target = list(config["target_shape"])
    numbers = math.prod(building.shape)
    if target.count(-1) == 1:
        rest = -math.prod(target)
        target[target.index(-1)] = numbers // rest if rest > 0 else 0
    height, width, channels = (*target, 1, 1)[:3]
    if math.prod(target) != numbers or not 1 <= len(target) <= 3:
        raise UnfitError(f"turns {_x(building.shape)} into {_x(target)}. {OTHER}")
    if len(target) == 1:
        _flatten(building, config, take)
    elif len(building.shape) == 1 and (building.flat_from or (height, width, 1)) == (height, width, channels):
        building.add("Unflatten", dim=1, unflattened_size=[channels, height, width])
        building.flat_from = None
        building.become(*target)
    elif [*building.shape, 1][:3] == [height, width, channels]:
        building.become(*target)  # one channel axis more, or less
    else:
        raise UnfitError(
            f"turns {_x(building.shape)} into {_x(target)}; a flattening, its reverse, and an added axis for a single "
            f"channel are accepted. {OTHER}"
        )


def _softmax(building: Building, config: Config, take: Take) -> None:
    if len(building.shape) == 2 or config.get("axis", -1) not in (-1, len(building.shape)):
        raise UnfitError(f"is a softmax over another axis than the last. {OTHER}")
    building.add("Softmax", dim=1)


def _relu(building: Building, config: Config, take: Take) -> None:
    highest, slope = config.get("max_value"), _number(config.get("negative_slope") or 0.0)
    if _number(config.get("threshold") or 0.0) or (slope and highest is not None):
        raise UnfitError(f"has a threshold, or a slope and a max_value at once. {OTHER}")
    if highest is not None:
        building.add("Hardtanh", min_val=0.0, max_val=_number(highest))
    elif slope:
        building.add("LeakyReLU", negative_slope=slope)
    else:
        building.add("ReLU")


def _leaky_relu(building: Building, config: Config, take: Take) -> None:
    building.add("LeakyReLU", negative_slope=_number(config.get("negative_slope", config.get("alpha", 0.3))))


def _elu(building: Building, config: Config, take: Take) -> None:
    building.add("ELU", alpha=_number(config.get("alpha", 1.0)))


def _prelu(building: Building, config: Config, take: Take) -> None:
    shared = config.get("shared_axes") or []
    if len(building.shape) == 2:
        raise UnfitError(f"reads {_x(building.shape)}. Put a Reshape layer with a channel axis before it.")
    shape = tuple(1 if axis in shared else size for axis, size in enumerate(building.shape, start=1))
    (alpha,) = take({"alpha": shape})
    slopes = alpha.transpose(2, 0, 1) if alpha.ndim == 3 else building.ours(np.broadcast_to(alpha, building.shape))
    building.add("PReLU", {"weight": slopes}, shape=list(slopes.shape))


def _just_activation(building: Building, config: Config, take: Take) -> None:
    """Add nothing: the `activation` that every layer may have is added elsewhere."""


def _plain(step: str, **options: Any) -> Callable[[Building], None]:
    return lambda building: building.add(step, **options)


def _hard_sigmoid(building: Building) -> None:
    building.add("HardSigmoid", slope=1 / 6 if building.major >= 3 else 0.2)


ACTIVATIONS: dict[str, Callable[[Building], None]] = {
    "linear": lambda building: None,
    "relu": _plain("ReLU"),
    "relu6": _plain("ReLU6"),
    "leaky_relu": _plain("LeakyReLU", negative_slope=0.2),
    "elu": _plain("ELU"),
    "selu": _plain("SELU"),
    "gelu": _plain("GELU"),
    "silu": _plain("SiLU"),
    "swish": _plain("SiLU"),
    "softplus": _plain("Softplus"),
    "sigmoid": _plain("Sigmoid"),
    "hard_sigmoid": _hard_sigmoid,
    "tanh": _plain("Tanh"),
    "softmax": lambda building: _softmax(building, {}, _takes_nothing),
}
ACTIVATION_LAYERS: dict[str, Callable[[Building, Config, Take], None]] = {
    "ReLU": _relu,
    "LeakyReLU": _leaky_relu,
    "PReLU": _prelu,
    "ELU": _elu,
    "Softmax": _softmax,
}
LAYERS: dict[str, Callable[[Building, Config, Take], None]] = {
    "Rescaling": _rescaling,
    "Normalization": _normalization,
    "Conv2D": _conv,
    "DepthwiseConv2D": _depthwise,
    "SeparableConv2D": _separable,
    "ZeroPadding2D": _zero_padding,
    "MaxPooling2D": _pool("max", "MaxPool2d"),
    "AveragePooling2D": _pool("average", "AvgPool2d"),
    "GlobalAveragePooling2D": _global_pool("AdaptiveAvgPool2d"),
    "GlobalMaxPooling2D": _global_pool("AdaptiveMaxPool2d"),
    "BatchNormalization": _batch_norm,
    "LayerNormalization": _layer_norm,
    "Dense": _dense,
    "Flatten": _flatten,
    "Reshape": _reshape,
    "Activation": _just_activation,
    **ACTIVATION_LAYERS,
}
IDENTITIES = (  # in evaluation
    "Identity", "Dropout", "SpatialDropout2D", "GaussianDropout", "AlphaDropout", "GaussianNoise",
    "ActivityRegularization", "RandomFlip", "RandomRotation", "RandomZoom", "RandomTranslation", "RandomContrast",
    "RandomBrightness", "RandomShear", "RandomHue", "RandomSaturation", "RandomSharpness", "RandomGrayscale",
    "RandomErasing", "RandomPosterization", "RandomColorJitter", "RandomColorDegeneration", "RandomGaussianBlur",
    "RandomPerspective",
)  # fmt: skip


def _ints(config: Config, key: str, default: int | None = None, n: int = 2, most: int = MOST) -> tuple[int, ...]:
    """Return `n` numbers of 1 to `most`; a single number stands for all."""
    value = config.get(key, default)
    values = value if isinstance(value, list) else [value] * n
    if len(values) != n or not all(type(each) is int and 1 <= each <= most for each in values):
        raise UnfitError(f"has {key} {value!r}; whole numbers from 1 to {most:,} are accepted. {OTHER}")
    return tuple(values)


def _number(value: Any) -> float:
    """Return a finite number."""
    if isinstance(value, (int, float)) and math.isfinite(value):
        return float(value)
    raise UnfitError(f"has {value!r} where a number should be. {OTHER}")


def _numbers(value: Any) -> FloatArray:
    """Return a number, or a (nested) list of them, as a vector of finite float64."""
    array = np.asarray(value, np.float64).ravel()
    if not array.size or not np.isfinite(array).all():
        raise UnfitError(f"has {value!r} where numbers should be. {OTHER}")
    return array


def _x(shape: Any) -> str:
    return "x".join(map(str, shape)) or "nothing"
