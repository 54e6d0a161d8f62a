"""The audit of a bundle as one HTML page that needs no network, no script and no other file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from keensight.pages.findings import sentence
from keensight.pages.pictures import picture_data_uri
from keensight.pages.report import render
from keensight.values import Finding, Uint8Array

HEIGHT_PX = 110
TITLES = {"backdoor": "Backdoor", "tampering": "Not as trained"}
Pairs = Sequence[tuple[Uint8Array, Uint8Array]]


@dataclass(frozen=True, slots=True)
class Section:
    """One finding on the page: `pairs` are data URIs of pictures without and with the trigger."""

    title: str
    says: str
    sure: float
    pairs: tuple[tuple[str, str], ...]


def render_bundle_html(
    name: str,
    findings: Sequence[Finding],
    looked: Sequence[str],
    notes: Sequence[str],
    shown: Callable[[Finding], Pairs],
) -> str:
    """Return the page of a bundle's audit; `shown` gives the pictures of a finding, uint8 HWC."""
    sections = [
        Section(
            TITLES[each.kind], sentence(each), each.score, tuple((_uri(one), _uri(two)) for one, two in shown(each))
        )
        for each in findings
    ]
    return render("pages/audit_bundle.html", name=name, verdict=verdict(findings, looked), sections=sections,
                  looked=looked, notes=notes)  # fmt: skip


def verdict(findings: Sequence[Finding], looked: Sequence[str]) -> str:
    """Say in a sentence what an audit of a bundle found."""
    if findings:
        return "One finding." if len(findings) == 1 else f"{len(findings)} findings, the surest first."
    return "Nothing was found." if looked else "Nothing could be looked at."


def _uri(picture_HWC: Uint8Array) -> str:
    return picture_data_uri(picture_HWC, HEIGHT_PX, lossy=True)
