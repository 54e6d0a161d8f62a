"""From a picture file to the bytes that a model takes: the one function that training and serving share.

NumPy and Pillow only: a serving image has no torch in it. Shape letters: N images, H height, W width, C channels.
"""

from __future__ import annotations

import functools
import io
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from keensight.data.bare import bare
from keensight.data.bare_tiff import check_parts
from keensight.data.formats import formats_of
from keensight.data.given import as_image
from keensight.data.kinds import is_heif, rare_or_damaged, what_is
from keensight.data.levels import in_eight_bits, is_deep, key_in_eight_bits, white_of
from keensight.data.orientation import of_exif, upright
from keensight.data.plain_png import PNG, open_plain_png
from keensight.data.polarity import ring
from keensight.data.resizing import resized
from keensight.data.scaling import LEAST_SHRINKING, two_faces
from keensight.errors import MissingDecoderError, PictureError, TooManyPixelsError, TooMuchWorkError
from keensight.values import Preprocessing, Uint8Array

MAX_PIXELS = 80_000_000  # below Pillow's own limit, above any phone's default mode
STRIP_PIXELS = 500_000  # composed at a time, as no other thread runs meanwhile
ACCEPTED = "JPEG, PNG, GIF, WebP, BMP, TIFF, PPM, AVIF and HEIC pictures up to 80 megapixels are accepted"
MOST_WORK = 1_000_000_000  # pixels times passes: what libjpeg's own ten scans of 80 megapixels are, some ten seconds
MOST_SCANS = 24  # that a JPEG needs for any colours; one with more must be small
MOST_WORK_OF_MANY_SCANS = 100_000_000
DECODER_VERSION = 2  # part of the cache's key: raise it when the same file gives other pixels

PNG_GREYS = (0, 4)  # kinds of colour in its header: levels, and levels with transparency
_GREY_MODES = {"1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N", "F"}


@dataclass(frozen=True, slots=True)
class Header:
    """A picture's header, read without decoding it."""

    height: int
    width: int
    grey: bool
    work: int = 0  # pixels times the passes over them that decoding takes
    is_bounded: bool = True  # whether it takes no more than that, whatever the file holds
    has_range: bool = True  # whether the file says which levels are black and white


def read_header(picture: bytes | Uint8Array) -> Header:
    """Return a picture's size and whether it is grey, without decoding it. Raises PictureError."""
    if isinstance(picture, np.ndarray):
        return Header(picture.shape[0], picture.shape[1], picture.shape[2] == 1)
    opened = _open(picture)
    width, height = opened.size
    has_range = not is_deep(opened.image) or white_of(opened.image) is not None
    # Pillow has no mode for deep greys with transparency, and takes one of colour; PNG says itself what it has
    is_grey = opened.image.mode in _GREY_MODES or (picture.startswith(PNG) and picture[25] in PNG_GREYS)
    return Header(height, width, is_grey, opened.work, opened.is_bounded, has_range)


def level_range(picture: bytes) -> tuple[float, float]:
    """Return the lowest and the highest level of a grey picture, as its file has them. Raises PictureError."""
    image = _load(_open(picture))
    lowest, highest = image.getextrema()
    if not (isinstance(lowest, int | float) and isinstance(highest, int | float) and lowest - highest <= 0):
        raise PictureError("it has no levels of grey")
    return float(lowest), float(highest)


def decode_picture(picture: bytes | Uint8Array, preprocessing: Preprocessing) -> Uint8Array:
    """Turn an encoded picture, or an array uint8 HWC, into uint8 HWC of the size and channels asked for.

    The first frame of an animation is taken, EXIF orientation is applied, transparency is laid on white, and deep
    greys are scaled as `levels` says. Resizing averages over the pixels that it drops, so that thin lines stay.

    Raises:
        PictureError: it is not a picture, is damaged or cut short, has more than `MAX_PIXELS` pixels, or would take
            far longer to decode than a picture of its size should.
    """
    if isinstance(picture, np.ndarray):
        if picture.shape == (preprocessing.height, preprocessing.width, preprocessing.channels):
            return picture
        return _fitted(as_image(picture), preprocessing)
    return _fitted(_load(_open(picture), preprocessing), preprocessing)


def decode_and_compare(picture: bytes, preprocessing: Preprocessing, most_work: int) -> tuple[Uint8Array, bool] | None:
    """Return what `decode_if_quick` does, and whether the picture shows something else where pixels are not averaged.

    It is looked at as it was decoded: a JPEG that is more than four times too large was averaged by its decoder then.
    """
    opened = _open(picture)
    if opened.work > most_work or not opened.is_bounded:
        return None
    image, size = _load(opened, preprocessing), (preprocessing.height, preprocessing.width)
    is_larger = min(image.height / size[0], image.width / size[1]) >= LEAST_SHRINKING
    if is_larger and image.mode in ("L", "RGB"):
        return _fitted(image, preprocessing), two_faces(np.asarray(image.convert("L")), [size]) is not None
    return _fitted(image, preprocessing), False


def whole_if_quick(
    picture: bytes, channels: Literal[1, 3], most_work: int, levels: tuple[float, float] | None = None
) -> Uint8Array | None:
    """Return all pixels of an encoded picture, upright on white, uint8 HWC; None where it might take more work."""
    opened = _open(picture)
    if opened.work > most_work or not opened.is_bounded:
        return None
    whole = np.asarray(_flatten(_load(opened), "L" if channels == 1 else "RGB", levels))
    return whole.reshape(*whole.shape[:2], channels)


def all_pixels(picture: bytes, channels: Literal[1, 3]) -> Uint8Array:
    """Return an encoded picture as it is, uint8 HWC, in grey or colour, upright. Raises PictureError."""
    pixels: Uint8Array = np.asarray(_flatten(_load(_open(picture)), "L" if channels == 1 else "RGB", None))
    return pixels.reshape(*pixels.shape[:2], channels)


def decode_if_small(picture: bytes, preprocessing: Preprocessing, most_pixels: int) -> Uint8Array | None:
    """Return what `decode_picture` does, or None, undecoded, for a picture of more than `most_pixels`.

    None also for a PNG with more than pixels in it: 3 kB of compressed comments took 9 ms to read. Reading the header
    separately would take a quarter more time for a picture of 28x28.
    """
    if (plain := open_plain_png(picture, most_pixels)) is not None:
        return _fitted(plain, preprocessing)
    if picture.startswith(PNG):
        return None
    return decode_if_quick(picture, preprocessing, most_pixels)


def decode_if_quick(picture: bytes, preprocessing: Preprocessing, most_work: int) -> Uint8Array | None:
    """Return what `decode_picture` does, or None, undecoded, where it might take more work than this."""
    opened = _open(picture)
    if opened.work > most_work or not opened.is_bounded:
        return None
    return _fitted(_load(opened, preprocessing), preprocessing)


@dataclass(frozen=True, slots=True)
class _Opened:
    """A picture whose header was read, and what its file says beside its pixels."""

    image: Image.Image
    orientation: int
    work: int
    is_bounded: bool

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the upright picture."""
        return self.image.size[::-1] if self.orientation in (5, 6, 7, 8) else self.image.size


def _open(picture: bytes) -> _Opened:
    if not picture:
        raise PictureError("it is empty (0 bytes)")
    try:
        found = bare(picture)
        formats = _heif_formats() if is_heif(picture) else formats_of(found.content)
        image = Image.open(io.BytesIO(found.content), formats=formats)
        if image.format == "PNG":
            key_in_eight_bits(image, picture[24])
        num_tiles = len(image.tile)
    except (TooMuchWorkError, MissingDecoderError):
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):  # the latter if warnings are errors
        raise TooManyPixelsError(f"it has more than {MAX_PIXELS // 10**6} megapixels; {ACCEPTED}") from None
    except UnidentifiedImageError:
        what = what_is(picture) or rare_or_damaged(picture) or "not a picture that can be read"
        raise PictureError(f"it is {what}; {ACCEPTED}") from None
    except Exception as error:  # Pillow's parsers may raise anything for a hostile file
        raise PictureError(f"its header is damaged ({_one_line(error)})") from error
    pixels = image.width * image.height
    if pixels > MAX_PIXELS:
        raise TooManyPixelsError(f"it has {pixels / 1e6:,.0f} megapixels; {ACCEPTED}")
    if pixels * found.passes > (MOST_WORK if found.passes <= MOST_SCANS else MOST_WORK_OF_MANY_SCANS):
        raise TooMuchWorkError(
            f"decoding it takes {found.passes:,} passes over {pixels / 1e6:,.1f} megapixels; save it again, as a plain "
            "JPEG or PNG"
        )
    check_parts(num_tiles, pixels)
    # Pillow puts a turn that AVIF itself has into EXIF; libheif has turned its pictures already
    orientation = of_exif(image.info.get("exif") or b"") if image.format == "AVIF" else found.orientation
    # a decoder also reads bytes that give no pixels, such as empty blocks of deflated data
    work = max(pixels * found.passes, len(found.content) // 4)
    return _Opened(image, orientation, work, found.is_bounded)


@functools.cache
def _heif_formats() -> tuple[str, ...]:
    try:
        import pi_heif
    except ImportError as error:
        raise MissingDecoderError(
            "it is a HEIC picture (iPhones save it unless set to 'Most Compatible'), which takes the package pi-heif: "
            'pip install "keensight[heif]", or convert it to JPEG'
        ) from error
    pi_heif.register_heif_opener(thumbnails=False, decode_threads=1)
    return ("HEIF",)


def _load(opened: _Opened, preprocessing: Preprocessing | None = None) -> Image.Image:
    image = opened.image
    try:
        if image.format == "JPEG" and preprocessing is not None:
            # libjpeg can decode at 1/2, 1/4 or 1/8 for a fraction of the work; twice the target keeps the quality
            enough = 2 * max(preprocessing.width, preprocessing.height)
            image.draft(_mode(preprocessing), (enough, enough))
        image.load()
        _cut_alphas(image)
        return upright(image, opened.orientation)
    except MemoryError as error:  # which says nothing of the picture
        raise PictureError("there is not enough memory to decode it") from error
    except Exception as error:
        raise PictureError(f"it is damaged or cut short ({_one_line(error)})") from error


def _cut_alphas(image: Image.Image) -> None:
    """Forget the transparency of colours that a palette does not have, as libpng does; Pillow refuses the picture."""
    alphas = image.info.get("transparency")
    if image.mode == "P" and image.palette is not None and isinstance(alphas, bytes):
        image.info["transparency"] = alphas[: len(image.palette.palette) // len(image.palette.mode)]


def _fitted(image: Image.Image, preprocessing: Preprocessing) -> Uint8Array:
    image = _flatten(image, _mode(preprocessing), preprocessing.levels)
    size = (preprocessing.width, preprocessing.height)
    squashed = resized(image, *size) if preprocessing.fit == "squash" and image.size != size else None
    if squashed is not None:
        return squashed
    image = _resize(image, size, preprocessing.fit)
    return np.frombuffer(image.tobytes(), np.uint8).reshape(
        preprocessing.height, preprocessing.width, preprocessing.channels
    )


def _mode(preprocessing: Preprocessing) -> str:
    return "L" if preprocessing.channels == 1 else "RGB"


def _flatten(image: Image.Image, mode: str, levels: tuple[float, float] | None) -> Image.Image:
    """Return `image` as 8-bit grey or RGB, transparency laid on white."""
    try:
        return _on_white(image, mode, levels)
    except MemoryError as error:
        raise PictureError("there is not enough memory to decode it") from error
    except Exception as error:  # conversions may find what decoding did not
        raise PictureError(f"it is damaged or cut short ({_one_line(error)})") from error


def _on_white(image: Image.Image, mode: str, levels: tuple[float, float] | None) -> Image.Image:
    is_opaque = not ("A" in image.mode or "a" in image.mode or "transparency" in image.info)
    if image.mode == mode and is_opaque:
        return image
    if is_deep(image):
        image = in_eight_bits(image, levels)
        is_opaque = image.mode == "L"
    if not is_opaque:
        if image.mode in ("1", "La"):  # which Pillow does not turn into RGBA, or not with their transparency
            image = image.convert("L" if image.mode == "1" else "LA")
        image, layer = Image.new("RGBA", image.size, "white"), image.convert("RGBA")
        rows = max(1, STRIP_PIXELS // image.width)
        for top in range(0, image.height, rows):
            image.alpha_composite(layer, (0, top), (0, top, image.width, min(top + rows, image.height)))
    return image.convert("RGB").convert(mode) if image.mode == "P" else image.convert(mode)


def _resize(image: Image.Image, size: tuple[int, int], fit: Literal["squash", "letterbox", "crop"]) -> Image.Image:
    if image.size == size:
        return image
    if fit == "crop":
        return ImageOps.fit(image, size, Image.Resampling.BILINEAR)
    if fit == "letterbox":
        # fill with the picture's own border, so that a drawing on paper stays on paper
        pixels = np.asarray(image)
        border = ring(pixels.reshape(1, image.height, image.width, -1)).reshape(-1, len(image.getbands()))
        colour = tuple(int(level) for level in np.median(border, axis=0))
        return ImageOps.pad(image, size, Image.Resampling.BILINEAR, color=colour if len(colour) > 1 else colour[0])
    return image.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)


def _one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]
