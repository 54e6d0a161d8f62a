"""Train, validation and test: given splits are kept, missing ones are drawn, and no picture is in two."""

from __future__ import annotations

import itertools
import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from keensight.data.dealing import deal
from keensight.data.looks import looks
from keensight.data.several import missing_classes
from keensight.data.spellings import spellings
from keensight.errors import DataError, RecipeError, RunError, counted, shortlist
from keensight.values import SPLIT_NAMES, Dataset, Finding, IntArray, Pixels, Sample, Split, SplitName, Splits

BY_PIXELS = BY_ALL_LABELS = 2
DRAW = 2  # the way of drawing splits, which a bundle notes: raise it when the same data would be divided otherwise


def split(pixels: Pixels, *, val_fraction: float = 0.15, test_fraction: float = 0.15, seed: int = 0) -> Splits:
    """Divide decoded pictures into train, validation and test.

    Splits of the data are kept. If it has none, stratified ones are drawn with `seed`; if it has some, the missing ones
    are held out of its training pictures. Where only some pictures have a split, the others are divided by themselves,
    except those that follow a copy or their group. Pictures with the same bytes or pixels, and samples of one group,
    stay together. `test_fraction=0` means no test split.

    Raises:
        DataError: a class is too small to be in every split.
        RecipeError: the fractions leave nothing to train on.
    """
    if not (0 < val_fraction < 1 and 0 <= test_fraction < 1 and val_fraction + test_fraction < 1):
        raise RecipeError(
            f"val_fraction is {val_fraction} and test_fraction {test_fraction}. Validation needs a share above 0, test "
            "one of 0 or more, and together they must leave pictures to train on, such as 0.15 and 0.15."
        )
    dataset = pixels.dataset
    labels = np.array([sample.label for sample in dataset.samples], np.int64)
    seen, blank = looks(pixels)
    assigned, findings = assign(dataset, val_fraction, test_fraction, seed, seen)
    if blank.any():
        findings += (Finding("blank", tuple(dataset.samples[i].path for i in np.flatnonzero(blank))),)
    findings += tuple(spellings(dataset.class_names))
    findings += tuple(
        Finding("rare", evidence={"part": name, "lacks": lacks}) for name, lacks in missing_classes(dataset)
    )
    findings += tuple(_check_can_be_trained_on(dataset, assigned, labels))

    units = _numbered(_units(dataset.samples, seen, range(len(labels))), len(labels))

    def take(name: SplitName) -> Split:
        members = np.flatnonzero(assigned == name)
        paths = tuple(dataset.samples[i].path for i in members)
        return Split(pixels.images, pixels.rows[members], labels[members], paths, units[members])

    test = take("test") if (assigned == "test").any() else None
    return Splits(dataset.class_names, pixels.preprocessing, take("train"), take("val"), test, findings)


def assign(
    dataset: Dataset,
    val_fraction: float,
    test_fraction: float,
    seed: int,
    seen: Sequence[str] | None = None,
    draw: int = DRAW,
) -> tuple[np.typing.NDArray[np.str_], tuple[Finding, ...]]:
    """Return the split name of every sample, and findings about how the splits were made.

    `seen` is what tells pictures with the same pixels (see `looks`), if it is known. `draw` is the way of drawing: that
    of an older bundle divides its data as it was divided then.
    """
    same = list(seen) if seen is not None and draw >= BY_PIXELS else [""] * len(dataset.samples)
    given = {sample.split for sample in dataset.samples} - {None}
    fractions: dict[SplitName, float] = {"val": val_fraction, "test": test_fraction}
    missing = {name: share for name, share in fractions.items() if name not in given and share > 0}
    homes = _followed(dataset.samples, same) if given else [sample.split for sample in dataset.samples]
    assigned = np.array([home or "train" for home in homes])
    undecided = np.array([home is None for home in homes])
    findings: list[Finding] = []
    if given:
        findings += _shared(dataset, same, [home or "" for home in homes])
        if num_open := sum(sample.split is None for sample in dataset.samples):
            findings.append(Finding("held-out", evidence={"kept": len(homes) - num_open, "drawn": num_open}))
        if missing:
            findings.append(Finding("held-out", evidence={"shares": dict(missing)}))
    shares = {name: share for name, share in fractions.items() if share > 0}
    for pool, wanted in (
        (np.flatnonzero((assigned == "train") & ~undecided), missing),
        (np.flatnonzero(undecided), shares),
    ):
        if not (len(pool) and wanted):
            continue
        drawn = _draw([dataset.samples[i] for i in pool], [same[i] for i in pool], wanted, seed, draw)
        for name, members in drawn.items():
            assigned[pool[members]] = name
    if not given or undecided.any():
        if copies := tuple(other.path for _, other in _twins(dataset.samples)):
            findings.append(Finding("identical", samples=copies))
        if alike := [(one.path, other.path) for one, other in _look_alikes(dataset.samples, same)]:
            findings.append(Finding("identical", _paths(alike), evidence={"by": "pixels", "pairs": _listed(alike)}))
    if groups := {sample.group for sample in dataset.samples} - {None}:
        findings.append(Finding("groups", evidence={"count": len(groups)}))
    findings += _two_labels(dataset, same)
    return assigned, tuple(findings)


class Listed(NamedTuple):
    """One line of a run's list of pictures."""

    split: SplitName
    file: str
    label: str
    sha256: str


def splits_jsonl(pixels: Pixels, splits: Splits) -> str:
    """Return one JSON line for each picture: its split, its path, its label's name and its sha256."""
    samples = {sample.path: sample for sample in pixels.dataset.samples}
    encode = json.JSONEncoder().encode
    labels = [encode(name) for name in splits.class_names]
    lines = [
        # to encode a whole line takes four times as long, 0.2 s for 70,000
        f'{{"split": "{name}", "file": {encode(path)}, "label": {labels[s.label]}, "sha256": "{s.sha256}"}}\n'
        for name in SPLIT_NAMES
        if (part := getattr(splits, name)) is not None
        for path, s in ((path, samples[path]) for path in part.paths)
    ]
    return "".join(lines)


def read_splits(file: Path) -> list[Listed]:
    """Return what `splits_jsonl` wrote into a file. Raises RunError for any other content."""
    try:
        return [Listed(**json.loads(line)) for line in file.read_text(encoding="utf-8").splitlines()]
    except (ValueError, TypeError) as error:
        raise RunError(
            f"{file} is not the list of pictures that a run writes ({error}). Repair or remove it; a bundle beside it "
            "can be moved elsewhere instead."
        ) from None


def _draw(
    samples: Sequence[Sample], same: Sequence[str], fractions: dict[SplitName, float], seed: int, draw: int
) -> dict[SplitName, IntArray]:
    """Draw stratified members of each split, whole units (copies of a picture, samples of a group) at a time."""
    rng = np.random.default_rng(seed)
    by_label: dict[int, list[list[int]]] = defaultdict(list)
    # in the order of content hashes: the same pictures under other names must be drawn alike (see `fingerprint`)
    order = [i for _, _, i in sorted((sample.sha256, sample.label, i) for i, sample in enumerate(samples))]
    units = _units(samples, same, order)
    if draw >= BY_ALL_LABELS and any(sample.group is not None for sample in samples):
        counts = [Counter(samples[i].label for i in unit) for unit in units]
        if any(len(each) > 1 for each in counts):
            order = rng.permutation(len(units)).tolist()
            homes = deal([counts[i] for i in order], fractions)
            dealt = list(zip(order, homes, strict=True))
            return {
                name: np.array(sorted(m for i, home in dealt if home == name for m in units[i]), np.int64)
                for name in fractions
            }
    for unit in units:
        by_label[_commonest_label(samples, unit)].append(unit)
    drawn: dict[SplitName, list[int]] = {name: [] for name in fractions}
    for label in sorted(by_label):
        shuffled = [by_label[label][i] for i in rng.permutation(len(by_label[label]))]
        for name, members in _deal(shuffled, fractions).items():
            drawn[name] += members
    return {name: np.array(sorted(members), np.int64) for name, members in drawn.items()}


def _commonest_label(samples: Sequence[Sample], unit: Sequence[int]) -> int:
    if len(unit) == 1:  # 60,000 Counters take 0.2 s
        return samples[unit[0]].label
    return Counter(samples[i].label for i in unit).most_common(1)[0][0]


def _deal(units: list[list[int]], fractions: dict[SplitName, float]) -> dict[SplitName, list[int]]:
    """Deal one class's units, the largest first, each to the split that lacks the largest part of its share."""
    total = sum(map(len, units))
    share: dict[SplitName, int] = {name: max(1, round(total * part)) for name, part in fractions.items()}
    share["train"] = max(1, total - sum(share.values()))
    lacks = dict(share)
    dealt: dict[SplitName, list[list[int]]] = {name: [] for name in share}
    for unit in sorted(units, key=len, reverse=True):  # sorting is stable: equals stay shuffled
        name: SplitName = "train"
        for other in fractions:
            if len(unit) <= lacks[other] and lacks[other] / share[other] > lacks[name] / share[name]:
                name = other
        lacks[name] -= len(unit)
        dealt[name].append(unit)
    for name in fractions:
        if not dealt[name] and len(dealt["train"]) > 1:  # every unit was larger than this split's share
            dealt[name].append(dealt["train"].pop())
    return {name: [i for unit in dealt[name] for i in unit] for name in fractions}


def _units(samples: Sequence[Sample], same: Sequence[str], order: Collection[int]) -> list[list[int]]:
    """Join samples that share content, pixels or a group, transitively (union-find over keys); in the order given."""
    parent: dict[str, str] = {}

    def root(key: str) -> str:
        while parent.setdefault(key, key) != key:
            parent[key] = parent[parent[key]]
            key = parent[key]
        return key

    for i in order:
        if (group := samples[i].group) is not None:
            parent[root(samples[i].sha256)] = root("group:" + group)
        if same[i]:
            parent[root(samples[i].sha256)] = root("pixels:" + same[i])
    units: dict[str, list[int]] = {}
    for i in order:
        key = root(samples[i].sha256) if parent else samples[i].sha256
        units.setdefault(key, []).append(i)
    return list(units.values())


def _numbered(units: Sequence[Sequence[int]], total: int) -> IntArray:
    numbers = np.zeros(total, np.int64)
    numbers[list(itertools.chain.from_iterable(units))] = np.repeat(np.arange(len(units)), list(map(len, units)))
    return numbers


def _followed(samples: Sequence[Sample], same: Sequence[str]) -> list[SplitName | None]:
    """Return each sample's own split, or that of the copies and of the group that it belongs to, or None."""
    homes = [sample.split for sample in samples]
    if None in homes:
        for unit in _units(samples, same, range(len(samples))):
            home = next((name for name in ("test", "val", "train") if any(homes[i] == name for i in unit)), None)
            for i in unit:
                homes[i] = homes[i] or home  # type: ignore[assignment]
    return homes


def _shared(dataset: Dataset, same: Sequence[str], homes: Sequence[str]) -> Iterator[Finding]:
    """Yield what given splits share: pictures, and groups. `homes` has each sample's, "" where it is to be drawn."""
    twins, alike = list(_twins(dataset.samples)), _look_alikes(dataset.samples, same)
    if not (twins or alike or any(sample.group is not None for sample in dataset.samples)):
        return
    home = dict(zip((id(sample) for sample in dataset.samples), homes, strict=True))
    if shared := [(one.path, other.path) for one, other in twins if home[id(one)] != home[id(other)]]:
        yield Finding("leak", _paths(shared), evidence={"pairs": _listed(shared)})
    if shared := [(one.path, other.path) for one, other in alike if home[id(one)] != home[id(other)]]:
        yield Finding("leak", _paths(shared), evidence={"by": "pixels", "pairs": _listed(shared)})
    groups: dict[str, set[str]] = defaultdict(set)
    for sample in dataset.samples:
        if sample.group is not None:
            groups[sample.group].add(home[id(sample)] or "train")
    if torn := {group for group, names in groups.items() if len(names) > 1}:
        members = tuple(sample.path for sample in dataset.samples if sample.group in torn)
        yield Finding("leak", members, evidence={"groups": sorted(torn)})


def _two_labels(dataset: Dataset, same: Sequence[str]) -> Iterator[Finding]:
    """Yield the pictures that carry two labels: one of them must be wrong."""
    twins = [*_twins(dataset.samples), *_look_alikes(dataset.samples, same)]
    torn = [(one, other) for one, other in twins if one.label != other.label]
    if torn:
        pairs = [[(sample.path, dataset.class_names[sample.label]) for sample in pair] for pair in torn]
        yield Finding("label", _paths([(one.path, other.path) for one, other in torn]), evidence={"pairs": pairs})


def _twins(samples: Sequence[Sample]) -> Iterator[tuple[Sample, Sample]]:
    """Yield each sample whose content came before, after the first sample with that content."""
    first: dict[str, Sample] = {}
    for sample in samples:
        if (other := first.setdefault(sample.sha256, sample)) is not sample:
            yield other, sample


def _look_alikes(samples: Sequence[Sample], same: Sequence[str]) -> list[tuple[Sample, Sample]]:
    """Return each sample that has the pixels of one before, in a file of other bytes, after the first of these."""
    first: dict[str, Sample] = {}
    pairs = ((first.setdefault(look, sample), sample) for sample, look in zip(samples, same, strict=True) if look)
    return [(one, other) for one, other in pairs if one.sha256 != other.sha256]


def _listed(pairs: Iterable[tuple[str, str]]) -> list[list[str]]:
    return [list(pair) for pair in pairs]


def _paths(pairs: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(path for pair in pairs for path in pair))


def _check_can_be_trained_on(
    dataset: Dataset, assigned: np.typing.NDArray[np.str_], labels: IntArray
) -> Iterator[Finding]:
    """Yield which given splits lack a class that is in training. Raises DataError where a drawn one does."""
    given = {sample.split for sample in dataset.samples} - {"train", None}
    brought = sorted(set(assigned.tolist()))
    if ("train" in brought and "val" not in brought) or len(dataset.samples) < 3:
        raise DataError(
            f"{dataset.name} cannot be divided into train, val and test: there are too few different pictures, or too "
            "few groups, of each class (identical pictures, and those of a group, count as one). Gather at least three "
            f"of each class, or leave the groups out.{_left_out(dataset)}"
        )
    if missing := [name for name in ("train", "val") if name not in brought]:
        raise DataError(
            f"{dataset.name} has no {' and no '.join(missing)} split: it has only "
            f"{' and '.join(brought)}. Training needs training pictures; add a train folder, or put all "
            f"pictures into plain class folders.{_left_out(dataset)}"
        )
    for name in brought:
        present = set(labels[assigned == name].tolist())
        absent = [label for label in range(len(dataset.class_names)) if label not in present]
        if absent and name in given:
            yield Finding("rare", evidence={"split": name, "lacks": [dataset.class_names[k] for k in absent]})
        elif absent:
            classes = shortlist([f"'{dataset.class_names[label]}' ({(labels == label).sum()})" for label in absent])
            raise DataError(
                f"The {name} split of {dataset.name} has no picture of class {classes}; in brackets is their number "
                "in all splits. Every class must be in every split: gather at least three different pictures of each "
                f"(identical ones, and ones of a group, count as one), or leave such classes out, with "
                f"--set skip_rare=true.{_left_out(dataset)}"
            )


def _left_out(dataset: Dataset) -> str:
    """Name what could not be used, where a class may lack just that."""
    if not dataset.skipped:
        return ""
    named = shortlist([f"{skipped.path} ({skipped.reason})" for skipped in dataset.skipped], 3)
    return f" {counted(len(dataset.skipped), 'file was', 'files were')} left out: {named}."
