"""Pictures that a page shows besides its figures: samples, and weights and other maps of numbers in two colours.

Numbers are blue above zero and vermilion below, and as opaque as they are large: zero is the paper itself, light or
dark. Shape letters: M maps, F filters, H height, W width, C channels, K classes.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np
from PIL import Image

from keensight.data.given import as_image
from keensight.data.pixels import decode_picture, read_header
from keensight.values import FloatArray, IntArray, Preprocessing, Split, Uint8Array

if TYPE_CHECKING:
    from keensight.explanation.weights import FirstLayer  # needs torch, which a server lacks

BLUE, VERMILION = (0, 114, 178), (213, 94, 0)  # of Okabe & Ito's palette; report.css has them too
FRAME, GAP_PX = (128, 128, 128, 110), 3
STEPS = 31  # of opacity: more cannot be told apart, and these take half the bytes
FEW_CLASSES = 10  # classes that have samples on the page
SAMPLES = 6  # of each class
TILE_PX = 40
MOST_FILTERS = 64


@dataclass(frozen=True, slots=True, eq=False)
class Pictures:
    """What a report's page shows besides its JSON: uint8 HWC pictures, and weights.

    `mistakes` and `near_misses` have one picture for each of the report's, or none at all; `samples` are a few training
    pictures of each class, by its name.
    """

    mistakes: Sequence[Uint8Array] = ()
    near_misses: Sequence[Uint8Array] = ()
    samples: Mapping[str, Sequence[Uint8Array]] = field(default_factory=dict)
    first_layer: FirstLayer | None = None


@dataclass(frozen=True, slots=True)
class Gallery:
    """Pictures with captions, and a caption for all of them: plain text, which the page escapes."""

    tiles: tuple[tuple[str, str], ...]  # data URI, caption
    caption: str


def picture_data_uri(picture_HWC: Uint8Array, height_px: int, *, lossy: bool = False) -> str:
    """Return a PNG data URI of a uint8 picture with 1 or 3 channels, about `height_px` high and never over four wide.

    Small pictures grow by a whole factor with their pixels kept square; large ones shrink with Lanczos' filter. With
    `lossy`, a colour picture becomes a JPEG if that is smaller: for a photograph, a sixth of the size.
    """
    picture = as_image(picture_HWC)
    scale = min(height_px / picture.height, 4 * height_px / picture.width)
    if scale >= 1:
        factor = int(scale)
        picture = picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)
    else:
        size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    uris = [image_data_uri(picture, "png")]
    if lossy and picture.mode == "RGB":
        uris.append(image_data_uri(picture, "jpeg"))
    return min(uris, key=len)


def file_data_uri(picture: bytes | Uint8Array, seen: Preprocessing, height_px: int) -> str:
    """Return a data URI of a picture as its file has it, or of its pixels, about `height_px` high.

    `seen` says whether it is grey, and which levels are black and white. Raises PictureError.
    """
    if isinstance(picture, bytes):
        header = read_header(picture)
        scale = min(1.0, 2 * height_px / header.height)  # twice as large as shown, for dense screens
        height, width = (min(4096, max(1, round(scale * side))) for side in (header.height, header.width))
        picture = decode_picture(picture, Preprocessing(height, width, seen.channels, "letterbox", seen.levels))
    return picture_data_uri(picture, height_px, lossy=True)


def image_data_uri(image: Image.Image, kind: Literal["png", "jpeg"] = "png") -> str:
    """Return a Pillow image, as large as it is, as a data URI."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **({"quality": 88} if kind == "jpeg" else {}))
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def sample_members(split: Split, num_classes: int, seed: int) -> dict[int, IntArray]:
    """Return up to 6 members of a split for each of the first 10 classes with any, drawn without replacement.

    The same `seed` draws the same pictures, and a class's pictures do not depend on the other classes.
    """
    found: dict[int, IntArray] = {}
    for k in range(num_classes):
        members = np.flatnonzero(split.labels == k)
        if len(members) and len(found) < FEW_CLASSES:
            found[k] = np.random.default_rng([seed, k]).permutation(members)[:SAMPLES]
    return found


def signed_colours(maps_MHW: FloatArray, scale: float | None = None) -> Uint8Array:
    """Return float maps as uint8 colours MHW4 (RGBA): blue above zero, vermilion below, transparent at zero.

    `scale` is the value at which a colour is opaque: the largest of all maps if None, so that they can be compared.

    >>> signed_colours(np.array([[[0.0, 2.0, -1.0]]])).tolist()
    [[[[213, 94, 0, 0], [0, 114, 178, 255], [213, 94, 0, 132]]]]
    """
    scale = float(np.abs(maps_MHW).max(initial=0.0)) if scale is None else scale
    share_MHW = np.clip(np.abs(maps_MHW) / scale, 0, 1) if scale > 0 else np.zeros(maps_MHW.shape)
    colours_MHW4 = np.empty((*maps_MHW.shape, 4), np.uint8)
    colours_MHW4[..., :3] = np.where((maps_MHW > 0)[..., None], BLUE, VERMILION)
    colours_MHW4[..., 3] = np.round(np.round(share_MHW * STEPS) * (255 / STEPS))
    return colours_MHW4


def weight_colours(weights_FCHW: FloatArray) -> Uint8Array:
    """Return the weights of filters as uint8 colours FHW4 (RGBA), all on one scale.

    Filters of one channel are drawn by `signed_colours`. Those of three are drawn as colours: zero is a middle grey,
    and the largest weight of all is full red, green or blue.
    """
    if weights_FCHW.shape[1] == 1:
        return signed_colours(weights_FCHW[:, 0])
    scale = float(np.abs(weights_FCHW).max(initial=0.0)) or 1.0
    colours_FHWC = np.round(127.5 + 127.5 * weights_FCHW.transpose(0, 2, 3, 1) / scale)
    return np.concatenate([colours_FHWC, np.full((*colours_FHWC.shape[:3], 1), 255)], axis=3).astype(np.uint8)


def mosaic_data_uri(tiles_MHWC: Uint8Array, columns: int = 8, tile_px: int = TILE_PX) -> str:
    """Return a PNG data URI of M small RGBA pictures in rows of `columns`, each grown by a whole factor to `tile_px`.

    Each has a margin and a grey frame, so that fully transparent ones can be told apart.
    """
    M, H, W, _ = tiles_MHWC.shape
    factor = max(1, tile_px // max(H, W))
    tiles_MHWC = tiles_MHWC.repeat(factor, axis=1).repeat(factor, axis=2)
    framed_MHW4 = np.full((M, H * factor + 2, W * factor + 2, 4), FRAME, np.uint8)
    framed_MHW4[:, 1:-1, 1:-1] = tiles_MHWC
    high, wide = framed_MHW4.shape[1] + GAP_PX, framed_MHW4.shape[2] + GAP_PX
    columns = min(columns, M)
    sheet_HW4 = np.zeros((-(-M // columns) * high - GAP_PX, columns * wide - GAP_PX, 4), np.uint8)
    for i, tile_HW4 in enumerate(framed_MHW4):
        top, left = i // columns * high, i % columns * wide
        sheet_HW4[top : top + high - GAP_PX, left : left + wide - GAP_PX] = tile_HW4
    return image_data_uri(Image.fromarray(sheet_HW4))


def strongest(maps_MHW: FloatArray, most: int) -> IntArray:
    """Return the indices of the `most` maps with the largest mean absolute value, largest first.

    >>> strongest(np.array([[[1.0]], [[-3.0]], [[2.0]]]), 2).tolist()
    [1, 2]
    """
    return np.argsort(-np.abs(maps_MHW).mean(axis=(1, 2)), kind="stable")[:most].astype(np.int64)


def weights_gallery(layer: FirstLayer) -> Gallery:
    """Draw a network's first layer: the weights of each class, or the strongest filters or cells side by side."""
    F, C, H, W = layer.weights.shape
    if layer.kind == "convolution":
        shown = strongest(np.abs(layer.weights).mean(axis=1), MOST_FILTERS)
        tiles = ((mosaic_data_uri(weight_colours(layer.weights[shown])), ""),)
        look = (
            "Blue weights are positive, orange ones negative; where the page shows through, the weight is zero."
            if C == 1
            else "Each shows the colours that it responds to most; where it is middle grey, the weight is zero."
        )
        return Gallery(tiles, f"{_of(len(shown), F, 'filters')} of the first convolution, {H} × {W} each. {look}")
    maps_FHW = layer.weights.sum(axis=1)
    colours = "" if C == 1 else " The weights of red, green and blue are added up."
    if layer.kind == "dense":
        shown = strongest(maps_FHW, MOST_FILTERS)
        tiles = ((mosaic_data_uri(signed_colours(maps_FHW[shown])), ""),)
        return Gallery(
            tiles,
            f"{_of(len(shown), F, 'cells')} of the first layer. A cell responds to pictures that are bright where "
            f"it is blue and dark where it is orange.{colours}",
        )
    names = layer.names if len(layer.names) == F else ("",)
    uris = [mosaic_data_uri(colours_HW4[None], 1, 160) for colours_HW4 in signed_colours(maps_FHW)]
    if F == 1:
        what = f"Where it is blue, a bright pixel speaks for “{layer.names[1]}”; where it is orange, for "
        what += f"“{layer.names[0]}”; elsewhere it has no say."
    else:
        what = "A bright pixel speaks for a class where it is blue, and against it where it is orange."
    return Gallery(tuple(zip(uris, names, strict=True)), f"The weights of the model, as pictures. {what}{colours}")


def _of(shown: int, all_of_them: int, what: str) -> str:
    if shown == all_of_them:
        return f"The {shown} {what}, strongest first,"
    return f"The {shown} strongest of {all_of_them:,} {what}"
