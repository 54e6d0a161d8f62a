"""Whether a trained model's pictures of the other polarity are to be inverted: measured on validation pictures."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from keensight.data.polarity import Borders, are_drawings, match_polarity, measure_borders, ring
from keensight.inference.predictor import Predictor
from keensight.machine import images_at_a_time
from keensight.values import Split, Splits, Uint8Array

MOST = 1000  # validation pictures that it is measured on
NEAR_GROUND = 32  # levels: what differs less from its picture's ground is ground
FULL_INK = 0.75  # of a picture's strongest contrast: what has less is shaded, unless it is the edge of a stroke
MOST_SHADED = (
    0.05  # of the ink: MNIST and the 8x8 digits have 0.00, Fashion-MNIST 0.18, discs shaded as in an X-ray 0.13
)


def decide_borders(predictor: Predictor, splits: Splits) -> Borders:
    """Return the training pictures' borders, and whether pictures of the other polarity are to be inverted.

    They are where the model learnt grey drawings of strokes, all of them dark at the border or all light, and where
    inverting helps on validation pictures made negative, does no harm to them on the opposite ground, and none as they
    are. What is shaded, as an X-ray is, keeps its brightness on any ground: its negative would be another thing.
    """
    borders = measure_borders(splits.train)
    if not borders.is_one_sided or not are_drawings(splits.train) or are_shaded(splits.train):
        return borders
    asked = replace(borders, inverts=True)
    right: dict[str, int] = dict.fromkeys(("plain", "negative", "ground"), 0)  # with inverting, more than without
    val = splits.val.thinned(MOST)
    for batch in val.batches(images_at_a_time(*splits.val.shape)):
        plain, labels = val.gather(batch), val.labels[batch]
        for name, images in {"plain": plain, "negative": 255 - plain, "ground": on_opposite_ground(plain)}.items():
            seen, inverted = match_polarity(images, asked)
            if inverted.any():
                before, after = (predictor.probabilities_as_seen(each).argmax(axis=1) for each in (images, seen))
                right[name] += int((after == labels).sum()) - int((before == labels).sum())
    return asked if right["negative"] > 0 and min(right["plain"], right["ground"]) >= 0 else borders


def are_shaded(train: Split) -> bool:
    """Say whether most of the pictures have ink of many strengths, and not only at its edges, as strokes have.

    Ink is what differs from a picture's ground; it is looked at where all pixels around it are ink, too.
    """
    some, shares = train.thinned(MOST), []
    for batch in some.batches(256):
        images_NHWC = some.gather(batch)[..., :1]
        grounds_N = np.median(ring(images_NHWC).astype(np.int16), axis=1)
        contrast_NHW = np.abs(images_NHWC[..., 0] - grounds_N[:, None, None])
        strongest_N = np.quantile(contrast_NHW.reshape(len(contrast_NHW), -1), 0.99, axis=1)
        ink_NHW = contrast_NHW > NEAR_GROUND
        within_NHW = _eroded(ink_NHW, max(1, round(min(ink_NHW.shape[1:]) / 24)))
        shaded_NHW = within_NHW & (contrast_NHW < FULL_INK * strongest_N[:, None, None])
        shares.append(shaded_NHW.sum(axis=(1, 2)) / np.maximum(1, ink_NHW.sum(axis=(1, 2))))
    return bool(np.median(np.concatenate(shares)) > MOST_SHADED)


def _eroded(mask_NHW: NDArray[np.bool_], radius: int) -> NDArray[np.bool_]:
    """Return where a mask holds for all pixels up to `radius` rows and columns away; none are so at the border."""
    padded = np.pad(mask_NHW, ((0, 0), (radius, radius), (radius, radius)))
    height, width = mask_NHW.shape[1:]
    rows = np.logical_and.reduce([padded[:, i : i + height] for i in range(2 * radius + 1)])
    found: NDArray[np.bool_] = np.logical_and.reduce([rows[:, :, i : i + width] for i in range(2 * radius + 1)])
    return found


def on_opposite_ground(images_NHWC: Uint8Array) -> Uint8Array:
    """Return the same objects, as bright as they are, on a dark ground where theirs is light, else on a light one."""
    grounds = np.median(ring(images_NHWC), axis=1).astype(np.int16)[:, None, None, None]
    is_ground = np.abs(images_NHWC.astype(np.int16) - grounds) <= NEAR_GROUND
    return np.where(is_ground, 255 - grounds, images_NHWC).astype(np.uint8)
