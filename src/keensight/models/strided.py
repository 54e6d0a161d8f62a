"""A small network without pooling or normalisation, whose interval bounds are cheap and stay tight in training.

Shape letters: N images, C channels, H height, W width, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import nn

from keensight.errors import RecipeError

INITS = ("intervals", "he")


def strided(
    height: int,
    width: int,
    channels: int,
    num_classes: int,
    filters: Sequence[int] = (16, 32),
    hidden: int = 128,
    init: str = "intervals",
    clip: float = 0.0,
) -> nn.Sequential:
    """Build a network for pictures of any size from 4x4: NCHW to logits NK.

    For each number of `filters`, a 4x4 convolution halves the picture, and a ReLU follows; then come a dense layer of
    `hidden` cells, a ReLU, and the last layer. After the smallest networks of Gowal et al. (2018, arXiv:1810.12715).

    `init` "intervals" draws weights so small that interval bounds neither grow nor shrink from layer to layer: normal,
    with a standard deviation of sqrt(2 pi) / inputs of a cell (Shi et al., 2021, arXiv:2103.15887, section 3.1). With
    "he", pictures do not (He et al., 2015, arXiv:1502.01852), which suits training without bounds.

    With `clip`, pixels within that distance of black are first made black, those of white white, and those between are
    stretched, so that changes up to `clip` of a black or white pixel never get further: most of MNIST's are. Networks
    that hold out against large changes find such thresholds by themselves (Madry et al., 2017, arXiv:1706.06083,
    appendix C), but take many epochs to.

    Raises RecipeError for a smaller picture, more layers than it can be halved by, another `init`, or a `clip` that
    leaves no pixel between.
    """
    if init not in INITS:
        raise RecipeError(f"init is '{init}'; the strided model starts from 'intervals' or from 'he'.")
    if not 0 <= clip < 0.5:
        raise RecipeError(
            f"clip is {clip:g}; it is how near to black or white a pixel is made so, from 0 to less than 0.5. Set the "
            "epsilon that the model is to hold out against, such as clip=0.3."
        )
    layers: list[nn.Module] = []
    before = channels
    for after in filters:
        layers += [nn.Conv2d(before, after, 4, stride=2, padding=1), nn.ReLU()]
        height, width, before = height // 2, width // 2, after
        if min(height, width) < 1:
            raise RecipeError(
                f"A strided model halves pictures {len(filters)} times, and these are too small for that: they need "
                f"{2 ** len(filters)}x{2 ** len(filters)} pixels. Set a larger size, or fewer filters, such as "
                "filters=[32]."
            )
    layers += [nn.Flatten(), nn.Linear(before * height * width, hidden), nn.ReLU(), nn.Linear(hidden, num_classes)]
    for layer in layers:
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            inputs = layer.weight[0].numel()
            deviation = math.sqrt(2 * math.pi) / inputs if init == "intervals" else math.sqrt(2 / inputs)
            nn.init.normal_(layer.weight, std=deviation)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return nn.Sequential(*(_clipping(channels, clip) if clip else []), *layers)


def _clipping(channels: int, clip: float) -> list[nn.Module]:
    """Return layers for min(max((x - clip) / (1 - 2 clip), 0), 1): from above first, so that bounds stay exact."""
    slope = 1 / (1 - 2 * clip)
    layers: list[nn.Module] = []
    for weight, bias in ((-slope, 1 + clip * slope), (-1.0, 1.0)):
        layer = nn.Conv2d(channels, channels, 1, groups=channels)
        nn.init.constant_(layer.weight, weight)
        nn.init.constant_(layer.bias, bias)  # type: ignore[arg-type]  # it has one
        layers += [layer.requires_grad_(False), nn.ReLU()]  # nothing is learnt here, so gradients end behind it
    return layers
