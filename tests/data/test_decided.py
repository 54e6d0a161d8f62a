import json
import zipfile

import pytest

import keensight
from keensight.data.decided import decisions_jsonl, followed, provenance, read_decisions, record_of
from keensight.data.listing import Entry, Listing
from keensight.errors import DataError
from keensight.values import Decision

A, B, C = ("a" * 64, "b" * 64, "c" * 64)


@pytest.fixture
def listing(tmp_path):
    entries = [Entry("x/1.png", "x"), Entry("x/2.png", "x"), Entry("y/3.png", "y"), Entry("y/4.png", "y")]
    hashes = {"x/1.png": A, "x/2.png": B, "y/3.png": C, "y/4.png": A}
    return Listing("pets", tmp_path / "pets", "zip", entries, hashes, {})


def write(tmp_path, *decisions):
    record = tmp_path / "pets.decisions.jsonl"
    record.write_text(decisions_jsonl(decisions))
    return record


def test_what_was_decided_is_followed(listing, tmp_path):
    record = write(
        tmp_path,
        Decision(A, "drop", file="y/4.png", why="a copy"),
        Decision(B, "relabel", label="y"),
        Decision(C, "move", split="test"),
        Decision(A, "confirm", file="x/1.png"),
    )
    found = followed(listing, record)
    assert found.entries == [Entry("x/1.png", "x"), Entry("x/2.png", "y"), Entry("y/3.png", "y", "test")]
    assert [(each.path, each.reason) for each in found.skipped] == [("y/4.png", "left out by a decision (a copy)")]
    assert [each.action for each in found.decisions] == ["drop", "relabel", "move", "confirm"]


def test_the_last_decision_about_a_picture_counts(listing, tmp_path):
    record = write(
        tmp_path, Decision(B, "drop"), Decision(C, "relabel", label="x"), Decision(B, "keep"), Decision(C, "keep")
    )
    assert followed(listing, record).entries == listing.entries


def test_without_a_file_all_pictures_with_that_content_are_meant(listing, tmp_path):
    found = followed(listing, write(tmp_path, Decision(A, "relabel", label="y")))
    assert [entry.label for entry in found.entries] == ["y", "x", "y", "y"]


def test_a_file_that_was_renamed_is_known_by_its_content_but_not_one_of_two_copies(listing, tmp_path):
    record = write(tmp_path, Decision(B, "drop", file="old.png"), Decision(A, "drop", file="gone.png"))
    found = followed(listing, record)
    assert [entry.path for entry in found.entries] == ["x/1.png", "y/3.png", "y/4.png"]
    assert [each.path for each in found.skipped] == ["x/2.png", "gone.png"]
    assert found.skipped[1].reason == "a decision is about it, and it is not there any more"


def test_what_was_moved_is_only_told(listing, tmp_path):
    record = write(tmp_path, Decision(A, "drop", file="x/0.png", moved_to=".pets.quarantine/1/x/0.png"))
    found = followed(listing, record)
    assert found.entries == listing.entries and not found.skipped and len(found.decisions) == 1


def test_a_label_that_no_picture_has_is_refused(listing, tmp_path):
    with pytest.raises(DataError, match="gives the label yy, which no picture of pets has. Did you mean 'y'"):
        followed(listing, write(tmp_path, Decision(B, "relabel", label="yy")))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "Line 2 .* is not JSON"),
        ("[1]", "is not a JSON object"),
        ('{"sha256": "abc", "action": "drop"}', "no sha256 of 64"),
        (f'{{"sha256": "{A}", "action": "remove"}}', "the action 'remove'"),
        (f'{{"sha256": "{A}", "action": "relabel"}}', "has no label"),
        (f'{{"sha256": "{A}", "action": "move", "split": "later"}}', "its split is 'later'"),
        (f'{{"sha256": "{A}", "action": "drop", "lable": "x"}}', "the key 'lable'.*Did you mean 'label'"),
        (f'{{"sha256": "{A}", "action": "drop", "why": 3}}', "why = 3"),
        (f'{{"sha256": "{A}", "action": "drop", "who": "\\u001b[2J"}}', "text on one line"),
    ],
)
def test_a_bad_line_is_named(tmp_path, line, said):
    file = tmp_path / "decisions.jsonl"
    file.write_text(f'{{"sha256": "{B}", "action": "keep"}}\n{line}\n')
    with pytest.raises(DataError, match=said):
        read_decisions(file)


def test_what_is_written_is_read_again(tmp_path):
    given = [
        Decision(A, "relabel", "Äpfel", "looked at it", "x/1.png", who="anna", when="2026-11-29"),
        Decision(B, "move", split="val"),
    ]
    assert read_decisions(write(tmp_path, *given)) == given


def test_a_bundle_notes_who_decided_what_and_the_digest_of_all():
    noted = provenance([Decision(A, "relabel", "x", "why not", who="anna", when="2026-11-29")])
    assert noted["count"] == 1
    assert noted["list"] == [
        {"sha256": A, "action": "relabel", "label": "x", "why": "why not", "who": "anna", "when": "2026-11-29"}
    ]
    assert noted["sha256"] != provenance([Decision(A, "relabel", "x", "why not", who="bert")])["sha256"]


def test_a_zip_stays_and_is_read_as_decided(draw, tmp_path):
    folder = draw(tmp_path / "pets", ["cat", "dog"], 3, 0)
    path = tmp_path / "pets.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*.png")):
            archive.write(file, file.relative_to(folder))
    before = keensight.open_dataset(path)
    first = before.samples[0]
    record_of(path).write_text(json.dumps({"sha256": first.sha256, "action": "relabel", "label": "dog"}) + "\n")
    after = keensight.open_dataset(path)
    assert [before.class_names[s.label] for s in before.samples] == ["cat"] * 3 + ["dog"] * 3
    assert [after.class_names[s.label] for s in after.samples] == ["dog"] + ["cat"] * 2 + ["dog"] * 3
    several = keensight.open_dataset([path, folder])
    assert several.class_names[several.samples[0].label] == "dog"
    assert len(several.decisions) == 1
