"""Ask a bundle's network what its probabilities hide: logits, of pictures as they are or attacked.

Shape letters: N pictures, H height, W width, C channels, K classes.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from keensight.data.pixels import Borders, match_polarity
from keensight.models.classifier import Classifier
from keensight.models.tensors import to_images
from keensight.robustness.attacks import ATTACKS, BATCH
from keensight.values import FloatArray, IntArray, Split, Threat, Uint8Array


def thinned(split: Split, most: int) -> Split:
    """Return at most `most` pictures of a split, evenly spread over it: a folder's pictures lie class by class.

    >>> split = Split(np.zeros((9, 1, 1, 1), np.uint8), np.arange(9), np.arange(9), tuple("abcdefghi"))
    >>> thinned(split, 3).where
    ('a', 'd', 'g')
    """
    if len(split) <= most:
        return split
    kept = np.arange(most) * len(split) // most
    return Split(split.images, split.rows[kept], split.labels[kept], tuple(split.paths[i] for i in kept))


def as_seen(split: Split, borders: Borders) -> Split:
    """Return a split whose pictures are as the bundle's model gets them: some may be inverted; see `match_polarity`."""
    images_NHWC, inverted_N = match_polarity(split.images[split.rows], borders)
    if not inverted_N.any():
        return split
    return Split(images_NHWC, np.arange(len(split)), split.labels, split.paths)


def logits(
    model: Classifier, split: Split, borders: Borders, threat: Threat | None = None, attack: str = "fgsm"
) -> FloatArray:
    """Return the logits float32 NK of a split's pictures, each attacked within `threat` if there is one.

    `borders` are the bundle's, and labels are indices into its classes. The logits are not calibrated.
    """
    parts = [answers for _, answers in _answers(model, split, borders, threat, attack)]
    return torch.cat(parts).numpy()


def attacked_pictures(
    model: Classifier, split: Split, borders: Borders, threat: Threat | None = None, attack: str = "fgsm"
) -> Uint8Array:
    """Return a split's pictures as the model gets them, attacked if there is a threat, as uint8 NHWC.

    Pixels that the exact attack moves out of [0, 1] are clipped: no picture shows them.
    """
    parts = [images for images, _ in _answers(model, split, borders, threat, attack)]
    return (torch.cat(parts).clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()


def _answers(
    model: Classifier, split: Split, borders: Borders, threat: Threat | None, attack: str
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    device = model.mean.device
    model.eval()
    for first in range(0, len(split), BATCH):
        part = as_seen(_slice(split, np.arange(first, min(first + BATCH, len(split)))), borders)
        images = to_images(part.images, part.rows, device)
        if threat is not None:
            images = ATTACKS[attack](model, images, torch.from_numpy(part.labels).to(device), threat)
        with torch.inference_mode():
            yield images.cpu(), model(images).float().cpu()


def _slice(split: Split, members: IntArray) -> Split:
    return Split(split.images, split.rows[members], split.labels[members], tuple(split.paths[i] for i in members))
