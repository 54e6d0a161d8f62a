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
) -> nn.Sequential:
    """Build a network for pictures of any size from 4x4: NCHW to logits NK.

    For each number of `filters`, a 4x4 convolution halves the picture, and a ReLU follows; then come a dense layer of
    `hidden` cells, a ReLU, and the last layer. After the smallest networks of Gowal et al. (2018, arXiv:1810.12715).

    `init` "intervals" draws weights so small that interval bounds neither grow nor shrink from layer to layer: normal,
    with a standard deviation of sqrt(2 pi) / inputs of a cell (Shi et al., 2021, arXiv:2103.15887, section 3.1). With
    "he", pictures do not (He et al., 2015, arXiv:1502.01852), which suits training without bounds.

    Raises RecipeError for a smaller picture, more layers than it can be halved by, or another `init`.
    """
    if init not in INITS:
        raise RecipeError(f"init is '{init}'; the strided model starts from 'intervals' or from 'he'.")
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
    return nn.Sequential(*layers)
