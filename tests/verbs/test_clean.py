"""keensight clean: what moves, what stays, what is refused, and that all of it can be undone, whenever it is killed."""

import json
import os
import shutil
import signal
from contextlib import suppress
from itertools import count
from pathlib import Path

import numpy as np
import pytest

import keensight
from keensight.data.decided import read_decisions
from keensight.errors import DataError, KeensightError, UsageError
from keensight.verbs.clean import Cleaned


@pytest.fixture
def pets(draw, tmp_path):
    """train and test with cats and dogs; one file is in both splits, and one name is in both classes."""
    for i, split in enumerate(("train", "test")):
        draw(tmp_path / "home" / "pets" / split, ["cat", "dog"], 4, i)
    folder = tmp_path / "home" / "pets"
    shutil.copy(folder / "test/cat/1-0.png", folder / "train/cat/copy.png")
    (folder / "train/cat/notes.txt").write_text("not a picture")
    return folder


def tree(folder):
    """All files below a folder, with their bytes, and all folders."""
    found = {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}
    return {name: content for name, content in found.items() if ".keensight.lock" not in name}


def decide(folder, rows, name="decisions.jsonl"):
    known = {sample.path: sample.sha256 for sample in keensight.open_dataset(folder).samples}
    file = folder.parent.parent / name
    file.write_text("".join(json.dumps({"sha256": known.get(row["file"], "0" * 64), **row}) + "\n" for row in rows))
    return file


ROWS = [
    {"file": "train/cat/copy.png", "action": "drop", "why": "a copy"},
    {"file": "train/cat/0-1.png", "action": "relabel", "label": "dog"},
    {"file": "train/dog/0-2.png", "action": "move", "split": "test"},
    {"file": "test/cat/1-3.png", "action": "relabel", "label": "dog"},
    {"file": "test/cat/1-3.png", "action": "move", "split": "train"},
    {"file": "train/dog/0-3.png", "action": "confirm"},
]


def test_a_folder_is_cleaned_by_moves_and_undone(pets):
    before = tree(pets.parent)
    done = keensight.clean(pets, decide(pets, ROWS), who="anna")
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


def test_two_cleanings_are_undone_one_by_one(pets):
    trees = [tree(pets)]
    for number, row in enumerate(ROWS[:2]):
        keensight.clean(pets, decide(pets, [row], f"{number}.jsonl"))
        trees.append(tree(pets))
    assert len(read_decisions(pets.with_name("pets.decisions.jsonl"))) == 2
    keensight.clean(pets, undo=True)
    assert tree(pets) == trees[1]
    assert len(read_decisions(pets.with_name("pets.decisions.jsonl"))) == 1
    keensight.clean(pets, undo=True)
    assert tree(pets) == trees[0]
    assert not pets.with_name("pets.decisions.jsonl").exists() and not pets.with_name(".pets.quarantine").exists()


CHANGES = ((os, "fsync"), (Path, "rename"), (Path, "replace"), (Path, "mkdir"), (Path, "unlink"), (Path, "rmdir"))


def killed_at(step, work):
    """Do work in a process that is killed (SIGKILL) before its change number `step` of any file; say if it was."""
    child = os.fork()
    if child == 0:
        steps = count()

        def deadly(real):
            def change(*args, **named):
                if next(steps) == step:
                    os.kill(os.getpid(), signal.SIGKILL)
                return real(*args, **named)

            return change

        for home, name in CHANGES:
            setattr(home, name, deadly(getattr(home, name)))
        try:
            work()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def test_a_kill_at_any_moment_of_cleaning_can_be_undone(pets):
    before, file = tree(pets.parent), decide(pets, ROWS)
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


def test_a_kill_at_any_moment_of_undoing_can_be_undone(pets):
    before, file = tree(pets.parent), decide(pets, ROWS)
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
def test_half_moved_data_are_not_read(pets, undo):
    """Killed at any moment, pictures are read as before or after it, or not at all, until it is undone or done."""

    def read():
        dataset = keensight.open_dataset(pets)
        return sorted((s.sha256, dataset.class_names[s.label], str(s.split)) for s in dataset.samples)

    file, before, refused = decide(pets, ROWS), read(), 0
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


def test_the_same_command_again_after_a_kill_does_all_of_it(pets):
    file = decide(pets, ROWS)
    assert killed_at(10, lambda: keensight.clean(pets, file))
    assert keensight.clean(pets, file).moved == 4
    assert len(keensight.open_dataset(pets).samples) == 16


def test_an_error_in_the_middle_takes_all_of_it_back(pets, monkeypatch):
    before, file, steps = tree(pets.parent), decide(pets, ROWS), count()
    real = Path.rename

    def fail(path, target):
        if next(steps) == 2:
            raise PermissionError(13, "Permission denied")
        return real(path, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(KeensightError, match="This user may not write there"):
        keensight.clean(pets, file)
    assert tree(pets.parent) == before


def test_what_was_made_since_is_not_overwritten(pets):
    keensight.clean(pets, decide(pets, ROWS[:2]))
    (pets / "train/cat/copy.png").write_bytes(b"another")
    with pytest.raises(DataError, match="other files are where 1 should go back to: pets/train/cat/copy.png"):
        keensight.clean(pets, undo=True)
    assert (pets / "train/cat/copy.png").read_bytes() == b"another"
    assert (pets / "train/cat/0-1.png").exists()
    (pets / "train/cat/copy.png").unlink()
    assert keensight.clean(pets, undo=True).moved == 1


def test_files_that_are_gone_for_good_are_told_once_and_block_nothing(pets):
    before = tree(pets)
    for number, row in enumerate(ROWS[:3]):
        keensight.clean(pets, decide(pets, [row], f"{number}.jsonl"))
    (pets / "test/dog/0-2.png").unlink()  # what the third round moved
    with pytest.raises(
        DataError, match=r"1 files are neither .* were moved: pets/train/dog/0-2.png\. All else is back"
    ):
        keensight.clean(pets, undo=True)
    assert len(read_decisions(pets.with_name("pets.decisions.jsonl"))) == 2
    keensight.clean(pets, undo=True)
    keensight.clean(pets, undo=True)
    assert tree(pets) == {name: content for name, content in before.items() if name != "train/dog/0-2.png"}


def test_a_file_that_vanishes_while_others_are_moved_blocks_no_later_cleaning(pets, monkeypatch):
    real, before = Path.rename, tree(pets)

    def rename(path, target):
        (pets / "train/dog/0-2.png").unlink(missing_ok=True)  # the third of the moves
        return real(path, target)

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(DataError, match="neither where they were nor where they were moved: pets/train/dog/0-2.png"):
        keensight.clean(pets, decide(pets, ROWS))
    monkeypatch.undo()
    assert tree(pets.parent) == {f"pets/{n}": c for n, c in before.items() if n != "train/dog/0-2.png"} | {"pets": None}
    assert keensight.clean(pets, decide(pets, ROWS[:2])).moved == 2


def test_a_record_that_was_changed_by_hand_is_not_lost(pets):
    done = keensight.clean(pets, decide(pets, ROWS[:1]))
    done.record.write_text(done.record.read_text() + "\n")
    with pytest.raises(DataError, match="was changed since"):
        keensight.clean(pets, undo=True)


def test_a_journal_that_leads_elsewhere_moves_nothing(pets):
    done = keensight.clean(pets, decide(pets, ROWS[:1]))
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


def test_a_quarantine_that_is_a_link_overwrites_nothing(pets):
    """The folder may come from elsewhere, in an archive: what its links lead to keeps every byte."""
    file, quarantine, secret = decide(pets, ROWS), pets.parent / ".pets.quarantine", pets.parent.parent / "secret"
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


@pytest.mark.parametrize("number", ["../../mine", "/mine", 0, -1, True, None, 1.5])
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


def test_a_journal_moves_nothing_by_links_out_of_the_data(pets):
    """Links in the data may lead to a neighbour folder, and the journal may name files behind them."""
    done = keensight.clean(pets, decide(pets, ROWS[:1]))
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


def test_a_record_written_after_a_kill_is_not_lost(pets):
    """A round that was cut short has not written the record yet: one that is there by now is somebody's own."""
    file, record = decide(pets, ROWS), pets.with_name("pets.decisions.jsonl")
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


def test_half_a_line_in_the_journal_spoils_no_other(pets, monkeypatch):
    """A disk that is full takes half a line, and may have room again for the next: every round can be undone."""
    before = tree(pets)
    keensight.clean(pets, decide(pets, ROWS[:1], "1.jsonl"))
    real, journal = os.fsync, pets.parent / ".pets.quarantine/journal.jsonl"

    def full(number):
        if journal.read_bytes().count(b'"round": 2') > 1:  # the moves: half of what was written is there
            monkeypatch.setattr(os, "fsync", real)
            journal.write_bytes(journal.read_bytes()[:-20])
            raise OSError(28, "No space left on device")
        real(number)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(KeensightError, match="disk is full"):
        keensight.clean(pets, decide(pets, ROWS[1:3], "2.jsonl"))
    assert os.fsync is real
    keensight.clean(pets, undo=True)
    assert tree(pets) == before


def test_decisions_that_never_end_are_refused(pets):
    """A pipe that nobody writes to, and a device without an end: both would be waited for for ever."""
    pipe = pets.parent / "pipe"
    os.mkfifo(pipe)
    for file in (pipe, Path("/dev/zero")):
        for auto in (False, True):
            with pytest.raises(DataError, match="is a pipe or a device"):
                keensight.clean(pets, file, auto=auto)


def test_a_line_separator_within_a_text_ends_no_line(pets):
    file = decide(pets, ROWS[:1])
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
def test_an_audit_whose_copies_cannot_be_drops_nothing(pets, tmp_path, by, pair):
    facts = {"findings": [{"evidence": {"by": by, "pairs": [pair] if isinstance(pair, list) else pair}}]}
    facts["sha256"] = {sample.path: sample.sha256 for sample in keensight.open_dataset(pets).samples}
    (tmp_path / "audit.json").write_text(json.dumps(facts))
    before = tree(pets)
    with pytest.raises(DataError, match=f"a pair of copies that are not two files with the same {by}"):
        keensight.clean(pets, tmp_path / "audit.json", auto=True)
    assert tree(pets) == before


@pytest.mark.parametrize(
    "layout",
    [
        "{label}/{split}-{i}.png",
        "all/{label}/more/{split}-{i}.png",
        "{split}/{label}/{i}.png",
        "{label}/{split}/{i}.png",
        "seg_{split}/seg_{split}/{label}/{i}.png",
        "set/{split}/{label}/deep/er/{i}.png",
    ],
)
def test_labels_and_splits_are_changed_in_any_layout_of_folders(draw, tmp_path, layout):
    root = tmp_path / "home" / "pets"
    for k, split in enumerate(("train", "test")):
        for file in draw(tmp_path / split, ["cat", "dog"], 3, k).rglob("*.png"):
            name = layout.format(split=split, label=file.parent.name, i=file.stem)
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            file.rename(root / name)
    before, dataset = tree(root), keensight.open_dataset(root)
    has_splits = dataset.samples[0].split is not None
    assert has_splits == ("{split}/" in layout)
    cat, dog = (next(s for s in dataset.samples if dataset.class_names[s.label] == name) for name in ("cat", "dog"))
    other = "test" if dog.split == "train" else "train"
    rows = [
        {"file": cat.path, "action": "relabel", "label": "dog"},
        {"file": dog.path, "action": "move", "split": other},
    ]
    done = keensight.clean(root, decide(root, rows))
    assert done.moved == 1 + has_splits  # without folders for splits, the record says it
    after = keensight.open_dataset(root)
    now = {s.sha256: (after.class_names[s.label], s.split) for s in after.samples}
    assert len(now) == 12
    assert now[cat.sha256] == ("dog", cat.split)
    assert now[dog.sha256] == ("dog", other)
    others = [s for s in dataset.samples if s.sha256 not in (cat.sha256, dog.sha256)]
    assert all(now[s.sha256] == (dataset.class_names[s.label], s.split) for s in others)
    keensight.clean(root, undo=True)
    assert tree(root) == before


def test_what_was_dropped_comes_back_by_undo_alone(pets):
    file = decide(pets, [ROWS[1], {"file": "train/cat/0-0.png", "action": "drop"}])
    again = file.with_name("again.jsonl")
    again.write_text(file.read_text().splitlines()[1])
    keensight.clean(pets, file)
    with pytest.raises(DataError, match="1 is dropped by an earlier cleaning, which --undo takes back"):
        keensight.clean(pets, again)


def test_files_that_changed_since_or_are_not_there_are_refused(pets):
    file = decide(pets, [*ROWS[:1], {"file": "train/cat/none.png", "action": "drop"}])
    before = tree(pets.parent)
    with pytest.raises(DataError, match=r"1 is not among these pictures.*train/cat/none.png"):
        keensight.clean(pets, file)
    assert tree(pets.parent) == before
    file = decide(pets, ROWS[:1])
    shutil.copy(pets / "train/cat/0-1.png", pets / "train/cat/copy.png")
    with pytest.raises(DataError, match="changed since they were decided on"):
        keensight.clean(pets, file)


def test_a_file_that_changed_with_its_time_stamp_kept_is_noticed(pets):
    file = decide(pets, ROWS[:1])
    path = pets / "train/cat/copy.png"
    os.utime(path, (1e9, 1e9))
    keensight.open_dataset(pets)  # notes the hash by the time stamp
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)
    os.utime(path, (1e9, 1e9))
    with pytest.raises(DataError, match="changed"):
        keensight.clean(pets, file)


def test_a_class_is_not_emptied(pets):
    rows = [{"file": f"train/cat/0-{i}.png", "action": "drop"} for i in range(4)]
    rows.append({"file": "train/cat/copy.png", "action": "drop"})
    with pytest.raises(DataError, match="leave no picture to learn from in cat"):
        keensight.clean(pets, decide(pets, rows))


def test_links_stay_where_they_are_and_their_labels_are_followed(pets):
    target = pets / "train/dog/0-0.png"
    (pets / "train/cat/link.png").symlink_to(os.path.relpath(target, pets / "train/cat"))
    done = keensight.clean(pets, decide(pets, [{"file": "train/cat/link.png", "action": "relabel", "label": "dog"}]))
    assert done.moved == 0
    dataset = keensight.open_dataset(pets)
    assert {dataset.class_names[s.label] for s in dataset.samples if s.path == "train/cat/link.png"} == {"dog"}
    assert keensight.clean(pets, undo=True).moved == 0


def test_names_that_are_not_utf8_move_with_their_bytes(pets):
    odd = os.fsencode(pets / "train/cat") + b"/k\xe4tzchen.png"
    (pets / "train/cat/0-1.png").rename(os.fsdecode(odd))
    before = sorted(os.listdir(os.fsencode(pets / "train/cat")))
    keensight.clean(pets, decide(pets, [{"file": "train/cat/kätzchen.png", "action": "relabel", "label": "dog"}]))
    assert b"k\xe4tzchen.png" in os.listdir(os.fsencode(pets / "train/dog"))
    keensight.clean(pets, undo=True)
    assert sorted(os.listdir(os.fsencode(pets / "train/cat"))) == before


@pytest.mark.parametrize("form", ["zip", "csv", "idx", "npz", "pattern"])
def test_other_forms_stay_and_are_read_as_decided(draw, tmp_path, form):
    home = tmp_path / "home"
    home.mkdir()
    pattern, folder = None, draw(home / "pets", ["cat", "dog"], 4, 0)
    if form == "zip":
        data = Path(shutil.make_archive(str(home / "pets"), "zip", folder))
    elif form == "csv":
        data = home / "pets.csv"
        names = [file.relative_to(home) for file in sorted(folder.rglob("*.png"))]
        data.write_text("file,label\n" + "".join(f"{name},{name.parts[1]}\n" for name in names))
    elif form == "pattern":
        data, pattern = home / "flat", "{label}_*"
        data.mkdir()
        for file in folder.rglob("*.png"):
            file.rename(data / f"{file.parent.name}_{file.name}")
    else:
        images = np.random.default_rng(0).integers(0, 255, (8, 9, 9), np.uint8)
        labels = np.arange(8, dtype=np.uint8) % 2
        data = home / ("idx" if form == "idx" else "pets.npz")
        if form == "npz":
            np.savez(data, images=images, labels=labels)
        else:
            data.mkdir()
            sizes = np.array([2051, 8, 9, 9], ">u4").tobytes()
            (data / "train-images-idx3-ubyte").write_bytes(sizes + images.tobytes())
            (data / "train-labels-idx1-ubyte").write_bytes(np.array([2049, 8], ">u4").tobytes() + labels.tobytes())
    before, dataset = tree(home), keensight.open_dataset(data, label_pattern=pattern)
    one, other = dataset.samples[0], dataset.samples[-1]
    label = next(name for name in dataset.class_names if name != dataset.class_names[one.label])
    file = tmp_path / "decisions.jsonl"
    rows = [{"sha256": one.sha256, "action": "relabel", "label": label}, {"sha256": other.sha256, "action": "drop"}]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = keensight.clean(data, file, label_pattern=pattern)
    assert done.moved == (form == "pattern")
    kept = {name: content for name, content in tree(home).items() if name in before}
    if form != "pattern":
        assert kept == before
    after = keensight.open_dataset(data, label_pattern=pattern)
    assert after.class_names[after.samples[0].label] == label
    assert other.path not in {sample.path for sample in after.samples}
    assert keensight.info(data, label_pattern=pattern)["decisions"] == {"relabel": 1, "drop": 1}
    keensight.clean(data, undo=True)
    assert tree(home) == before


def test_certain_copies_are_dropped_by_auto_and_the_rest_is_left(pets):
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
    with pytest.raises(DataError, match=r"are not in pets as they were then: train/cat/copy.png"):
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
