"""Decisions against the data that they are about: which pictures are meant, and what contradicts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from keensight.data.decided import places
from keensight.errors import DataError, shortlist, suggestion
from keensight.values import Action, Dataset, Decision, Finding, Sample, SplitName


class After(NamedTuple):
    """What a picture is to be after all decisions about it."""

    label: str
    split: SplitName | None
    dropped: bool


@dataclass(frozen=True, slots=True)
class Settled:
    """Decisions that fit the data: each is about one picture, its `file`. `after` has what these become, by path."""

    decisions: tuple[Decision, ...]
    after: Mapping[str, After]


def settle(dataset: Dataset, decisions: Sequence[Decision], source: str) -> Settled:
    """Find the pictures that decisions are about, and what they become.

    A decision without a `file` is about every picture with its content; but which of several copies to drop has to be
    said. The same decision twice counts once. `source` names the decisions in messages.

    Raises DataError, in one paragraph, for pictures that are not there or have changed since, labels that do not exist,
    and decisions that contradict each other.
    """
    by_path = {sample.path: sample for sample in dataset.samples}
    by_content: dict[str, list[str]] = defaultdict(list)
    for sample in dataset.samples:
        by_content[sample.sha256].append(sample.path)
    dropped = {each.sha256 for each in dataset.decisions if each.action == "drop"}
    problems: dict[str, list[str]] = defaultdict(list)
    about: dict[str, list[Decision]] = defaultdict(list)
    for each in decisions:
        same = by_content[each.sha256]
        if each.label is not None and each.action == "relabel" and each.label not in dataset.class_names:
            problems[UNKNOWN_LABEL].append(f"'{each.label}' for {each.file or each.sha256[:12]}")
        if each.file in same:
            paths = [each.file]
        elif each.file in by_path:
            problems[CHANGED].append(str(each.file))
            continue
        elif not same:
            problems[DROPPED if each.sha256 in dropped else UNKNOWN].append(each.file or each.sha256[:12])
            continue
        elif len(same) > 1 and (each.file or each.action == "drop"):
            problems[SEVERAL].append(f"{each.sha256[:12]} ({shortlist(same, 3)})")
            continue
        else:
            paths = same
        for path in paths:
            one = replace(each, file=path)
            if one not in about[path]:
                about[path].append(one)
    for path, some in about.items():
        if contradicts(some):
            said = " and ".join(dict.fromkeys(_short(each) for each in some))
            problems[CONTRADICT].append(f"{path} ({said})")
    if problems:
        raise DataError(_paragraph(source, dataset, decisions, problems))
    after = {path: _after(by_path[path], dataset, some) for path, some in about.items()}
    return Settled(tuple(each for some in about.values() for each in some), after)


UNKNOWN = "not among these pictures, or not as they were then"
DROPPED = "dropped by an earlier cleaning, which --undo takes back"
CHANGED = "changed since they were decided on (another sha256): look at them again"
SEVERAL = "in several files, so say which with file"
UNKNOWN_LABEL = "a label that does not exist here"
CONTRADICT = "decided on twice, and differently"


def contradicts(decisions: Sequence[Decision]) -> bool:
    """Say whether decisions about one picture cannot all hold.

    >>> drop, confirm = Decision("0" * 64, "drop"), Decision("0" * 64, "confirm")
    >>> contradicts([drop, drop]), contradicts([drop, confirm])
    (False, True)
    """
    actions = {each.action for each in decisions}
    labels = {each.label for each in decisions if each.action == "relabel"}
    splits = {each.split for each in decisions if each.action == "move"}
    stays = bool(actions & {"keep", "confirm"})
    return ("drop" in actions and len(actions) > 1) or len(labels) > 1 or len(splits) > 1 or bool(labels and stays)


def unsettled(findings: Iterable[Finding], dataset: Dataset) -> Iterator[Finding]:
    """Yield findings without the pictures, and pairs of them, that somebody looked at and kept.

    A confirmed label is doubted no more; of pairs, both have to be kept. What remains of lists in the evidence that
    have an entry for each picture or pair stays beside it.
    """
    kept = looked_at(dataset, {"keep"})
    right = kept | looked_at(dataset, {"confirm"})
    for finding in findings:
        done = right if finding.kind == "label" and finding.evidence.get("by") == "heads" else kept
        pairs = finding.evidence.get("pairs")
        units = [_files(pair) for pair in pairs] if pairs else [{path} for path in finding.samples]
        stay = [i for i, files in enumerate(units) if not files <= done]
        if len(stay) == len(units):
            yield finding
        elif stay:
            evidence = {
                name: [value[i] for i in stay]
                if isinstance(value, list | tuple) and len(value) == len(units)
                else value
                for name, value in finding.evidence.items()
            }
            left = set().union(*(units[i] for i in stay))
            yield replace(finding, samples=tuple(path for path in finding.samples if path in left), evidence=evidence)


def looked_at(dataset: Dataset, actions: set[Action]) -> set[str]:
    """Return the paths of pictures about which one of these actions was decided."""
    some = [each for each in dataset.decisions if each.action in actions]
    hashes = {sample.path: sample.sha256 for sample in dataset.samples} if some else {}
    return {path for _, paths in places(some, hashes) for path in paths}


def _files(pair: Sequence[str | Sequence[str]]) -> set[str]:
    return {one if isinstance(one, str) else one[0] for one in pair}


def _after(sample: Sample, dataset: Dataset, decisions: Iterable[Decision]) -> After:
    after = After(dataset.class_names[sample.label], sample.split, False)
    for each in decisions:
        if each.action == "relabel" and each.label:
            after = after._replace(label=each.label)
        elif each.action == "move":
            after = after._replace(split=each.split)
        elif each.action == "drop":
            after = after._replace(dropped=True)
    return after


def _short(decision: Decision) -> str:
    return " ".join(part for part in (decision.action, decision.label, decision.split) if part)


def _paragraph(
    source: str, dataset: Dataset, decisions: Sequence[Decision], problems: Mapping[str, Sequence[str]]
) -> str:
    named = [
        f"{len(some):,} {'is' if len(some) == 1 else 'are'} {why}: {shortlist(some)}" for why, some in problems.items()
    ]
    labels = shortlist(dataset.class_names, 20)
    known = f" The labels of {dataset.name} are {labels}." if UNKNOWN_LABEL in problems else ""
    wrong = next((each.label for each in decisions if each.label and each.label not in dataset.class_names), None)
    near = suggestion(wrong, dataset.class_names).rstrip() if wrong and known else ""
    return (
        f"Of the {len(decisions):,} decisions in {source}, some do not fit {dataset.name}, so nothing was changed: "
        f"{'; '.join(named)}.{known}{f' {near}' if near else ''} Correct or remove these lines; the rest can stay."
    )
