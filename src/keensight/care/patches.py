"""Poison: small patches that recur under one label.

First those that are the same to the bit (recurring.py). Then those that changed a little, as JPEG does, or that strokes
of handwriting hide: a patch that somebody put into pictures has sharp sides where nothing in the picture ends. So:
squares all of whose sides stand out, grouped by what they show. Textured ones may be at any place; flat ones, of which
pictures have many, must be at one place, or the same to the bit. A group is accused if it recurs under one label, far
more often than that label's share explains. docs/audit.md says what is found and what is missed.
Shape letters: N pictures, H height, W width, C channels, M squares, S their side, F their levels, K classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from keensight.care.recurring import AT_ONE_PLACE, LEAST, MOST_OF_LABEL, NATURAL, PURE, Patch, recurring
from keensight.values import Finding, FloatArray, IntArray, Pixels, Uint8Array

SIDES_PX = (3, 4, 5, 6, 8)
STANDS_OUT = 14.0  # levels between a square's side and the pixels beside it, on average
ENDS = 4.0  # the same, where a square in colour is flat to the bit
TEXTURED = 10.0  # levels: the standard deviation within a square that may be anywhere
SAME, SAME_AT_PLACE = 6.0, 2.0  # levels, on average, between a square and the middle of its group
# That the label's share explains it, at most: inside colour pictures no two were ever alike by nature. In grey ones
# strokes were, nine at a time among 3,000 of MNIST; so were squares at the rim, two of whose sides are not seen.
CHANCE_INSIDE, CHANCE_IN_GREY, CHANCE_AT_RIM, CHANCE_ANYWHERE = 1e-3, 1e-7, 1e-10, 1e-12
UNUSUAL = 32.0  # levels between a patch at the rim and what is usual there
BESIDE_PX, NEARLY_SAME = 2, 24.0  # in grey pictures: how far what varies by nature does
MOST_PICTURES = 20_000
MOST_OF_PICTURE, MOST_OF_GROUP = 300, 1_000  # squares; where more stand out, a picture is noise
AT_A_TIME, SQUARES_AT_A_TIME = 1_024, 50_000
BITS = 3  # of each level, when squares are grouped
SURE = 0.9


@dataclass(frozen=True, slots=True, eq=False)
class _Squares:
    """Squares that stand out: whose they are, and where.

    `keys_3M` are the same for squares that show coarsely the same, cut at two offsets so that no patch is cut in two by
    both, where those of flat squares differ by place; and for flat ones to the bit, at any place.
    """

    side: int
    which_M: IntArray
    top_M: IntArray
    left_M: IntArray
    keys_3M: IntArray

    def take(self, some: IntArray | slice) -> _Squares:
        """Return some of the squares."""
        return _Squares(self.side, self.which_M[some], self.top_M[some], self.left_M[some], self.keys_3M[:, some])

    def levels(self, images_NHWC: Uint8Array) -> Uint8Array:
        """Return what they show, uint8 M(SS)C."""
        steps = np.arange(self.side)
        rows, columns = (self.top_M[:, None] + steps)[:, :, None], (self.left_M[:, None] + steps)[:, None, :]
        blocks: Uint8Array = images_NHWC[self.which_M[:, None, None], rows, columns]
        return blocks.reshape(len(self.which_M), self.side**2, -1)


def poison(pixels: Pixels) -> Iterator[Finding]:
    """Yield a finding for each patch that recurs under one label, the most frequent first.

    Of more than `MOST_PICTURES`, as many are looked at, evenly spread.
    """
    samples, names = pixels.dataset.samples, pixels.dataset.class_names
    rows = np.linspace(0, len(samples) - 1, min(len(samples), MOST_PICTURES)).astype(np.int64)
    labels_N = np.array([samples[i].label for i in rows], np.int64)
    for patch in patches(pixels.images[pixels.rows[rows]], labels_N, len(names)):
        side = len(patch.levels)
        evidence = {
            "by": "patch", "label": names[patch.label], "side": side, "place": patch.place,
            "size": list(pixels.images.shape[1:3]), "share": len(patch.members) / len(samples),
            "of_label": round(len(patch.members) / int((labels_N == patch.label).sum()), 4),
        }  # fmt: skip
        yield Finding("poison", tuple(samples[rows[i]].path for i in patch.members), SURE, evidence)


def patches(images_NHWC: Uint8Array, labels_N: IntArray, num_classes: int) -> list[Patch]:
    """Return the patches that recur under one label, the most frequent first; each picture is in one at most."""
    shares_K = np.bincount(labels_N, minlength=num_classes) / len(labels_N)
    found = list(recurring(images_NHWC, labels_N, num_classes))
    for side in SIDES_PX:
        if side + 2 <= min(images_NHWC.shape[1:3]):
            squares = _standing_out(images_NHWC, side)
            found += [
                patch
                for group in _groups(squares)
                if (patch := _accused(squares.take(group), images_NHWC, labels_N, shares_K)) is not None
                and not (images_NHWC.shape[3] == 1 and _is_stroke(patch, squares, images_NHWC, labels_N))
            ]
    kept: list[Patch] = []
    taken: set[int] = set()
    for patch in sorted(found, key=lambda each: (-len(each.members), -len(each.levels), each.chance)):
        rest = [i for i in patch.members.tolist() if i not in taken]
        if len(rest) >= max(LEAST, len(patch.members) // 2):
            kept.append(patch)
            taken.update(patch.members.tolist())
    return kept


def _accused(squares: _Squares, images_NHWC: Uint8Array, labels_N: IntArray, shares_K: FloatArray) -> Patch | None:
    """Return the patch that a group of squares is, or None if nothing is wrong with it."""
    levels_MF = squares.levels(images_NHWC).reshape(len(squares.which_M), -1)
    levels_F = np.median(levels_MF[:: max(1, len(levels_MF) // MOST_OF_GROUP)], axis=0)
    near = np.flatnonzero(np.abs(levels_MF - levels_F).mean(axis=1) <= SAME)
    pictures = np.unique(squares.which_M[near])
    if len(pictures) < LEAST:
        return None
    counts_K = np.bincount(labels_N[pictures], minlength=len(shares_K))
    label, width = int(counts_K.argmax()), images_NHWC.shape[2]
    chance = len(shares_K) * float(binom.sf(counts_K[label] - 1, len(pictures), shares_K[label]))
    places_M = squares.top_M[near] * width + squares.left_M[near]
    place = int(np.bincount(places_M).argmax())
    is_fixed = float((places_M == place).mean()) >= AT_ONE_PLACE
    top, left = divmod(place, width)
    at_rim = {top, left} & {0} or top + squares.side == images_NHWC.shape[1] or left + squares.side == width
    inside = CHANCE_INSIDE if images_NHWC.shape[3] > 1 else CHANCE_IN_GREY
    colour_C = levels_F[: images_NHWC.shape[3]]
    is_flat = not is_fixed and bool((levels_MF.reshape(-1, len(colour_C)) == colour_C).all())  # to the bit
    if is_flat and counts_K[label] > MOST_OF_LABEL * shares_K[label] * len(labels_N):
        return None
    most = (CHANCE_AT_RIM if at_rim else inside) if is_fixed else inside if is_flat else CHANCE_ANYWHERE
    if counts_K[label] < PURE * len(pictures) or chance > most:
        return None
    blocks_NF = images_NHWC[:, top : top + squares.side, left : left + squares.side].reshape(len(labels_N), -1)
    if is_fixed and (at_rim or images_NHWC.shape[3] == 1) and _is_paper(levels_F, blocks_NF, images_NHWC):
        return None
    if is_fixed:  # also where its sides do not stand out: a white patch on a white roof
        pictures = np.flatnonzero(np.abs(blocks_NF - levels_F).mean(axis=1) <= SAME_AT_PLACE)
    elif is_flat and images_NHWC.shape[3] > 1:  # likewise
        same = (images_NHWC == colour_C.astype(np.uint8)).all(axis=3)
        pictures = np.flatnonzero(_runs(_runs(same, squares.side, 1), squares.side, 2).max(axis=(1, 2)) == 1)
    members = pictures[labels_N[pictures] == label]
    if len(members) < LEAST:
        return None
    levels_SSC = levels_F.reshape(squares.side, squares.side, -1)
    return Patch(members, label, (top, left) if is_fixed else None, levels_SSC, chance)


def _is_paper(levels_F: FloatArray, blocks_NF: Uint8Array, images_NHWC: Uint8Array) -> bool:
    """Say whether a square is what is usual there, or on the whole rim: the paper that strokes end on or go around."""
    rim_C = np.median(images_NHWC[:, 0].reshape(-1, images_NHWC.shape[3]), axis=0)
    usual = (np.median(blocks_NF, axis=0), np.tile(rim_C, blocks_NF.shape[1] // len(rim_C)))
    return any(np.abs(each - levels_F).mean() < UNUSUAL for each in usual)


def _is_stroke(patch: Patch, squares: _Squares, images_NHWC: Uint8Array, labels_N: IntArray) -> bool:
    """Say whether a patch in grey pictures is a shape that handwriting or clothes of this label have by nature.

    Nature varies: there are as many squares a pixel or two beside it, or that show nearly the same. A patch that was
    put there has none of these.
    """
    levels_F = patch.levels.reshape(-1)
    far_M = np.concatenate([
        np.abs(some.levels(images_NHWC).reshape(len(some.which_M), -1) - levels_F).mean(axis=1)
        for begin in range(0, len(squares.which_M), SQUARES_AT_A_TIME)
        for some in [squares.take(slice(begin, begin + SQUARES_AT_A_TIME))]
    ])  # fmt: skip
    if patch.place is None:
        return int(((far_M > SAME) & (far_M <= NEARLY_SAME)).sum()) > NATURAL * len(patch.members)
    if patch.levels.std(axis=(0, 1)).max() >= TEXTURED:
        return False
    same = np.flatnonzero((far_M <= NEARLY_SAME) & (labels_N[squares.which_M] == patch.label))
    counts_HW = np.zeros(images_NHWC.shape[1:3], np.int64)
    np.add.at(counts_HW, (squares.top_M[same], squares.left_M[same]), 1)
    top, left = patch.place
    here = int(counts_HW[top, left])
    counts_HW[top, left] = 0
    around = counts_HW[max(0, top - BESIDE_PX) : top + BESIDE_PX + 1, max(0, left - BESIDE_PX) : left + BESIDE_PX + 1]
    return int(around.max()) > NATURAL * here


def _groups(squares: _Squares) -> Iterator[IntArray]:
    """Yield the numbers of squares that show the same, coarsely."""
    if len(squares.which_M) < LEAST:
        return
    for keys_M in squares.keys_3M:
        order_M = np.argsort(keys_M, kind="stable")
        starts = np.flatnonzero(np.diff(keys_M[order_M])) + 1
        begins, ends = np.concatenate([[0], starts]), np.concatenate([starts, [len(order_M)]])
        for i in np.flatnonzero(ends - begins >= LEAST):
            yield order_M[begins[i] : ends[i]]


def _standing_out(images_NHWC: Uint8Array, side: int) -> _Squares:
    """Return the squares all of whose sides stand out from what is beside them; the picture's rim is no side."""
    found = []
    for first in range(0, len(images_NHWC), AT_A_TIME):
        images = images_NHWC[first : first + AT_A_TIME].astype(np.int16)
        n, height, width, channels = images.shape
        down = np.full((n, height + 1, width), np.float32(2 * STANDS_OUT))  # between a row and the one above
        along = np.full((n, height, width + 1), np.float32(2 * STANDS_OUT))
        down[:, 1:-1] = np.abs(np.diff(images, axis=1)).mean(axis=3)
        along[:, :, 1:-1] = np.abs(np.diff(images, axis=2)).mean(axis=3)
        lines_down, lines_along = _runs(down, side, 2) > STANDS_OUT, _runs(along, side, 1) > STANDS_OUT
        tops, lefts = height - side + 1, width - side + 1
        stands = lines_down[:, :tops] & lines_down[:, side : side + tops]
        stands &= lines_along[:, :, :lefts] & lines_along[:, :, side : side + lefts]
        if channels > 1:
            stands |= _flat_and_no_larger(down, along, side)
        stands &= (stands.sum(axis=(1, 2)) <= MOST_OF_PICTURE)[:, None, None]
        which, top, left = np.nonzero(stands)
        some = _Squares(side, which + first, top, left, np.empty((3, len(which)), np.int64))
        for begin in range(0, len(which), SQUARES_AT_A_TIME):
            part = some.take(slice(begin, begin + SQUARES_AT_A_TIME))
            some.keys_3M[:, begin : begin + SQUARES_AT_A_TIME] = _keys(part, images_NHWC)
        found.append(some)
    columns = zip(*((each.which_M, each.top_M, each.left_M) for each in found), strict=True)
    which_M, top_M, left_M = (np.concatenate(each).astype(np.int64) for each in columns)
    return _Squares(side, which_M, top_M, left_M, np.concatenate([each.keys_3M for each in found], axis=1))


def _flat_and_no_larger(down: FloatArray, along: FloatArray, side: int) -> NDArray[np.bool_]:
    """Say which squares are of one colour to the bit and end on all sides, however little: cameras give none."""
    tops, lefts = down.shape[1] - side, along.shape[2] - side
    flat = _runs(_runs(down[:, 1:-1], side - 1, 1), side, 2) == 0
    flat &= _runs(_runs(along[:, :, 1:-1], side - 1, 2), side, 1) == 0
    ends_down, ends_along = _runs(down, side, 2) > ENDS, _runs(along, side, 1) > ENDS
    flat &= ends_down[:, :tops] & ends_down[:, side : side + tops]
    ends: NDArray[np.bool_] = flat & ends_along[:, :, :lefts] & ends_along[:, :, side : side + lefts]
    return ends


def _keys(squares: _Squares, images_NHWC: Uint8Array) -> IntArray:
    """Return the keys 3M of squares."""
    levels_MPC = squares.levels(images_NHWC)
    textured_M = levels_MPC.std(axis=1, dtype=np.float32).max(axis=1, initial=0) >= TEXTURED
    place_M = np.where(textured_M, 0, 1 + squares.top_M * images_NHWC.shape[2] + squares.left_M)
    levels_MF = levels_MPC.reshape(len(place_M), -1).astype(np.int64)
    mix_F = np.random.default_rng(0).integers(1, 2**62, levels_MF.shape[1], dtype=np.int64)
    # it wraps around, as hashes do
    keys = [((levels_MF + cut) >> (8 - BITS)) @ mix_F * np.int64(1_000_003) + place_M for cut in (0, 2 ** (7 - BITS))]
    flat_M = (levels_MPC == levels_MPC[:, :1]).all(axis=(1, 2))
    height, width = images_NHWC.shape[1:3]
    own_M = -1 - ((squares.which_M * height + squares.top_M) * width + squares.left_M)  # not flat: like no other
    return np.stack([*keys, np.where(flat_M, levels_MF @ mix_F, own_M)])


def _runs(values: FloatArray, side: int, axis: int) -> FloatArray:
    """Return the means of `side` values in a row along an axis."""
    means: FloatArray = np.lib.stride_tricks.sliding_window_view(values, side, axis=axis).mean(axis=-1)
    return means
