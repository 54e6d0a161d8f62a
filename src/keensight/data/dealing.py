"""Divide units of several classes: groups that hold pictures of more than one, each of which must be in one split."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from keensight.values import SplitName

Counts = Counter[int]  # of a unit's pictures, by label


def deal(units: Sequence[Counts], fractions: Mapping[SplitName, float]) -> list[SplitName]:
    """Return the split of each unit, so that every split has about its share of every class, and at least one unit.

    The class that fewest units are left of is dealt first (iterative stratification, after Sechidis and others, 2011),
    its largest units first, each to the split that lacks the largest part of its share. Equals keep their order.
    """
    total = sum(units, Counts())
    shares = {name: {k: max(1, round(n * part)) for k, n in total.items()} for name, part in fractions.items()}
    shares["train"] = {k: max(1, n - sum(shares[name][k] for name in fractions)) for k, n in total.items()}
    lacks = {name: dict(share) for name, share in shares.items()}
    homes: list[SplitName] = ["train"] * len(units)
    remaining = dict(enumerate(units))
    while remaining:
        left = Counter(k for unit in remaining.values() for k in unit)
        label = min(left, key=lambda k: (left[k], k))
        for i in sorted((i for i, unit in remaining.items() if label in unit), key=lambda i: -units[i][label]):
            unit = remaining.pop(i)
            home: SplitName = "train"
            for name in fractions:
                fits = unit[label] <= lacks[name][label] and unit.total() <= sum(map(_positive, lacks[name].values()))
                if fits and lacks[name][label] / shares[name][label] > lacks[home][label] / shares[home][label]:
                    home = name
            homes[i] = home
            for k, n in unit.items():
                lacks[home][k] -= n
    _fill_up(units, homes, [*fractions, "train"], total)
    return homes


def _positive(count: int) -> int:
    return max(0, count)


def _fill_up(units: Sequence[Counts], homes: list[SplitName], names: Sequence[SplitName], total: Counts) -> None:
    """Move the smallest unit that can be spared to where a class has none, the rarest class first."""
    held = {name: Counter(k for unit, home in zip(units, homes, strict=True) if home == name for k in unit)
            for name in names}  # fmt: skip
    for label in sorted(total, key=lambda k: (total[k], k)):
        for name in names:
            if held[name][label]:
                continue
            spare = [
                i for i, unit in enumerate(units)
                if label in unit and homes[i] != name and all(held[homes[i]][k] > 1 for k in unit)
            ]  # fmt: skip
            if not spare:
                continue
            i = min(spare, key=lambda i: (homes[i] != "train", units[i].total()))
            held[homes[i]] -= Counter(dict.fromkeys(units[i], 1))
            held[name] += Counter(dict.fromkeys(units[i], 1))
            homes[i] = name
