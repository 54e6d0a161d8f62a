"""A model that only answers: what can be attacked where there are no weights.

Shape letters: N images, C channels, H height, W width, K classes.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from keensight.values import FloatArray, Uint8Array


class Opaque(nn.Module):
    """A network behind a function from uint8 NHWC to probabilities NK, as a bundle is served. It has no gradients.

    Pixels are rounded to levels first, as every picture file does; logits are the probabilities' logarithms.
    """

    def __init__(self, answer: Callable[[Uint8Array], FloatArray]) -> None:
        super().__init__()
        self._answer = answer

    def forward(self, images_NCHW: torch.Tensor) -> torch.Tensor:
        """Return logits NK."""
        levels_NHWC = (images_NCHW.detach().clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1)
        probabilities_NK = torch.from_numpy(self._answer(levels_NHWC.contiguous().cpu().numpy()))
        return probabilities_NK.clamp_min(torch.finfo(torch.float32).tiny).log().to(images_NCHW.device)
