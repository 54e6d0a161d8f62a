"""The pictures of any form of DATA, or of single files, without regard to labels: what is to be answered for."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from keensight.data.archives import member_reader
from keensight.data.folders import Contents, read_file, walk
from keensight.data.idx import is_idx_folder
from keensight.data.listing import is_picture
from keensight.data.manifests import is_manifest, list_manifest
from keensight.data.named import NAMES, list_named
from keensight.data.shard_index import is_shards
from keensight.data.shard_list import list_shards, shard_reader
from keensight.data.sources import FORMS, open_places
from keensight.data.tars import is_tar, plain_tar, tar_members
from keensight.data.unlabelled import Picture, read_picture
from keensight.data.zips import is_zip, zip_members
from keensight.errors import PictureError, UsageError
from keensight.names import natural_order
from keensight.values import Sample, Skipped, Uint8Array

Account = Callable[[str, Sequence[Skipped]], None]  # hears what one of the places holds besides pictures


def pictures_in(paths: Iterable[Path | str], open_until: ExitStack, account: Account) -> Iterator[Picture]:
    """Yield the pictures that are meant: each file as it is, and all of a folder, archive, manifest, arrays or a name.

    Those of one place come in natural order, called by its path and theirs in it. Archives stay open in `open_until`;
    what else a place holds goes to `account`. Raises DataError for a damaged archive, manifest or array file.
    """
    for place in paths:
        path = Path(place)
        if is_picture(path.name) and path.is_file():  # first, as to look for all else takes a fifth of decoding it
            yield Picture(path, partial(read_picture, path))
        elif is_shards(place):
            yield from _in_shards(place, open_until, account)
        elif str(path) in NAMES and not path.exists():
            yield from _listed(path, open_until, account)
        elif path.is_dir() and not is_idx_folder(path):
            yield from _in_folder(path, account)
        elif path.is_dir() or (path.is_file() and any(form.fits(path) for form in FORMS)):
            in_archive = is_zip(path) or is_tar(path)
            yield from _in_archive(path, open_until, account) if in_archive else _listed(path, open_until, account)
        else:
            yield Picture(path, partial(read_picture, path))


def places_given(pictures: str | Path | Iterable[str | Path]) -> list[str | Path]:
    """Return paths and names of DATA as a list. Raises UsageError for pictures in hand, and for all else."""
    if isinstance(pictures, str | Path):
        return [pictures]
    is_array = hasattr(pictures, "shape")  # whose rows are no pictures
    listed: list[Any] = list(pictures) if isinstance(pictures, Iterable) and not is_array else [pictures]
    if strange := [each for each in listed if not isinstance(each, str | os.PathLike)]:
        raise UsageError(
            f"The pictures given are of the type {type(strange[0]).__name__}. Accepted are paths and names of DATA; "
            "for PIL images and arrays, call keensight.Predictor(bundle) with them."
        )
    return [each if isinstance(each, str) else Path(each) for each in listed]


def _in_folder(folder: Path, account: Account) -> Iterator[Picture]:
    contents, _ = walk(folder, any_name=True)
    account(str(folder), contents.skipped)
    if not (names := _names(contents)):
        yield Picture(folder, partial(_refuse, "it is a folder without pictures"))
    for name in names:
        yield _picture(folder, name, contents, partial(read_file, folder, name))


def _in_archive(path: Path, open_until: ExitStack, account: Account) -> Iterator[Picture]:
    plain = path if is_zip(path) else plain_tar(path)
    contents, members = zip_members(path) if is_zip(path) else tar_members(plain, path)
    account(str(path), contents.skipped)
    read = open_until.enter_context(member_reader(plain, members))
    if not (names := _names(contents)):
        yield Picture(path, partial(_refuse, "it holds no pictures"))
    for name in names:
        yield _picture(path, name, contents, partial(read, name))


def _in_shards(place: Path | str, open_until: ExitStack, account: Account) -> Iterator[Picture]:
    listing = list_shards(place)
    account(str(place), listing.skipped)
    read = open_until.enter_context(shard_reader(place))
    for entry in listing.entries:  # in the order of their rows, in which reading them is cheap
        yield Picture(Path(entry.path), partial(_unnamed, entry.path, partial(read, Sample(entry.path, 0, ""))))


def _listed(path: Path, open_until: ExitStack, account: Account) -> Iterator[Picture]:
    """Yield the pictures of a form that lists them itself: a manifest, arrays, or a data set's name."""
    form = next((form for form in FORMS if form.fits(path)), None)
    if form and form.fits is is_manifest:  # and not a run's list, which is one too
        listing = list_manifest(path.absolute(), None, needs=("file",))
    else:
        listing = form.list(path.absolute(), None) if form else list_named(str(path))
    account(str(path), listing.skipped)
    read = open_until.enter_context(open_places(listing.kind, listing.root, listing.parts))
    around = path if listing.kind == "arrays" else Path() if listing.parts else Path(listing.root)
    for name in natural_order(entry.path for entry in listing.entries):
        sample = Sample(name, 0, "")
        reason = listing.unusable.get(name)
        yield Picture(
            around / name, partial(_refuse, reason) if reason else partial(_unnamed, name, partial(read, sample))
        )


def _names(contents: Contents) -> list[str]:
    return natural_order([*contents.pictures, *contents.unusable])


def _picture(place: Path, name: str, contents: Contents, read: Callable[[], bytes]) -> Picture:
    reason = contents.unusable.get(name)
    return Picture(place / name, partial(_refuse, reason) if reason else partial(_unnamed, name, read))


def _unnamed(name: str, read: Callable[[], bytes | Uint8Array]) -> bytes | Uint8Array:
    try:
        return read()
    except PictureError as error:  # the caller knows the name
        raise PictureError(str(error).removeprefix(f"{name}: ")) from error


def _refuse(reason: str) -> bytes:
    raise PictureError(reason)
