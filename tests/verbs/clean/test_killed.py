"""Killed at any moment, or in trouble half way: nothing is lost, and all of it can be undone."""

import os
from contextlib import suppress
from itertools import count
from pathlib import Path

import pytest

import keensight
from keensight.errors import DataError, KeensightError, UsageError


def test_a_kill_at_any_moment_of_cleaning_can_be_undone(pets, tree, decide, killed_at, rows):
    before, file = tree(pets.parent), decide(pets, rows)
    keensight.open_dataset(pets)  # the memo of hashes is written
    for step in count():
        if not killed_at(step, lambda: keensight.clean(pets, file)):
            break
        try:
            keensight.clean(pets, undo=True)
        except UsageError as error:  # killed before anything was written down
            assert "nothing to undo" in str(error)
        assert tree(pets.parent) == before, step
    assert step > 14
    assert len(keensight.open_dataset(pets).samples) == 16  # the last one was not killed


def test_a_kill_at_any_moment_of_undoing_can_be_undone(pets, tree, decide, killed_at, rows):
    before, file = tree(pets.parent), decide(pets, rows)
    keensight.clean(pets, file)
    after = tree(pets.parent)
    for step in count():
        if not killed_at(step, lambda: keensight.clean(pets, undo=True)):
            break
        with suppress(UsageError):  # nothing was left to undo
            keensight.clean(pets, undo=True)
        assert tree(pets.parent) == before, step
        keensight.clean(pets, file)
        assert set(tree(pets.parent)) == set(after), step
    assert step > 8
    assert tree(pets.parent) == before


@pytest.mark.parametrize("undo", [False, True])
def test_half_moved_data_are_not_read(pets, undo, decide, killed_at, rows):
    """Killed at any moment, pictures are read as before or after it, or not at all, until it is undone or done."""

    def read():
        dataset = keensight.open_dataset(pets)
        return sorted((s.sha256, dataset.class_names[s.label], str(s.split)) for s in dataset.samples)

    file, before, refused = decide(pets, rows), read(), 0
    keensight.clean(pets, file)
    after = read()
    keensight.clean(pets, undo=True)
    for step in count():
        if undo:
            keensight.clean(pets, file)
        if not killed_at(step, lambda: keensight.clean(pets, **({"undo": True} if undo else {"decisions": file}))):
            break
        try:
            assert read() in (before, after), step
        except DataError as error:
            assert "is at work or was interrupted" in str(error) and f"clean {pets} --undo" in str(error)
            refused += 1
        with suppress(UsageError):  # killed before anything was written down, or after all was
            keensight.clean(pets, undo=True)
        assert read() == before
    assert refused > 4


def test_the_same_command_again_after_a_kill_does_all_of_it(pets, decide, killed_at, rows):
    file = decide(pets, rows)
    assert killed_at(10, lambda: keensight.clean(pets, file))
    assert keensight.clean(pets, file).moved == 4
    assert len(keensight.open_dataset(pets).samples) == 16


def test_an_error_in_the_middle_takes_all_of_it_back(pets, monkeypatch, tree, decide, rows):
    before, file, steps = tree(pets.parent), decide(pets, rows), count()
    real = Path.rename

    def fail(path, target):
        if next(steps) == 2:
            raise PermissionError(13, "Permission denied")
        return real(path, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(KeensightError, match="This user may not write there"):
        keensight.clean(pets, file)
    assert tree(pets.parent) == before


def test_a_file_that_vanishes_while_others_are_moved_blocks_no_later_cleaning(pets, monkeypatch, tree, decide, rows):
    real, before = Path.rename, tree(pets)

    def rename(path, target):
        (pets / "train/dog/0-2.png").unlink(missing_ok=True)  # the third of the moves
        return real(path, target)

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(DataError, match="is neither at the old place nor at the new one: pets/train/dog/0-2.png"):
        keensight.clean(pets, decide(pets, rows))
    monkeypatch.undo()
    assert tree(pets.parent) == {f"pets/{n}": c for n, c in before.items() if n != "train/dog/0-2.png"} | {"pets": None}
    assert keensight.clean(pets, decide(pets, rows[:2])).moved == 2


def test_a_record_written_after_a_kill_is_not_lost(pets, decide, killed_at, rows):
    """A round that was cut short has not written the record yet: one that is there by now is somebody's own."""
    file, record = decide(pets, rows), pets.with_name("pets.decisions.jsonl")
    keensight.open_dataset(pets)
    moved = None
    for step in count():
        if not killed_at(step, lambda: keensight.clean(pets, file)):
            break
        journal = pets.parent / ".pets.quarantine/journal.jsonl"
        if journal.is_file() and '"begin"' in journal.read_text() and not record.exists():
            record.write_text(file.read_text())
            with pytest.raises(DataError, match="was changed since"):
                keensight.clean(pets, undo=True)
            assert record.read_text() == file.read_text()
            record.rename(pets.parent.parent / "own.jsonl")
            moved = step
        with suppress(UsageError):
            keensight.clean(pets, undo=True)
    assert moved


def test_half_a_line_in_the_journal_spoils_no_other(pets, monkeypatch, tree, decide, rows):
    """A disk that is full takes half a line, and may have room again for the next: every round can be undone."""
    before = tree(pets)
    keensight.clean(pets, decide(pets, rows[:1], "1.jsonl"))
    real, journal = os.fsync, pets.parent / ".pets.quarantine/journal.jsonl"

    def full(number):
        if journal.read_bytes().count(b'"round": 2') > 1:  # the moves: half of what was written is there
            monkeypatch.setattr(os, "fsync", real)
            journal.write_bytes(journal.read_bytes()[:-20])
            raise OSError(28, "No space left on device")
        real(number)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(KeensightError, match="disk is full"):
        keensight.clean(pets, decide(pets, rows[1:3], "2.jsonl"))
    assert os.fsync is real
    keensight.clean(pets, undo=True)
    assert tree(pets) == before
