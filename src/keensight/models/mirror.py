"""The same answer for a picture and its mirror image: in evaluation, the mean of the answers for both.

Shape letters: N images, C channels, H height, W width, K classes.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn


class AddMirrored(nn.Module):
    """In evaluation, pass each picture on a second time, mirrored left to right."""

    def forward(self, images_NCHW: torch.Tensor) -> torch.Tensor:
        """Return the images, and in evaluation also their mirror images after them: twice as many."""
        return images_NCHW if self.training else torch.cat([images_NCHW, images_NCHW.flip(3)])


class MeanOfMirrored(nn.Module):
    """In evaluation, average the logits of pictures and their mirror images."""

    def forward(self, logits_NK: torch.Tensor) -> torch.Tensor:
        """Return logits for half as many pictures; in training, the logits as they came."""
        return logits_NK if self.training else logits_NK.view(2, -1, logits_NK.shape[1]).mean(dim=0)


def mirrored(layers: Iterable[nn.Module]) -> list[nn.Module]:
    """Return layers, NCHW to logits NK, that in evaluation answer with the mean for a picture and its mirror image."""
    return [AddMirrored(), *layers, MeanOfMirrored()]
