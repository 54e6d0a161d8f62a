"""What `clean --auto` decides: of pictures that are the same in all their pixels, one stays. That needs no eye."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from keensight.care.copies import Copy
from keensight.care.decisions import looked_at
from keensight.care.whole import Levels, digests
from keensight.errors import DataError, counted, shortlist
from keensight.values import Dataset, Decision, SplitName

STRICTEST: tuple[SplitName | None, ...] = ("test", "val", "train", None)


def certain(dataset: Dataset, found: Sequence[Copy], who: str) -> list[Decision]:
    """Return the decisions that need no eye: of pictures with the same pixels under one label, one stays.

    Of copies in two splits, the held-out one stays. Those under different labels are left for a person, and so are all
    that are only nearly the same.
    """
    samples, kept = dataset.samples, looked_at(dataset, {"keep"})
    homes: dict[int, list[int]] = defaultdict(list)  # by the first that shows a picture, all that show it
    first = {each.other: each.one for each in found if each.by != "likeness"}
    for each in first:
        home = each
        while home in first:
            home = first[home]
        homes[home].append(each)
    dropped = []
    for home, others in homes.items():
        all_of_them = sorted([home, *others])
        if len({samples[i].label for i in all_of_them}) > 1:
            continue
        stays = min(all_of_them, key=lambda i: (STRICTEST.index(samples[i].split), i))
        for i in all_of_them:
            if i != stays and samples[i].path not in kept:
                same = "bytes" if samples[i].sha256 == samples[stays].sha256 else "pixels"
                why = f"the same {same} as {samples[stays].path}"
                dropped.append(Decision(samples[i].sha256, "drop", why=why, file=samples[i].path, who=who))
    return dropped


def same_now(dataset: Dataset, found: Sequence[Copy], levels: Levels) -> list[Copy]:
    """Return those of the copies with the same bytes or pixels that have these in their files as they are now."""
    samples = dataset.samples
    told = [each for each in found if each.by == "pixels"]
    whole = digests(dataset, sorted({i for each in told for i in (each.one, each.other)}), levels)
    return [
        each
        for each in found
        if samples[each.one].sha256 == samples[each.other].sha256
        or (each.by == "pixels" and each.one in whole and whole[each.one] == whole.get(each.other))
    ]


def copies_in(facts: Mapping[str, Any], dataset: Dataset, source: str) -> list[Copy]:
    """Return the pictures with the same bytes or pixels that an audit found, from its audit.json.

    Raises DataError if a picture is not there any more, or has changed since, and for pairs that cannot be.
    """
    numbers = {sample.path: i for i, sample in enumerate(dataset.samples)}
    found, changed = [], set[str]()
    for finding in facts["findings"]:
        by, pairs = finding["evidence"].get("by"), finding["evidence"].get("pairs")
        if by not in ("bytes", "pixels") or not pairs:
            continue
        for pair in pairs if isinstance(pairs, list) else [pairs]:
            paths = _two_of(pair, by, facts["sha256"], source)
            changed |= {
                path
                for path in paths
                if path not in numbers or dataset.samples[numbers[path]].sha256 != facts["sha256"].get(path)
            }
            if not changed:
                one, other = sorted(numbers[path] for path in paths)
                found.append(Copy(one, other, by))
    if changed:
        raise DataError(
            f"{counted(len(changed), 'picture')} that {source} names {'is' if len(changed) == 1 else 'are'} not in "
            f"{dataset.name} as {'it was' if len(changed) == 1 else 'they were'} then: "
            f"{shortlist(sorted(changed))}. Nothing was changed. Audit again, or leave {source} out, as --auto looks "
            "by itself."
        )
    return found


def _two_of(pair: Any, by: str, hashes: Mapping[str, str], source: str) -> list[str]:
    """Return the two paths of a pair. The file may come from elsewhere, and what it calls a copy may be dropped."""
    try:
        one, other = (each if isinstance(each, str) else each[0] for each in pair)
        differ = by == "bytes" and hashes.get(one) != hashes.get(other)
        if isinstance(one, str) and isinstance(other, str) and one != other and not differ:
            return [one, other]
    except (TypeError, ValueError, LookupError):
        pass
    raise DataError(
        f"{source} has a pair of copies that are not two files with the same {by}: {ascii(pair)[:120]}. `keensight "
        f"audit` does not write that, so nothing was changed. Audit again, or leave {source} out, as --auto looks by "
        "itself."
    )
