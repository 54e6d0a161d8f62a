"""`keensight audit`: what a person should know of their pictures before a model learns from them, or of a bundle."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from keensight.care.copies import copies, findings_of_copies, torn_groups
from keensight.care.decisions import unsettled
from keensight.care.labels import features_of, units_of, wrong_labels
from keensight.care.metadata import metadata
from keensight.care.outliers import LEAST, outliers
from keensight.care.patches import poison
from keensight.care.quality import quality
from keensight.care.ranking import ranked
from keensight.care.scaling import scaling
from keensight.care.shortcuts import shortcuts
from keensight.care.unconfirmed import unconfirmed_labels
from keensight.data.cache import choose_preprocessing, decode
from keensight.data.sources import open_dataset, reader
from keensight.errors import UsageError
from keensight.files import to_json, write_atomically
from keensight.pages.audit import render_html
from keensight.pages.audited_bundle import render_bundle_html
from keensight.pipeline.budget import Budget, seconds_of
from keensight.pipeline.watch import Watcher
from keensight.values import Finding, Pixels, Recipe
from keensight.workspace import Kind, bundle_in, claim, run_name

MOST_TWINS = 100
PAGE, FACTS = "audit.html", "audit.json"
AUDIT = Kind("audit", "Audit", home=Path("audits"), begun=PAGE, kept=PAGE, finished=PAGE)


@dataclass(frozen=True, slots=True)
class Audit:
    """An audit: the data or bundle, the folder and the page in it, and the findings, what may cost the most first."""

    data: str
    out: Path
    page: Path
    num_pictures: int
    findings: tuple[Finding, ...]
    looked: tuple[str, ...] = ()  # at what, of a bundle
    notes: tuple[str, ...] = ()  # what of a bundle was not looked at, and why


def audit(
    data: str | Path,
    out: str | Path | None = None,
    *,
    against: str | Path | None = None,
    twins: int = 16,
    budget: float | str = "10m",
    label_pattern: str | None = None,
    watcher: Watcher | None = None,
) -> Audit:
    """Look for what is wrong with labelled pictures, or with a bundle, and write a page. Nothing is changed.

    Args:
        data: A folder, archive, manifest, IDX folder, .npz, or name, as `train` takes it; or a bundle or its run.
        out: The folder of audit.html and audit.json, new or empty; the first free name under audits/ if left out.
        against: For pictures: a bundle, to compare them with what it learnt. For a bundle: the pictures that it was
            trained on; those that its run lists if left out.
        twins: For a bundle: how many networks are trained anew by its recipe, to compare it with.
        budget: For a bundle: the time for these, in seconds, or such as 90s, 10m or 2h.
        label_pattern: Take labels from file names, such as `'{label}__*'`; `'{label...}_*'` reaches to the last _.
        watcher: Is told of the progress.

    Raises:
        DataError: the data hold no pictures that can be used.
        BundleError: the bundle is damaged, or cannot be used.
        UsageError: `against` is no bundle for pictures, or there are too few twins to compare with.
        RunError: `out` is not empty.

    Examples:
        >>> import keensight
        >>> [finding.kind for finding in keensight.audit("path/to/folder").findings]  # doctest: +SKIP
        ['leak', 'near-duplicate']
    """
    watcher = watcher or Watcher()
    if (bundle := bundle_in(Path(data))) is not None:
        return _audit_bundle(data, bundle, out, against, twins, budget, label_pattern, watcher)
    known = None if against is None else bundle_in(Path(against))
    if against is not None and known is None:
        raise UsageError(
            f"--against {against} is not a bundle: it has no bundle.json. Pictures, such as {data}, can be compared "
            "with what a bundle learnt; a bundle with the pictures that it was trained on. Give a bundle, such as "
            "runs/digits/bundle, or leave --against out."
        )
    dataset = open_dataset(data, label_pattern=label_pattern)
    watcher.found(dataset, label_pattern or "")
    with claim(Path(out) if out is not None else None, dataset.name, resume=False, kind=AUDIT) as folder:
        pixels = decode(dataset, choose_preprocessing(dataset, Recipe("audit")), watcher.pictures)
        watcher.skipped(pixels.dataset)
        num_pictures = len(pixels.dataset.samples)
        found = list(_findings(pixels, watcher))
        if known is not None:
            from keensight.pipeline.audited_against import findings_against  # loads an engine

            watcher.stage("asking the bundle")
            found += findings_against(pixels.dataset, known, watcher)
        findings = ranked(unsettled(found, pixels.dataset), num_pictures)
        facts = {"data": str(data), "pictures": num_pictures, "findings": [asdict(each) for each in findings]}
        named = {path for each in findings for path in each.samples}
        facts["sha256"] = {each.path: each.sha256 for each in pixels.dataset.samples if each.path in named}
        write_atomically(folder / FACTS, to_json(facts))
        watcher.stage("writing the page")
        with reader(pixels.dataset) as read:
            write_atomically(folder / PAGE, render_html(pixels, findings, read, str(data)))
    return Audit(str(data), folder, folder / PAGE, num_pictures, findings)


def _audit_bundle(
    data: str | Path,
    bundle: Path,
    out: str | Path | None,
    against: str | Path | None,
    twins: int,
    budget: float | str,
    label_pattern: str | None,
    watcher: Watcher,
) -> Audit:
    from keensight.care.backdoor import LEAST_TWINS
    from keensight.pipeline.audited_bundle import audit_bundle  # loads torch

    if not LEAST_TWINS <= twins <= MOST_TWINS:
        raise UsageError(
            f"{twins} twins were asked for. {LEAST_TWINS} to {MOST_TWINS} are accepted: fewer cannot show what "
            "is usual."
        )
    time_given = Budget(seconds_of(budget))
    with claim(Path(out) if out is not None else None, run_name(bundle), resume=False, kind=AUDIT) as folder:
        found = audit_bundle(bundle, against, twins, time_given, label_pattern, watcher)
        for note in found.notes:
            watcher.note(note)
        findings = tuple(sorted(found.findings, key=lambda each: -each.score))
        facts = {
            "data": str(data), "pictures": found.num_pictures, "twins": found.num_twins, "looked_at": found.looked,
            "notes": found.notes, "findings": [asdict(each) for each in findings],
        }  # fmt: skip
        write_atomically(folder / FACTS, to_json(facts))
        page = render_bundle_html(found.name, findings, found.looked, found.notes, found.shown)
        write_atomically(folder / PAGE, page)
    looked, notes = tuple(found.looked), tuple(found.notes)
    return Audit(str(data), folder, folder / PAGE, found.num_pictures, findings, looked, notes)


def _findings(pixels: Pixels, watcher: Watcher) -> Iterator[Finding]:
    watcher.stage("comparing pictures")
    found = copies(pixels, watcher.compared)
    yield from findings_of_copies(pixels, found)
    samples = pixels.dataset.samples
    units_N = units_of(samples, found)
    yield from torn_groups(samples)
    watcher.stage("looking at pictures")
    odd = list(quality(pixels))
    yield from odd
    watcher.stage("checking labels")
    features_NF = features_of(pixels, watcher.features) if len(samples) >= LEAST else ""
    doubtful, why_not = wrong_labels(pixels, found, features_NF)
    if doubtful:
        yield doubtful
    elif why_not:
        watcher.note(f"{why_not[0].upper()}{why_not[1:]}.")
    known = {path for each in odd for path in each.samples}
    if not isinstance(features_NF, str) and (unlike := outliers(pixels, features_NF, units_N, known)):
        yield unlike
    watcher.stage("looking for shortcuts")
    yield from shortcuts(pixels, units_N)
    yield from poison(pixels)
    watcher.stage("looking into files")
    yield from metadata(pixels.dataset)
    yield from scaling(pixels.dataset)
    if guessed := unconfirmed_labels(pixels.dataset):
        yield guessed
