"""Other people's backbones: networks of timm, torchvision and open_clip, where these are installed, and files.

Shape letters: N images, C channels, H height, W width, F features.
"""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import nn

from keensight.errors import KeensightError, RecipeError, shortlist
from keensight.values import Fit

RGB = tuple[float, float, float]
WEIGHTS = ".safetensors"
IMAGENET: tuple[RGB, RGB] = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


class External(NamedTuple):
    """A network, normalised images NCHW to features NF, with the mean, spread and size of pictures that it expects."""

    network: nn.Module
    mean: RGB
    std: RGB
    size_px: int


class Expected(NamedTuple):
    """Which pictures a network was trained on, as its library says.

    They are squares of `size_px`, made as `fit` says; `share` is how much of the side was kept (the rest is a margin
    that its library cuts off), and `resample` is how its library resizes.
    """

    size_px: int
    fit: Fit = "crop"
    share: float = 1.0
    resample: str = "bilinear"


class Library(NamedTuple):
    """A library of networks: its package on PyPI, how one is loaded, and which pictures it wants.

    `load` takes the library, a name and the file of weights; without one, the library finds its own.
    """

    package: str
    load: Callable[[Any, str, Path | None], External]
    expects: Callable[[Any, str], Expected]


def is_external(name: str) -> bool:
    """Say whether a backbone's name is one in a library, such as timm/resnet18 or timm:resnet18, or a file.

    >>> is_external("timm/resnet18"), is_external("features.onnx"), is_external("efficientnet-lite0")
    (True, True, False)
    """
    return ":" in name or "/" in name or name.endswith((".onnx", WEIGHTS))


def load_external(name: str) -> External:
    """Return the network of this name with its pretrained weights.

    They are those of a file, ``timm/resnet18@my.safetensors``, or those that its library has or downloads.

    Raises KeensightError where the library, or what it needs, is missing, RecipeError where it has no such network.
    """
    if name.endswith(".onnx"):
        return _from_file(Path(name))
    library, model, file = _library(name)
    module = _module(library, name)
    try:
        return LIBRARIES[library].load(module, model, file)
    except (ValueError, KeyError, RuntimeError, OSError, AttributeError) as error:
        weights = f"{file} holds weights of it" if file else "its weights are in its cache or can be downloaded"
        raise RecipeError(
            f"{library} cannot load the network '{model}': {_one_line(error)}. Check its name, and that {weights}."
        ) from error


def expected_of(name: str) -> Expected:
    """Return which pictures a network of this name was trained on. Raises what `load_external` does."""
    if name.endswith(".onnx"):
        return Expected(_from_file(Path(name)).size_px)
    library, model, _ = _library(name)
    module = _module(library, name)
    try:
        return LIBRARIES[library].expects(module, model)
    except (ValueError, KeyError, RuntimeError, AttributeError, TypeError) as error:
        raise RecipeError(f"{library} has no network '{model}': {_one_line(error)}. Check its name there.") from error


def with_absolute_file(name: str) -> str:
    """Return a backbone's name with the absolute path of the file in it, if there is one.

    >>> with_absolute_file("timm/resnet18"), with_absolute_file("timm/resnet18@/w.safetensors")
    ('timm/resnet18', 'timm/resnet18@/w.safetensors')
    """
    if name.endswith(".onnx"):
        return str(Path(name).absolute())
    network, _, file = name.partition("@")
    return f"{network}@{Path(file).absolute()}" if network and file.endswith(WEIGHTS) else name


def package_of_external(name: str) -> str | None:
    """Return the package on PyPI of the library whose weights a name means; None for a file's. Raises RecipeError."""
    return None if name.endswith((".onnx", WEIGHTS)) else LIBRARIES[_library(name)[0]].package


def _library(name: str) -> tuple[str, str, Path | None]:
    """Return the library in a name, the network there, and the file of weights. Raises RecipeError."""
    network, _, file = name.partition("@") if name.endswith(WEIGHTS) else (name, "", "")
    if network.endswith(WEIGHTS):
        raise RecipeError(
            f"The backbone {name} is a file of weights, which does not say of which network. Write the network before "
            f"it, as in timm/resnet18@{Path(name).name}; or give an .onnx file, which holds both."
        )
    library, _, model = re.sub("[:/]", "/", network, count=1).partition("/")
    if library not in LIBRARIES or not model:
        raise RecipeError(
            f"There is no backbone '{name}'. Before the slash must be a library, {shortlist(list(LIBRARIES))}, as in "
            "timm/resnet18 or timm/resnet18@weights.safetensors; or give the path of an .onnx file."
        )
    return library, model, Path(file) if file else None


def _module(library: str, name: str) -> Any:
    """Import a library. Raises KeensightError that tells what is missing: the library, or what it needs."""
    package = LIBRARIES[library].package
    try:
        return importlib.import_module("torchvision.models" if library == "torchvision" else library)
    except ModuleNotFoundError as error:
        missing = (error.name or library).partition(".")[0]
        if missing == library:
            why = f"needs {library}, which is not installed. Install it with `pip install {package}`"
        else:
            why = (
                f"needs {library}, which is installed, but which itself needs {missing}, and that is not installed. "
                f"Install it with `pip install {missing}`"
            )
        raise KeensightError(f"The backbone '{name}' {why}, or use a backbone of keensight's own.") from error
    except (ImportError, RuntimeError, OSError) as error:
        advice = (
            "torchvision's build is not that of this torch: install both from the same index, in versions that belong "
            "together"
            if "torchvision" in str(error)
            else f"install it again, with `pip install --force-reinstall {package}`"
        )
        raise KeensightError(
            f"The backbone '{name}' needs {library}, which is installed but cannot be loaded: {_one_line(error)}. "
            f"Often {advice}; or use a backbone of keensight's own."
        ) from error


def _from_timm(timm: Any, model: str, file: Path | None) -> External:
    network = timm.create_model(model, pretrained=file is None, num_classes=0)  # 0: features, not ImageNet's classes
    settings = network.pretrained_cfg
    if file:
        heads = settings["classifier"] or ()
        _fill(network, file, (heads,) if isinstance(heads, str) else tuple(heads))
    return External(network, tuple(settings["mean"]), tuple(settings["std"]), settings["input_size"][-1])


def _timm_expects(timm: Any, model: str) -> Expected:
    settings = timm.models.get_pretrained_cfg(model)
    if settings is None:
        raise ValueError("it is unknown")
    fits: dict[str, Fit] = {"squash": "squash", "border": "letterbox"}
    fit = fits.get(settings.crop_mode, "crop")
    return Expected(int(settings.input_size[-1]), fit, float(settings.crop_pct), str(settings.interpolation))


def _from_torchvision(models: Any, model: str, file: Path | None) -> External:
    weights = models.get_model_weights(model).DEFAULT
    network = models.get_model(model, weights=None if file else weights)
    last = next(part for part in ("fc", "classifier", "heads", "head") if hasattr(network, part))
    head = getattr(network, last)
    if isinstance(head, nn.Sequential) and isinstance(head[-1], nn.Linear):
        head[-1] = nn.Identity()  # a norm or a flattening may stand before it
    else:
        setattr(network, last, nn.Identity())
    if file:
        _fill(network, file, (last,))
    presets = weights.transforms()
    return External(network, tuple(presets.mean), tuple(presets.std), presets.crop_size[0])


def _torchvision_expects(models: Any, model: str) -> Expected:
    presets = models.get_model_weights(model).DEFAULT.transforms()
    size = int(presets.crop_size[0])
    return Expected(size, "crop", size / int(presets.resize_size[0]), str(presets.interpolation.value))


def _from_open_clip(open_clip: Any, model: str, file: Path | None) -> External:
    architecture, tag = _tagged(open_clip, model)
    if not tag and not file:
        raise ValueError("there are no weights of it")
    visual = open_clip.create_model(architecture, pretrained=None if file else tag).visual
    if file:
        _fill(visual, file, (), inside="visual.")
    size = visual.image_size
    mean, std = (tuple(getattr(visual, f"image_{what}")) for what in ("mean", "std"))
    return External(visual, mean, std, size if isinstance(size, int) else size[0])


def _open_clip_expects(open_clip: Any, model: str) -> Expected:
    architecture, tag = _tagged(open_clip, model)
    size = open_clip.get_model_config(architecture)["vision_cfg"]["image_size"]
    settings = open_clip.get_pretrained_cfg(architecture, tag) or {}
    fits: dict[str, Fit] = {"squash": "squash", "longest": "letterbox"}
    fit = fits.get(settings.get("resize_mode") or "", "crop")
    return Expected(
        int(size if isinstance(size, int) else size[0]), fit, 1.0, settings.get("interpolation") or "bicubic"
    )


def _tagged(open_clip: Any, model: str) -> tuple[str, str]:
    """Return a network's architecture and the tag of its weights, the first one if none is named."""
    architecture, _, tag = model.partition("/")
    return architecture, tag or next(iter(open_clip.list_pretrained_tags_by_model(architecture)), "")


def _fill(network: nn.Module, file: Path, heads: tuple[str, ...], inside: str = "") -> None:
    """Load a safetensors file into a network, but for its `heads`, which give classes and are left out.

    Where names in the file begin with `inside`, only these are meant. Raises ValueError if the file is no such file or
    of another network.
    """
    try:
        weights = load(file.read_bytes())
    except SafetensorError as error:
        raise ValueError(f"{file} is not a safetensors file: {error}") from error
    if inside and any(key.startswith(inside) for key in weights):
        weights = {key.removeprefix(inside): tensor for key, tensor in weights.items() if key.startswith(inside)}
    missing, unknown = network.load_state_dict(weights, strict=False)
    unknown = [key for key in unknown if not key.startswith(tuple(f"{head}." for head in heads))]
    if missing or unknown:
        raise ValueError(
            f"{file} has other weights than this network: {len(missing)} are missing {missing[:3]}, and {len(unknown)} "
            f"are of something else {unknown[:3]}"
        )


LIBRARIES = {
    "timm": Library("timm", _from_timm, _timm_expects),
    "torchvision": Library("torchvision", _from_torchvision, _torchvision_expects),
    "open_clip": Library("open_clip_torch", _from_open_clip, _open_clip_expects),
}


class _Vector(nn.Module):
    """An ONNX network whose output is made one vector for each picture: maps are averaged."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images_NCHW: torch.Tensor) -> torch.Tensor:
        """Return features NF."""
        answer: torch.Tensor = self.network(images_NCHW)
        return answer.mean((2, 3)) if answer.dim() == 4 else answer.flatten(1)


def _from_file(path: Path) -> External:
    """Read an ONNX file: one input, images NCHW; the first output are the features.

    Its metadata may have `mean` and `std`, JSON lists of three numbers; without them, ImageNet's are used.
    """
    import onnx

    from keensight.models.onnx_network import OnnxNetwork

    try:
        model = onnx.load_from_string(path.read_bytes())
        graph, told = model.graph, {each.key: each.value for each in model.metadata_props}
        weights = {each.name for each in graph.initializer}
        (images,) = [each for each in graph.input if each.name not in weights]
        sizes = [dim.dim_value for dim in images.type.tensor_type.shape.dim]
        mean, std = (
            tuple(float(level) for level in json.loads(told[what])) if what in told else usual
            for what, usual in zip(("mean", "std"), IMAGENET, strict=True)
        )
        if len(sizes) != 4 or sizes[1] != 3 or not graph.output or len(mean) != 3 or len(std) != 3:
            raise ValueError("its input is not pictures N×3×H×W, or mean and std are not three numbers")
    except OSError as error:
        raise RecipeError(
            f"The backbone {path} cannot be read: {error.strerror}. Give the path of an .onnx file."
        ) from error
    except Exception as error:  # protobuf's errors have no common kind
        raise RecipeError(
            f"The backbone {path} is not an ONNX file of features: {_one_line(error)}. It must take one input, images "
            "N×3×H×W, and its first output are the features."
        ) from error
    return External(_Vector(OnnxNetwork(graph, images.name, graph.output[0].name)), mean, std, sizes[2] or 224)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300].rstrip(".")
