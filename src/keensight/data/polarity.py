"""Drawings that are light where a model's training drawings are dark, or the other way round, are inverted.

That is for grey drawings alone: a photograph on another background is not made a negative. Shape letters: N images,
H height, W width, C channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keensight.values import FloatArray, Split, Uint8Array

DARK, LIGHT = 0.45, 0.55  # a border below the one is dark, above the other light
PLAIN_LEVELS, PLAIN_SHARE = 16, 0.75  # a drawing's background: this share of its border lies within this many levels


@dataclass(frozen=True, slots=True)
class Borders:
    """The brightness of the training pictures' borders, in [0, 1]: that of the darkest and of the lightest.

    `inverts` says that pictures of the other polarity are inverted, because that was measured to help.
    """

    low: float
    high: float
    inverts: bool = False

    @property
    def is_one_sided(self) -> bool:
        """Whether all training pictures are dark at the border, or all light: only then another can be told."""
        return self.high < DARK or self.low > LIGHT


def border_levels(images_NHWC: Uint8Array) -> FloatArray:
    """Return the mean level of each picture's outermost ring of pixels, float N in [0, 1].

    >>> framed = np.zeros((1, 4, 4, 1), np.uint8); framed[:, 1:3, 1:3] = 255
    >>> border_levels(framed)
    array([0.])
    """
    return np.asarray(ring(images_NHWC).mean(axis=1) / 255)


def measure_borders(train: Split) -> Borders:
    """Return the brightness of the training pictures' borders; whether to invert is not decided by it."""
    # extremes, not percentiles: a rare class of light pictures must not be inverted
    levels = np.concatenate([border_levels(train.gather(batch)) for batch in train.batches(256)])
    return Borders(round(float(levels.min()), 4), round(float(levels.max()), 4))


def are_drawings(train: Split) -> bool:
    """Say whether all pictures are grey, and most of them have a plain ground: their border is nearly of one level."""
    shares = []
    for batch in train.batches(256):
        images_NHWC = train.gather(batch)
        if not is_grey(images_NHWC).all():
            return False
        border_NX = ring(images_NHWC[..., :1]).astype(np.int16)
        far_NX = np.abs(border_NX - np.median(border_NX, axis=1, keepdims=True))
        shares.append((far_NX <= PLAIN_LEVELS).mean(axis=1))
    return bool(np.median(np.concatenate(shares)) >= PLAIN_SHARE)


def is_grey(images_NHWC: Uint8Array) -> Any:
    """Return a bool N: which pictures have no colour."""
    if images_NHWC.shape[-1] == 1:
        return np.ones(len(images_NHWC), bool)
    return (images_NHWC == images_NHWC[..., :1]).all(axis=(1, 2, 3))


def match_polarity(images_NHWC: Uint8Array, borders: Borders) -> tuple[Uint8Array, Any]:
    """Invert the drawings that are light where all training drawings are dark, or the other way round.

    So a model of white digits on black can read a black digit on paper. If training pictures have a (nearly) black or
    white border, the paper's own grey is removed and the contrast stretched as well. Nothing is inverted unless
    `borders` say so, and no picture that has colour. Returns the pictures and a bool N that is true where a picture
    was inverted; pictures are copied only if needed.
    """
    if not borders.inverts:
        return images_NHWC, np.zeros(len(images_NHWC), bool)
    levels = border_levels(images_NHWC)
    dark_model, light_model = borders.high < DARK, borders.low > LIGHT
    inverted = (levels > LIGHT) & dark_model | (levels < DARK) & light_model
    if inverted.any():
        inverted &= is_grey(images_NHWC)
    if not inverted.any():
        return images_NHWC, inverted
    seen_NHWC = images_NHWC.copy()
    negatives_NHWC = 255 - images_NHWC[inverted]
    if borders.low <= 0.1:
        negatives_NHWC = _stretched(negatives_NHWC, touches=borders.high > 0.1)
    elif borders.high >= 0.9:
        negatives_NHWC = 255 - _stretched(255 - negatives_NHWC, touches=borders.low < 0.9)
    seen_NHWC[inverted] = negatives_NHWC
    return seen_NHWC, inverted


def keeps_polarity(images_NHWC: Uint8Array, borders: Borders, eps: float) -> NDArray[np.bool_]:
    """Say which pictures `match_polarity` leaves as they are, whatever changes by at most `eps` in every pixel: bool N.

    The mean of a border changes by no more than eps. A picture that is inverted is not among them, as more is done to
    it.

    >>> grey = np.full((1, 4, 4, 1), 128, np.uint8)
    >>> [bool(keeps_polarity(grey, Borders(0, 0.1, inverts=True), eps)[0]) for eps in (0.01, 0.1)]
    [True, False]
    """
    if not borders.inverts:
        return np.ones(len(images_NHWC), bool)
    levels = border_levels(images_NHWC)
    dark_model, light_model = borders.high < DARK, borders.low > LIGHT
    found: NDArray[np.bool_] = ~((levels + eps > LIGHT) & dark_model | (levels - eps < DARK) & light_model)
    return found


def _stretched(images_NHWC: Uint8Array, touches: bool) -> Uint8Array:
    """Map each picture's border's level to 0 and its brightest pixel to 255, unless it is all border.

    If the training drawings may touch the border, only its darker part counts as background.
    """
    backgrounds_N = np.quantile(ring(images_NHWC), 0.25 if touches else 0.95, axis=1)
    contrasts_N = images_NHWC.reshape(len(images_NHWC), -1).max(axis=1) - backgrounds_N
    told = (contrasts_N >= 25) & ~(touches & (backgrounds_N < 8))
    factors_N = 255 / contrasts_N[told]
    lower_N111, factors_N111 = (
        each.astype(np.float32)[:, None, None, None] for each in (backgrounds_N[told], factors_N)
    )
    stretched_NHWC = images_NHWC.copy()
    stretched_NHWC[told] = ((images_NHWC[told] - lower_N111) * factors_N111).clip(0, 255).astype(np.uint8)
    return stretched_NHWC


def ring(images_NHWC: Uint8Array) -> Uint8Array:
    """Return the outermost pixels of each picture, uint8 NX, all channels of a pixel beside each other."""
    n = len(images_NHWC)
    sides = (images_NHWC[:, 0], images_NHWC[:, -1], images_NHWC[:, 1:-1, 0], images_NHWC[:, 1:-1, -1])
    border: Uint8Array = np.concatenate([side.reshape(n, -1) for side in sides], axis=1)
    return border
