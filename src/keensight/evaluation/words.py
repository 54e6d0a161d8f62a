"""A report's numbers in words: the verdict, and how shares and times are written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keensight.errors import counted

if TYPE_CHECKING:
    from keensight.values import Metrics, Report

NARROW = "\u202f"  # a thin space that does not break: "91.3 %"


def verdict(report: Report) -> str:
    """Say in one sentence how good the model is, on test pictures where there are any."""
    shown, split = report.headline, report.headline_split
    interval = f"95{NARROW}% interval {span(shown)}"
    sentence = f"Right on {percent(shown.accuracy)} of {counted(shown.n, f'{split} picture')} ({interval})"
    comparisons = []
    for name, accuracy in floor_pairs(report):
        gained = 100 * (shown.accuracy - accuracy)
        place = "level with" if abs(gained) < 0.05 else f"{points(gained)} {'above' if gained > 0 else 'below'}"
        most = majority(report)
        what = name if name != "majority class" else f"always answering {most}" if most else "one fixed answer"
        comparisons.append(f"{place} {what}")
    if not comparisons:
        return sentence + "."
    return f"{sentence}, {' and '.join(comparisons)}."


def confused_pairs(metrics: Metrics, most: int = 2) -> list[tuple[str, str, int, int]]:
    """Return the `most` frequent confusions, largest first: (label, answer, pictures, all pictures of that label)."""
    pairs = [
        (metrics.per_class[i].name, metrics.per_class[j].name, count, sum(row))
        for i, row in enumerate(metrics.confusion)
        for j, count in enumerate(row)
        if i != j and count
    ]
    return sorted(pairs, key=lambda pair: -pair[2])[:most]


def percent(share: float | None) -> str:
    """Write a share of 1 as a percentage. Only exactly 1 is written as 100 %, and only exactly 0 as 0 %.

    >>> percent(0.913), percent(0.99962)
    ('91.3\\u202f%', '99.96\\u202f%')
    """
    if share is None:
        return "–"
    text = f"{100 * share:.1f}"
    if text in ("100.0", "0.0"):
        text = f"{100 * share:.0f}" if share in (0, 1) else f"{min(max(100 * share, 0.01), 99.99):.2f}"
    return f"{text}{NARROW}%"


def span(metrics: Metrics) -> str:
    """Write the accuracy's interval without a place for a line break, as in ``91.4–93.3 %``."""
    low, high = percent(metrics.accuracy_low), percent(metrics.accuracy_high)
    return f"{low.removesuffix(NARROW + '%')}–\u2060{high}"


def duration(seconds: float) -> str:
    """Write seconds as people say them.

    >>> duration(8.24), duration(48.4), duration(125), duration(7500)
    ('8.2 s', '48 s', '2 min 5 s', '2 h 5 min')
    """
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def floor_pairs(report: Report) -> list[tuple[str, float]]:
    """Return the floors' names and accuracies on the pictures of the headline."""
    pairs = [(floor.name, floor.test_accuracy if report.test else floor.val_accuracy) for floor in report.floors]
    return [(name, accuracy) for name, accuracy in pairs if accuracy is not None]


def majority(report: Report) -> str:
    """Return the largest class, in quotes, or nothing if several are equally large."""
    counts = report.data["counts"].get("train") or {}
    most = [name for name, n in counts.items() if n == max(counts.values())]
    return f"“{most[0]}”" if len(most) == 1 else ""


def points(difference: float) -> str:
    """Write a difference of percentages without its sign, such as ``1.5 points``."""
    size = f"{abs(difference):.1f}" if abs(difference) < 9.95 else f"{abs(difference):.0f}"
    return f"{size.removesuffix('.0')} {'point' if size == '1.0' else 'points'}"
