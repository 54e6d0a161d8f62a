"""Other people's backbones: networks of timm, torchvision and open_clip, where these are installed, and ONNX files.

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
from torch import nn

from keensight.errors import KeensightError, RecipeError, shortlist

RGB = tuple[float, float, float]
IMAGENET: tuple[RGB, RGB] = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


class External(NamedTuple):
    """A network, normalised images NCHW to features NF, with the mean, spread and size of pictures that it expects."""

    network: nn.Module
    mean: RGB
    std: RGB
    size_px: int


class Library(NamedTuple):
    """A library of networks: its package on PyPI, how one is loaded with its weights, and which size it wants."""

    package: str
    load: Callable[[Any, str], External]
    size_px: Callable[[Any, str], int]


def is_external(name: str) -> bool:
    """Say whether a backbone's name is one in a library, such as timm/resnet18 or timm:resnet18, or an ONNX file.

    >>> is_external("timm/resnet18"), is_external("features.onnx"), is_external("efficientnet-lite0")
    (True, True, False)
    """
    return ":" in name or "/" in name or name.endswith(".onnx")


def load_external(name: str) -> External:
    """Return the network of this name with its pretrained weights, which its library may download.

    Raises KeensightError where the library, or what it needs, is missing, RecipeError where it has no such network.
    """
    if name.endswith(".onnx"):
        return _from_file(Path(name))
    library, model = _library(name)
    try:
        return LIBRARIES[library].load(_module(library, name), model)
    except (ValueError, KeyError, RuntimeError, OSError, AttributeError) as error:
        raise RecipeError(
            f"{library} cannot load the network '{model}': {_one_line(error)}. Check its name there, and that its "
            "weights are in its cache or can be downloaded."
        ) from error


def size_of(name: str) -> int:
    """Return the side in pixels of the square pictures that a network of this name was trained on."""
    if name.endswith(".onnx"):
        return _from_file(Path(name)).size_px
    library, model = _library(name)
    module = _module(library, name)
    try:
        return LIBRARIES[library].size_px(module, model)
    except (ValueError, KeyError, RuntimeError, AttributeError, TypeError) as error:
        raise RecipeError(f"{library} has no network '{model}': {_one_line(error)}. Check its name there.") from error


def package_of_external(name: str) -> str | None:
    """Return the package on PyPI of the library that a name is of; None for a file. Raises RecipeError."""
    return None if name.endswith(".onnx") else LIBRARIES[_library(name)[0]].package


def _library(name: str) -> tuple[str, str]:
    library, model = re.split("[:/]", name, maxsplit=1)
    if library not in LIBRARIES or not model:
        raise RecipeError(
            f"There is no backbone '{name}'. Before the slash must be a library, {shortlist(list(LIBRARIES))}, as in "
            "timm/resnet18; or give the path of an .onnx file."
        )
    return library, model


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


def _from_timm(timm: Any, model: str) -> External:
    network = timm.create_model(model, pretrained=True, num_classes=0)  # 0: features instead of ImageNet's classes
    settings = network.pretrained_cfg
    return External(network, tuple(settings["mean"]), tuple(settings["std"]), settings["input_size"][-1])


def _timm_size(timm: Any, model: str) -> int:
    settings = timm.models.get_pretrained_cfg(model)
    if settings is None:
        raise ValueError("it is unknown")
    return int(settings.input_size[-1])


def _from_torchvision(models: Any, model: str) -> External:
    weights = models.get_model_weights(model).DEFAULT
    network = models.get_model(model, weights=weights)
    last = next(part for part in ("fc", "classifier", "heads", "head") if hasattr(network, part))
    head = getattr(network, last)
    if isinstance(head, nn.Sequential) and isinstance(head[-1], nn.Linear):
        head[-1] = nn.Identity()  # a norm or a flattening may stand before it
    else:
        setattr(network, last, nn.Identity())
    presets = weights.transforms()
    return External(network, tuple(presets.mean), tuple(presets.std), presets.crop_size[0])


def _torchvision_size(models: Any, model: str) -> int:
    return int(models.get_model_weights(model).DEFAULT.transforms().crop_size[0])


def _from_open_clip(open_clip: Any, model: str) -> External:
    architecture, _, tag = model.partition("/")
    tag = tag or next(iter(open_clip.list_pretrained_tags_by_model(architecture)), "")
    if not tag:
        raise ValueError("there are no weights of it")
    visual = open_clip.create_model(architecture, pretrained=tag).visual
    size = visual.image_size
    mean, std = (tuple(getattr(visual, f"image_{what}")) for what in ("mean", "std"))
    return External(visual, mean, std, size if isinstance(size, int) else size[0])


def _open_clip_size(open_clip: Any, model: str) -> int:
    size = open_clip.get_model_config(model.partition("/")[0])["vision_cfg"]["image_size"]
    return int(size if isinstance(size, int) else size[0])


LIBRARIES = {
    "timm": Library("timm", _from_timm, _timm_size),
    "torchvision": Library("torchvision", _from_torchvision, _torchvision_size),
    "open_clip": Library("open_clip_torch", _from_open_clip, _open_clip_size),
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
