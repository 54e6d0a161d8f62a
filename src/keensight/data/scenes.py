"""Large pictures, read from top to bottom a few rows at a time: memory does not depend on their height.

What can be read so is TIFF in strips or tiles (BigTIFF too, with any compression that Pillow knows), plain BMP, PPM and
PGM, and .npy. All else, such as PNG and JPEG, is decoded whole, up to 80 megapixels.

Shape letters: H height, W width, C channels; h rows of a strip or band.
"""

from __future__ import annotations

import math
import mmap
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from keensight.data.bare_tiff import TIFF
from keensight.data.given import as_image
from keensight.data.pixels import MAX_PIXELS, all_pixels
from keensight.data.scene_tiff import parts_of_tiff
from keensight.data.unlabelled import read_picture
from keensight.errors import PictureError, TooManyPixelsError
from keensight.values import Uint8Array

ROWS = 256  # of a strip, where the file has none
MARGIN = 2  # rows of a shrunken strip beyond its ends, which the filter reads
PPM = (b"P5", b"P6")
NPY = b"\x93NUMPY"
ADVICE = (
    "Save it as a tiled TIFF, such as by `gdal_translate -of GTiff -co TILED=YES` or `vips tiffsave --tile`; of such a "
    "file, and of a plain BMP, PPM or .npy, only a few rows are in memory at a time"
)


@dataclass(frozen=True, slots=True)
class Scene:
    """A picture of any size; `strips` yields its rows from the top, uint8 hWC, as often as it is called.

    `is_flat`: whether only some rows are in memory at a time.
    """

    height: int
    width: int
    is_flat: bool
    strips: Callable[[], Iterator[Uint8Array]]


def open_scene(path: Path, channels: Literal[1, 3]) -> Scene:
    """Open a picture to be read from top to bottom, in grey (1 channel) or colour (3).

    Raises PictureError if it is none, is damaged, or is too large for a format that can only be decoded whole. Damage
    in the middle of a TIFF is found when that strip is read.
    """
    try:
        with path.open("rb") as file:
            start = file.read(4096)
        if start.startswith(TIFF):
            scene: Scene | str = _tiff(path, channels)
        else:
            scene = _mapped(path, start, channels) or "its format"
    except OSError:
        return _whole(path, channels, "")  # which says why
    return scene if isinstance(scene, Scene) else _whole(path, channels, scene)


def shrunk(scene: Scene, factor: float) -> Scene:
    """Return the scene at 1 / `factor` of its size, averaged, or enlarged if that is below 1; at least 1x1 pixels."""
    if factor == 1:
        return scene
    height, width = max(1, int(scene.height / factor)), max(1, int(scene.width / factor))
    return Scene(height, width, scene.is_flat, partial(_shrunk_strips, scene, factor, height, width))


def bands(scene: Scene, height: int, overlap: int) -> Iterator[tuple[int, Uint8Array]]:
    """Yield the number of a band's first row, and the band, uint8 hWC: of `height` rows, the last one of fewer.

    Each begins with the last `overlap` rows of the band before it.
    """
    held: list[Uint8Array] = []
    top = num_rows = 0
    for strip in scene.strips():
        held.append(strip)
        num_rows += len(strip)
        while num_rows >= height:
            rows_hWC = held[0] if len(held) == 1 else np.concatenate(held)
            yield top, rows_hWC[:height]
            held = [rows_hWC[height - overlap :].copy()]
            top, num_rows = top + height - overlap, len(held[0])
    if num_rows and (num_rows > overlap or not top):
        yield top, np.concatenate(held)


def _shrunk_strips(scene: Scene, factor: float, height: int, width: int) -> Iterator[Uint8Array]:
    """Yield the strips of a smaller scene; each is resized from its own rows and a margin around them."""
    rows = max(1, int(ROWS / max(1.0, factor)))
    first = 0  # row of the smaller scene that comes next
    enough = math.ceil((rows + 2 * MARGIN) * factor) + 2
    for top, source_hWC in bands(scene, enough + ROWS, 2 * math.ceil(MARGIN * factor) + math.ceil(rows * factor) + 4):
        end = top + len(source_hWC)
        while first < height:
            last = min(height, first + rows)
            low, high = max(0, first - MARGIN), min(height, last + MARGIN)
            if high * factor > end and end < scene.height:
                break
            box = (0.0, low * factor - top, min(width * factor, scene.width), min(high * factor, end) - top)
            image = as_image(source_hWC).resize((width, high - low), Image.Resampling.BILINEAR, box)
            resized = np.asarray(image).reshape(high - low, width, -1)
            yield resized[first - low : last - low]
            first = last


def _whole(path: Path, channels: Literal[1, 3], why: str) -> Scene:
    try:
        pixels_HWC = all_pixels(read_picture(path), channels)
    except TooManyPixelsError:
        raise TooManyPixelsError(
            f"it has more than {MAX_PIXELS // 10**6} megapixels, and {why} allows only to decode it whole. {ADVICE}"
        ) from None
    height, width, _ = pixels_HWC.shape
    return Scene(height, width, False, partial(_cut, pixels_HWC))


def _cut(pixels_HWC: Uint8Array) -> Iterator[Uint8Array]:
    mapped = getattr(pixels_HWC, "_mmap", None)
    for top in range(0, len(pixels_HWC), ROWS):
        yield pixels_HWC[top : top + ROWS]
        if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
            mapped.madvise(mmap.MADV_DONTNEED)  # else all pages that were read count as this process's memory


def _tiff(path: Path, channels: Literal[1, 3]) -> Scene | str:
    """Return the scene, or what of the file does not allow to read it row by row."""
    found = parts_of_tiff(path)
    if isinstance(found, str):
        return found

    def strips() -> Iterator[Uint8Array]:
        for row in found.rows():
            strip = np.concatenate([all_pixels(part, channels) for part in row], axis=1)
            yield strip[:, : found.width]

    return Scene(found.height, found.width, True, lambda: _first_rows(strips(), found.height))


def _first_rows(strips: Iterator[Uint8Array], height: int) -> Iterator[Uint8Array]:
    for strip in strips:
        yield strip[:height]
        height -= len(strip)


def _mapped(path: Path, start: bytes, channels: Literal[1, 3]) -> Scene | None:
    """Return a scene whose pixels lie plainly in the file, or None for any other."""
    pixels: Uint8Array | None = None
    if start.startswith(NPY):
        pixels = _npy(path)
    elif start[:2] in PPM:
        pixels = _ppm(path, start)
    elif start[:2] == b"BM":
        pixels = _bmp(path, start)
    if pixels is None:
        return None
    return Scene(pixels.shape[0], pixels.shape[1], True, lambda: (_converted(each, channels) for each in _cut(pixels)))


def _npy(path: Path) -> Uint8Array:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise PictureError(f"it is no array that can be read ({error})") from error
    pixels: Uint8Array = array[..., None] if array.ndim == 2 else array
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] not in (1, 3) or not pixels.size:
        raise PictureError(f"it is an array {array.dtype} of shape {array.shape}; uint8 HW, HW1 or HW3 is accepted")
    return pixels


def _ppm(path: Path, start: bytes) -> Uint8Array | None:
    """Map a PPM or PGM of bytes that has no comments."""
    words = start.split(None, 4)
    if len(words) < 4 or not all(word.isdigit() and len(word) < 10 for word in words[1:4]) or words[3] != b"255":
        return None
    width, height, depth = int(words[1]), int(words[2]), 3 if words[0] == b"P6" else 1
    at = start.index(b"255", start.index(words[2], start.index(words[1], 2) + len(words[1])) + len(words[2])) + 4
    return _plain(path, at, height, width, depth, row_bytes=width * depth)


def _bmp(path: Path, start: bytes) -> Uint8Array | None:
    """Map a BMP of 24 bits without compression."""
    if len(start) < 34:
        return None
    (at,) = struct.unpack_from("<I", start, 10)
    size, width, height, _, bits, compression = struct.unpack_from("<IiiHHI", start, 14)
    if size < 40 or bits != 24 or compression or width < 1 or not height:
        return None
    pixels = _plain(path, at, abs(height), width, 3, row_bytes=(3 * width + 3) // 4 * 4)
    upright: Uint8Array = (pixels[::-1] if height > 0 else pixels)[..., ::-1]
    return upright


def _plain(path: Path, at: int, height: int, width: int, depth: int, row_bytes: int) -> Uint8Array:
    if min(height, width) < 1 or path.stat().st_size < at + height * row_bytes:
        raise PictureError("it is cut short")
    rows: Uint8Array = np.memmap(path, np.uint8, "r", at, (height, row_bytes))
    return rows[:, : width * depth].reshape(height, width, depth)


def _converted(pixels_hWC: Uint8Array, channels: Literal[1, 3]) -> Uint8Array:
    pixels_hWC = np.ascontiguousarray(pixels_hWC)
    if pixels_hWC.shape[2] == channels:
        return pixels_hWC
    image = as_image(pixels_hWC)
    converted: Uint8Array = np.asarray(image.convert("L" if channels == 1 else "RGB"))
    return np.atleast_3d(converted)
