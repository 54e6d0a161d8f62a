"""Backbones that see more: both mirror images of a picture, several networks, or ImageNet's classes beside them.

Each is a backbone itself: normalised images NCHW to features NF.

Shape letters: N images, C channels, H height, W width, F features.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from keensight.models.foreign import Concatenate, Resize2d, SquareRoot
from keensight.models.mirror import AddMirrored, MeanOfMirrored


class Mirrored(nn.Module):
    """The mean of a network's features for a picture and for its mirror image; in training, those of the picture."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.first, self.network, self.last = AddMirrored(), network, MeanOfMirrored()

    def forward(self, images_NCHW: torch.Tensor) -> torch.Tensor:
        """Return features NF."""
        features_NF: torch.Tensor = self.last(self.network(self.first(images_NCHW)))
        return features_NF


class Resized(nn.Module):
    """A network that sees pictures of `from_size`, height and width, in another `size`."""

    def __init__(self, network: nn.Module, from_size: tuple[int, int], size: tuple[int, int]) -> None:
        super().__init__()
        self.resize, self.network = Resize2d(from_size, size, bilinear=True), network

    def forward(self, images_NCHW: torch.Tensor) -> torch.Tensor:
        """Return features NF."""
        features_NF: torch.Tensor = self.network(self.resize(images_NCHW))
        return features_NF


class SideBySide(nn.Module):
    """The features of several networks for one picture, one behind the other."""

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)
        self.joined = Concatenate(dim=1)

    def forward(self, images_NCHW: torch.Tensor) -> torch.Tensor:
        """Return features NF, with F the sum of the networks'."""
        features_NF: torch.Tensor = self.joined(*(network(images_NCHW) for network in self.networks))
        return features_NF


class WithProbabilities(nn.Module):
    """A network's features, and behind them the square roots of its probabilities for the classes of its pretraining.

    The square roots turn the cosine of two rows into the Bhattacharyya coefficient of the distributions.
    """

    def __init__(self, network: nn.Module, classes: nn.Linear) -> None:
        super().__init__()
        self.network, self.classes = network, classes
        self.softmax, self.root, self.joined = nn.Softmax(dim=1), SquareRoot(), Concatenate(dim=1)

    def forward(self, images_NCHW: torch.Tensor) -> torch.Tensor:
        """Return features NF."""
        return self.beside(self.network(images_NCHW))

    def beside(self, features_NF: torch.Tensor) -> torch.Tensor:
        """Return the features and, behind them, the roots."""
        joined_NF: torch.Tensor = self.joined(features_NF, self.root(self.softmax(self.classes(features_NF))))
        return joined_NF
