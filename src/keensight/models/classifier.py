"""The classifier: a network with its normalisation inside.

Shape letters: N images, C channels, H height, W width, K classes.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from keensight.errors import TrainingError
from keensight.values import FloatArray, Preprocessing, Split


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


class Own(nn.Module):
    """Somebody's own network, which takes images in [0, 1] as they are."""

    def __init__(self, network: nn.Module, channels: int) -> None:
        super().__init__()
        self.module = network
        self.normalisation = ([0.0] * channels, [1.0] * channels)

    def forward(self, images_NCHW: torch.Tensor) -> torch.Tensor:
        """Return logits NK."""
        logits_NK: torch.Tensor = self.module(images_NCHW)
        return logits_NK


def as_classifier(model: nn.Module, preprocessing: Preprocessing, num_classes: int) -> Classifier:
    """Return a classifier as it is, and any other network that maps images NCHW in [0, 1] to logits NK in a classifier.

    Its parameters stay the network's own: what trains one trains the other.

    Raises TrainingError if the network does not take such pictures, or answers with other than K numbers.

    >>> network = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    >>> as_classifier(network, Preprocessing(2, 2, 3), 2)(torch.zeros(5, 3, 2, 2)).shape
    torch.Size([5, 2])
    """
    if isinstance(model, Classifier):
        return model
    if not isinstance(model, nn.Module):
        raise TrainingError(
            f"A {type(model).__name__} was given as the model. Give a torch.nn.Module that maps images NCHW in [0, 1] "
            "to logits NK, or what keensight.build returns."
        )
    shape = (2, preprocessing.channels, preprocessing.height, preprocessing.width)
    was_training = model.training
    try:
        with torch.no_grad():
            some = next((p for p in model.parameters()), torch.zeros(0))
            answer = model.eval()(torch.zeros(shape, device=some.device))
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        raise TrainingError(
            f"The network {type(model).__name__} cannot take two pictures, {'x'.join(map(str, shape))}: "
            f"{str(error).splitlines()[0]}. It must map images NCHW, floats in [0, 1], to logits NK."
        ) from error
    finally:
        model.train(was_training)
    if not isinstance(answer, torch.Tensor) or tuple(answer.shape) != (2, num_classes):
        given = tuple(answer.shape) if isinstance(answer, torch.Tensor) else f"a {type(answer).__name__}"
        raise TrainingError(
            f"The network {type(model).__name__} answers two pictures with {given}, and there are {num_classes} "
            f"classes. It must return logits of the shape (2, {num_classes}); change its last layer."
        )
    return Classifier(Own(model, preprocessing.channels), preprocessing.channels)


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
