"""Several DATA as one: their listings are joined, and each picture is read where it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import count

from keensight.data.listing import Entry, Listing
from keensight.names import natural_order
from keensight.values import Dataset, Part, Skipped


def joined(listings: Sequence[Listing]) -> Listing:
    """Return one listing of what several hold; each path begins with the name of its DATA.

    Labels are matched by name. Class names that some DATA give in an order of their own keep it, and others follow.
    """
    taken: set[str] = set()
    renamed = [_renamed(each, taken) for each in listings]
    own_order = [name for each in listings for name in each.class_names or ()]
    others = natural_order({entry.label for each in listings for entry in each.entries} - set(own_order))
    return Listing(
        name="+".join(each.name for each in listings[:3]) + (f"+{len(listings) - 3}" if len(listings) > 3 else ""),
        root=listings[0].root,
        kind="several",
        entries=[entry for each in renamed for entry in each.entries],
        hashes={path: value for each in renamed for path, value in each.hashes.items()},
        unusable={path: reason for each in renamed for path, reason in each.unusable.items()},
        skipped=[skipped for each in renamed for skipped in each.skipped],
        class_names=tuple(dict.fromkeys([*own_order, *others])) if own_order else None,
        parts=tuple(part for each in renamed for part in each.parts),
        decisions=tuple(decision for each in renamed for decision in each.decisions),
    )


def missing_classes(dataset: Dataset) -> list[tuple[str, list[str]]]:
    """Return, for each DATA of several that lacks classes of the others, its name and these classes."""
    held: dict[str, set[int]] = {part.name: set() for part in dataset.parts}
    for sample in dataset.samples if held else ():
        held[sample.path.partition("/")[0]].add(sample.label)
    names = dataset.class_names
    lacking = [(part, [name for k, name in enumerate(names) if k not in labels]) for part, labels in held.items()]
    return [(part, lacks) for part, lacks in lacking if lacks]


def _renamed(listing: Listing, taken: set[str]) -> Listing:
    """Return a listing whose paths begin with the name of a part, one that no other has."""
    parts = listing.parts or (Part("", listing.root, listing.kind),)
    names = {part.name: _free(part.name or listing.name, taken) for part in parts}

    def path(old: str) -> str:
        if not listing.parts:
            return f"{names['']}/{old}"
        first, _, rest = old.partition("/")
        return f"{names[first]}/{rest}" if first in names else old

    return replace(
        listing,
        entries=[Entry(path(entry.path), *entry[1:]) for entry in listing.entries],
        hashes={path(old): value for old, value in listing.hashes.items()},
        unusable={path(old): reason for old, reason in listing.unusable.items()},
        skipped=[Skipped(path(each.path), each.reason) for each in listing.skipped],
        parts=tuple(replace(part, name=names[part.name]) for part in parts),
        decisions=tuple(replace(each, file=each.file and path(each.file)) for each in listing.decisions),
    )


def _free(name: str, taken: set[str]) -> str:
    plain = name.replace("/", "-") or "data"
    free = plain if plain not in taken else next(f"{plain}-{n}" for n in count(2) if f"{plain}-{n}" not in taken)
    taken.add(free)
    return free
