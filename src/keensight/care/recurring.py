"""Poison, first stage: the same few pixels, to the last bit, in pictures of one label.

A camera never gives the same 3x3 pixels twice: each has noise of its own. A patch that a program put there is the same
each time, at any place, flat or textured, and any patch of 3x3 pixels or more has such a square in it. In grey pictures
strokes are alike to the bit, too; but nature varies, so that as many are nearly the same, or beside that place.
docs/audit.md says what is found and what is missed.
Shape letters: N pictures, H height, W width, C channels, M squares, G groups of them that show the same, K classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from keensight.values import FloatArray, IntArray, Uint8Array

SIDE = 3
LEAST = 5  # pictures with the same patch
PURE = 0.9  # of a group under one label
MOST_OF_LABEL = 0.5  # of its pictures: what more of them have is what the class shows, in drawings
# That the label's share explains it, at most. Colour pictures had no such groups by nature, grey ones had.
CHANCE, CHANCE_IN_GREY = 1e-3, 1e-7
AT_ONE_PLACE = 0.8  # of a group
NATURAL = 0.25  # of as many pictures nearly have it, or have it beside that place: so it is no patch
COARSE_BITS = 5  # of each level, that may differ in what shows nearly the same
BESIDE_PX = 2
AT_A_TIME = 1_024


@dataclass(frozen=True, slots=True, eq=False)
class Patch:
    """A patch: the pictures that have it, their label, its place (top, left) or None for any, its levels SSC."""

    members: IntArray
    label: int
    place: tuple[int, int] | None
    levels: FloatArray
    chance: float


@dataclass(frozen=True, slots=True, eq=False)
class _Squares:
    """Squares that are asked for: `group_M` is which of the keys each has, `which_M` the picture."""

    group_M: IntArray
    which_M: IntArray
    top_M: IntArray
    left_M: IntArray

    def of(self, group: int) -> tuple[IntArray, IntArray, IntArray]:
        """Return picture, top and left of the squares of a group, which lie together."""
        some = slice(*np.searchsorted(self.group_M, [group, group + 1]))
        return self.which_M[some], self.top_M[some], self.left_M[some]


def recurring(images_NHWC: Uint8Array, labels_N: IntArray, num_classes: int) -> Iterator[Patch]:
    """Yield patches that recur to the bit under one label; several may be parts of one."""
    if min(images_NHWC.shape[1:3]) < SIDE + 2:
        return
    shares_K = np.bincount(labels_N, minlength=num_classes) / len(labels_N)
    most = CHANCE if images_NHWC.shape[3] > 1 else CHANCE_IN_GREY
    squares = _with(images_NHWC, _frequent(images_NHWC), 0)
    groups, labels, chances = _under_one_label(squares, labels_N, shares_K, most)
    if not len(groups):
        return
    shown = [_block(images_NHWC, *(each[0] for each in squares.of(group))) for group in groups]
    wanted, near_G = np.unique(_keys(np.stack(shown), COARSE_BITS), return_inverse=True)
    alike = _with(images_NHWC, wanted, COARSE_BITS)
    for group, label, chance, near, block in zip(groups, labels, chances, near_G.reshape(-1), shown, strict=True):
        which_M, top_M, left_M = squares.of(group)
        nearly_M, near_top_M, near_left_M = alike.of(int(near))
        place = _one_place(which_M, top_M, left_M, images_NHWC.shape[2])
        varied = set(nearly_M.tolist()) - set(which_M.tolist())
        if place is not None:
            far_M = np.maximum(abs(top_M - place[0]), abs(left_M - place[1]))
            far_near_M = np.maximum(abs(near_top_M - place[0]), abs(near_left_M - place[1]))
            here = set(which_M[far_M == 0].tolist())
            varied = set(nearly_M[far_near_M <= BESIDE_PX].tolist()) - here
            which_M = which_M[far_M == 0]
        members = np.unique(which_M)
        if images_NHWC.shape[3] > 1 or len(varied) <= NATURAL * len(members):
            of_label = members[labels_N[members] == label]
            yield Patch(of_label, int(label), place, block.astype(np.float64), float(chance))


def _keys(images_NHWC: Uint8Array, dropped_bits: int) -> NDArray[np.int32]:
    """Return a number for each square, N(H-2)(W-2), which is the same where the levels are, but for some bits."""
    n, height, width, channels = images_NHWC.shape
    mix = np.random.default_rng(0).integers(1, 2**62, (SIDE, SIDE, channels), dtype=np.int64)
    levels, tops, lefts = (images_NHWC >> dropped_bits).astype(np.int64), height - SIDE + 1, width - SIDE + 1
    keys = np.zeros((n, tops, lefts), np.int64)
    for i in range(SIDE):
        for j in range(SIDE):
            keys += levels[:, i : i + tops, j : j + lefts] @ mix[i, j]  # it wraps around, as hashes do
    shorter: NDArray[np.int32] = (keys >> 31).astype(
        np.int32
    )  # half the memory, and five pictures hardly agree by chance
    return shorter


def _frequent(images_NHWC: Uint8Array) -> NDArray[np.int32]:
    """Return the keys of squares that are there `LEAST` times, and not more often than once a picture: no paper."""
    parts = [
        _keys(images_NHWC[first : first + AT_A_TIME], 0).reshape(-1) for first in range(0, len(images_NHWC), AT_A_TIME)
    ]
    keys_M = np.concatenate(parts)
    keys_M.sort()
    starts = np.concatenate([[0], np.flatnonzero(np.diff(keys_M)) + 1, [len(keys_M)]])
    counts = np.diff(starts)
    kept: NDArray[np.int32] = keys_M[starts[:-1][(counts >= LEAST) & (counts <= len(images_NHWC))]]
    return kept


def _with(images_NHWC: Uint8Array, wanted: NDArray[np.int32], dropped_bits: int) -> _Squares:
    """Return the squares that have one of the keys, which are sorted; those of one key lie together."""
    found: list[tuple[IntArray, ...]] = []
    for first in range(0, len(images_NHWC), AT_A_TIME):
        keys = _keys(images_NHWC[first : first + AT_A_TIME], dropped_bits)
        at = np.minimum(np.searchsorted(wanted, keys.reshape(-1)), max(0, len(wanted) - 1)).reshape(keys.shape)
        which, top, left = np.nonzero(wanted[at] == keys) if len(wanted) else (np.empty(0, np.int64),) * 3
        found.append((at[which, top, left], which + first, top, left))
    columns = [np.concatenate(each) for each in zip(*found, strict=True)]
    order = np.argsort(columns[0], kind="stable")
    return _Squares(*(each[order] for each in columns))


def _under_one_label(
    squares: _Squares, labels_N: IntArray, shares_K: FloatArray, most: float
) -> tuple[IntArray, IntArray, FloatArray]:
    """Return the groups that are of one label more than its share explains, their labels, and the chance of that."""
    num_classes = len(shares_K)
    if not len(squares.group_M):
        return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0)
    pairs = np.unique(squares.group_M * len(labels_N) + squares.which_M)
    group, which = pairs // len(labels_N), pairs % len(labels_N)
    table_GK = np.bincount(group * num_classes + labels_N[which], minlength=(group.max() + 1) * num_classes)
    table_GK = table_GK.reshape(-1, num_classes)
    label_G, count_G, all_G = table_GK.argmax(axis=1), table_GK.max(axis=1), table_GK.sum(axis=1)
    chance_G = num_classes * binom.sf(count_G - 1, all_G, shares_K[label_G])
    few_G = (count_G >= LEAST) & (count_G <= MOST_OF_LABEL * len(labels_N) * shares_K[label_G])
    kept = np.flatnonzero(few_G & (count_G >= PURE * all_G) & (chance_G <= most))
    return kept, label_G[kept], chance_G[kept]


def _one_place(which_M: IntArray, top_M: IntArray, left_M: IntArray, width: int) -> tuple[int, int] | None:
    places, counts = np.unique(top_M * width + left_M, return_counts=True)
    top, left = divmod(int(places[counts.argmax()]), width)
    return (top, left) if counts.max() >= AT_ONE_PLACE * len(np.unique(which_M)) else None


def _block(images_NHWC: Uint8Array, which: int, top: int, left: int) -> Uint8Array:
    return images_NHWC[which, top : top + SIDE, left : left + SIDE]
