"""Plain pictures of nothing: noise, colours, and patterns of lines and cells.

Shape letters: N images, H height, W width, C channels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from PIL import Image

from keensight.values import FloatArray, Uint8Array

Shape: TypeAlias = tuple[int, int, int]
# (draw, the picture's height, width and channels, pictures that the model learns from, NHWC) to a picture HWC
Maker: TypeAlias = Callable[[np.random.Generator, Shape, Uint8Array], Uint8Array]


def as_bytes(levels_HWC: FloatArray, shape: Shape) -> Uint8Array:
    """Return levels in [0, 1], of one channel or of all, as a picture."""
    levels = np.broadcast_to(levels_HWC, shape)
    return np.asarray(np.clip(levels * 255 + 0.5, 0, 255), np.uint8)


def colour(draw: np.random.Generator, shape: Shape) -> FloatArray:
    """Return the levels C, in [0, 1], of any colour, or of a grey."""
    return draw.random(shape[2]) if draw.random() < 0.7 else np.full(shape[2], draw.random())


def between(draw: np.random.Generator, shape: Shape, share_HW: FloatArray) -> Uint8Array:
    """Mix two colours; `share_HW`, in [0, 1], is the second one's. Half of the pairs are far from each other."""
    first, second = colour(draw, shape), colour(draw, shape)
    if draw.random() < 0.5:
        first, second = (first < 0.5) * 1.0, (first >= 0.5) * 1.0
    return as_bytes(first + share_HW[..., None] * (second - first), shape)


def places(draw: np.random.Generator, shape: Shape) -> FloatArray:
    """Return how far each pixel lies along a line of random direction, in pixels."""
    angle = draw.choice([0, np.pi / 2]) if draw.random() < 0.5 else draw.random() * np.pi
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    return np.asarray(rows * np.sin(angle) + columns * np.cos(angle))


def length(draw: np.random.Generator, least: float, most: float) -> float:
    """Draw a length, small ones as often as large ones."""
    return float(np.exp(draw.uniform(np.log(least), np.log(max(most, least)))))


def resized(levels_HWC: FloatArray | Uint8Array, shape: Shape, how: Image.Resampling) -> FloatArray:
    """Return levels HWC of another height and width."""
    channels = [
        np.asarray(Image.fromarray(np.asarray(levels_HWC[..., c], np.float32)).resize((shape[1], shape[0]), how))
        for c in range(levels_HWC.shape[2])
    ]
    return np.stack(channels, axis=2).astype(np.float64)


def noise(draw: np.random.Generator, shape: Shape, own_NHWC: Uint8Array) -> Uint8Array:
    """Independent grains of a random size, dark or light, weak or strong, grey or coloured."""
    height, width, channels = shape
    grain = length(draw, 1, max(1, min(height, width) / 4))
    small = (max(2, round(height / grain)), max(2, round(width / grain)), channels if draw.random() < 0.6 else 1)
    kind = draw.integers(3)
    levels: FloatArray = draw.random(small)
    if kind == 1:
        levels = draw.random() + draw.normal(size=small) * draw.uniform(0.1, 0.5)
    elif kind == 2:
        levels = (levels < draw.uniform(0.1, 0.9)) * 1.0
    how = Image.Resampling.NEAREST if draw.random() < 0.5 else Image.Resampling.BICUBIC
    return as_bytes(resized(levels, shape, how), shape)


def spectrum(draw: np.random.Generator, shape: Shape, own_NHWC: Uint8Array) -> Uint8Array:
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
    return as_bytes(levels, shape)


def solid(draw: np.random.Generator, shape: Shape, own_NHWC: Uint8Array) -> Uint8Array:
    """One colour, perhaps with a little noise."""
    hiss = draw.normal(size=shape) * (draw.random() < 0.3) * 0.02
    return as_bytes(colour(draw, shape) + hiss, shape)


def gradient(draw: np.random.Generator, shape: Shape, own_NHWC: Uint8Array) -> Uint8Array:
    """From one colour to another, along a line or from a point."""
    along = places(draw, shape)
    if draw.random() < 0.4:
        rows, columns = np.mgrid[: shape[0], : shape[1]]
        along = np.hypot(rows - draw.random() * shape[0], columns - draw.random() * shape[1])
    along = (along - along.min()) / max(float(np.ptp(along)), 1e-9)
    return between(draw, shape, along ** draw.uniform(0.5, 2))


def stripes(draw: np.random.Generator, shape: Shape, own_NHWC: Uint8Array) -> Uint8Array:
    """Stripes of any width and direction, sharp or soft."""
    wave = np.sin(2 * np.pi * places(draw, shape) / length(draw, 2, min(shape[:2])) + draw.random() * 7)
    return between(draw, shape, (wave > 0) * 1.0 if draw.random() < 0.6 else wave / 2 + 0.5)


def checkerboard(draw: np.random.Generator, shape: Shape, own_NHWC: Uint8Array) -> Uint8Array:
    """Squares of two colours in turns, of any size."""
    side = length(draw, 1, min(shape[:2]) / 2)
    offset = draw.random(2) * side
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    return between(draw, shape, ((rows + offset[0]) // side + (columns + offset[1]) // side) % 2)


def rings(draw: np.random.Generator, shape: Shape, own_NHWC: Uint8Array) -> Uint8Array:
    """Rings around a point, or rays from it."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    rows, columns = rows - draw.random() * shape[0], columns - draw.random() * shape[1]
    around = np.hypot(rows, columns) / length(draw, 3, min(shape[:2]) / 2)
    if draw.random() < 0.4:
        around = np.arctan2(rows, columns) / (2 * np.pi) * int(draw.integers(3, 20))
    return between(draw, shape, (around % 1 < 0.5) * 1.0)


def mosaic(draw: np.random.Generator, shape: Shape, own_NHWC: Uint8Array) -> Uint8Array:
    """Plain cells around random points."""
    points = draw.random((draw.integers(4, 60), 2)) * shape[:2]
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    nearest = ((rows[..., None] - points[:, 0]) ** 2 + (columns[..., None] - points[:, 1]) ** 2).argmin(axis=2)
    return as_bytes(np.stack([colour(draw, shape) for _ in points])[nearest], shape)


def specks(draw: np.random.Generator, shape: Shape, own_NHWC: Uint8Array) -> Uint8Array:
    """Bright or dark dots on a plain ground."""
    ground = np.broadcast_to(colour(draw, shape), shape).copy()
    spread = draw.random(shape[:2]) < length(draw, 0.005, 0.2)
    ground[spread] = draw.random((int(spread.sum()), shape[2])) if draw.random() < 0.5 else draw.integers(2)
    return as_bytes(ground, shape)


def plaid(draw: np.random.Generator, shape: Shape, own_NHWC: Uint8Array) -> Uint8Array:
    """Waves that cross each other, each channel with its own."""
    mixed = np.zeros(shape)
    for _ in range(draw.integers(2, 5)):
        wave = np.sin(2 * np.pi * places(draw, shape) / length(draw, 3, min(shape[:2])) + draw.random() * 7)
        mixed += wave[..., None] * draw.uniform(0.1, 0.5, shape[2])
    return as_bytes(0.5 + mixed / 2, shape)
