"""Pictures of nothing, which a model should call none of its classes: some are drawn, some made of its own pictures.

Rows that are `held_out` are for reports alone, so that a model is judged on kinds that it has not met.

Shape letters: N images, H height, W width, C channels.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image

from keensight.data.drawings import figures, letters, strokes
from keensight.data.of_sklearn import handwritten_digits, photographs
from keensight.data.textures import (
    Maker,
    Shape,
    as_bytes,
    checkerboard,
    colour,
    gradient,
    length,
    mosaic,
    noise,
    plaid,
    resized,
    rings,
    solid,
    specks,
    spectrum,
    stripes,
)
from keensight.values import FloatArray, Uint8Array


@dataclass(frozen=True, slots=True)
class Nonsense:
    """A kind of nonsense: how one is made, whether it is for reports alone, and whether it shows digits."""

    make: Maker
    held_out: bool = False
    are_digits: bool = False  # which some models know


def nonsense(kind: str, count: int, own_NHWC: Uint8Array, seed: int) -> Uint8Array:
    """Return `count` pictures of a row of `NONSENSE`, uint8 NHWC, of the size of `own_NHWC`: at least two pictures.

    They depend on kind, seed and `own_NHWC` alone: the first ones are the same for any `count`.
    """
    shape = own_NHWC.shape[1], own_NHWC.shape[2], own_NHWC.shape[3]
    draws = (np.random.default_rng([seed, zlib.crc32(kind.encode()), i]) for i in range(count))
    made = [NONSENSE[kind].make(draw, shape, own_NHWC) for draw in draws]
    return np.stack(made) if made else np.zeros((0, *shape), np.uint8)


def _one(draw: np.random.Generator, own_NHWC: Uint8Array) -> Uint8Array:
    picture_HWC: Uint8Array = own_NHWC[draw.integers(len(own_NHWC))]
    return picture_HWC


def _shuffled(draw: np.random.Generator, shape: Shape, own_NHWC: Uint8Array) -> Uint8Array:
    """A picture cut into patches that change places."""
    parts = int(draw.integers(3, 9))
    side = max(1, shape[0] // parts), max(1, shape[1] // parts)
    picture = _one(draw, own_NHWC).copy()
    corners = [
        (y, x) for y in range(0, shape[0] - side[0] + 1, side[0]) for x in range(0, shape[1] - side[1] + 1, side[1])
    ]
    taken = [picture[y : y + side[0], x : x + side[1]].copy() for y, x in corners]
    for (y, x), i in zip(corners, draw.permutation(len(corners)), strict=True):
        picture[y : y + side[0], x : x + side[1]] = taken[i]
    return picture


def _piece(draw: np.random.Generator, own_NHWC: Uint8Array, height: int, width: int) -> Uint8Array:
    """Cut out four pieces and return the one with most contrast: many pictures are empty at their borders."""
    pieces = []
    for _ in range(4):
        picture = _one(draw, own_NHWC)
        y, x = draw.integers(picture.shape[0] - height + 1), draw.integers(picture.shape[1] - width + 1)
        pieces.append(picture[y : y + height, x : x + width])
    return max(pieces, key=lambda piece: float(piece.std()))


def _tiles(draw: np.random.Generator, shape: Shape, own_NHWC: Uint8Array) -> Uint8Array:
    """A patch of a picture, repeated all over as a texture."""
    side = min(*shape[:2], max(2, round(length(draw, min(shape[:2]) / 12, min(shape[:2]) / 3))))
    patch = _piece(draw, own_NHWC, side, side)
    return np.tile(patch, (-(-shape[0] // side), -(-shape[1] // side), 1))[: shape[0], : shape[1]]


def _blend(draw: np.random.Generator, shape: Shape, own_NHWC: Uint8Array) -> Uint8Array:
    """Two to four pictures seen through each other, some of them upside down."""
    some = [_one(draw, own_NHWC)[:: draw.choice([-1, 1])] / 255 for _ in range(draw.integers(2, 5))]
    mixed = np.max(some, axis=0) if draw.random() < 0.3 else np.mean(some, axis=0)
    return as_bytes(mixed, shape)


def _blown_up(draw: np.random.Generator, shape: Shape, own_NHWC: Uint8Array) -> Uint8Array:
    """A tiny piece of a picture, or a picture that was made tiny, blown up."""
    share = length(draw, 1 / 24, 1 / 8)
    few = min(shape[0], max(2, round(share * shape[0]))), min(shape[1], max(2, round(share * shape[1]))), shape[2]
    if draw.random() < 0.6:
        tiny: FloatArray | Uint8Array = _piece(draw, own_NHWC, few[0], few[1])
    else:
        tiny = resized(_one(draw, own_NHWC), few, Image.Resampling.BOX)
    how = (Image.Resampling.NEAREST, Image.Resampling.BILINEAR, Image.Resampling.BICUBIC)[draw.integers(3)]
    return as_bytes(resized(tiny, shape, how) / 255, shape)


def _inverted(draw: np.random.Generator, shape: Shape, own_NHWC: Uint8Array) -> Uint8Array:
    """A picture with its colours turned round, or pushed to a few levels."""
    picture = _one(draw, own_NHWC)
    if draw.random() < 0.6:
        return 255 - picture
    steps = int(draw.integers(1, 3))
    return np.asarray(np.round((255 - picture) / 255 * steps) * (255 // steps), np.uint8)


def _things(draw: np.random.Generator, shape: Shape, own_NHWC: Uint8Array) -> Uint8Array:
    """Things of no known kind on a plain ground: one to three smooth outlines, filled with shades or textures."""
    height, width, channels = shape
    rows, columns = np.mgrid[:height, :width]
    is_even, inside_HW = draw.random() < 0.5, np.zeros((height, width), bool)
    for _ in range(draw.integers(1, 4)):
        y, x = draw.uniform(0.3, 0.7) * height, (0.5 if is_even else draw.uniform(0.3, 0.7)) * width
        down, across = (rows - y) / (draw.uniform(0.1, 0.5) * height), (columns - x) / (draw.uniform(0.1, 0.5) * width)
        angle = np.arctan2(down, np.abs(across) if is_even else across)
        waves = [draw.normal(0, 0.35 / k) * np.cos(k * angle + draw.uniform(0, 7)) for k in range(1, 6)]
        inside_HW |= np.hypot(down, across) < 1 + np.sum(waves, axis=0)
    fill: FloatArray = FILLS[draw.integers(len(FILLS))](draw, shape, own_NHWC) / 255
    if draw.random() < 0.5:
        fill = np.broadcast_to(fill.mean(axis=2, keepdims=True), shape)
    ground = colour(draw, shape) if draw.random() < 0.4 else np.full(channels, float(draw.integers(2)))
    made = np.where(inside_HW[..., None], 0.15 + 0.85 * fill, ground)
    if draw.random() < 0.5:
        side = min(1.0, length(draw, 6, 48) / min(height, width))
        few = max(1, round(side * height)), max(1, round(side * width)), channels
        made = resized(resized(made, few, Image.Resampling.BOX), shape, Image.Resampling.BICUBIC)
    return as_bytes(made, shape)


FILLS: tuple[Maker, ...] = (spectrum, gradient, stripes, solid, noise, _blown_up, _tiles)


def _photograph(draw: np.random.Generator, shape: Shape, own_NHWC: Uint8Array) -> Uint8Array:
    """A piece of one of two photographs that scikit-learn brings."""
    photo = photographs()[draw.integers(2)]
    side = round(min(photo.shape[:2]) * draw.uniform(0.35, 1))
    y, x = draw.integers(photo.shape[0] - side + 1), draw.integers(photo.shape[1] - side + 1)
    piece = photo[y : y + side, x : x + side] / 255
    return as_bytes(
        resized(piece if shape[2] == 3 else piece.mean(axis=2, keepdims=True), shape, Image.Resampling.BOX), shape
    )


@cache
def _digits() -> Uint8Array:
    found: Uint8Array = (handwritten_digits()[0] / 16 * 255).astype(np.uint8)
    return found


def _digit(draw: np.random.Generator, shape: Shape, own_NHWC: Uint8Array) -> Uint8Array:
    """One of scikit-learn's digits of 8x8 pixels, blown up."""
    digit = _digits()[draw.integers(len(_digits()))][..., None] / 255
    return as_bytes(resized(digit, shape, Image.Resampling.BICUBIC), shape)


NONSENSE: dict[str, Nonsense] = {
    "noise": Nonsense(noise),
    "clouds": Nonsense(spectrum),
    "one colour": Nonsense(solid),
    "gradients": Nonsense(gradient),
    "stripes": Nonsense(stripes),
    "patches in disorder": Nonsense(_shuffled),
    "repeated patches": Nonsense(_tiles),
    "blends of pictures": Nonsense(_blend),
    "tiny pieces blown up": Nonsense(_blown_up),
    "inverted pictures": Nonsense(_inverted),
    "strokes": Nonsense(strokes),
    "figures": Nonsense(figures),
    "letters": Nonsense(letters),
    "things": Nonsense(_things),
    "checkerboards": Nonsense(checkerboard, held_out=True),
    "rings and rays": Nonsense(rings, held_out=True),
    "mosaics": Nonsense(mosaic, held_out=True),
    "specks": Nonsense(specks, held_out=True),
    "plaids": Nonsense(plaid, held_out=True),
    "other photographs": Nonsense(_photograph, held_out=True),
    "handwritten digits": Nonsense(_digit, held_out=True, are_digits=True),
}
