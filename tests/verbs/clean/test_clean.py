"""keensight clean: what moves, what stays, what is refused, and that all of it can be undone."""

import json
import os
import shutil

import pytest

import keensight
from keensight.data.decided import read_decisions
from keensight.errors import DataError, UsageError
from keensight.verbs.clean import Cleaned


def test_a_folder_is_cleaned_by_moves_and_undone(pets, tree, decide, rows):
    before = tree(pets.parent)
    done = keensight.clean(pets, decide(pets, rows), who="anna")
    now = {name for name, content in tree(pets).items() if content is not None}
    assert "train/cat/copy.png" not in now
    assert {"train/dog/0-1-2.png", "test/dog/0-2.png", "train/dog/1-3.png"} <= now  # 0-1.png is one of the dogs, too
    assert (done.moved, done.quarantine) == (4, pets.parent / ".pets.quarantine")
    assert (done.quarantine / "1/train/cat/copy.png").read_bytes() == before["pets/train/cat/copy.png"]
    noted = read_decisions(done.record)
    assert {each.who for each in noted} == {"anna"} and all(each.when for each in noted)
    assert [each.moved_to for each in noted] == [
        ".pets.quarantine/1/train/cat/copy.png", "train/dog/0-1-2.png", "test/dog/0-2.png", "train/dog/1-3.png",
        "train/dog/1-3.png", None,
    ]  # fmt: skip
    dataset = keensight.open_dataset(pets)
    read = {s.path: (dataset.class_names[s.label], s.split) for s in dataset.samples}
    assert read["train/dog/0-1-2.png"] == ("dog", "train") and read["test/dog/0-2.png"] == ("dog", "test")
    assert len(dataset.samples) == 16 and len(dataset.decisions) == 6
    assert not [each for each in dataset.skipped if each.path != "train/cat/notes.txt"]
    assert keensight.clean(pets, undo=True) == Cleaned(str(pets), done.record, None, (), 4, undone=True)
    assert tree(pets.parent) == before
    with pytest.raises(UsageError, match="nothing to undo"):
        keensight.clean(pets, undo=True)
    assert tree(pets.parent) == before


def test_two_cleanings_are_undone_one_by_one(pets, tree, decide, rows):
    trees = [tree(pets)]
    for number, row in enumerate(rows[:2]):
        keensight.clean(pets, decide(pets, [row], f"{number}.jsonl"))
        trees.append(tree(pets))
    assert len(read_decisions(pets.with_name("pets.decisions.jsonl"))) == 2
    keensight.clean(pets, undo=True)
    assert tree(pets) == trees[1]
    assert len(read_decisions(pets.with_name("pets.decisions.jsonl"))) == 1
    keensight.clean(pets, undo=True)
    assert tree(pets) == trees[0]
    assert not pets.with_name("pets.decisions.jsonl").exists() and not pets.with_name(".pets.quarantine").exists()


def test_a_record_that_somebody_removed_keeps_no_picture_from_coming_back(pets, tree, decide, rows):
    before = tree(pets)
    for number, row in enumerate(rows[:2]):
        keensight.clean(pets, decide(pets, [row], f"{number}.jsonl"))
    (pets.with_name(".pets.quarantine") / "record-2.jsonl").unlink()
    with pytest.raises(DataError, match="All files of this round are back"):
        keensight.clean(pets, undo=True)
    keensight.clean(pets, undo=True)
    assert tree(pets) == before


def test_what_was_made_since_is_not_overwritten(pets, decide, rows):
    keensight.clean(pets, decide(pets, rows[:2]))
    (pets / "train/cat/copy.png").write_bytes(b"another")
    with pytest.raises(DataError, match="other files are where 1 should go back to: pets/train/cat/copy.png"):
        keensight.clean(pets, undo=True)
    assert (pets / "train/cat/copy.png").read_bytes() == b"another"
    assert (pets / "train/cat/0-1.png").exists()
    (pets / "train/cat/copy.png").unlink()
    assert keensight.clean(pets, undo=True).moved == 1


def test_files_that_are_gone_for_good_are_told_once_and_block_nothing(pets, tree, decide, rows):
    before = tree(pets)
    for number, row in enumerate(rows[:3]):
        keensight.clean(pets, decide(pets, [row], f"{number}.jsonl"))
    (pets / "test/dog/0-2.png").unlink()  # what the third round moved
    with pytest.raises(
        DataError, match=r"1 file is neither at .* the new one: pets/train/dog/0-2.png\. All else is back"
    ):
        keensight.clean(pets, undo=True)
    assert len(read_decisions(pets.with_name("pets.decisions.jsonl"))) == 2
    keensight.clean(pets, undo=True)
    keensight.clean(pets, undo=True)
    assert tree(pets) == {name: content for name, content in before.items() if name != "train/dog/0-2.png"}


def test_a_record_that_was_changed_by_hand_is_not_lost(pets, decide, rows):
    done = keensight.clean(pets, decide(pets, rows[:1]))
    done.record.write_text(done.record.read_text() + "\n")
    with pytest.raises(DataError, match="was changed since"):
        keensight.clean(pets, undo=True)


def test_what_was_dropped_comes_back_by_undo_alone(pets, decide, rows):
    file = decide(pets, [rows[1], {"file": "train/cat/0-0.png", "action": "drop"}])
    again = file.with_name("again.jsonl")
    again.write_text(file.read_text().splitlines()[1])
    keensight.clean(pets, file)
    with pytest.raises(DataError, match="1 is dropped by an earlier cleaning, which --undo takes back"):
        keensight.clean(pets, again)


def test_files_that_changed_since_or_are_not_there_are_refused(pets, tree, decide, rows):
    file = decide(pets, [*rows[:1], {"file": "train/cat/none.png", "action": "drop"}])
    before = tree(pets.parent)
    with pytest.raises(DataError, match=r"1 is not among these pictures.*train/cat/none.png"):
        keensight.clean(pets, file)
    assert tree(pets.parent) == before
    file = decide(pets, rows[:1])
    shutil.copy(pets / "train/cat/0-1.png", pets / "train/cat/copy.png")
    with pytest.raises(DataError, match="changed since they were decided on"):
        keensight.clean(pets, file)


def test_a_file_that_changed_with_its_time_stamp_kept_is_noticed(pets, decide, rows):
    file = decide(pets, rows[:1])
    path = pets / "train/cat/copy.png"
    os.utime(path, (1e9, 1e9))
    keensight.open_dataset(pets)  # notes the hash by the time stamp
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)
    os.utime(path, (1e9, 1e9))
    with pytest.raises(DataError, match="changed"):
        keensight.clean(pets, file)


def test_a_class_is_not_emptied(pets, decide):
    rows = [{"file": f"train/cat/0-{i}.png", "action": "drop"} for i in range(4)]
    rows.append({"file": "train/cat/copy.png", "action": "drop"})
    with pytest.raises(DataError, match="leave no picture to learn from in cat"):
        keensight.clean(pets, decide(pets, rows))


def test_certain_copies_are_dropped_by_auto_and_the_rest_is_left(pets, decide):
    done = keensight.clean(pets, auto=True)
    assert [(each.file, each.why) for each in done.decisions] == [
        ("train/cat/copy.png", "the same bytes as test/cat/1-0.png")
    ]
    assert keensight.clean(pets, auto=True).decisions == ()
    keensight.clean(pets, undo=True)
    kept = decide(pets, [{"file": "train/cat/copy.png", "action": "keep"}])
    assert [each.action for each in keensight.clean(pets, kept, auto=True).decisions] == ["keep"]
    assert keensight.clean(pets, auto=True).decisions == ()


def test_auto_takes_copies_from_an_audit_that_still_fits(pets, tmp_path):
    facts = keensight.audit(pets, tmp_path / "audit").out / "audit.json"
    with pytest.raises(UsageError, match="holds no decisions"):
        keensight.clean(pets, facts)
    done = keensight.clean(pets, facts, auto=True)
    assert [each.file for each in done.decisions] == ["train/cat/copy.png"]
    with pytest.raises(DataError, match=r"is not in pets as it was then: train/cat/copy.png"):
        keensight.clean(pets, facts, auto=True)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({}, "No decisions were given"),
        ({"undo": True, "auto": True}, "--undo takes the last cleaning back, and nothing else"),
        ({"data": "digits", "auto": True}, "digits is built in"),
        ({"undo": True}, "nothing to undo"),
    ],
)
def test_what_makes_no_sense_is_refused(pets, asked, said):
    with pytest.raises(UsageError, match=said):
        keensight.clean(**{"data": pets, **asked})


def test_the_bundle_says_who_decided_what_and_evaluate_follows_it(draw, tmp_path, brief):
    folder = draw(tmp_path / "pets", ["cat", "dog"], 12, 0)
    data = shutil.make_archive(str(tmp_path / "pets"), "zip", folder)
    sample = keensight.open_dataset(data).samples[0]
    file = tmp_path / "decisions.jsonl"
    row = {"sha256": sample.sha256, "action": "relabel", "label": "dog", "why": "it barks", "when": "2026-11-29"}
    file.write_text(json.dumps(row))
    keensight.clean(data, file, who="anna")
    run = keensight.train(data, recipe="logistic", out=tmp_path / "run", set=["epochs=1"])
    noted = json.loads((run.bundle / "bundle.json").read_text())["data"]["decisions"]
    assert noted["count"] == 1 and noted["list"] == [{**row, "file": sample.path, "who": "anna"}]
    assert "by anna, the last on 2026-11-29, and are followed here: relabelled 1." in run.report.data["notes"][-1]
    assert "are followed here: relabelled 1." in (run.bundle / "MODEL_CARD.md").read_text()
    listed = (run.folder / "splits.jsonl").read_text().splitlines()
    assert [json.loads(line)["label"] for line in listed if sample.sha256 in line] == ["dog"]
    told = []

    class Told(keensight.verbs.evaluate.Watcher):
        def note(self, text):
            told.append(text)

    # drawn again: it is the same data
    assert keensight.evaluate(run.bundle, data, split="test", watcher=Told()).metrics.n == run.report.test.n
    assert any("followed here: relabelled 1." in text for text in told)
    keensight.clean(data, undo=True)
    with pytest.raises(DataError, match="not the data that the bundle was trained on"):
        keensight.evaluate(run.bundle, data, split="test")
