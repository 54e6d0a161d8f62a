"""`keensight audit`: what a person should know of their pictures before a model learns from them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from keensight.care.copies import copies, findings_of_copies
from keensight.care.labels import wrong_labels
from keensight.care.metadata import metadata
from keensight.care.quality import quality
from keensight.care.ranking import ranked
from keensight.care.scaling import scaling
from keensight.data.cache import choose_preprocessing, decode
from keensight.data.sources import open_dataset, reader
from keensight.files import to_json, write_atomically
from keensight.pages.audit import render_html
from keensight.pipeline.watch import Watcher
from keensight.values import Finding, Pixels, Recipe
from keensight.workspace import Kind, claim

PAGE, FACTS = "audit.html", "audit.json"
AUDIT = Kind("audit", "Audit", home=Path("audits"), begun=PAGE, kept=PAGE, finished=PAGE)


@dataclass(frozen=True, slots=True)
class Audit:
    """An audit: the data, the folder and the page in it, and the findings, what may cost the most first."""

    data: str
    out: Path
    page: Path
    num_pictures: int
    findings: tuple[Finding, ...]


def audit(
    data: str | Path,
    out: str | Path | None = None,
    *,
    label_pattern: str | None = None,
    watcher: Watcher | None = None,
) -> Audit:
    """Look for what is wrong with labelled pictures, and write a page that shows it. The pictures are not changed.

    Args:
        data: A folder, archive, manifest, IDX folder, .npz, or name, as `train` takes it.
        out: The folder of audit.html and audit.json, new or empty; the first free name under audits/ if left out.
        label_pattern: Take labels from file names, such as '{label}__*'; '{label...}_*' reaches to the last _.
        watcher: Is told of the progress.

    Raises:
        DataError: the data hold no pictures that can be used.
        RunError: `out` is not empty.

    Example:
        >>> import keensight
        >>> [finding.kind for finding in keensight.audit("path/to/folder").findings]  # doctest: +SKIP
        ['leak', 'near-duplicate']
    """
    watcher = watcher or Watcher()
    dataset = open_dataset(data, label_pattern=label_pattern)
    watcher.found(dataset, label_pattern or "")
    with claim(Path(out) if out is not None else None, dataset.name, resume=False, kind=AUDIT) as folder:
        pixels = decode(dataset, choose_preprocessing(dataset, Recipe("audit")), watcher.pictures)
        watcher.skipped(pixels.dataset)
        num_pictures = len(pixels.dataset.samples)
        findings = ranked(_findings(pixels, watcher), num_pictures)
        facts = {"data": str(data), "pictures": num_pictures, "findings": [asdict(each) for each in findings]}
        write_atomically(folder / FACTS, to_json(facts))
        watcher.stage("writing the page")
        with reader(pixels.dataset) as read:
            write_atomically(folder / PAGE, render_html(pixels, findings, read))
    return Audit(str(data), folder, folder / PAGE, num_pictures, findings)


def _findings(pixels: Pixels, watcher: Watcher) -> Iterator[Finding]:
    watcher.stage("comparing pictures")
    found = copies(pixels, watcher.compared)
    yield from findings_of_copies(pixels, found)
    watcher.stage("checking labels")
    doubtful, why_not = wrong_labels(pixels, found, watcher.features)
    if doubtful:
        yield doubtful
    elif why_not:
        watcher.note(f"{why_not[0].upper()}{why_not[1:]}.")
    watcher.stage("looking at pictures")
    yield from quality(pixels)
    watcher.stage("looking into files")
    yield from metadata(pixels.dataset)
    yield from scaling(pixels.dataset)
