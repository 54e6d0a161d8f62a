"""An audit as one HTML page that needs no network and no other file: findings, with their pictures.

Its script (decisions.js) has buttons to decide on each picture, and saves what `keensight clean` reads.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from keensight.errors import PictureError, counted
from keensight.pages.findings import sentence
from keensight.pages.pictures import file_data_uri
from keensight.pages.report import render, script
from keensight.values import SPLIT_NAMES, Finding, Pixels, Sample, Uint8Array

HEIGHT_PX = 150
MOST_UNCONFIRMED = 500  # a page of 4 MB: they are all to be looked at
MOST_SHOWN = 48  # of each finding; more are in audit.json
TITLES = {
    "leak": "In two splits",
    "label": "Two labels",
    "heads": "Doubtful labels",
    "search": "Unconfirmed labels",
    "leak, bundle": "Known to the bundle",
    "label, bundle": "Doubted by the bundle",
    "label, bundle's labels": "Other labels than learnt",
    "outlier, bundle": "Odd to the bundle",
    "identical": "Identical",
    "near-duplicate": "Nearly the same",
    "blank": "Blank",
    "dark": "Dark",
    "light": "Light",
    "blurred": "Blurred",
    "tiny": "Much smaller",
    "long": "Another shape",
    "grey": "Grey",
    "poison": "A patch under one label",
    "outlier": "Unlike all others",
    "size": "Told by size",
    "format": "Told by format",
    "jpeg": "Told by JPEG quality",
    "camera": "Told by camera",
    "bytes": "Told by file length",
    "border": "Told by borders",
    "corners": "Told by corners",
    "colour": "Told by colour",
    "scaling": "Other when small",
    "payload": "Hidden files or code",
    "after": "Bytes after the end",
    "text": "Texts in files",
    "place": "Places",
    "person": "People",
    "serial": "Serial numbers",
    "thumbnail": "Other small picture",
}
Read = Callable[[Sample], bytes | Uint8Array]


@dataclass(frozen=True, slots=True)
class Shown:
    """A picture on the page: its data URI, empty for one that cannot be read, its path, and what else is known.

    `suggested` is the label that a model gives it, where that is not its own.
    """

    uri: str
    path: str
    facts: str
    sha256: str
    label: str
    split: str
    suggested: str


@dataclass(frozen=True, slots=True)
class Row:
    """Pictures side by side, and what joins them."""

    pictures: tuple[Shown, ...]
    says: str


@dataclass(frozen=True, slots=True)
class Section:
    """One finding on the page: `more` of its rows are not shown. If `all_at_once`, a button confirms the rest."""

    title: str
    says: str
    sure: float
    rows: tuple[Row, ...]
    more: int
    all_at_once: bool


def render_html(pixels: Pixels, findings: Sequence[Finding], read: Read, data: str) -> str:
    """Return the page of an audit's `findings`, in their order; `read` gives a sample's picture as its file has it.

    `data` is DATA as it was given, for the next command.
    """
    samples = {sample.path: sample for sample in pixels.dataset.samples}

    names = pixels.dataset.class_names

    def shown(path: str, suggested: str) -> Shown:
        sample, uri = samples[path], ""
        label, split = names[sample.label], sample.split or ""
        with suppress(PictureError):
            uri = file_data_uri(read(sample), pixels.preprocessing, HEIGHT_PX)
        return Shown(uri, path, ", ".join(filter(None, (label, split))), sample.sha256, label, split, suggested)

    sections = []
    for finding in findings:
        rows = _rows(finding)
        better = dict(zip(finding.samples, finding.evidence.get("suggested", ()), strict=False))
        some = tuple(
            Row(tuple(shown(path, better.get(path, "")) for path in paths), says)
            for paths, says in rows[: MOST_UNCONFIRMED if finding.evidence.get("by") == "search" else MOST_SHOWN]
        )
        by = finding.evidence.get("by")
        title = TITLES[
            by
            if by in ("heads", "search")
            else f"{finding.kind}, {by}"
            if "bundle" in finding.evidence
            else finding.evidence.get("what", finding.kind)
        ]
        sections.append(Section(title, sentence(finding), finding.score, some, len(rows) - len(some), by == "search"))
    return render(
        "pages/audit.html",
        name=pixels.dataset.name,
        verdict=_verdict(findings, len(samples)),
        sections=sections,
        labels=list(names),
        splits=[name for name in SPLIT_NAMES if any(sample.split == name for sample in samples.values())],
        script=script("pages/decisions.js"),
        next=next_command(data),
    )


def next_command(data: str) -> str:
    """Return the command that carries out what was decided on the page.

    >>> next_command("my pets")
    "keensight clean 'my pets' decisions.jsonl"
    """
    return f"keensight clean {shlex.quote(data)} decisions.jsonl"


def _verdict(findings: Sequence[Finding], num_pictures: int) -> str:
    if not findings:
        return f"Nothing was found in {counted(num_pictures, 'picture')}."
    what = "One finding" if len(findings) == 1 else f"{len(findings)} findings"
    order = ", what may cost the most accuracy first" if len(findings) > 1 else ""
    return f"{what} in {counted(num_pictures, 'picture')}{order}."


def _rows(finding: Finding) -> list[tuple[list[str], str]]:
    """Return the paths of a finding's pictures that belong side by side, and what is said of them."""
    pairs = finding.evidence.get("pairs")
    if pairs is None:
        said = finding.evidence.get("says", [""] * len(finding.samples))
        return [([path], text) for path, text in zip(finding.samples, said, strict=True)]
    paths = [[one if isinstance(one, str) else one[0] for one in pair] for pair in pairs]
    if finding.evidence.get("by") != "likeness":
        return [(pair, "the same") for pair in paths]
    alike, how = finding.evidence["alike"], finding.evidence["how"]
    return [
        (pair, ": ".join(part for part in (f"{share:.1%} alike".replace("%", " %"), made) if part))
        for pair, share, made in zip(paths, alike, how, strict=True)
    ]
