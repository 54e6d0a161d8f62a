"""The entrance of `data`: any form of DATA becomes a Dataset here, and a Dataset's pictures are read here."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import NamedTuple, TypeAlias

from keensight.data.arrays import array_reader, load_digits
from keensight.data.decided import check_all_moved, followed, record_of
from keensight.data.folders import folder_reader, list_folder
from keensight.data.idx import is_idx_folder, list_idx, load_idx
from keensight.data.in_hand import Data, places_of
from keensight.data.listing import Entry, Listing
from keensight.data.manifests import is_manifest, list_manifest
from keensight.data.metadata_folder import is_metadata_folder, list_metadata_folder
from keensight.data.named import NAMES, list_named
from keensight.data.npz import is_npz, list_npz, load_npz
from keensight.data.run_list import is_run_list, list_run
from keensight.data.several import joined
from keensight.data.shard_index import is_shards
from keensight.data.shard_list import list_shards, shard_reader
from keensight.data.stores import is_url
from keensight.data.tars import is_tar, list_tar, tar_reader
from keensight.data.zips import is_zip, list_zip, zip_reader
from keensight.errors import DataError, UsageError, shortlist, suggestion
from keensight.names import natural_order
from keensight.values import SPLIT_NAMES, Dataset, DatasetKind, Part, Sample, Skipped, Uint8Array

Read: TypeAlias = Callable[[Sample], bytes | Uint8Array]


class Form(NamedTuple):
    """One form of DATA: how it is recognised, and the function that lists it, given the path and the label pattern."""

    fits: Callable[[Path], bool]
    list: Callable[[Path, str | None], Listing]


def _open_arrays(root: Path | str) -> AbstractContextManager[Read]:
    if is_shards(root):
        return shard_reader(root)
    root = Path(root)
    return array_reader(root, load_idx if root.is_dir() else load_npz if is_npz(root) else load_digits)


FORMS = (  # the first that fits is taken
    Form(is_idx_folder, list_idx),
    Form(is_shards, list_shards),
    Form(is_metadata_folder, list_metadata_folder),
    Form(Path.is_dir, list_folder),
    Form(is_zip, list_zip),
    Form(is_tar, list_tar),
    Form(is_run_list, lambda path, pattern: list_run(path, pattern, list_data)),
    Form(is_manifest, list_manifest),
    Form(is_npz, list_npz),
)
READERS: dict[DatasetKind, Callable[..., AbstractContextManager[Read]]] = {
    "folder": folder_reader,
    "zip": zip_reader,
    "tar": tar_reader,
    "arrays": _open_arrays,
    "shards": shard_reader,
}
ACCEPTED = (
    "DATA may be a folder, a .zip/.tar.*, a .csv/.tsv/.jsonl manifest, a folder with IDX files, a .npz, shards (a "
    f"folder or URL), or one of {', '.join(NAMES)}"
)


def open_dataset(
    data: Data | Iterable[Data],
    *,
    label_pattern: str | None = None,
    class_names: tuple[str, ...] | None = None,
) -> Dataset:
    """Find, label and hash the pictures of DATA, without decoding them.

    `data` is a folder with one folder per class (inside folders named train, val and test, if there are splits), a zip
    or tar of one, a CSV or JSON Lines manifest, a folder with IDX files, an .npz, or a name: digits, mnist,
    fashion-mnist. A bare name given as text always means the built-in dataset; write ``./digits`` (or give a Path that
    exists) for a folder called so. `label_pattern`, such as ``'{label}__*'``, takes labels from the file names of a
    folder or archive. `class_names`, those of a model to be measured, fixes the classes and their order: some may then
    have no picture, and any other label is refused.

    Pictures in hand are DATA too: a Hugging Face Dataset, or a torch Dataset of (PIL image or array, label) that has
    `classes`; in a DatasetDict, or another mapping, their splits are kept. They are written once, as PNG files with a
    manifest in the cache.

    What `keensight clean` noted beside the data is followed: pictures are left out, have other labels or other splits.
    Of several DATA, labels are matched by name, and each path begins with the name of its DATA.

    Files that cannot be used are listed in the dataset's `skipped`. Raises DataError if there is nothing to learn from:
    no such path, no pictures, one class only, a class missing from a split, or a damaged or hostile file.

    >>> digits = open_dataset("digits")
    >>> len(digits.samples), digits.class_names[:3], digits.samples[0].path
    (1797, ('0', '1', '2'), 'images[0]')
    """
    places = places_of(data)
    if not places:
        raise UsageError(f"No DATA was given. {ACCEPTED}.")
    listings = [list_data(place, label_pattern) for place in places]
    return _finished(
        joined(listings) if len(listings) > 1 else listings[0], " and ".join(map(str, places)), class_names
    )


def list_data(data: str | Path, label_pattern: str | None) -> Listing:
    """List one DATA. Raises DataError and UsageError as `open_dataset` does."""
    if str(data) in NAMES and (isinstance(data, str) or not data.exists()):
        if label_pattern:
            raise UsageError(f"A label pattern is for folders and archives of pictures; {data} has labels of its own.")
        return list_named(str(data))
    if is_url(data):
        return list_shards(data, label_pattern)
    path = Path(os.path.abspath(data))  # noqa: PTH100  (resolve() would replace a link's name)
    if not os.path.exists(path) or not str(data):  # noqa: PTH110  (false, not an error, for names too long)
        raise _does_not_exist(str(data), path)
    check_all_moved(path)
    for form in FORMS:
        if form.fits(path):
            if not (path.is_dir() or path.is_file()):
                break
            if form.fits is is_manifest:  # its folder may have been cleaned
                check_all_moved(path.parent)
                listing = followed(form.list(path, label_pattern), record_of(path.parent), of_folder=True)
                return followed(listing, record_of(path))
            return followed(form.list(path, label_pattern), record_of(path))
    raise DataError(
        f"{data} is none of the accepted forms: {ACCEPTED}. For a single picture, give the folder that its class "
        "folder is in."
    )


def is_cleaned_by_moves(path: Path) -> bool:
    """Say whether the folders of DATA are what labels its pictures, so that cleaning moves them."""
    return next((form.fits is Path.is_dir for form in FORMS if form.fits(path)), False)


def only(dataset: Dataset, classes: Sequence[str]) -> Dataset:
    """Return the dataset with only some of its classes, in the order given.

    Raises DataError for a class that it does not have, or fewer than two.

    >>> zeros_and_ones = only(open_dataset("digits"), ["1", "0"])
    >>> zeros_and_ones.class_names, len(zeros_and_ones.samples)
    (('1', '0'), 360)
    """
    if unknown := [name for name in classes if name not in dataset.class_names]:
        raise DataError(
            f"{dataset.name} has no class {shortlist(unknown)}. {suggestion(unknown[0], dataset.class_names)}"
            f"Its classes are {shortlist(dataset.class_names, 20)}; choose two or more of them."
        )
    if len(set(classes)) < max(2, len(classes)):
        raise DataError(f"The classes chosen are {shortlist(list(classes))}; choose two or more different ones.")
    chosen = {dataset.class_names.index(name): label for label, name in enumerate(classes)}
    samples = tuple(replace(s, label=chosen[s.label]) for s in dataset.samples if s.label in chosen)
    return replace(dataset, class_names=tuple(classes), samples=samples)


@contextmanager
def reader(dataset: Dataset) -> Iterator[Read]:
    """Open a dataset for reading; yield a function from a sample to its picture.

    The function returns the encoded file's bytes, or for `kind` "arrays" pixels as uint8 HWC; it can be called from
    many threads at once, and raises PictureError for a picture that cannot be read or is too large.

    >>> digits = open_dataset("digits")
    >>> with reader(digits) as read:
    ...     read(digits.samples[0]).shape
    (8, 8, 1)
    """
    with open_places(dataset.kind, dataset.root, dataset.parts) as read:
        yield read


@contextmanager
def open_places(kind: DatasetKind, root: Path | str, parts: Sequence[Part]) -> Iterator[Read]:
    """Do what `reader` does, given only where a dataset's pictures are."""
    with ExitStack() as opened:
        if not parts:
            yield opened.enter_context(READERS[kind](root))
            return
        reads = {part.name: opened.enter_context(READERS[part.kind](part.root)) for part in parts}

        def read(sample: Sample) -> bytes | Uint8Array:
            name, _, path = sample.path.partition("/")
            return reads[name](Sample(path, sample.label, sample.sha256))

        yield read


def _finished(listing: Listing, data: str, wanted: tuple[str, ...] | None) -> Dataset:
    entries = [entry for entry in listing.entries if entry.path in listing.hashes]
    unusable = [
        Skipped(entry.path, listing.unusable.get(entry.path, "could not be read"))
        for entry in listing.entries
        if entry.path not in listing.hashes
    ]
    class_names = listing.class_names or tuple(natural_order({entry.label for entry in listing.entries}))
    if "" in class_names:
        raise DataError(f"{data} has a class without a name: its folder's is blank. Rename or move that folder.")
    _check_usable(data, listing.entries, entries, unusable)
    if wanted is None:
        _check_classes(data, class_names, entries)
    elif unknown := [name for name in class_names if name not in wanted]:
        raise DataError(
            f"{data} has the unknown label{'s' * (len(unknown) > 1)} {shortlist(unknown)}; the model knows "
            f"{shortlist(wanted)}. {suggestion(unknown[0], wanted)}Labels are matched by name: rename or leave out the "
            "others."
        )
    class_names = wanted or class_names
    index = {name: i for i, name in enumerate(class_names)}
    samples = tuple(
        Sample(entry.path, index[entry.label], listing.hashes[entry.path], entry.split, entry.group)
        for entry in entries
    )
    skipped = (*unusable, *listing.skipped)
    return Dataset(
        listing.name, listing.root, listing.kind, class_names, samples, skipped, listing.parts, listing.decisions
    )


def _check_usable(data: str, listed: Sequence[Entry], usable: Sequence[Entry], unusable: list[Skipped]) -> None:
    before, after = (Counter((entry.label, entry.split) for entry in entries) for entries in (listed, usable))
    if not before:
        raise DataError(f"{data} holds no pictures at all. {ACCEPTED}; add pictures of two classes or more.")
    for (label, split), count in before.items():
        if not after[label, split]:
            of_class = {entry.path for entry in listed if (entry.label, entry.split) == (label, split)}
            first = next(skipped for skipped in unusable if skipped.path in of_class)
            none, can = ("The only picture", "cannot") if count == 1 else (f"None of the {count:,} pictures", "can")
            raise DataError(
                f"{none} of class '{label}'{f' in the {split} split' if split else ''} of {data} {can} be used "
                f"({first.path}: {first.reason}). Each class needs at least one; replace or remove them."
            )


def _check_classes(data: str, class_names: tuple[str, ...], entries: Iterable[Entry]) -> None:
    """Check that training has every class: one that it lacks could not be learnt. Other splits may lack some."""
    if len(class_names) < 2:
        raise DataError(
            f"{data} holds pictures of only one class ('{class_names[0]}'). A classifier needs two classes or more to "
            "tell apart; add pictures of something else under a label of their own, or give --label-pattern if the "
            "file names carry the labels."
        )
    classes: dict[str | None, set[str]] = {}
    for entry in entries:
        classes.setdefault(entry.split, set()).add(entry.label)
    learnt = [classes[name] for name in (None, "train") if name in classes]
    known = set().union(*learnt) if learnt else set(class_names)
    for split in SPLIT_NAMES:
        if split not in classes:
            continue
        if unknown := natural_order(classes[split] - known):
            raise DataError(
                f"The {split} split of {data} has the unknown label{'s' * (len(unknown) > 1)} {shortlist(unknown)}: "
                f"the train split has no such pictures (it has {shortlist(natural_order(known))}). "
                f"{suggestion(unknown[0], known)}Classes are matched by name; rename the class, or add it to train."
            )
    if missing := natural_order(set(class_names) - known):
        raise DataError(
            f"{data if None in classes else f'The train split of {data}'} has no pictures of the "
            f"class{'es' * (len(missing) > 1)} {shortlist(missing)}. Every class needs some; add them, or "
            "remove the class everywhere."
        )


def _does_not_exist(data: str, path: Path) -> DataError:
    try:
        beside = [entry.name for entry in islice(os.scandir(path.parent), 1000)]
    except OSError:
        beside = []
    is_bare = len(Path(data).parts) < 2
    near = (suggestion(path.name.lower(), NAMES) if is_bare else "") or suggestion(path.name, beside)
    return DataError(
        f"{data or 'DATA (an empty text)'} does not exist; {ACCEPTED}. {near}Check the spelling and the current folder."
    )
