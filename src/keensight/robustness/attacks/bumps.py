"""How the square attack moves pictures in l2: bumps of both signs, which take their length from another square.

Andriushchenko et al. (2020, arXiv:1912.00049, section 3.3 and algorithm 3). In a query, all pictures have the same
squares, and signs of their own. Shape letters: N images, C channels, H height, W width, S side of a square.
"""

from __future__ import annotations

import torch

from keensight.robustness.attacks.ball import TINY, norms

LEAST_SIDE, TILES = 3, 5


def bumped(
    images_NCHW: torch.Tensor, attacked_NCHW: torch.Tensor, side: int, eps: float, draw: torch.Generator
) -> torch.Tensor:
    """Return pictures moved by `eps` in l2, with more of it in a random square; for a side of 0, in five by five."""
    _, _, height, width = images_NCHW.shape
    if side:
        side = min(max(side, LEAST_SIDE), height, width)
        moves_NCHW = _shifted(attacked_NCHW - images_NCHW, side, eps, draw)
    else:
        moves_NCHW = _tiles(images_NCHW, draw)
    return images_NCHW + moves_NCHW * (eps / norms(moves_NCHW).clamp_min(TINY))


def bump(side: int) -> torch.Tensor:
    """Return a move SS of length 1: up in one half, down in the other, and more the nearer to each half's middle.

    >>> [[round(value, 2) for value in row] for row in bump(2).tolist()]
    [[0.14, 0.69], [-0.14, -0.69]]
    """
    up, down = side // 2, side - side // 2
    found_SS = torch.cat([_pyramid(up, side), -_pyramid(down, side)] if up else [-_pyramid(down, side)])
    length_1_SS: torch.Tensor = found_SS / found_SS.norm()
    return length_1_SS


def _pyramid(height: int, width: int) -> torch.Tensor:
    """Return ever larger rectangles around the middle, added up, each with the inverse square of its number."""
    down_H, across_W = ((torch.arange(size) - size // 2).abs() for size in (height, width))
    ring_HW = torch.maximum(down_H[:, None], across_W[None, :])
    weights = 1 / torch.arange(1, int(ring_HW.max()) + 2) ** 2
    pyramid_HW = weights.flip(0).cumsum(0).flip(0)[ring_HW]
    length_1_HW: torch.Tensor = pyramid_HW / pyramid_HW.norm()
    return length_1_HW


def _signed(count: int, channels: int, side: int, draw: torch.Generator, like: torch.Tensor) -> torch.Tensor:
    """Return bumps NCSS, each channel's with a sign of its own, all of them turned by a right angle or none."""
    shape = bump(side)
    if torch.rand((), generator=draw) < 0.5:
        shape = shape.T
    signs_NC11 = 2 * torch.randint(0, 2, (count, channels, 1, 1), generator=draw) - 1
    return (signs_NC11 * shape).to(like)


def _tiles(images_NCHW: torch.Tensor, draw: torch.Generator) -> torch.Tensor:
    """Return a picture's first move: bumps side by side, five by five of them."""
    count, channels, height, width = images_NCHW.shape
    side = max(min(height, width) // TILES, 1)
    moves_NCHW = torch.zeros_like(images_NCHW)
    for top in range(0, height - side + 1, side):
        for left in range(0, width - side + 1, side):
            moves_NCHW[:, :, top : top + side, left : left + side] = _signed(count, channels, side, draw, images_NCHW)
    return moves_NCHW


def _shifted(moves_NCHW: torch.Tensor, side: int, eps: float, draw: torch.Generator) -> torch.Tensor:
    """Return moves that lose all in one square, and have that length, and what was left over, in another as well."""
    count, channels, height, width = moves_NCHW.shape
    (gains, loses) = (
        (slice(None), slice(None), slice(top, top + side), slice(left, left + side))
        for top, left in (
            [int(torch.randint(0, size - side + 1, (), generator=draw)) for size in (height, width)] for _ in range(2)
        )
    )
    of_both_NCHW = moves_NCHW.clone()
    of_both_NCHW[gains] = of_both_NCHW[loses] = 0
    left_over_N111 = (eps**2 - norms(moves_NCHW) ** 2).clamp_min(0)
    windows_NC11 = (moves_NCHW**2 - of_both_NCHW**2).sum(dim=(2, 3), keepdim=True)
    old_NCSS = moves_NCHW[gains]
    new_NCSS = _signed(count, channels, side, draw, moves_NCHW) + old_NCSS / norms(old_NCSS).clamp_min(TINY)
    lengths_NC11 = torch.linalg.vector_norm(new_NCSS, dim=(2, 3), keepdim=True).clamp_min(TINY)
    of_both_NCHW[gains] = new_NCSS / lengths_NC11 * (left_over_N111 / channels + windows_NC11).sqrt()
    return of_both_NCHW
