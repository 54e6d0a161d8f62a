"""What happens to pictures every day: noise, blur, weather, compression, a moved camera. No attacker is needed.

Each corruption has five severities. Those of MNIST-C (Mu and Gilmer, 2019, arXiv:1906.02337) and ImageNet-C (Hendrycks
and Dietterich, 2019, arXiv:1903.12261) are used where they are relative; lengths, which these give in pixels, are here
shares of the picture's shorter side, which is 28 for MNIST. Shape letters: N images, H height, W width, C channels.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from PIL import Image

from keensight.data.given import as_image
from keensight.values import FloatArray, Uint8Array

DENSE_PX = 64  # a side up to which blurring is a product with a matrix: for larger ones that takes far longer

# (images float NHWC in [0, 1], amount, draw) to images that may leave [0, 1]
Run: TypeAlias = Callable[[FloatArray, Any, np.random.Generator], FloatArray]

SIDE = 28  # the shorter side that lengths below refer to
SEVERITIES = (1, 2, 3, 4, 5)


@dataclass(frozen=True, slots=True)
class Corruption:
    """A corruption: its kind, the five amounts from mild to strong, and what it is in words."""

    run: Run
    kind: str
    amounts: tuple[Any, ...]
    about: str


def corrupt(images_NHWC: Uint8Array, name: str, severity: int, seed: int = 0) -> Uint8Array:
    """Return pictures uint8 NHWC, corrupted by the one of CORRUPTIONS with this `name`, with a severity from 1 to 5.

    All randomness comes from `seed`.
    """
    each = CORRUPTIONS[name]
    found = each.run(images_NHWC.astype(np.float32) / 255, each.amounts[severity - 1], np.random.default_rng(seed))
    return np.rint(np.clip(found, 0, 1) * 255).astype(np.uint8)


def _length(share: float, images: FloatArray) -> float:
    """Return a length in pixels that is `share` pixels on a side of 28."""
    return share * float(min(images.shape[1:3])) / SIDE


def _gaussian_noise(images: FloatArray, spread: float, draw: np.random.Generator) -> FloatArray:
    return images + draw.normal(size=images.shape, scale=spread).astype(np.float32)


def _shot_noise(images: FloatArray, photons: float, draw: np.random.Generator) -> FloatArray:
    """Let every pixel count the photons of its brightness, at most about as many as this."""
    return (draw.poisson(images * photons) / photons).astype(np.float32)


def _impulse_noise(images: FloatArray, share: float, draw: np.random.Generator) -> FloatArray:
    """Make a share of all numbers black or white."""
    hit, white = draw.random(images.shape) < share, draw.random(images.shape) < 0.5
    return np.where(hit, white.astype(np.float32), images)


def _gaussian_blur(images: FloatArray, sigma: float, draw: np.random.Generator) -> FloatArray:
    return _blurred(images, _length(sigma, images))


def _blurred(images: FloatArray, sigma: float) -> FloatArray:
    """Blur by a Gaussian of this many pixels; outside a picture, its edge is repeated.

    For small pictures these are the numbers of SciPy's gaussian_filter, whose import takes longer than to blur them.
    """
    if max(images.shape[1:3]) > DENSE_PX:
        from scipy.ndimage import gaussian_filter

        found: FloatArray = gaussian_filter(images, (0, sigma, sigma, 0), mode="nearest")
        return found
    for axis in (1, 2):
        blurred = np.tensordot(images, _blurring(images.shape[axis], sigma), (axis, 0))
        images = np.ascontiguousarray(np.moveaxis(blurred, -1, axis), np.float32)
    return images


def _blurring(side: int, sigma: float) -> FloatArray:
    """Return the matrix whose column i has the shares that the pixels of a line have in its blurred pixel i."""
    steps = np.arange(-int(4 * sigma + 0.5), int(4 * sigma + 0.5) + 1)
    weights = np.exp(-((steps / sigma) ** 2) / 2)
    matrix = np.zeros((side, side))
    for step, weight in zip(steps, weights / weights.sum(), strict=True):
        np.add.at(matrix, (np.clip(np.arange(side) + step, 0, side - 1), np.arange(side)), weight)
    return matrix


def _motion_blur(images: FloatArray, sigma: float, draw: np.random.Generator) -> FloatArray:
    """Move the camera at an angle of up to 45 degrees, ever more slowly: one half of a Gaussian along a line."""
    pixels, angle = _length(sigma, images), draw.uniform(-math.pi / 4, math.pi / 4)
    steps = np.arange(math.ceil(3 * pixels) + 1)
    weights = np.exp(-((steps / pixels) ** 2) / 2)
    moved = (
        _sampled(images, np.eye(2), (step * math.sin(angle), step * math.cos(angle))) * np.float32(weight)
        for step, weight in zip(steps, weights / weights.sum(), strict=True)
    )
    found: FloatArray = sum(moved, np.zeros_like(images))
    return found


def _fog(images: FloatArray, amount: tuple[float, float], draw: np.random.Generator) -> FloatArray:
    """Put clouds over the pictures, and darken the whole until it is no brighter than before."""
    strength, decay = amount
    brightest = images.max(axis=(1, 2, 3), keepdims=True)
    clouds = strength * clouds_of(images.shape[:3], decay, draw)[..., None]
    found: FloatArray = (images + clouds) * brightest / (brightest + strength)
    return found


def clouds_of(shape: tuple[int, ...], decay: float, draw: np.random.Generator) -> FloatArray:
    """Return clouds in [0, 1], float NHW, by midpoint displacement on a torus; `decay` makes small details weaker.

    The diamond-square algorithm (Fournier, Fussell and Carpenter, 1982).
    """
    count, height, width = shape
    side = 1 << math.ceil(math.log2(max(height, width, 2)))
    found = np.zeros((count, side, side), np.float32)
    step, spread = side, 100.0
    while step >= 2:
        half = step // 2
        corners = found[:, ::step, ::step]
        squares = corners + np.roll(corners, -1, 1)
        squares = squares + np.roll(squares, -1, 2)
        found[:, half::step, half::step] = squares / 4 + spread * draw.uniform(-spread, spread, squares.shape)
        middles = found[:, half::step, half::step]
        beside = corners + np.roll(corners, -1, 2) + middles + np.roll(middles, 1, 1)
        found[:, ::step, half::step] = beside / 4 + spread * draw.uniform(-spread, spread, beside.shape)
        below = corners + np.roll(corners, -1, 1) + middles + np.roll(middles, 1, 2)
        found[:, half::step, ::step] = below / 4 + spread * draw.uniform(-spread, spread, below.shape)
        step, spread = half, spread / decay
    found -= found.min(axis=(1, 2), keepdims=True)
    found /= found.max(axis=(1, 2), keepdims=True)
    clouds: FloatArray = found[:, :height, :width]
    return clouds


def _spatter(images: FloatArray, amount: tuple[float, ...], draw: np.random.Generator) -> FloatArray:
    """Throw mud at the lens: drops where blurred noise is high, with soft edges."""
    mean, spread, size, above, edge = amount
    noise = draw.normal(size=images.shape[:3], loc=mean, scale=spread).astype(np.float32)[..., None]
    drops = (_blurred(noise, _length(size, images)) > above).astype(np.float32)
    mud = _blurred(drops, _length(edge, images))
    mud[mud < 0.8] = 0
    return images * (1 - mud) + 63 / 255 * mud


def _brightness(images: FloatArray, added: float, draw: np.random.Generator) -> FloatArray:
    """Raise the value of hue, saturation and value, which leaves the colour as it is."""
    value = images.max(axis=3, keepdims=True)
    raised = np.clip(value + added, 0, 1)
    found: FloatArray = np.where(value > 0, images * (raised / np.maximum(value, 1e-6)), raised).astype(np.float32)
    return found


def _contrast(images: FloatArray, share: float, draw: np.random.Generator) -> FloatArray:
    means = images.mean(axis=(1, 2), keepdims=True)
    found: FloatArray = (images - means) * share + means
    return found


def _jpeg(images: FloatArray, quality: int, draw: np.random.Generator) -> FloatArray:
    def saved(picture: Image.Image) -> Image.Image:
        content = io.BytesIO()
        picture.save(content, "JPEG", quality=quality)
        return Image.open(content)

    return _by_pillow(images, saved)


def _pixelate(images: FloatArray, share: float, draw: np.random.Generator) -> FloatArray:
    def coarse(picture: Image.Image) -> Image.Image:
        width, height = picture.size
        small = picture.resize((max(1, int(width * share)), max(1, int(height * share))), Image.Resampling.BOX)
        return small.resize((width, height), Image.Resampling.BOX)

    return _by_pillow(images, coarse)


def _by_pillow(images: FloatArray, change: Callable[[Image.Image], Image.Image]) -> FloatArray:
    levels = np.rint(images * 255).astype(np.uint8)
    pictures = (as_image(each) for each in levels)
    changed = np.stack([np.asarray(change(picture)) for picture in pictures])
    return changed.reshape(images.shape).astype(np.float32) / 255


def _translate(images: FloatArray, length: float, draw: np.random.Generator) -> FloatArray:
    """Shift by this length up or down and left or right, whole pixels, at least one."""
    pixels = max(1, round(_length(length, images)))
    return _four_ways(images, draw, lambda down, right: (np.eye(2), (down * pixels, right * pixels)))


def _rotate(images: FloatArray, angle: float, draw: np.random.Generator) -> FloatArray:
    def turn(sign: int, _: int) -> tuple[FloatArray, tuple[float, float]]:
        cosine, sine = math.cos(sign * angle), math.sin(sign * angle)
        return np.array([[cosine, sine], [-sine, cosine]]), (0.0, 0.0)

    return _four_ways(images, draw, turn)


def _shear(images: FloatArray, angle: float, draw: np.random.Generator) -> FloatArray:
    def lean(sign: int, _: int) -> tuple[FloatArray, tuple[float, float]]:
        return np.array([[1.0, 0.0], [-math.tan(sign * angle), 1.0]]), (0.0, 0.0)

    return _four_ways(images, draw, lean)


def _scale(images: FloatArray, share: float, draw: np.random.Generator) -> FloatArray:
    return _sampled(images, np.eye(2) / share, (0.0, 0.0))


def _four_ways(
    images: FloatArray,
    draw: np.random.Generator,
    change: Callable[[int, int], tuple[FloatArray, tuple[float, float]]],
) -> FloatArray:
    """Change each picture in one of four directions, drawn at random."""
    found, signs_N2 = np.empty_like(images), draw.choice([-1, 1], (len(images), 2))
    for first in (-1, 1):
        for second in (-1, 1):
            chosen_N = (signs_N2 == (first, second)).all(axis=1)
            found[chosen_N] = _sampled(images[chosen_N], *change(first, second))
    return found


def _sampled(images: FloatArray, matrix_22: FloatArray, offset: tuple[float, float]) -> FloatArray:
    """Return pictures whose pixel at p from the centre is the old one at `matrix_22` p + `offset`, bilinearly.

    Rows come first. Outside the old picture, its edge is repeated.
    """
    _, height, width, _ = images.shape
    middle = np.array([(height - 1) / 2, (width - 1) / 2])
    places_HW2 = np.stack(np.meshgrid(np.arange(height), np.arange(width), indexing="ij"), axis=2) - middle
    rows_HW, columns_HW = np.moveaxis(places_HW2 @ matrix_22.T + middle + np.array(offset), 2, 0)
    rows_HW, columns_HW = rows_HW.clip(0, height - 1), columns_HW.clip(0, width - 1)
    top, left = np.floor(rows_HW).astype(int), np.floor(columns_HW).astype(int)
    down, right = (rows_HW - top).astype(np.float32)[..., None], (columns_HW - left).astype(np.float32)[..., None]
    bottom, beside = np.minimum(top + 1, height - 1), np.minimum(left + 1, width - 1)
    upper = images[:, top, left] * (1 - right) + images[:, top, beside] * right
    lower = images[:, bottom, left] * (1 - right) + images[:, bottom, beside] * right
    found: FloatArray = upper * (1 - down) + lower * down
    return found


CORRUPTIONS: dict[str, Corruption] = {
    "gaussian-noise": Corruption(_gaussian_noise, "noise", (0.08, 0.12, 0.18, 0.26, 0.38), "noise of a warm sensor"),
    "shot-noise": Corruption(_shot_noise, "noise", (60, 25, 12, 5, 3), "too little light"),
    "impulse-noise": Corruption(_impulse_noise, "noise", (0.03, 0.06, 0.09, 0.17, 0.27), "dead and hot pixels"),
    "blur": Corruption(_gaussian_blur, "blur", (0.5, 0.75, 1.0, 1.5, 2.0), "out of focus"),
    "motion-blur": Corruption(_motion_blur, "blur", (1.0, 1.5, 2.0, 3.0, 4.0), "a moving camera"),
    "fog": Corruption(_fog, "weather", ((1.5, 2), (2.0, 2), (2.5, 1.7), (2.5, 1.5), (3.0, 1.4)), "fog"),
    "spatter": Corruption(
        _spatter,
        "weather",
        (
            (0.65, 0.3, 4, 0.69, 0.6), (0.65, 0.3, 3, 0.68, 0.6), (0.65, 0.3, 2, 0.68, 0.5),
            (0.65, 0.3, 1, 0.65, 1.5), (0.67, 0.4, 1, 0.65, 1.5),
        ),
        "drops of mud",
    ),
    "brightness": Corruption(_brightness, "digital", (0.1, 0.2, 0.3, 0.4, 0.5), "overexposed"),
    "contrast": Corruption(_contrast, "digital", (0.4, 0.3, 0.2, 0.1, 0.05), "little contrast"),
    "jpeg": Corruption(_jpeg, "digital", (25, 18, 15, 10, 7), "saved as a small JPEG"),
    "pixelate": Corruption(_pixelate, "digital", (0.6, 0.5, 0.4, 0.3, 0.25), "too few pixels"),
    "translate": Corruption(_translate, "geometric", (1, 2, 3, 4, 5), "moved"),
    "rotate": Corruption(_rotate, "geometric", (0.2, 0.4, 0.6, 0.8, 1.0), "turned"),
    "scale": Corruption(_scale, "geometric", (0.9, 0.8, 0.7, 0.6, 0.5), "farther away"),
    "shear": Corruption(_shear, "geometric", (0.2, 0.4, 0.6, 0.8, 1.0), "slanted"),
}  # fmt: skip
