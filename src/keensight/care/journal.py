"""Moves files so that all of it can be undone: all moves are written down before the first is made.

    .pets.quarantine/            beside pets/; hidden, so no verb takes it for a class
        journal.jsonl            what was to be moved, from where to where; made folders; each round's end
        1/cats/7.jpg             what round 1 dropped
        record-1.jsonl           the decisions that stood beside the data before round 1

A round that a kill has cut short is taken back before the next one begins, or by `undo`. Either can be killed, too: a
move that the journal names has been made, or has not, and the two places tell which.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from keensight.data.decided import JOURNAL, quarantine_of, record_of
from keensight.errors import DataError, RunError, counted, shortlist
from keensight.files import explained, make_folder, remove_half_written, write_atomically
from keensight.workspace import LOCK

MOST_ROUNDS = 100_000  # more are no journal of ours


@dataclass(frozen=True, slots=True)
class Move:
    """A file's move: both paths are relative to the folder that the data lie in, with names as they are on disk."""

    source: str
    target: str


@dataclass(slots=True)
class Round:
    """One cleaning in the journal."""

    number: int
    had_record: bool
    to_write: str | None = None  # the sha256 of the record that the round is to leave
    moves: list[Move] = field(default_factory=list)
    made: list[str] = field(default_factory=list)
    written: str | None = None  # the sha256 of the record as the round left it; None: it has not ended
    undone: bool = False


class Quarantine:
    """The quarantine of one DATA, and the record of its decisions. Use it inside `locked`.

    `data` is a path without links.
    """

    def __init__(self, data: Path) -> None:
        self.base = data.parent
        self.data = data
        self.record = record_of(data)
        self.path = quarantine_of(data)
        self.journal = self.path / JOURNAL
        self._checked: set[Path] = set()  # folders that no link leads to

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes out. A quarantine in which nothing is left is removed at the end."""
        from filelock import FileLock, Timeout

        for each in (self.path, self.journal, self.path / LOCK):
            if each.is_symlink():  # the quarantine may come from elsewhere, in an archive, and is written to
                raise DataError(
                    f"{each} is a link, and keensight makes none there: what it leads to might be overwritten. Nothing "
                    "was changed. Look where it leads, and move it elsewhere."
                )
        make_folder(self.path)
        lock = FileLock(self.path / LOCK, blocking=False)
        with explained(self.path / LOCK):
            try:
                lock.acquire()
            except Timeout:
                raise RunError(f"Another clean is at work on {self.data} right now. Wait for it.") from None
        try:
            self._cut()
            for each in (self.record, *map(self._kept, range(1, self.next_number + 1))):
                remove_half_written(each)  # by a kill: whoever holds the lock is the only one who writes them
            yield
        finally:
            self._tidy()
            with suppress(OSError):
                (self.path / LOCK).unlink()
            lock.release()
            with suppress(OSError):
                self.path.rmdir()

    def rounds(self) -> list[Round]:
        """Return what the journal tells, oldest first. Raises DataError if it is damaged or leads elsewhere."""
        found: dict[int, Round] = {}
        for number, line in enumerate(self._lines(), 1):
            try:
                row = json.loads(line)
                if row["what"] == "begin":
                    if (
                        type(row["round"]) is not int or not 1 <= row["round"] <= MOST_ROUNDS
                    ):  # it becomes part of paths
                        raise ValueError(f"{ascii(row['round'])[:80]} is no number of a round")
                    found[row["round"]] = Round(row["round"], bool(row["had_record"]), row.get("record"))
                    continue
                each = found[row["round"]]
                if row["what"] == "move":
                    each.moves.append(Move(self._inside(row["from"]), self._inside(row["to"])))
                elif row["what"] == "make":
                    each.made.append(self._inside(row["folder"]))
                elif row["what"] == "end":
                    each.written = str(row["record"])
                elif row["what"] == "undone":
                    each.undone = True
            except (ValueError, LookupError, TypeError) as error:
                raise DataError(
                    f"Line {number} of {self.journal} cannot be understood ({error}), so nothing is moved by it. "
                    "What was dropped is in the folders beside it, under its old names: move it back by hand."
                ) from None
        return list(found.values())

    def live(self) -> list[Round]:
        """Return the rounds that are not undone, oldest first."""
        return [each for each in self.rounds() if not each.undone]

    @property
    def next_number(self) -> int:
        """The number of the next round, which is also the name of its folder of dropped files."""
        return 1 + max((each.number for each in self.rounds()), default=0)

    def carry_out(self, moves: Sequence[Move], record: str) -> None:
        """Make all moves and write the record, as one round; if something goes wrong, none. Raises KeensightError."""
        number = self.next_number
        had_record = self.record.is_file()
        if had_record:
            write_atomically(self._kept(number), self.record.read_bytes())
        digest = _digest(record.encode())
        self._note({"round": number, "what": "begin", "had_record": had_record, "record": digest})
        try:
            folders = self._missing(moves)
            # all at once: flushing the journal to the disk takes longer than a move
            self._note(
                *({"round": number, "what": "make", "folder": folder} for folder in folders),
                *({"round": number, "what": "move", "from": each.source, "to": each.target} for each in moves),
            )
            for folder in folders:
                with explained(self.base / folder):
                    (self.base / folder).mkdir()
            for each in moves:
                self._move(each.source, each.target)
            write_atomically(self.record, record)
            self._note({"round": number, "what": "end", "record": digest})
        except (Exception, KeyboardInterrupt):
            self.take_back(next(each for each in self.rounds() if each.number == number))
            raise

    def take_back(self, done: Round) -> int:
        """Undo one round; return how many files were moved back. What is undone already is left as it is.

        Raises DataError if files are missing, or others are in their places; all the rest is back then. Only the latter
        can be undone again: what somebody has removed for good would else be in the way of all other rounds.
        """
        if self.record.is_file() and self._is_changed(done):
            raise DataError(
                f"{self.record} was changed since `keensight clean` wrote it, and undoing would lose that. Move it "
                "elsewhere, and undo again."
            )
        self._note({"round": done.number, "what": "undoing"})  # until its end, nobody reads the data
        back, missing, taken = 0, [], []
        for each in reversed(done.moves):
            here, home = self.base / each.target, self.base / each.source
            if os.path.lexists(here) and os.path.lexists(home):
                taken.append(each.source)
            elif os.path.lexists(here):
                self._check_inside(home.parent)
                with explained(home):
                    home.parent.mkdir(parents=True, exist_ok=True)
                self._move(each.target, each.source)
                back += 1
            elif not os.path.lexists(home):
                missing.append(each.source)
        for folder in reversed(done.made):
            with suppress(OSError):  # something else is in it by now
                self._check_inside((self.base / folder).parent)
                (self.base / folder).rmdir()
        if taken:
            raise DataError(_not_undone(missing, taken))
        kept = self._kept(done.number)
        is_lost = done.had_record and not kept.is_file()  # somebody has removed it
        if done.had_record and not is_lost:
            write_atomically(self.record, kept.read_bytes())
        else:
            with explained(self.record):
                self.record.unlink(missing_ok=True)
        self._note({"round": done.number, "what": "undone"})
        if missing:
            raise DataError(_not_undone(missing, taken))
        if is_lost:
            raise DataError(
                f"All files of this round are back, but {kept}, the decisions that stood before it, is gone: earlier "
                "decisions are no longer followed. Give them again, or undo the earlier rounds too."
            )
        return back

    def _is_changed(self, done: Round) -> bool:
        """Say whether the record is neither what a round writes nor what was before, as after a kill."""
        now, ours = self.record.read_bytes(), {done.written, done.to_write} - {None}
        if not ours:  # a round of an older journal was cut short
            return False
        return _digest(now) not in ours and not (
            done.had_record and self._kept(done.number).is_file() and now == self._kept(done.number).read_bytes()
        )

    def _move(self, source: str, target: str) -> None:
        """Rename one file, which replaces no other."""
        start, end = self.base / source, self.base / target
        self._check_inside(start.parent)
        self._check_inside(end.parent)
        if os.path.lexists(end):
            raise DataError(f"{end} exists, and nothing is overwritten. Move it elsewhere, and try again.")
        with explained(end):
            start.rename(end)

    def _check_inside(self, folder: Path) -> None:
        """Raise DataError for a folder that, by links, is neither in the data nor in the quarantine."""
        if folder in self._checked:
            return
        real, base = folder.resolve(), self.base.resolve()
        if not any(real.is_relative_to(base / home.name) for home in (self.data, self.path)):
            raise DataError(f"{folder} lies behind a link that leads elsewhere, so nothing is moved there.")
        self._checked.add(folder)

    def _missing(self, moves: Sequence[Move]) -> list[str]:
        """Return the folders that moves need and that do not exist, outer ones first."""
        missing: dict[str, None] = {}
        for each in moves:
            parents = Path(each.target).parents
            missing |= {str(parent): None for parent in reversed(parents) if not (self.base / parent).is_dir()}
        return list(missing)

    def _note(self, *rows: Mapping[str, Any]) -> None:
        """Write lines to the journal. They are on disk when this returns."""
        self._cut()  # a full disk may have taken half a line, and then have room again
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        with explained(self.journal), open(self.journal, "ab") as file:
            file.write(lines.encode())
            file.flush()
            os.fsync(file.fileno())

    def _cut(self) -> None:
        """Cut off half a line that a kill left at the journal's end: what it names was not done."""
        if self.journal.is_file():
            with explained(self.journal), open(self.journal, "r+b") as file:
                file.truncate(file.read().rfind(b"\n") + 1)

    def _lines(self) -> list[str]:
        try:
            text = self.journal.read_bytes()
        except FileNotFoundError:
            return []
        return text[: text.rfind(b"\n") + 1].decode(errors="replace").splitlines()

    def _inside(self, path: str) -> str:
        """Check that a path in the journal is one of the data or the quarantine: the folder may come from elsewhere."""
        first, *rest = path.split("/")
        if first not in (self.data.name, self.path.name) or not rest or any(part in ("", ".", "..") for part in rest):
            raise ValueError(f"{ascii(path)[:80]} is no path in {self.data.name}")
        return path

    def _kept(self, number: int) -> Path:
        return self.path / f"record-{number}.jsonl"

    def _tidy(self) -> None:
        """Remove what undone rounds left; where no other is left, the journal too."""
        with suppress(DataError, OSError):
            rounds = self.rounds()
            for each in rounds:
                if each.undone:
                    self._kept(each.number).unlink(missing_ok=True)
                    for folder, _, _ in os.walk(self.path / str(each.number), topdown=False):
                        Path(folder).rmdir()
            if all(each.undone for each in rounds):
                self.journal.unlink(missing_ok=True)


def _digest(content: bytes) -> str:
    return sha256(content).hexdigest()


def _not_undone(missing: Sequence[str], taken: Sequence[str]) -> str:
    parts, advice = [], []
    if missing:
        parts.append(
            f"{counted(len(missing), 'file is', 'files are')} neither at the old place nor at the new one: "
            f"{shortlist(missing)}"
        )
        advice.append("The missing files were removed by something else; if you have them, put them there.")
    if taken:
        parts.append(f"other files are where {len(taken):,} should go back to: {shortlist(taken)}")
        advice.append("Move the other files elsewhere, and undo again.")
    return f"Not everything could be undone: {'; '.join(parts)}. All else is back in its place. {' '.join(advice)}"
