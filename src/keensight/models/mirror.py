"""An answer that is the same for a picture and its mirror image: once trained, a network is asked about both.

Shape letters: N images, C channels, H height, W width, K classes.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn


class AddMirrored(nn.Module):
    """Once trained, give the layers that follow each picture a second time, mirrored left to right."""

    def forward(self, images_NCHW: torch.Tensor) -> torch.Tensor:
        """Return the images, and after training all of them mirrored below: twice as many."""
        return images_NCHW if self.training else torch.cat([images_NCHW, images_NCHW.flip(3)])


class MeanOfMirrored(nn.Module):
    """Once trained, join what was answered for pictures and mirrored pictures to its mean."""

    def forward(self, logits_NK: torch.Tensor) -> torch.Tensor:
        """Return logits for half as many pictures, and in training those that came."""
        return logits_NK if self.training else logits_NK.view(2, -1, logits_NK.shape[1]).mean(dim=0)


def mirrored(layers: Iterable[nn.Module]) -> list[nn.Module]:
    """Return layers, NCHW to logits NK, that answer with the mean for a picture and its mirror image once trained."""
    return [AddMirrored(), *layers, MeanOfMirrored()]
