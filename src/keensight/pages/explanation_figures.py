"""The figures of an explanation: a heat map over its picture, and layers' activations as small maps.

The colours are the report's: blue speaks for the answer, vermilion against it. Each figure has its data in arrays, from
a pure function, and its text in a data URI. Shape letters: M maps, H height, W width, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from keensight.explanation.activations import Activation
from keensight.explanation.occlusion import STANDS_OUT
from keensight.pages.pictures import TILE_PX, mosaic_data_uri, picture_data_uri, signed_colours, strongest
from keensight.values import FloatArray, Uint8Array

HEIGHT_PX = 240
WASH = 0.45  # how much the picture under a heat map is whitened, 0 to 1
COVER = 0.85  # the opacity of the strongest heat
MOST_MAPS = 32
MOST_LAYERS = 8
GREY = np.array([0.299, 0.587, 0.114])  # the luma of ITU-R BT.601, as Pillow has it


@dataclass(frozen=True, slots=True)
class LayerFigure:
    """One layer's strongest maps, side by side in one picture, `uri`, with its title and caption."""

    uri: str
    title: str
    caption: str


def overlay(picture_HWC: Uint8Array, drop_HW: FloatArray) -> Uint8Array:
    """Return a picture, grey and pale, under an occlusion map as uint8 HW3.

    It is blue where covering lowers the log-odds, and vermilion where covering raises them. The colour is full at the
    map's largest value, but at least at half a point, so that a map of next to nothing stays pale.
    """
    grey_HW = picture_HWC[..., 0] if picture_HWC.shape[2] == 1 else picture_HWC @ GREY
    pale_HW1 = (255 * WASH + (1 - WASH) * grey_HW)[..., None]
    colours_HW4 = signed_colours(drop_HW[None], heat_scale(drop_HW))[0].astype(np.float64)
    cover_HW1 = colours_HW4[..., 3:] / 255 * COVER
    blended_HW3 = pale_HW1 * (1 - cover_HW1) + colours_HW4[..., :3] * cover_HW1
    return np.asarray(blended_HW3.round(), np.uint8)


def heat_scale(drop_HW: FloatArray) -> float:
    """Return the change of log-odds, in points, that `overlay` draws in full colour.

    >>> heat_scale(np.array([[0.2, -2.4]])), heat_scale(np.array([[0.0, 0.01]]))
    (2.4, 0.5)
    """
    return max(STANDS_OUT, float(np.abs(drop_HW).max()))


def overlay_data_uri(picture_HWC: Uint8Array, drop_HW: FloatArray) -> str:
    """Return `overlay` as a data URI, as high as the picture beside it."""
    return picture_data_uri(overlay(picture_HWC, drop_HW), HEIGHT_PX, lossy=True)


def spread(layers: Sequence[Activation], most: int = MOST_LAYERS) -> list[Activation]:
    """Return `most` evenly spaced layers, with the first and the last; all, if there are fewer."""
    if len(layers) <= most:
        return list(layers)
    return [layers[i] for i in np.linspace(0, len(layers) - 1, most).round().astype(int)]


def shown_maps(activation: Activation) -> FloatArray:
    """Return the maps that a figure shows, float MHW: the 32 strongest, shrunk to 40 pixels if larger."""
    maps_MHW = activation.maps_CHW[strongest(activation.maps_CHW, MOST_MAPS)]
    H, W = maps_MHW.shape[1:]
    scale = TILE_PX / max(H, W)
    if scale >= 1:
        return maps_MHW
    size = max(1, round(W * scale)), max(1, round(H * scale))
    return np.stack([np.asarray(Image.fromarray(each).resize(size, Image.Resampling.BOX)) for each in maps_MHW])


def layer_figures(layers: Sequence[Activation]) -> tuple[LayerFigure, ...]:
    """Draw the activations of the convolutional layers that `spread` chooses."""
    numbers = {id(layer): number for number, layer in enumerate(layers, 1)}
    return tuple(_layer_figure(layer, numbers[id(layer)], len(layers)) for layer in spread(layers))


def _layer_figure(activation: Activation, number: int, all_of_them: int) -> LayerFigure:
    C, H, W = activation.maps_CHW.shape
    maps_MHW = shown_maps(activation)
    shown = len(maps_MHW)
    which = f"the {shown} strongest of {C:,} channels" if shown < C else f"all {C} channels, strongest first"
    return LayerFigure(
        mosaic_data_uri(signed_colours(maps_MHW)),
        f"Convolution {number} of {all_of_them}",
        f"{activation.layer}: {which}, {H} × {W} each",
    )
