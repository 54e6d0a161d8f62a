"""`keensight explore`: what pictures are like, on one page to look at."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from keensight.care.copies import copies, findings_of_copies
from keensight.care.decisions import unsettled
from keensight.care.overview import overview
from keensight.care.quality import Look, measure, quality
from keensight.care.ranking import ranked
from keensight.data.cache import choose_preprocessing, decode
from keensight.data.sources import open_dataset, reader
from keensight.files import write_atomically
from keensight.pages.explore import render_html
from keensight.pipeline.watch import Watcher
from keensight.values import Finding, Pixels, Recipe
from keensight.workspace import Kind, claim

PAGE = "explore.html"
EXPLORATION = Kind("exploration", "Explore", home=Path("explorations"), begun=PAGE, kept=PAGE, finished=PAGE)


@dataclass(frozen=True, slots=True)
class Explored:
    """The page of an exploration, its folder, and what it shows: a value for each class, and findings at a glance."""

    data: str
    out: Path
    page: Path
    num_pictures: int
    classes: tuple[dict[str, object], ...]
    findings: tuple[Finding, ...]


def explore(
    data: str | Path,
    out: str | Path | None = None,
    *,
    label_pattern: str | None = None,
    watcher: Watcher | None = None,
) -> Explored:
    """Show labelled pictures on one page: samples, a map by likeness, sizes, formats, colours, what they look like.

    Args:
        data: A folder, archive, manifest, IDX folder, .npz, or name, as `train` takes it.
        out: The folder of explore.html, new or empty; the first free name under explorations/ if left out.
        label_pattern: Take labels from file names, such as `'{label}__*'`; `'{label...}_*'` reaches to the last _.
        watcher: Is told of the progress.

    Raises:
        DataError: the data hold no pictures that can be used.
        RunError: `out` is not empty.

    Examples:
        >>> import keensight
        >>> keensight.explore("path/to/folder").page  # doctest: +SKIP
        PosixPath('explorations/folder/explore.html')
    """
    watcher = watcher or Watcher()
    dataset = open_dataset(data, label_pattern=label_pattern)
    watcher.found(dataset, label_pattern or "")
    with claim(Path(out) if out is not None else None, dataset.name, resume=False, kind=EXPLORATION) as folder:
        # from the middle of a picture: squeezed, it would look like none of its kind
        preprocessing = replace(choose_preprocessing(dataset, Recipe("explore")), fit="crop")
        pixels = decode(dataset, preprocessing, watcher.pictures)
        watcher.skipped(pixels.dataset)
        watcher.stage("looking at pictures")
        look = measure(pixels)
        findings = ranked(unsettled(_findings(pixels, look), pixels.dataset), len(pixels.dataset.samples))
        watcher.stage("drawing the map")
        seen = overview(pixels, watcher.features)
        watcher.stage("writing the page")
        with reader(pixels.dataset) as read:
            html, classes = render_html(pixels, seen, look, findings, read, str(data))
        write_atomically(folder / PAGE, html)
    told = tuple(asdict(each) for each in classes)
    return Explored(str(data), folder, folder / PAGE, len(pixels.dataset.samples), told, findings)


def _findings(pixels: Pixels, look: Look) -> Iterator[Finding]:
    """Yield what can be seen at a glance: the same bytes or pixels, and pictures unlike the others."""
    yield from findings_of_copies(pixels, copies(pixels, near=False))
    yield from quality(pixels, look)
