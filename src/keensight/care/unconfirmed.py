"""Labels that come from a search alone: pictures that `keensight gather` fetched, and that nobody has looked at."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from keensight.care.gather.manifest import MANIFEST, unconfirmed
from keensight.errors import DataError
from keensight.values import Dataset, Finding

SETTLES = ("confirm", "keep", "relabel")


def unconfirmed_labels(dataset: Dataset) -> Finding | None:
    """Return the gathered pictures whose labels are unconfirmed, or None where there are none.

    The manifest beside them says which they were when they came; decisions say which somebody has settled since.
    """
    manifest = Path(dataset.root) / MANIFEST
    if dataset.kind != "folder" or not manifest.is_file():
        return None
    found: dict[str, str] = {}
    with suppress(DataError):  # somebody else's file of this name
        found = unconfirmed(manifest)
    settled = {each.sha256 for each in dataset.decisions if each.action in SETTLES}
    samples = tuple(each.path for each in dataset.samples if each.sha256 in found and each.sha256 not in settled)
    # they are no fault by themselves, so they come last
    return (
        Finding("label", samples, evidence={"by": "search", "of": len(dataset.samples), "share": 0.0})
        if samples
        else None
    )
