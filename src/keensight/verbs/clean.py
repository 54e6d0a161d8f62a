"""`keensight clean`: carries out what was decided about pictures, so that all of it can be undone."""

from __future__ import annotations

import getpass
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from keensight.care.certain import certain, copies_in, same_now
from keensight.care.copies import Copy, copies
from keensight.care.decisions import Settled, settle
from keensight.care.journal import Move, Quarantine
from keensight.care.moves import check_none_is_emptied, plan
from keensight.care.unconfirmed import unconfirmed_labels
from keensight.data.cache import choose_preprocessing, decode
from keensight.data.decided import audit_facts, decisions_jsonl, read_decisions, record_of
from keensight.data.folders import read_file
from keensight.data.named import NAMES
from keensight.data.sources import is_cleaned_by_moves, open_dataset
from keensight.errors import DataError, PictureError, UsageError, counted, shortlist
from keensight.pipeline.watch import Watcher
from keensight.values import Dataset, Decision, Recipe
from keensight.version import __version__


@dataclass(frozen=True, slots=True)
class Cleaned:
    """What `clean` did: the decisions it followed, and how many files it moved (with `undo`: moved back).

    `record` is the file of all decisions about the data. `quarantine` is where dropped files are, if there are any.
    """

    data: str
    record: Path
    quarantine: Path | None
    decisions: tuple[Decision, ...]
    moved: int
    undone: bool = False
    unconfirmed: int = 0  # gathered pictures whose labels nobody has looked at yet


def clean(
    data: str | Path,
    decisions: str | Path | None = None,
    *,
    auto: bool = False,
    undo: bool = False,
    who: str | None = None,
    label_pattern: str | None = None,
    watcher: Watcher | None = None,
) -> Cleaned:
    """Carry out decisions about pictures: drop, relabel, move to another split, keep, confirm. All can be undone.

    In a folder, files are moved: to the folder of their label or split, or to a quarantine beside the data. Archives,
    manifests and arrays stay as they are. The decisions are noted in a file beside the data, DATA.decisions.jsonl, and
    all verbs that read the data follow it.

    Args:
        data: A folder, archive, manifest, IDX folder or .npz, as `train` takes it.
        decisions: The file that the audit's page saved, or one written by hand: JSON Lines.
        auto: Decide what needs no eye: of pictures with the same pixels under one label, drop all but one. They are
            looked for, or taken from an audit.json that is given as the decisions.
        undo: Take the last cleaning back: every file returns to its place.
        who: Who decided, for the record, where the decisions do not say; your login name if left out.
        label_pattern: Take labels from file names, such as `'{label}__*'`; `'{label...}_*'` reaches to the last _.
        watcher: Is told of the progress.

    Raises:
        DataError: the decisions do not fit the data, or contradict each other; nothing is changed then.
        UsageError: there is nothing to do, or too much.

    Examples:
        >>> import keensight
        >>> keensight.clean("path/to/folder", "decisions.jsonl").moved  # doctest: +SKIP
        12
    """
    watcher = watcher or Watcher()
    _check_asked(data, decisions, auto, undo)
    path = Path(os.path.realpath(data))
    quarantine = Quarantine(path)
    if not path.exists():
        open_dataset(data)  # says what may be meant
    if undo and not quarantine.path.is_dir():
        raise _nothing_to_undo(data)
    with quarantine.locked():
        live = quarantine.live()
        if undo:
            if not live:
                raise _nothing_to_undo(data)
            back = quarantine.take_back(live[-1])
            if len(live) > 1:
                watcher.note(f"{len(live) - 1:,} earlier cleanings remain; --undo again takes back the next.")
            return Cleaned(str(data), quarantine.record, None, (), back, undone=True)
        for each in live:
            if each.written is None:
                watcher.note(
                    f"An interrupted cleaning is taken back first: {counted(quarantine.take_back(each), 'file')}."
                )
        dataset = open_dataset(data, label_pattern=label_pattern)
        watcher.found(dataset, label_pattern or "")
        settled = _decided(dataset, decisions, auto, who, watcher)
        return _carry_out(str(data), quarantine, dataset, settled, label_pattern)


def _check_asked(data: str | Path, decisions: str | Path | None, auto: bool, undo: bool) -> None:
    if str(data) in NAMES and (isinstance(data, str) or not data.exists()):
        raise UsageError(
            f"{data} is built in and stays as it is. Folders, archives, manifests and array files can be cleaned; for "
            f"a folder of this name, write ./{data}."
        )
    if undo and (decisions is not None or auto):
        raise UsageError("--undo takes the last cleaning back, and nothing else. Leave the decisions and --auto out.")
    if not undo and decisions is None and not auto:
        raise UsageError(
            "No decisions were given. Give the file that the page of `keensight audit` saved (decisions.jsonl), or "
            "--auto for copies that need no eye, or --undo."
        )


def _nothing_to_undo(data: str | Path) -> UsageError:
    return UsageError(
        f"There is nothing to undo: no cleaning of {data} is noted beside it, or all are undone. Give the same DATA "
        "that was cleaned."
    )


QUICK_LOOK = (
    "--auto alone looks for exact copies of one format. `keensight audit` finds more, such as copies that were saved "
    "again, wrong labels and one picture under two: decide on its page, or give its audit.json with --auto."
)


def _decided(dataset: Dataset, file: str | Path | None, auto: bool, who: str | None, watcher: Watcher) -> Settled:
    """Return all decisions, checked, with who took them and when."""
    now, person = datetime.now(UTC).isoformat(timespec="seconds"), who or _login()
    facts = audit_facts(Path(file)) if file is not None else None
    if facts and not auto:
        raise UsageError(
            f"{file} is what an audit found, and holds no decisions. Decide on the page beside it, which saves "
            "decisions.jsonl, or add --auto: what needs no eye is decided then."
        )
    given = read_decisions(Path(file)) if file is not None and not facts else []
    given = [replace(each, who=each.who or person, when=each.when or now, moved_to=None) for each in given]
    if auto:
        spoken = {each.file for each in given} | {each.sha256 for each in given if each.file is None}
        same = _look(dataset, facts, str(file), watcher)
        found = certain(dataset, same, f"keensight {__version__} --auto")
        some = [each for each in found if each.file not in spoken and each.sha256 not in spoken]
        given += [replace(each, when=now) for each in some]
        if file is None:
            watcher.note(QUICK_LOOK)
    return settle(dataset, given, str(file) if file is not None else "--auto")


def _look(dataset: Dataset, facts: Mapping[str, Any] | None, source: str, watcher: Watcher) -> list[Copy]:
    """Return which pictures have the same bytes or pixels now, of all, or of those that an audit found.

    Those that cannot be read are left alone, and so are those that only look the same when they are made small.
    """
    watcher.stage("comparing pictures")
    preprocessing = choose_preprocessing(dataset, Recipe("audit"))
    if facts is not None:
        found = copies_in(facts, dataset, source)
        same = same_now(dataset, found, preprocessing.levels)
    else:
        pixels = decode(dataset, preprocessing, watcher.pictures)
        numbers = {sample.path: i for i, sample in enumerate(dataset.samples)}
        place = [numbers[sample.path] for sample in pixels.dataset.samples]
        found = [replace(each, one=place[each.one], other=place[each.other]) for each in copies(pixels, near=False)]
        same = [each for each in found if each.by != "likeness"]
    left = [each for each in found if each not in same]
    if left:
        pairs = [f"{dataset.samples[each.one].path} = {dataset.samples[each.other].path}" for each in left]
        watcher.note(
            f"{len(left):,} {'pair is' if len(left) == 1 else 'pairs are'} left for you: not all their pixels are the "
            f"same, or comparing them takes too long: {shortlist(pairs)}."
        )
    return same


def _login() -> str:
    with suppress(OSError, KeyError, ImportError):  # no account for this user id
        return getpass.getuser()
    return ""


def _carry_out(
    data: str, quarantine: Quarantine, dataset: Dataset, settled: Settled, label_pattern: str | None
) -> Cleaned:
    if not settled.decisions:
        return Cleaned(data, quarantine.record, None, (), 0)
    check_none_is_emptied(dataset, settled.after)
    moves: list[Move] = []
    moved: dict[str, str] = {}
    if is_cleaned_by_moves(quarantine.data):
        moves, moved = plan(quarantine, dataset, settled, label_pattern)
        _check_unchanged(quarantine.data, dataset, moved)
    acted = ("drop", "relabel", "move")
    taken = tuple(
        replace(each, moved_to=moved.get(str(each.file)) if each.action in acted else None)
        for each in settled.decisions
    )
    record = record_of(quarantine.data)
    before = read_decisions(record) if record.is_file() else []
    quarantine.carry_out(moves, decisions_jsonl([*before, *taken]))
    dropped = any(each.action == "drop" and each.moved_to for each in taken)
    guessed = unconfirmed_labels(dataset)
    settles = {each.file for each in taken if each.action != "move"}
    unconfirmed = sum(path not in settles for path in guessed.samples) if guessed else 0
    return Cleaned(data, record, quarantine.path if dropped else None, taken, len(moves), unconfirmed=unconfirmed)


def _check_unchanged(root: Path, dataset: Dataset, moved: dict[str, str]) -> None:
    """Read each file that is to be moved: the memo of hashes goes by time stamps."""
    from hashlib import sha256

    known = {sample.path: sample.sha256 for sample in dataset.samples}
    changed = []
    for path in moved:
        with suppress(PictureError):
            if sha256(read_file(root, path)).hexdigest() == known[path]:
                continue
        changed.append(path)
    if changed:
        raise DataError(
            f"{counted(len(changed), 'file')} of {root} changed meanwhile: {shortlist(changed)}. Nothing was "
            "moved. Wait until whatever writes them has finished, audit again, and decide again."
        )
