"""What an audit says of copies: pictures that are in two splits, carry two labels, or count twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from keensight.care.duplicates import SMALL_PX, OnProgress, near_duplicates
from keensight.care.whole import digests
from keensight.data.looks import looks
from keensight.values import Finding, FindingKind, Pixels, Sample

SURE = {"bytes": 1.0, "pixels": 1.0, "likeness": 0.99}  # the last as measured: see docs/audit.md
ALL_BUT_SAME = 0.98  # so much alike, two pictures may be the same when all their pixels are compared
SURE_IF_SMALL = 0.5  # among 1,797 digits of 8x8 pixels, two pairs are as alike as copies are


@dataclass(frozen=True, slots=True)
class Copy:
    """Two samples that show one picture, by their numbers: `how` says what was done to the second to make it."""

    one: int
    other: int
    by: str
    alike: float = 1.0
    how: str = ""


def copies(pixels: Pixels, on_progress: OnProgress | None = None, *, near: bool = True) -> list[Copy]:
    """Return which decoded pictures are copies of others: with the same bytes, the same pixels, or nearly the same.

    The same pixels means all of them, as the files have them: those that only agree once they are made small are nearly
    the same. Of pictures that agree when small, only the first is compared with the others. That takes time, and is
    left out where `near` is false.
    """
    samples = pixels.dataset.samples
    seen, blank = looks(pixels)
    firsts = {sample.sha256: i for i, sample in reversed(list(enumerate(samples)))}.values()
    several = Counter(seen[i] for i in firsts)
    in_doubt = sorted(i for i in firsts if seen[i] and several[seen[i]] > 1)
    whole = digests(pixels.dataset, in_doubt, pixels.preprocessing.levels)
    first_bytes: dict[str, int] = {}
    first_pixels: dict[str, int] = {}
    first_look: dict[str, int] = {}
    found: list[Copy] = []
    alone: list[int] = []
    for i, sample in enumerate(samples):
        if (one := first_bytes.setdefault(sample.sha256, i)) != i:
            found.append(Copy(one, i, "bytes"))
        elif i in whole and (one := first_pixels.setdefault(whole[i], i)) != i:
            found.append(Copy(one, i, "pixels"))
        elif seen[i] and (one := first_look.setdefault(seen[i], i)) != i:
            found.append(Copy(one, i, "likeness", how="the same when small"))
        elif not blank[i]:
            alone.append(i)
    pairs = near_duplicates(pixels.images, pixels.rows[alone], on_progress) if near else []
    # a large JPEG is decoded at a half or a quarter of its size, so that a PNG of the same pixels differs a little
    plain = [{alone[pair.whole], alone[pair.copy]} for pair in pairs if pair.alike > ALL_BUT_SAME and not pair.turn]
    whole = digests(pixels.dataset, sorted(set().union(*plain)), pixels.preprocessing.levels)
    for pair in pairs:
        one, other = alone[pair.whole], alone[pair.copy]
        if one in whole and whole[one] == whole.get(other):
            found.append(Copy(min(one, other), max(one, other), "pixels"))
        else:
            found.append(Copy(one, other, "likeness", pair.alike, _made(pair.turn, pair.cut)))
    return found


def findings_of_copies(pixels: Pixels, found: Sequence[Copy]) -> Iterator[Finding]:
    """Yield the findings: leaks between splits first, then torn labels, then what only counts twice.

    Each has the pairs of paths, how alike they are, and how one was made from the other. A leak also has what share of
    the held-out pictures is also in training, `share`.
    """
    samples, names = pixels.dataset.samples, pixels.dataset.class_names
    small = min(pixels.preprocessing.height, pixels.preprocessing.width) < SMALL_PX
    for by, sure in SURE.items():
        sure = SURE_IF_SMALL if small and by == "likeness" else sure  # noqa: PLW2901
        some = [each for each in found if each.by == by]
        leaks = [each for each in some if samples[each.one].split != samples[each.other].split]
        if leaks:
            yield Finding("leak", _paths(samples, leaks), sure, _evidence(samples, leaks, by) | _held(samples, leaks))
        torn = [each for each in some if samples[each.one].label != samples[each.other].label]
        if torn:
            pairs = [[(samples[i].path, names[samples[i].label]) for i in (each.one, each.other)] for each in torn]
            evidence = {**_evidence(samples, torn, by), "pairs": pairs, "share": len(torn) / len(samples)}
            yield Finding("label", _paths(samples, torn), sure, evidence)
        rest = [each for each in some if each not in leaks and each not in torn]
        if rest:
            kind: FindingKind = "near-duplicate" if by == "likeness" else "identical"
            yield Finding(kind, _paths(samples, rest), sure, _evidence(samples, rest, by))


def torn_groups(samples: Sequence[Sample]) -> Iterator[Finding]:
    """Yield the finding of groups whose pictures are in two splits: what is learnt of one helps with the others."""
    splits: dict[str, set[str | None]] = {}
    for sample in samples:
        if sample.group is not None and sample.split is not None:
            splits.setdefault(sample.group, set()).add(sample.split)
    torn = {group for group, among in splits.items() if len(among) > 1}
    members = [sample for sample in samples if sample.group in torn]
    held = sum(sample.split in ("val", "test") for sample in members)
    total = sum(sample.split in ("val", "test") for sample in samples)
    if torn:
        share = held / max(1, total)
        yield Finding("leak", tuple(each.path for each in members), 1.0, {"groups": sorted(torn), "share": share})


def _evidence(samples: Sequence[Sample], some: Sequence[Copy], by: str) -> dict[str, object]:
    evidence: dict[str, object] = {
        "by": by,
        "pairs": [[samples[each.one].path, samples[each.other].path] for each in some],
    }
    if by == "likeness":
        evidence |= {"alike": [round(each.alike, 4) for each in some], "how": [each.how for each in some]}
    return evidence


def _held(samples: Sequence[Sample], leaks: Sequence[Copy]) -> dict[str, object]:
    """Return how many held-out pictures are copies of ones in another split, of how many, and that share."""
    held = np.array([sample.split in ("val", "test") for sample in samples])
    torn = {i for each in leaks for i in (each.one, each.other) if held[i]}
    return {"held_out": len(torn), "of": int(held.sum()), "share": len(torn) / max(1, int(held.sum()))}


def _paths(samples: Sequence[Sample], some: Sequence[Copy]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(samples[i].path for each in some for i in (each.one, each.other)))


def _made(turn: str, cut: Sequence[float]) -> str:
    """Say what was done to a picture.

    >>> _made("mirrored", (0.0, 0.1, 0.004, 0.05)), _made("", (0, 0, 0, 0))
    ('mirrored, cut by 10 % at the bottom and 5 % at the right', '')
    """
    sides = [
        f"{share:.0%} at the {side}".replace("%", " %")
        for share, side in zip(cut, ("top", "bottom", "left", "right"), strict=True)
        if share >= 0.015
    ]
    cuts = f"cut by {', '.join(sides[:-1])}{' and ' * (len(sides) > 1)}{sides[-1]}" if sides else ""
    return ", ".join(part for part in (turn, cuts) if part)
