"""Drawings that are nothing: strokes, letters, figures.

Shape letters: N images, H height, W width, C channels.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from keensight.data.textures import Shape, as_bytes, between, length, resized
from keensight.values import Uint8Array

SIGNS = "AEFHKLMNPRTUVWXYadefhkmnprtuvwx&@%?#$+=<>{}*~"


def _drawn(
    draw: np.random.Generator,
    shape: Shape,
    shapes: Callable[[ImageDraw.ImageDraw, int, int], None],
    lean: tuple[float, float] = (0.0, 0.0),
) -> Uint8Array:
    """Mix two colours by a drawing, most often light on dark; half of the time, it was small and is blown up."""
    height, width, channels = shape
    sheet = Image.new("L", (4 * width, 4 * height))
    shapes(ImageDraw.Draw(sheet), 4 * width, 4 * height)
    across, down = lean
    slanted = (1, across, -across * 2 * height, down, 1, -down * 2 * width)
    sheet = sheet.transform(sheet.size, Image.Transform.AFFINE, slanted, Image.Resampling.BILINEAR)
    few = min(1.0, length(draw, 6, 48) / min(height, width)) if draw.random() < 0.5 else 1.0
    small = sheet.resize((max(1, round(few * width)), max(1, round(few * height))), Image.Resampling.BOX)
    share_HW1 = resized(np.asarray(small)[..., None], shape, Image.Resampling.BILINEAR) / 255
    if draw.random() < 0.6:
        light = draw.uniform(0.7, 1) if draw.random() < 0.6 else draw.uniform(0.7, 1, channels)
        return as_bytes(share_HW1 * light, shape)
    return between(draw, shape, share_HW1[..., 0])


def strokes(draw: np.random.Generator, shape: Shape, own_NHWC: Uint8Array) -> Uint8Array:
    """Lines, arcs and dots that might be letters of an unknown script."""

    def shapes(pen: ImageDraw.ImageDraw, width: int, height: int) -> None:
        thick = max(2, round(min(width, height) * draw.uniform(0.05, 0.16)))
        low, high = draw.uniform(0.1, 0.25), draw.uniform(0.75, 0.9)
        for _ in range(draw.integers(2, 6)):
            ends = draw.uniform(low, high, (2, 2)) * (width, height)
            if draw.random() < 0.4:  # upright and level strokes, as in print
                ends[1, draw.integers(2)] = ends[0, draw.integers(2)]
            if draw.random() < 0.7:
                pen.line([tuple(end) for end in ends.tolist()], 255, thick, joint="curve")
                for x, y in ends:
                    pen.ellipse([x - thick / 2, y - thick / 2, x + thick / 2, y + thick / 2], 255)
            else:
                (left, top), (right, bottom) = np.sort(ends, axis=0).tolist()
                start = draw.uniform(0, 360)
                pen.arc([left, top, right + thick, bottom + thick], start, start + draw.uniform(60, 300), 255, thick)

    return _drawn(draw, shape, shapes)


def letters(draw: np.random.Generator, shape: Shape, own_NHWC: Uint8Array) -> Uint8Array:
    """A letter or a sign, upright or nearly so. Those that look like digits are not among them."""
    sign = SIGNS[draw.integers(len(SIGNS))]

    def shapes(pen: ImageDraw.ImageDraw, width: int, height: int) -> None:
        side = min(width, height)
        font = ImageFont.load_default(max(8, round(side * draw.uniform(0.7, 1.1))))
        middle = width / 2 + draw.uniform(-0.06, 0.06) * side, height / 2 + draw.uniform(-0.06, 0.06) * side
        pen.text(middle, sign, 255, font, "mm", stroke_width=round(side * draw.uniform(0, 0.04)))

    lean = float(draw.uniform(-0.3, 0.3)), float(draw.uniform(-0.2, 0.2))
    return _drawn(draw, shape, shapes, lean)


def figures(draw: np.random.Generator, shape: Shape, own_NHWC: Uint8Array) -> Uint8Array:
    """Filled and empty discs, boxes and polygons."""

    def shapes(pen: ImageDraw.ImageDraw, width: int, height: int) -> None:
        for _ in range(draw.integers(1, 5)):
            middle = draw.uniform(0.2, 0.8, 2) * (width, height)
            reach = draw.uniform(0.08, 0.45, 2) * min(width, height)
            (left, top), (right, bottom) = (middle - reach).tolist(), (middle + reach).tolist()
            fill = int(draw.integers(90, 256)) if draw.random() < 0.6 else None
            thick = max(1, round(min(width, height) * draw.uniform(0.03, 0.1)))
            kind = draw.integers(3)
            if kind == 0:
                pen.ellipse([left, top, right, bottom], fill, 255, thick)
            elif kind == 1:
                pen.rectangle([left, top, right, bottom], fill, 255, thick)
            else:
                pen.polygon(
                    [
                        tuple(corner)
                        for corner in draw.uniform((left, top), (right, bottom), (draw.integers(3, 7), 2)).tolist()
                    ],
                    fill,
                    255,
                    thick,
                )

    return _drawn(draw, shape, shapes)
