"""Near-duplicates: one picture is another, mirrored, resized, saved again, brighter, or with its margins cut off.

Two steps. Tiny pictures, compared all with all, name a few candidates for each picture: they are perceptual hashes,
with levels instead of bits. Then one picture of each pair is cut and turned until it lies on the other as well as it
can, and what is still different decides. No network is needed.
Shape letters: N pictures, P pairs, H height, W width, C channels, S side of a tiny picture, K candidates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from keensight.executor import Threads
from keensight.machine import cores
from keensight.values import FloatArray, Images, IntArray, Uint8Array

TINY_PX, COARSE_PX, FINE_PX = 8, 16, 32
TURNS = ("", "mirrored", "upside down", "turned by 180 degrees")
CENTRED = (0.0, 0.05, 0.1)  # cut from each side: where the search for candidates, and for the cut, begins
MOST_CUT = 0.25  # from one side
SMALL_PX = 48  # smaller pictures are not cut to lie on others: all handwritten ones would lie on each other
CANDIDATES = 6  # of each picture
AT_A_TIME, PAIRS_AT_A_TIME = 512, 256
ALIKE, ALIKE_SMALL, DETAILS_ALIKE = 0.93, 0.99, 0.85  # correlations; docs/audit.md says how they were measured
PLAIN_LEVELS, PLAIN_SHARE, PLAIN_DIFFERENCE = 8, 0.8, 6.0  # of 256 levels: one colour; of pixels; of 256 levels: a copy
COARSELY_ALIKE, TINILY_ALIKE = 0.8, 0.5

OnProgress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Pair:
    """Two pictures that are one: `cut` of `whole` is `copy`, turned as `turn` says.

    `alike` is their correlation, and `details` that of what is finer than an eighth of a picture.

    `cut` has the shares that are cut from the top, bottom, left and right.
    """

    whole: int
    copy: int
    alike: float
    details: float
    turn: str
    cut: tuple[float, float, float, float]


def near_duplicates(images: Images, rows: IntArray, on_progress: OnProgress | None = None) -> list[Pair]:
    """Return the pairs of near-duplicates among pictures.

    `images` is uint8 NHWC, of any size from 8x8; `rows` are the N pictures in it to compare, which show something:
    blank pictures are like all others. A pair is named once, the earlier picture first where neither is cut.
    """
    if len(rows) < 2:
        return []
    pairs_P2 = candidates(images, rows)
    firsts, found = range(0, len(pairs_P2), PAIRS_AT_A_TIME), list[Pair]()
    with Threads(cores()) as threads:
        laid = threads.map(
            lambda first: list(_laid_on(images, rows, pairs_P2[first : first + PAIRS_AT_A_TIME])), firsts
        )
        for first, pairs in zip(firsts, laid, strict=True):
            found += pairs
            if on_progress:
                on_progress(min(first + PAIRS_AT_A_TIME, len(pairs_P2)), len(pairs_P2))
    enough, finely = (ALIKE, DETAILS_ALIKE) if len(_starts(images)) > 1 else (ALIKE_SMALL, -1.0)
    kept: dict[tuple[int, int], Pair] = {}
    for pair in sorted(found, key=lambda each: (-each.alike, each.whole > each.copy)):
        if pair.alike >= enough and pair.details >= finely and _is_more_than_a_shape(images, rows, pair):
            kept.setdefault((min(pair.whole, pair.copy), max(pair.whole, pair.copy)), pair)
    return sorted(kept.values(), key=lambda each: (each.whole, each.copy))


def is_plain(image_HWC: Uint8Array) -> bool:
    """Say whether a picture is hardly more than one shape on a ground: two colours have most of its pixels.

    Cut and turned, every circle lies on every other one, so such pictures say little about who copied whom.
    """
    codes = (image_HWC // PLAIN_LEVELS).astype(np.int64) @ (256 // PLAIN_LEVELS) ** np.arange(image_HWC.shape[2])
    counts = np.sort(np.unique(codes, return_counts=True)[1])
    return bool(counts[-2:].sum() >= PLAIN_SHARE * codes.size)


def _is_more_than_a_shape(images: Images, rows: IntArray, pair: Pair) -> bool:
    """Say whether likeness tells: for plain pictures it does only if nothing was cut and the colours are the same."""
    if min(images.shape[1:3]) < SMALL_PX:
        return True  # they are not cut, and must be very much alike
    whole_HWC, copy_HWC = images[rows[pair.whole]], images[rows[pair.copy]]
    if not (is_plain(whole_HWC) or is_plain(copy_HWC)):
        return True
    turned_HWC = list(_turns(copy_HWC[None]))[TURNS.index(pair.turn)][0]
    difference = np.abs(whole_HWC.astype(np.int16) - turned_HWC).mean()
    return max(pair.cut) < 0.015 and pair.alike >= ALIKE_SMALL and bool(difference <= PLAIN_DIFFERENCE)


def candidates(images: Images, rows: IntArray) -> IntArray:
    """Return pairs, int64 P2: for each picture in the second column, those most like it in the first.

    They are compared as they are and turned, with the first one whole, and without its margins.
    """
    tiny_ANSSC = [_tiny(images, rows, cut) for cut in _starts(images)]
    wholes_ANF = [_standard(each.reshape(len(rows), -1)) for each in tiny_ANSSC]
    found = []
    for first in range(0, len(rows), AT_A_TIME):
        some = tiny_ANSSC[0][first : first + AT_A_TIME]
        likeness_BN = np.full((len(some), len(rows)), -1, np.float32)
        for turned in _turns(some):
            copies_BF = _standard(turned.reshape(len(some), -1))
            for whole_NF in wholes_ANF:
                np.maximum(likeness_BN, copies_BF @ whole_NF.T, out=likeness_BN)
        members = np.arange(first, first + len(some))
        likeness_BN[np.arange(len(some)), members] = -1
        most = min(CANDIDATES, len(rows) - 1)
        best_BK = np.argpartition(likeness_BN, -most, axis=1)[:, -most:]
        near_BK = np.take_along_axis(likeness_BN, best_BK, axis=1) >= TINILY_ALIKE
        found.append(np.stack([best_BK[near_BK], np.repeat(members, near_BK.sum(axis=1))], axis=1))
    return np.concatenate(found).astype(np.int64)


def _laid_on(images: Images, rows: IntArray, pairs_P2: IntArray) -> Iterator[Pair]:
    """Yield each pair that is coarsely alike, with the turn and the cut at which its pictures are most alike."""
    wholes_PHW, copies_PHW = (_grey(images, rows[pairs_P2[:, side]]) for side in (0, 1))
    begins = _starts(images)
    halves_PHW, P = _shrunk(wholes_PHW, 2 * COARSE_PX), len(pairs_P2)
    copies_TPF = [_standard(_shrunk(each, COARSE_PX).reshape(P, -1)) for each in _turns(copies_PHW)]
    starts = [(turn, np.full((P, 4), cut)) for turn in range(len(TURNS)) for cut in begins]
    likeness_AP = np.stack([_likeness(halves_PHW, copies_TPF[turn], cut, COARSE_PX) for turn, cut in starts])
    near = np.flatnonzero(likeness_AP.max(axis=0) >= TINILY_ALIKE)
    if not len(near):
        return
    best_P = likeness_AP.argmax(axis=0)[near]
    turn_P = best_P // len(begins)
    cut_P4 = np.asarray(begins)[best_P % len(begins)][:, None].repeat(4, axis=1)
    copies_PF = np.stack(copies_TPF)[turn_P, near]
    steps = (0.05, 0.025, 0.025, 0.012, 0.006) if len(begins) > 1 else ()
    cut_P4, likeness_P = _search(halves_PHW[near], copies_PF, cut_P4, COARSE_PX, steps[:2])
    closer = np.flatnonzero(likeness_P >= COARSELY_ALIKE)
    if not len(closer):
        return
    near, turn_P, cut_P4 = near[closer], turn_P[closer], cut_P4[closer]
    copies_PHW = np.stack(list(_turns(copies_PHW[near])))[turn_P, np.arange(len(near))]
    copies_PF = _standard(_shrunk(copies_PHW, FINE_PX).reshape(len(near), -1))
    cut_P4, likeness_P = _search(wholes_PHW[near], copies_PF, cut_P4, FINE_PX, steps[2:])
    details_P = _detail_likeness(_cut(wholes_PHW[near], cut_P4, FINE_PX), copies_PF.reshape(-1, FINE_PX, FINE_PX))
    for i, turn, cut, likeness, details in zip(near, turn_P, cut_P4, likeness_P, details_P, strict=True):
        top, bottom, left, right = (round(float(each), 3) for each in cut)
        whole, copy = (int(each) for each in pairs_P2[i])
        yield Pair(whole, copy, float(likeness), float(details), TURNS[turn], (top, bottom, left, right))


def _starts(images: Images) -> tuple[float, ...]:
    return CENTRED if min(images.shape[1:3]) >= SMALL_PX else CENTRED[:1]


def _search(
    wholes_PHW: FloatArray, copies_PF: FloatArray, cut_P4: FloatArray, side: int, steps: tuple[float, ...]
) -> tuple[FloatArray, FloatArray]:
    """Move each side of the cut while that makes the pictures more alike; return the cuts and the correlations."""
    likeness_P = _likeness(wholes_PHW, copies_PF, cut_P4, side)
    moves_M4 = np.concatenate([np.eye(4), -np.eye(4)])
    for step in steps:
        moving = np.arange(len(cut_P4))
        for _ in range(3):
            tried_MP4 = np.clip(cut_P4[moving] + step * moves_M4[:, None], 0, MOST_CUT)
            likeness_MP = np.stack([_likeness(wholes_PHW[moving], copies_PF[moving], each, side) for each in tried_MP4])
            better = np.flatnonzero(likeness_MP.max(axis=0, initial=-1) > likeness_P[moving])
            if not len(better):
                break
            best = likeness_MP.argmax(axis=0)[better]
            moving, tried_MP4, likeness_MP = moving[better], tried_MP4[:, better], likeness_MP[:, better]
            cut_P4[moving] = tried_MP4[best, np.arange(len(best))]
            likeness_P[moving] = likeness_MP.max(axis=0)
    return cut_P4, likeness_P


def _likeness(wholes_PHW: FloatArray, copies_PF: FloatArray, cut_P4: FloatArray, side: int) -> FloatArray:
    """Return the correlation of the cut wholes, shrunk to `side` pixels, with copies that are standard rows already."""
    cut_PF = _standard(_cut(wholes_PHW, cut_P4, side).reshape(len(cut_P4), -1))
    correlation: FloatArray = (cut_PF * copies_PF).sum(axis=1)
    return correlation


def _detail_likeness(one_PSS: FloatArray, other_PSS: FloatArray) -> FloatArray:
    """Return the correlation of what is finer than cells of 4x4 pixels: two skies are alike in all but that."""
    one_PF, other_PF = (_standard(_details(each).reshape(len(each), -1)) for each in (one_PSS, other_PSS))
    correlation: FloatArray = np.sum(one_PF * other_PF, axis=1)
    return correlation


def _details(images_PSS: FloatArray) -> FloatArray:
    P, S, _ = images_PSS.shape
    cells_PC4C4 = images_PSS.reshape(P, S // 4, 4, S // 4, 4)
    finer: FloatArray = (cells_PC4C4 - cells_PC4C4.mean(axis=(2, 4), keepdims=True)).reshape(P, S, S)
    return finer


def _cut(wholes_PHW: FloatArray, cut_P4: FloatArray, side: int) -> FloatArray:
    """Return what the cuts leave of pictures, shrunk to `side` pixels: PSS."""
    H, W = wholes_PHW.shape[1:]
    down_PSH = _shares(H, side, cut_P4[:, 0], 1 - cut_P4[:, 1])
    across_PSW = _shares(W, side, cut_P4[:, 2], 1 - cut_P4[:, 3])
    cut_PSS: FloatArray = down_PSH @ wholes_PHW @ across_PSW.transpose(0, 2, 1)
    return cut_PSS


def _shrunk(images_PHW: FloatArray, side: int) -> FloatArray:
    H, W = images_PHW.shape[1:]
    whole = np.zeros(1), np.ones(1)
    shrunk_PSS: FloatArray = _shares(H, side, *whole)[0] @ images_PHW @ _shares(W, side, *whole)[0].T
    return shrunk_PSS


def _shares(length: int, side: int, low_P: FloatArray, high_P: FloatArray) -> FloatArray:
    """Return what part each pixel of `length` has in each of `side` equal cells between two places: float32 PSL.

    >>> _shares(4, 2, np.array([0.0]), np.array([1.0]))[0].tolist()
    [[0.5, 0.5, 0.0, 0.0], [0.0, 0.0, 0.5, 0.5]]
    """
    edges_PE = low_P[:, None] + (high_P - low_P)[:, None] * np.linspace(0, 1, side + 1)
    edges_PE = edges_PE * length
    pixels_L = np.arange(length)
    covered_PEL = np.clip(edges_PE[:, :, None] - pixels_L, 0, 1)
    shares_PSL: FloatArray = np.diff(covered_PEL, axis=1) / np.diff(edges_PE, axis=1)[:, :, None]
    return shares_PSL.astype(np.float32)


def _tiny(images: Images, rows: IntArray, cut: float) -> FloatArray:
    H, W, C = images.shape[1:]
    low, high = np.array([cut]), np.array([1 - cut])
    down_SH, across_SW = _shares(H, TINY_PX, low, high)[0], _shares(W, TINY_PX, low, high)[0]
    tiny_NSSC = np.empty((len(rows), TINY_PX, TINY_PX, C), np.float32)
    for first in range(0, len(rows), AT_A_TIME):
        some_NHWC = images[rows[first : first + AT_A_TIME]].astype(np.float32)
        tiny_NSSC[first : first + AT_A_TIME] = np.einsum(
            "sh,nhwc,tw->nstc", down_SH, some_NHWC, across_SW, optimize=True
        )
    return tiny_NSSC


def _grey(images: Images, rows: IntArray) -> FloatArray:
    grey: FloatArray = images[rows].mean(axis=3, dtype=np.float32)
    return grey


def _turns(images: FloatArray) -> Iterator[FloatArray]:
    """Yield pictures NHW or NHWC as they are, and turned as in `TURNS`."""
    yield images
    yield images[:, :, ::-1]
    yield images[:, ::-1]
    yield images[:, ::-1, ::-1]


def _standard(values_NF: FloatArray) -> FloatArray:
    """Return rows of mean 0 and length 1, so that products of two are correlations; a row of one value stays 0."""
    centred_NF = values_NF - values_NF.mean(axis=1, keepdims=True)
    standard_NF: FloatArray = centred_NF / np.maximum(np.linalg.norm(centred_NF, axis=1, keepdims=True), 1e-6)
    return standard_NF
