"""Explains an answer by a heat map, as numbers or as an overlay.

Shape letters: N images, H height, W width, C channels, K classes.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image

from keensight.data.polarity import match_polarity
from keensight.explanation.occlusion import STANDS_OUT
from keensight.inference.explaining import reasons
from keensight.pages.pictures import signed_colours
from keensight.serving.limits import RefusalError, check_label
from keensight.serving.registry import Model
from keensight.values import FloatArray, Uint8Array

MOST_PX = 512
COVER = 0.85  # as in pages/explanation_figures.py, which loads torch


@dataclass(frozen=True, slots=True, eq=False)
class Heat:
    """By how many points the log-odds of the label would be lower without each place, float HW; its probability.

    `inverted` says whether the model saw the picture's negative.
    """

    label: str
    probability: float
    inverted: bool
    drop_HW: FloatArray


def heat(model: Model, image_HWC: Uint8Array, label: str | None, is_over: Callable[[], bool]) -> Heat:
    """Return the heat map of a decoded picture for a label, the model's own answer if None.

    `is_over` says when to give up. Raises RefusalError: 400 for an unknown label, 504 when time is up.
    """
    labels = model.bundle.labels
    if label is not None:
        check_label(label, labels, "See /v1/models.")

    def probabilities(images_NHWC: Uint8Array) -> FloatArray:
        if is_over():
            raise RefusalError(504, "timeout", "Explaining took too long. Try again later.")
        return model.predictor.probabilities_as_seen(images_NHWC)

    seen_NHWC, inverted_N = match_polarity(image_HWC[None], model.bundle.borders)
    before_K = probabilities(seen_NHWC)[0]
    index = int(before_K.argmax()) if label is None else labels.index(label)
    found = reasons(model.predictor, seen_NHWC[0], index, probabilities)
    return Heat(labels[index], float(before_K[index]), bool(inverted_N[0]), found.points_HW)


def overlay(drop_HW: FloatArray) -> bytes:
    """Return a transparent PNG: blue where a place speaks for the label, vermilion where it speaks against it.

    The colours are those of `keensight explain`. It has the model's input size, enlarged smoothly by a
    whole number, up to 512 pixels.
    """
    colours_HW4 = signed_colours(drop_HW[None], max(STANDS_OUT, float(np.abs(drop_HW).max())))[0]
    colours_HW4[..., 3] = (colours_HW4[..., 3] * COVER).round()
    image = Image.fromarray(colours_HW4)
    factor = max(1, MOST_PX // max(image.size))
    image = image.resize((image.width * factor, image.height * factor), Image.Resampling.BILINEAR)
    image.thumbnail((MOST_PX, MOST_PX))
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()
