"""Transfer learning: a backbone pretrained on ImageNet, and a linear head for the classes of the data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import nn

from keensight.errors import RecipeError
from keensight.models.backbone import RGB, Backbone
from keensight.models.backbone import backbone as load_backbone
from keensight.models.dropout import Dropout
from keensight.models.joined import Mirrored, Resized, SideBySide, WithProbabilities

SCALINGS = ("features", "blocks")


class Transfer(nn.Module):
    """A backbone under a linear head: images NCHW, normalised as the backbone expects, to logits NK.

    Four attributes are read from outside: `normalisation`, (mean, std), which the classifier around it takes over;
    `lr_scales`, the factor of the learning rate for a part's parameters; `l2`, the strength of the head's
    regularisation, 0 where it is to be chosen; and `blocks`, how many features lie in each block that has one scale,
    empty where each feature has its own. A backbone whose scale is 0 is frozen: it has no gradients.
    """

    def __init__(
        self,
        pretrained: Backbone,
        num_classes: int,
        dropout: float,
        backbone_rate: float,
        l2: float = 0.0,
        blocks: Sequence[int] = (),
    ) -> None:
        super().__init__()
        self.backbone = pretrained.network
        self.dropout = Dropout(dropout)
        self.head = nn.Linear(pretrained.num_features, num_classes)
        self.normalisation: tuple[RGB, RGB] = (pretrained.mean, pretrained.std)
        self.lr_scales = {"backbone": backbone_rate}
        self.goes_on = False  # whether the head has learnt already
        self.l2, self.blocks = l2, tuple(blocks)
        if self.is_frozen:
            self.backbone.requires_grad_(False)

    @property
    def is_frozen(self) -> bool:
        """Whether only the head learns."""
        return self.lr_scales["backbone"] == 0

    def train(self, mode: bool = True) -> Transfer:
        """Switch to training or evaluation; the backbone's own layers are always in evaluation.

        Its weights may learn, but its batch statistics stay those of ImageNet: a small batch's are worse.
        """
        super().train(mode)
        self.backbone.eval()
        if isinstance(self.backbone, Mirrored):
            self.backbone.first.train(mode)
            self.backbone.last.train(mode)
        return self

    def forward(self, images_NCHW: torch.Tensor) -> torch.Tensor:
        """Return logits NK."""
        logits_NK: torch.Tensor = self.head(self.dropout(self.backbone(images_NCHW)))
        return logits_NK


def transfer(
    height: int,
    width: int,
    channels: int,
    num_classes: int,
    backbone: str = "efficientnet-lite0",
    mirror: bool = False,
    probabilities: bool = False,
    l2: float = 0.0,
    scaling: str = "features",
    dropout: float = 0.2,
    backbone_rate: float = 0.0,
) -> Transfer:
    """Build a pretrained backbone with a fresh linear head: NCHW to logits NK.

    `backbone` is a name, or several with + between them, whose features are joined; each sees pictures in the size
    that it was trained on. With `mirror`, the features are the
    mean of those for a picture and for its mirror image. With `probabilities`, the square roots of the backbone's
    probabilities for ImageNet's classes are more features. `l2` is the strength of the head's regularisation; 0: chosen
    by cross-validation. `scaling` says what has the same spread before that: all "features", or the "blocks" that a
    backbone's features and its probabilities are, in which features that vary little then count little.

    The backbone learns at `backbone_rate` times the head's learning rate; 0 freezes it. Grey pictures become three
    equal channels when they are normalised, by broadcasting, so `channels` changes nothing here.

    Raises RecipeError for an unknown backbone or ones that do not go together, and KeensightError if weights are not
    installed.
    """
    if not 0 <= backbone_rate <= 1:
        raise RecipeError(
            f"backbone_rate is {backbone_rate:g}; it must lie between 0 (only the head learns) and 1 (the backbone "
            "learns as fast). 0.1 is a good start."
        )
    if scaling not in SCALINGS:
        raise RecipeError(f"scaling is '{scaling}'; {' and '.join(SCALINGS)} are accepted.")
    parts = _in_their_sizes(names_of(backbone), height, width)
    joined = _joined(parts, backbone, mirror, probabilities)
    blocks = _blocks(parts, probabilities) if scaling == "blocks" else ()
    return Transfer(joined, num_classes, dropout, backbone_rate, l2, blocks)


def _blocks(parts: Sequence[Backbone], probabilities: bool) -> list[int]:
    """Return how many features and how many probabilities each part has, in their order."""
    widths = []
    for part in parts:
        widths += [part.num_features]
        widths += [part.classes.out_features] if probabilities and part.classes is not None else []
    return widths


def names_of(backbone: str) -> list[str]:
    """Return the names of the backbones that `backbone` joins.

    >>> names_of("efficientnet-lite0 + efficientnet-lite2"), names_of("a+b.onnx")
    (['efficientnet-lite0', 'efficientnet-lite2'], ['a+b.onnx'])
    """
    return [backbone] if backbone.endswith(".onnx") else [name.strip() for name in backbone.split("+")]


def _in_their_sizes(names: Sequence[str], height: int, width: int) -> list[Backbone]:
    """Load backbones for pictures of this size, each made larger or smaller to what the backbone was trained on.

    Pictures larger than that of all of them stay larger in proportion; those smaller than that of all are seen as they
    are. Lite0 is right of 92.7 % of huskies at its own 224 pixels, and of 90.5 % at Lite2's 260.
    """
    parts = [load_backbone(name, height, width) for name in names]
    sizes, side = [part.size_px for part in parts], min(height, width)
    for i, part in enumerate(parts):
        share = part.size_px / min(max(side, min(sizes)), max(sizes)) if side >= min(sizes) else 1
        size = round(share * height), round(share * width)
        if size != (height, width):
            fitting = load_backbone(names[i], *size)
            parts[i] = replace(fitting, network=Resized(fitting.network, (height, width), size))
    return parts


def _joined(parts: Sequence[Backbone], named: str, mirror: bool, probabilities: bool) -> Backbone:
    """Return one backbone that has the features of all `parts`, `named` in a refusal."""
    first = parts[0]
    if any((part.mean, part.std) != (first.mean, first.std) for part in parts):
        raise RecipeError(
            f"The backbones {named} expect pictures that are normalised differently. Backbones that are joined by + "
            "must expect the same, as all of EfficientNet-Lite do. Choose one of them."
        )
    networks, num_features = [], 0
    for part in parts:
        network, num_features = part.network, num_features + part.num_features
        if probabilities:
            if part.classes is None:
                raise RecipeError(
                    f"The backbone {named} does not tell its probabilities for ImageNet's classes here; EfficientNet-"
                    "Lite's do. Leave `probabilities` out."
                )
            network = WithProbabilities(network, part.classes)
            num_features += part.classes.out_features
        networks.append(network)
    joined = networks[0] if len(networks) == 1 else SideBySide(networks)
    return replace(first, network=Mirrored(joined) if mirror else joined, num_features=num_features)
