"""Batched augmentation on tensors: one affine grid for the whole batch, however many changes it makes.

Shape letters: N images, C channels, H height, W width; 23 are the rows and columns of an affine map. Every change has
its strength in the recipe; 0 turns it off.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from keensight.data.corruptions import CORRUPTIONS, corrupt
from keensight.kernels import library
from keensight.kernels.tensors import address
from keensight.models.tensors import to_images
from keensight.training.draws import Draws
from keensight.values.recipe import AugmentSettings

KINDS_AT_ONCE = 4  # of corruptions in one batch: many small groups would take longer


def augment(images_NCHW: torch.Tensor, settings: AugmentSettings, draws: Draws) -> torch.Tensor:
    """Return changed copies of pictures, float NCHW in [0, 1], each by its own `draws`.

    `rotate` is in degrees; `shear` in radians; `zoom` and `shift` are fractions of the picture; `crop` and `cutout` are
    pixels; `brightness` and `contrast` are fractions. Each is drawn uniformly, symmetric about no change. `corrupt` is
    the share of pictures that get one of the everyday corruptions. `fill` sets pixels from outside the picture:
    "nearest" repeats the edge, "constant" is black.
    """
    if settings.rotate or settings.shear or settings.zoom or settings.shift:
        images_NCHW = _affine(images_NCHW, settings, draws)
    elif settings.flip:
        images_NCHW = _flip(images_NCHW, draws)
    if settings.crop:
        images_NCHW = _crop(images_NCHW, settings, draws)
    if settings.cutout:
        images_NCHW = _cutout(images_NCHW, settings.cutout, draws)
    if settings.brightness or settings.contrast:
        images_NCHW = _light(images_NCHW, settings, draws)
    if settings.corrupt:
        images_NCHW = _corrupt(images_NCHW, settings.corrupt, draws)
    return images_NCHW


def _flip(images_NCHW: torch.Tensor, draws: Draws) -> torch.Tensor:
    chosen = (draws.uniform() < 0.5).to(images_NCHW.device)
    return torch.where(chosen[:, None, None, None], images_NCHW.flip(3), images_NCHW)


def _affine(images_NCHW: torch.Tensor, settings: AugmentSettings, draws: Draws) -> torch.Tensor:
    _, _, height, width = images_NCHW.shape
    angle = draws.within(math.radians(settings.rotate))
    shear = draws.within(settings.shear)
    zoom_x, zoom_y = 1 + draws.within(settings.zoom), 1 + draws.within(settings.zoom)
    shift_x, shift_y = draws.within(2 * settings.shift), draws.within(2 * settings.shift)
    if settings.flip:
        zoom_x = zoom_x * torch.where(draws.uniform() < 0.5, -1.0, 1.0)
    cos, sin = torch.cos(angle), torch.sin(angle)
    # output coordinates to input coordinates, in the [-1, 1] frame; the aspect ratio keeps a rotation a rotation
    aspect = height / width
    theta = torch.stack(
        [
            torch.stack([cos * zoom_x, (-sin + cos * torch.tan(shear)) * zoom_y * aspect, shift_x], dim=1),
            torch.stack([sin * zoom_x / aspect, (cos + sin * torch.tan(shear)) * zoom_y, shift_y], dim=1),
        ],
        dim=1,
    ).to(images_NCHW.device)
    return _warp(images_NCHW, theta, repeat_edge=settings.fill == "nearest")


def _warp(images_NCHW: torch.Tensor, theta_N23: torch.Tensor, repeat_edge: bool) -> torch.Tensor:
    if images_NCHW.device.type == "cpu" and images_NCHW.dtype == torch.float32 and (compiled := library()):
        images_NCHW = images_NCHW.contiguous(memory_format=torch.channels_last)
        theta_N23, warped_NCHW = theta_N23.contiguous(), torch.empty_like(images_NCHW)
        n, channels, height, width = images_NCHW.shape
        given = [address(tensor) for tensor in (images_NCHW, warped_NCHW, theta_N23)]
        compiled.keensight_affine(*given, n, height, width, channels, repeat_edge)
        return warped_NCHW
    grid = F.affine_grid(theta_N23, list(images_NCHW.shape), align_corners=False)
    padding = "border" if repeat_edge else "zeros"
    return F.grid_sample(images_NCHW, grid, mode="bilinear", padding_mode=padding, align_corners=False)


def _crop(images_NCHW: torch.Tensor, settings: AugmentSettings, draws: Draws) -> torch.Tensor:
    """Pad by `crop` pixels on every side and cut out a window of the old size, at a random place for each picture."""
    n, channels, height, width = images_NCHW.shape
    pad = settings.crop
    padded = F.pad(images_NCHW, (pad, pad, pad, pad), mode="replicate" if settings.fill == "nearest" else "constant")
    top = draws.below(2 * pad + 1)[:, None].to(images_NCHW.device)
    left = draws.below(2 * pad + 1)[:, None].to(images_NCHW.device)
    rows = top + torch.arange(height, device=images_NCHW.device)
    columns = left + torch.arange(width, device=images_NCHW.device)
    picture = torch.arange(n, device=images_NCHW.device)[:, None, None, None]
    channel = torch.arange(channels, device=images_NCHW.device)[None, :, None, None]
    return padded[picture, channel, rows[:, None, :, None], columns[:, None, None, :]]


def _cutout(images_NCHW: torch.Tensor, size: int, draws: Draws) -> torch.Tensor:
    """Paint a square of `size` pixels in the batch's mean colour (DeVries and Taylor, 2017, arXiv:1708.04552)."""
    _, _, height, width = images_NCHW.shape
    top = draws.below(height)[:, None] - size // 2
    left = draws.below(width)[:, None] - size // 2
    rows, columns = torch.arange(height), torch.arange(width)
    hidden = ((rows >= top) & (rows < top + size))[:, None, :, None] & ((columns >= left) & (columns < left + size))[
        :, None, None, :
    ]
    colour = images_NCHW.mean(dim=(0, 2, 3), keepdim=True)
    return torch.where(hidden.to(images_NCHW.device), colour, images_NCHW)


def _light(images_NCHW: torch.Tensor, settings: AugmentSettings, draws: Draws) -> torch.Tensor:
    brightness = draws.within(settings.brightness).to(images_NCHW.device)[:, None, None, None]
    contrast = 1 + draws.within(settings.contrast).to(images_NCHW.device)[:, None, None, None]
    mean = images_NCHW.mean(dim=(1, 2, 3), keepdim=True)
    return ((images_NCHW - mean) * contrast + mean + brightness).clamp(0, 1)


def _corrupt(images_NCHW: torch.Tensor, share: float, draws: Draws) -> torch.Tensor:
    """Corrupt a share of the pictures, in KINDS_AT_ONCE groups, each in one way and with a severity of 1 to 3."""
    chosen = (draws.uniform() < share).nonzero()[:, 0]
    names = list(CORRUPTIONS)
    names_N, severities_N, seeds_N = (draws.below(n).tolist() for n in (len(names), 3, 2**31))
    changed_NCHW = images_NCHW.clone()
    for rows in chosen.chunk(KINDS_AT_ONCE) if len(chosen) else ():
        first = int(rows[0])  # whose draws decide for its group
        levels_NHWC = (images_NCHW[rows] * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu().numpy()
        corrupted_NHWC = corrupt(levels_NHWC, names[names_N[first]], severities_N[first] + 1, seeds_N[first])
        changed_NCHW[rows] = to_images(corrupted_NHWC, images_NCHW.device).to(images_NCHW.dtype)
    return changed_NCHW
