"""The classifier: a network with its normalisation inside.

Shape letters: N images, C channels, H height, W width, K classes.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from keensight.values import FloatArray, Split


class Classifier(nn.Module):
    """A network with its normalisation inside: images float NCHW in [0, 1] to logits NK.

    The normalisation is measured on the training pictures, unless the network has an attribute `normalisation`, (mean,
    std) of the channels that it was pretrained with. Grey pictures then become as many equal channels.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, network: nn.Module, channels: int) -> None:
        super().__init__()
        mean, std = getattr(network, "normalisation", ([0.0] * channels, [1.0] * channels))
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1))
        self.network = network

    def forward(self, images_NCHW: torch.Tensor) -> torch.Tensor:
        """Return logits NK."""
        logits_NK: torch.Tensor = self.network((images_NCHW - self.mean) / self.std)
        return logits_NK


def set_normalisation(model: Classifier, train: Split) -> None:
    """Measure mean and standard deviation of each channel on (at most 10,000 of) the training pictures.

    A network with its own normalisation keeps it.
    """
    if hasattr(model.network, "normalisation"):
        return
    mean_C, std_C = channel_statistics(train)
    model.mean.copy_(torch.from_numpy(mean_C).view(-1, 1, 1))
    model.std.copy_(torch.from_numpy(std_C).view(-1, 1, 1))


def channel_statistics(train: Split) -> tuple[FloatArray, FloatArray]:
    """Return mean and standard deviation of each channel, levels in [0, 1], of at most about 10,000 pictures."""
    few = train.take(slice(None, None, max(1, len(train) // 10_000)))
    channels = train.shape[2]
    counts = np.zeros((channels, 256), np.int64)  # of each level: exact, and ten times faster than sums in float64
    for batch in few.batches(64):
        part = few.gather(batch)
        for channel in range(channels):
            counts[channel] += np.bincount(part[..., channel].reshape(-1), minlength=256)
    levels = np.arange(256) / 255
    shares = counts / counts.sum(axis=1, keepdims=True)
    mean = shares @ levels
    variance = shares @ levels**2 - mean**2
    return mean, np.sqrt(np.maximum(variance, 1e-6))
