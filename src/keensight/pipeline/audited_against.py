"""Data beside what a bundle learnt: which pictures it knows, which labels it doubts, and which are odd to it.

Shape letters: N pictures, K classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from keensight.bundle.read import read_bundle
from keensight.data.cache import decode
from keensight.data.splits import read_splits
from keensight.errors import DataError, shortlist
from keensight.inference.predictor import load
from keensight.pipeline.labelled import part_of
from keensight.pipeline.watch import Watcher
from keensight.values import Dataset, Finding
from keensight.workspace import RunFolder

SURE = 0.95  # that the bundle must be of another label than the given one, which then has at most the rest
ODD_SURE, LABEL_SURE = 0.6, 0.6


def findings_against(dataset: Dataset, path: Path, watcher: Watcher) -> Iterator[Finding]:
    """Yield what a bundle, in the folder `path`, has to say of a dataset.

    What it learnt from is known as long as it is in its run folder. Raises BundleError for a damaged bundle, and
    DataError if it knows none of the labels.
    """
    bundle = read_bundle(path, though_changed=True)
    watcher.opened(bundle)
    known = {name: k for k, name in enumerate(bundle.labels)}
    if unknown := [name for name in dataset.class_names if name not in known]:
        if len(unknown) == len(dataset.class_names):
            raise DataError(
                f"{path} knows none of the labels {shortlist(unknown)}: it knows {shortlist(list(known))}. Give a "
                "bundle that was trained on the same classes, or leave --against out."
            )
        watcher.note(f"{path} does not know {shortlist(unknown)}: these pictures are compared by content alone.")
    learnt = _learnt(path, watcher)
    yield from _known_already(dataset, learnt, str(path))
    yield from _doubted(dataset, known, set(learnt), path, watcher)


def _learnt(path: Path, watcher: Watcher) -> dict[str, tuple[str, str]]:
    """Return the split and label of each picture of the bundle's run, by sha256; none if its run is not there."""
    listed = RunFolder(path.resolve().parent).splits
    if not listed.is_file():
        watcher.note(f"{path} is not in its run folder, whose splits.jsonl lists what it learnt: that is not compared.")
        return {}
    return {each.sha256: (each.split or "", each.label) for each in read_splits(listed)}


def _known_already(dataset: Dataset, learnt: dict[str, tuple[str, str]], path: str) -> Iterator[Finding]:
    samples, names = dataset.samples, dataset.class_names
    seen = [each for each in samples if learnt.get(each.sha256, ("", ""))[0] in ("train", "val")]
    if seen:
        evidence = {
            "by": "bundle", "bundle": path, "of": len(samples), "share": len(seen) / len(samples),
            "says": [f"in the bundle's {learnt[each.sha256][0]} split" for each in seen],
        }  # fmt: skip
        yield Finding("leak", tuple(each.path for each in seen), 1.0, evidence)
    torn = [each for each in samples if learnt.get(each.sha256, ("", names[each.label]))[1] != names[each.label]]
    if torn:
        labels = [(names[each.label], learnt[each.sha256][1]) for each in torn]
        says = [f"labelled {here}; {there} when the bundle learnt it" for here, there in labels]
        evidence = {"by": "bundle's labels", "bundle": path, "says": says, "share": len(torn) / len(samples)}
        yield Finding("label", tuple(each.path for each in torn), 1.0, evidence)


def _doubted(
    dataset: Dataset, known: dict[str, int], learnt: set[str], path: Path, watcher: Watcher
) -> Iterator[Finding]:
    """Yield doubtful labels and odd pictures, of those that the bundle has not seen and whose label it knows."""
    classes = dataset.class_names
    unseen = tuple(s for s in dataset.samples if s.sha256 not in learnt and classes[s.label] in known)
    if not unseen:
        return
    predictor = load(path, though_changed=True)
    some = replace(dataset, samples=unseen, class_names=classes)
    counted = {sample.label for sample in unseen}
    if len(counted) < len(classes):  # a class without pictures is no class of theirs
        kept = sorted(counted)
        samples = tuple(replace(sample, label=kept.index(sample.label)) for sample in unseen)
        some = replace(dataset, samples=samples, class_names=tuple(classes[k] for k in kept))
    pixels = decode(some, predictor.bundle.preprocessing, watcher.pictures)
    samples, names = pixels.dataset.samples, pixels.dataset.class_names
    probabilities_NK, odd_N = predictor.on_split(part_of(pixels, np.arange(len(samples))))
    given_N = np.array([known[names[sample.label]] for sample in samples])
    top_N, best_N = probabilities_NK.argmax(axis=1), probabilities_NK.max(axis=1)
    wrong = np.flatnonzero((top_N != given_N) & (best_N >= SURE) & ~odd_N)
    if len(wrong):
        labels = [(names[samples[i].label], predictor.bundle.labels[top_N[i]]) for i in wrong]
        says = [f"labelled {a}; the bundle says {b} ({best_N[i]:.2f})" for i, (a, b) in zip(wrong, labels, strict=True)]
        evidence = {
            "by": "bundle", "bundle": str(path), "says": says, "share": len(wrong) / len(dataset.samples),
            "labels": [a for a, _ in labels], "suggested": [b for _, b in labels],
        }  # fmt: skip
        yield Finding("label", tuple(samples[i].path for i in wrong), LABEL_SURE, evidence)
    if odd_N.any():
        odd = np.flatnonzero(odd_N)
        evidence = {"by": "bundle", "bundle": str(path), "of": len(samples)}
        yield Finding("outlier", tuple(samples[i].path for i in odd), ODD_SURE, evidence)
