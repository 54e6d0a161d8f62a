"""Journals, links, audits and decisions from elsewhere overwrite, move and drop nothing."""

import json
import os
import shutil
from pathlib import Path

import pytest

import keensight
from keensight.errors import DataError


def test_a_journal_that_leads_elsewhere_moves_nothing(pets, decide, rows):
    done = keensight.clean(pets, decide(pets, rows[:1]))
    journal = done.quarantine / "journal.jsonl"
    secret = pets.parent.parent / "secret"
    secret.write_text("mine")
    for there in ("../secret", "/etc/passwd", "pets/../../secret", "other/x"):
        line = json.dumps({"round": 1, "what": "move", "from": "pets/taken", "to": there})
        changed = journal.read_text().splitlines()
        journal.write_text("\n".join([*changed[:-1], line, changed[-1]]) + "\n")
        with pytest.raises(DataError, match="cannot be understood"):
            keensight.clean(pets, undo=True)
        journal.write_text("\n".join(changed) + "\n")
    assert secret.read_text() == "mine"


def test_a_quarantine_that_is_a_link_overwrites_nothing(pets, tree, decide, rows):
    """The folder may come from elsewhere, in an archive: what its links lead to keeps every byte."""
    file, quarantine, secret = decide(pets, rows), pets.parent / ".pets.quarantine", pets.parent.parent / "secret"
    secret.write_text("without a line end")
    for name in ("journal.jsonl", ".keensight.lock"):
        quarantine.mkdir()
        (quarantine / name).symlink_to(secret)
        before = tree(pets)
        for asked in ({"decisions": file}, {"undo": True}):
            with pytest.raises(DataError, match=f"{name} is a link, and keensight makes none there"):
                keensight.clean(pets, **asked)
        assert secret.read_text() == "without a line end" and tree(pets) == before
        shutil.rmtree(quarantine)
    elsewhere = pets.parent.parent / "elsewhere"
    elsewhere.mkdir()
    quarantine.symlink_to(elsewhere)
    with pytest.raises(DataError, match="quarantine is a link"):
        keensight.clean(pets, file)
    assert not list(elsewhere.iterdir())


@pytest.mark.parametrize("number", ["../../mine", "/mine", 0, -1, True, None, 1.5, 100_000_000])
def test_a_round_that_is_no_number_removes_nothing(pets, number):
    quarantine, mine = pets.parent / ".pets.quarantine", pets.parent / "mine.jsonl"
    (quarantine / "record-..").mkdir(parents=True)
    mine.write_text("keep me")
    (pets.parent / "mine").mkdir()
    rows = [{"round": number, "what": "begin", "had_record": False}, {"round": number, "what": "undone"}]
    (quarantine / "journal.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(DataError, match="is no number of a round"):
        keensight.clean(pets, undo=True)
    assert mine.read_text() == "keep me" and (pets.parent / "mine").is_dir()


def test_a_journal_moves_nothing_by_links_out_of_the_data(pets, tree, decide, rows):
    """Links in the data may lead to a neighbour folder, and the journal may name files behind them."""
    done = keensight.clean(pets, decide(pets, rows[:1]))
    letters = pets.parent / "letters"
    letters.mkdir()
    (letters / "1.txt").write_text("mine")
    (pets / "link").symlink_to(letters)
    journal, before = done.quarantine / "journal.jsonl", tree(letters)
    rows = journal.read_text().splitlines()
    for source, target in (
        ("pets/taken", "pets/link/1.txt"),
        ("pets/link/new/taken", ".pets.quarantine/1/train/cat/copy.png"),
    ):
        line = json.dumps({"round": 1, "what": "move", "from": source, "to": target})
        journal.write_text("\n".join([*rows[:-1], line, rows[-1]]) + "\n")
        with pytest.raises(DataError, match="behind a link that leads elsewhere"):
            keensight.clean(pets, undo=True)
        assert tree(letters) == before


def test_decisions_that_never_end_are_refused(pets):
    """A pipe that nobody writes to, and a device without an end: both would be waited for for ever."""
    pipe = pets.parent / "pipe"
    os.mkfifo(pipe)
    for file in (pipe, Path("/dev/zero")):
        for auto in (False, True):
            with pytest.raises(DataError, match="is a pipe or a device"):
                keensight.clean(pets, file, auto=auto)


def test_a_line_separator_within_a_text_ends_no_line(pets, decide, rows):
    file = decide(pets, rows[:1])
    file.write_text(file.read_text().replace("a copy", "a\u2028copy"), encoding="utf-8")
    with pytest.raises(DataError, match=r"has why = 'a\\u2028copy'; text on one line is accepted"):
        keensight.clean(pets, file)


COPY, LIKE = "train/cat/copy.png", "test/cat/1-0.png"


@pytest.mark.parametrize(
    ("by", "pair"),
    [
        ("pixels", [COPY, COPY]),
        ("pixels", [COPY, LIKE, COPY]),
        ("pixels", [1, 2]),
        ("pixels", [[], []]),
        ("pixels", []),
        ("pixels", [[["x"]], COPY]),
        ("pixels", 5),
        ("bytes", [COPY, "train/cat/0-1.png"]),  # they differ
    ],
)
def test_an_audit_whose_copies_cannot_be_drops_nothing(pets, tmp_path, by, pair, tree):
    facts = {"findings": [{"evidence": {"by": by, "pairs": [pair] if isinstance(pair, list) else pair}}]}
    facts["sha256"] = {sample.path: sample.sha256 for sample in keensight.open_dataset(pets).samples}
    (tmp_path / "audit.json").write_text(json.dumps(facts))
    before = tree(pets)
    with pytest.raises(DataError, match=f"a pair of copies that are not two files with the same {by}"):
        keensight.clean(pets, tmp_path / "audit.json", auto=True)
    assert tree(pets) == before
