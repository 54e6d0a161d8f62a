"""Softmax regression: one weight for each pixel and class."""

from __future__ import annotations

from torch import nn


def logistic(height: int, width: int, channels: int, num_classes: int) -> nn.Sequential:
    """Build multinomial logistic regression on the pixels: NCHW to logits NK.

    The weights start at zero: the problem is convex, and so every run starts from the same place.
    """
    linear = nn.Linear(channels * height * width, num_classes)
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    return nn.Sequential(nn.Flatten(), linear)
