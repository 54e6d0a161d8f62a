"""Whether a trained model's pictures of the other polarity are to be inverted: measured on validation pictures."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from keensight.data.polarity import Borders, are_drawings, match_polarity, measure_borders, ring
from keensight.inference.predictor import Predictor
from keensight.machine import images_at_a_time
from keensight.values import Splits, Uint8Array

MOST = 1000  # validation pictures that it is measured on
NEAR_GROUND = 32  # levels: what differs less from its picture's ground is ground


def decide_borders(predictor: Predictor, splits: Splits) -> Borders:
    """Return the training pictures' borders, and whether pictures of the other polarity are to be inverted.

    They are where the model learnt grey drawings, all of them dark at the border or all light, and where inverting
    helps on validation pictures made negative, does no harm to them on the opposite ground, and none as they are.
    """
    borders = measure_borders(splits.train)
    if not borders.is_one_sided or not are_drawings(splits.train):
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


def on_opposite_ground(images_NHWC: Uint8Array) -> Uint8Array:
    """Return the same objects, as bright as they are, on a dark ground where theirs is light, else on a light one."""
    grounds = np.median(ring(images_NHWC), axis=1).astype(np.int16)[:, None, None, None]
    is_ground = np.abs(images_NHWC.astype(np.int16) - grounds) <= NEAR_GROUND
    return np.where(is_ground, 255 - grounds, images_NHWC).astype(np.uint8)
