"""Pictures of nothing, which a model should call none of its classes: some are drawn, some made of its own pictures.

Rows that are `held_out` are for reports alone, so that a model is judged on kinds that it has not met.

Shape letters: N images, H height, W width, C channels.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TypeAlias

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from keensight.values import FloatArray, Uint8Array

Shape: TypeAlias = tuple[int, int, int]
# (draw, the picture's height, width and channels, pictures that the model learns from, NHWC) to a picture HWC
Maker: TypeAlias = Callable[[np.random.Generator, Shape, Uint8Array], Uint8Array]

SIGNS = "AEFHKLMNPRTUVWXYadefhkmnprtuvwx&@%?#$+=<>{}*~"


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


def _bytes(levels_HWC: FloatArray, shape: Shape) -> Uint8Array:
    """Return levels in [0, 1], of one channel or of all, as a picture."""
    levels = np.broadcast_to(levels_HWC, shape)
    return np.asarray(np.clip(levels * 255 + 0.5, 0, 255), np.uint8)


def _colour(draw: np.random.Generator, shape: Shape) -> FloatArray:
    return draw.random(shape[2]) if draw.random() < 0.7 else np.full(shape[2], draw.random())


def _between(draw: np.random.Generator, shape: Shape, share_HW: FloatArray) -> Uint8Array:
    """Mix two colours; `share_HW`, in [0, 1], is the second one's. Half of the pairs are far from each other."""
    first, second = _colour(draw, shape), _colour(draw, shape)
    if draw.random() < 0.5:
        first, second = (first < 0.5) * 1.0, (first >= 0.5) * 1.0
    return _bytes(first + share_HW[..., None] * (second - first), shape)


def _places(draw: np.random.Generator, shape: Shape) -> FloatArray:
    """Return how far each pixel lies along a line of random direction, in pixels."""
    angle = draw.choice([0, np.pi / 2]) if draw.random() < 0.5 else draw.random() * np.pi
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    return np.asarray(rows * np.sin(angle) + columns * np.cos(angle))


def _length(draw: np.random.Generator, least: float, most: float) -> float:
    """Draw a length, small ones as often as large ones."""
    return float(np.exp(draw.uniform(np.log(least), np.log(max(most, least)))))


def _resized(levels_HWC: FloatArray | Uint8Array, shape: Shape, how: Image.Resampling) -> FloatArray:
    channels = [
        np.asarray(Image.fromarray(np.asarray(levels_HWC[..., c], np.float32)).resize((shape[1], shape[0]), how))
        for c in range(levels_HWC.shape[2])
    ]
    return np.stack(channels, axis=2).astype(np.float64)


def _noise(draw: np.random.Generator, shape: Shape, own_NHWC: Uint8Array) -> Uint8Array:
    """Independent grains of a random size, dark or light, weak or strong, grey or coloured."""
    height, width, channels = shape
    grain = _length(draw, 1, max(1, min(height, width) / 4))
    small = (max(2, round(height / grain)), max(2, round(width / grain)), channels if draw.random() < 0.6 else 1)
    kind = draw.integers(3)
    levels: FloatArray = draw.random(small)
    if kind == 1:
        levels = draw.random() + draw.normal(size=small) * draw.uniform(0.1, 0.5)
    elif kind == 2:
        levels = (levels < draw.uniform(0.1, 0.9)) * 1.0
    how = Image.Resampling.NEAREST if draw.random() < 0.5 else Image.Resampling.BICUBIC
    return _bytes(_resized(levels, shape, how), shape)


def _spectrum(draw: np.random.Generator, shape: Shape, own_NHWC: Uint8Array) -> Uint8Array:
    """Noise whose waves fall with their frequency by a random power, from hiss to clouds."""
    height, width, channels = shape
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    frequency[0, 0] = 1 / max(height, width)
    fall = frequency[..., None] ** -draw.uniform(0, 3)
    waves = draw.normal(size=(height, width // 2 + 1, channels if draw.random() < 0.6 else 1, 2))
    waves_HWC = (waves[..., 0] + 1j * waves[..., 1]) * fall
    waves_HWC[0, 0] = 0
    levels = np.fft.irfft2(waves_HWC, s=(height, width), axes=(0, 1))
    levels = levels / (levels.std() + 1e-9) * draw.uniform(0.05, 0.35) + draw.uniform(0.2, 0.8)
    return _bytes(levels, shape)


def _solid(draw: np.random.Generator, shape: Shape, own_NHWC: Uint8Array) -> Uint8Array:
    """One colour, perhaps with a little noise."""
    hiss = draw.normal(size=shape) * (draw.random() < 0.3) * 0.02
    return _bytes(_colour(draw, shape) + hiss, shape)


def _gradient(draw: np.random.Generator, shape: Shape, own_NHWC: Uint8Array) -> Uint8Array:
    """From one colour to another, along a line or from a point."""
    along = _places(draw, shape)
    if draw.random() < 0.4:
        rows, columns = np.mgrid[: shape[0], : shape[1]]
        along = np.hypot(rows - draw.random() * shape[0], columns - draw.random() * shape[1])
    along = (along - along.min()) / max(float(np.ptp(along)), 1e-9)
    return _between(draw, shape, along ** draw.uniform(0.5, 2))


def _stripes(draw: np.random.Generator, shape: Shape, own_NHWC: Uint8Array) -> Uint8Array:
    """Stripes of any width and direction, sharp or soft."""
    wave = np.sin(2 * np.pi * _places(draw, shape) / _length(draw, 2, min(shape[:2])) + draw.random() * 7)
    return _between(draw, shape, (wave > 0) * 1.0 if draw.random() < 0.6 else wave / 2 + 0.5)


def _checkerboard(draw: np.random.Generator, shape: Shape, own_NHWC: Uint8Array) -> Uint8Array:
    """Squares of two colours in turns, of any size."""
    side = _length(draw, 1, min(shape[:2]) / 2)
    offset = draw.random(2) * side
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    return _between(draw, shape, ((rows + offset[0]) // side + (columns + offset[1]) // side) % 2)


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
    side = min(*shape[:2], max(2, round(_length(draw, min(shape[:2]) / 12, min(shape[:2]) / 3))))
    patch = _piece(draw, own_NHWC, side, side)
    return np.tile(patch, (-(-shape[0] // side), -(-shape[1] // side), 1))[: shape[0], : shape[1]]


def _blend(draw: np.random.Generator, shape: Shape, own_NHWC: Uint8Array) -> Uint8Array:
    """Two to four pictures seen through each other, some of them upside down."""
    some = [_one(draw, own_NHWC)[:: draw.choice([-1, 1])] / 255 for _ in range(draw.integers(2, 5))]
    mixed = np.max(some, axis=0) if draw.random() < 0.3 else np.mean(some, axis=0)
    return _bytes(mixed, shape)


def _blown_up(draw: np.random.Generator, shape: Shape, own_NHWC: Uint8Array) -> Uint8Array:
    """A tiny piece of a picture, or a picture that was made tiny, blown up."""
    share = _length(draw, 1 / 24, 1 / 8)
    few = min(shape[0], max(2, round(share * shape[0]))), min(shape[1], max(2, round(share * shape[1]))), shape[2]
    if draw.random() < 0.6:
        tiny: FloatArray | Uint8Array = _piece(draw, own_NHWC, few[0], few[1])
    else:
        tiny = _resized(_one(draw, own_NHWC), few, Image.Resampling.BOX)
    how = (Image.Resampling.NEAREST, Image.Resampling.BILINEAR, Image.Resampling.BICUBIC)[draw.integers(3)]
    return _bytes(_resized(tiny, shape, how) / 255, shape)


def _inverted(draw: np.random.Generator, shape: Shape, own_NHWC: Uint8Array) -> Uint8Array:
    """A picture with its colours turned round, or pushed to a few levels."""
    picture = _one(draw, own_NHWC)
    if draw.random() < 0.6:
        return 255 - picture
    steps = int(draw.integers(1, 3))
    return np.asarray(np.round((255 - picture) / 255 * steps) * (255 // steps), np.uint8)


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
    few = min(1.0, draw.uniform(16, 48) / min(height, width)) if draw.random() < 0.5 else 1.0
    small = sheet.resize((max(1, round(few * width)), max(1, round(few * height))), Image.Resampling.BOX)
    share_HW1 = _resized(np.asarray(small)[..., None], shape, Image.Resampling.BILINEAR) / 255
    if draw.random() < 0.6:
        light = draw.uniform(0.7, 1) if draw.random() < 0.6 else draw.uniform(0.7, 1, channels)
        return _bytes(share_HW1 * light, shape)
    return _between(draw, shape, share_HW1[..., 0])


def _strokes(draw: np.random.Generator, shape: Shape, own_NHWC: Uint8Array) -> Uint8Array:
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


def _letters(draw: np.random.Generator, shape: Shape, own_NHWC: Uint8Array) -> Uint8Array:
    """A letter or a sign, upright or nearly so. Those that look like digits are not among them."""
    sign = SIGNS[draw.integers(len(SIGNS))]

    def shapes(pen: ImageDraw.ImageDraw, width: int, height: int) -> None:
        side = min(width, height)
        font = ImageFont.load_default(max(8, round(side * draw.uniform(0.7, 1.1))))
        middle = width / 2 + draw.uniform(-0.06, 0.06) * side, height / 2 + draw.uniform(-0.06, 0.06) * side
        pen.text(middle, sign, 255, font, "mm", stroke_width=round(side * draw.uniform(0, 0.04)))

    lean = float(draw.uniform(-0.3, 0.3)), float(draw.uniform(-0.2, 0.2))
    return _drawn(draw, shape, shapes, lean)


def _figures(draw: np.random.Generator, shape: Shape, own_NHWC: Uint8Array) -> Uint8Array:
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


def _rings(draw: np.random.Generator, shape: Shape, own_NHWC: Uint8Array) -> Uint8Array:
    """Rings around a point, or rays from it."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    rows, columns = rows - draw.random() * shape[0], columns - draw.random() * shape[1]
    around = np.hypot(rows, columns) / _length(draw, 3, min(shape[:2]) / 2)
    if draw.random() < 0.4:
        around = np.arctan2(rows, columns) / (2 * np.pi) * int(draw.integers(3, 20))
    return _between(draw, shape, (around % 1 < 0.5) * 1.0)


def _mosaic(draw: np.random.Generator, shape: Shape, own_NHWC: Uint8Array) -> Uint8Array:
    """Plain cells around random points."""
    points = draw.random((draw.integers(4, 60), 2)) * shape[:2]
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    nearest = ((rows[..., None] - points[:, 0]) ** 2 + (columns[..., None] - points[:, 1]) ** 2).argmin(axis=2)
    return _bytes(np.stack([_colour(draw, shape) for _ in points])[nearest], shape)


def _specks(draw: np.random.Generator, shape: Shape, own_NHWC: Uint8Array) -> Uint8Array:
    """Bright or dark dots on a plain ground."""
    ground = np.broadcast_to(_colour(draw, shape), shape).copy()
    spread = draw.random(shape[:2]) < _length(draw, 0.005, 0.2)
    ground[spread] = draw.random((int(spread.sum()), shape[2])) if draw.random() < 0.5 else draw.integers(2)
    return _bytes(ground, shape)


def _plaid(draw: np.random.Generator, shape: Shape, own_NHWC: Uint8Array) -> Uint8Array:
    """Waves that cross each other, each channel with its own."""
    mixed = np.zeros(shape)
    for _ in range(draw.integers(2, 5)):
        wave = np.sin(2 * np.pi * _places(draw, shape) / _length(draw, 3, min(shape[:2])) + draw.random() * 7)
        mixed += wave[..., None] * draw.uniform(0.1, 0.5, shape[2])
    return _bytes(0.5 + mixed / 2, shape)


@cache
def _photographs() -> tuple[Uint8Array, ...]:
    from sklearn.datasets import load_sample_images

    return tuple(load_sample_images().images)  # a temple in China, and a flower


def _photograph(draw: np.random.Generator, shape: Shape, own_NHWC: Uint8Array) -> Uint8Array:
    """A piece of one of two photographs that scikit-learn brings."""
    photo = _photographs()[draw.integers(2)]
    side = round(min(photo.shape[:2]) * draw.uniform(0.35, 1))
    y, x = draw.integers(photo.shape[0] - side + 1), draw.integers(photo.shape[1] - side + 1)
    piece = photo[y : y + side, x : x + side] / 255
    return _bytes(
        _resized(piece if shape[2] == 3 else piece.mean(axis=2, keepdims=True), shape, Image.Resampling.BOX), shape
    )


@cache
def _digits() -> Uint8Array:
    from sklearn.datasets import load_digits

    found: Uint8Array = (load_digits().images / 16 * 255).astype(np.uint8)
    return found


def _digit(draw: np.random.Generator, shape: Shape, own_NHWC: Uint8Array) -> Uint8Array:
    """One of scikit-learn's digits of 8x8 pixels, blown up."""
    digit = _digits()[draw.integers(len(_digits()))][..., None] / 255
    return _bytes(_resized(digit, shape, Image.Resampling.BICUBIC), shape)


NONSENSE: dict[str, Nonsense] = {
    "noise": Nonsense(_noise),
    "clouds": Nonsense(_spectrum),
    "one colour": Nonsense(_solid),
    "gradients": Nonsense(_gradient),
    "stripes": Nonsense(_stripes),
    "patches in disorder": Nonsense(_shuffled),
    "repeated patches": Nonsense(_tiles),
    "blends of pictures": Nonsense(_blend),
    "tiny pieces blown up": Nonsense(_blown_up),
    "inverted pictures": Nonsense(_inverted),
    "strokes": Nonsense(_strokes),
    "figures": Nonsense(_figures),
    "letters": Nonsense(_letters),
    "checkerboards": Nonsense(_checkerboard, held_out=True),
    "rings and rays": Nonsense(_rings, held_out=True),
    "mosaics": Nonsense(_mosaic, held_out=True),
    "specks": Nonsense(_specks, held_out=True),
    "plaids": Nonsense(_plaid, held_out=True),
    "other photographs": Nonsense(_photograph, held_out=True),
    "handwritten digits": Nonsense(_digit, held_out=True, are_digits=True),
}
