"""What a scan found, as pictures: boxes on the scene, and a heat map over it.

Shape letters: H height, W width, C channels.
"""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from keensight.inference.scanning import Detection
from keensight.values import FloatArray, Uint8Array

VERMILION = (213, 94, 0)  # of Okabe & Ito's palette, as in pages/drawing.py
YELLOW = (240, 228, 66)
COVER = 0.75
LEAST_SIDE = 640  # smaller scenes are enlarged, so that boxes can be told apart


def with_boxes(overview_HWC: Uint8Array, found: Sequence[Detection], factor: float) -> bytes:
    """Return a JPEG of the scene with a box around each detection; it is `factor` times as large as the overview."""
    image, scale = _enlarged(overview_HWC, factor)
    pen = ImageDraw.Draw(image)
    for each in found:
        box = [scale * each.x, scale * each.y, scale * (each.x + each.width) - 1, scale * (each.y + each.height) - 1]
        if box[2] - box[0] < 4:  # a box that small would be a dot
            box = [box[0] - 2, box[1] - 2, box[2] + 2, box[3] + 2]
        pen.rectangle([box[0] - 1, box[1] - 1, box[2] + 1, box[3] + 1], outline=(0, 0, 0))
        pen.rectangle(box, outline=YELLOW)
    return _jpeg(image)


def with_heat(overview_HWC: Uint8Array, heat_HW: FloatArray, factor: float) -> bytes:
    """Return a JPEG of the scene in grey, and over it, in vermilion, probabilities in [0, 1] of what was looked for."""
    image, _ = _enlarged(overview_HWC, factor)
    heat = Image.fromarray((255 * COVER * heat_HW).astype(np.uint8)).resize(image.size, Image.Resampling.BILINEAR)
    grey = image.convert("L").point(lambda level: 96 + level * 5 // 8).convert("RGB")
    return _jpeg(Image.composite(Image.new("RGB", image.size, VERMILION), grey, heat))


def _enlarged(overview_HWC: Uint8Array, factor: float) -> tuple[Image.Image, float]:
    """Return the overview in colour, enlarged by a whole number if it is small, and its size relative to the scene."""
    pixels = overview_HWC[..., 0] if overview_HWC.shape[2] == 1 else overview_HWC
    image = Image.fromarray(pixels).convert("RGB")
    times = max(1, LEAST_SIDE // max(image.size))
    size = (times * image.width, times * image.height)
    return image.resize(size, Image.Resampling.NEAREST), times / factor


def _jpeg(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=90, subsampling=0)
    return file.getvalue()
