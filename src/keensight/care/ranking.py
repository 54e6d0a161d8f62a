"""Findings in the order of what they would cost."""

from __future__ import annotations

from collections.abc import Iterable

from keensight.values import Finding, FindingKind

WEIGHT: dict[FindingKind, float] = {  # points of accuracy that a point of pictures may cost
    "leak": 1.0,
    "label": 1.0,
    "shortcut": 1.0,
    "poison": 1.0,
    "near-duplicate": 0.1,
    "identical": 0.1,
    "outlier": 0.2,
    "blank": 0.2,
    "quality": 0.05,
}


def ranked(findings: Iterable[Finding], num_pictures: int) -> tuple[Finding, ...]:
    """Return findings, what may cost the most accuracy first: how many pictures, of which kind, and how sure it is.

    `evidence["share"]` is the share of pictures that a finding is about, where that is not all of its samples.
    """

    def cost(finding: Finding) -> float:
        share = float(finding.evidence.get("share", len(finding.samples) / max(1, num_pictures)))
        return WEIGHT.get(finding.kind, 0.0) * share * finding.score

    return tuple(sorted(findings, key=lambda finding: -cost(finding)))
