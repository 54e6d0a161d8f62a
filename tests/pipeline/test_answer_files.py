import csv
import errno
import io
import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keensight.data.unlabelled import Picture
from keensight.errors import KeensightError, PictureError, UsageError
from keensight.pipeline.answer_files import folders, table
from keensight.values import NONE_OF_THESE, Prediction

LABELS = ("cat", "=dog")


def answer(file, label="cat", probability=0.75, abstained=False):
    other = {"cat": "=dog", "=dog": "cat"}[label]
    return Prediction(file, label, probability, {label: probability, other: 1 - probability}, abstained)


def rows(file):
    with open(file, newline="", encoding="utf-8") as opened:
        return list(csv.reader(opened))


def test_a_table_has_a_row_for_each_file(tmp_path):
    with table(tmp_path / "new" / "a.csv", LABELS) as write:
        write(Path("1.png"), answer("1.png"))
        write(Path("2.png"), PictureError("it is empty"))
        write(Path("3.png"), answer("3.png", "=dog", 0.5, abstained=True))
        assert not (tmp_path / "new" / "a.csv").exists()
    head, *found = rows(tmp_path / "new" / "a.csv")
    assert head == [
        "file",
        "label",
        "probability",
        "sure",
        "reasons",
        "notes",
        "error",
        "probability of cat",
        "probability of =dog",
    ]
    assert found[0] == ["1.png", "cat", "0.75", "yes", "", "", "", "0.75", "0.25"]
    assert found[1][:7] == ["2.png", "", "", "", "", "", "it is empty"]
    assert found[2][:4] == ["3.png", "'=dog", "0.5", "no"]


@pytest.mark.parametrize("name", ["=1+1.png", "+1.png", "-1.png", "@SUM(A1).png", "\t=1.png", "\r=1.png", "＝1+1.png"])
def test_no_cell_of_a_table_is_a_formula_or_commands_a_terminal(tmp_path, name):
    with table(tmp_path / "a.csv", LABELS) as write:
        write(Path(name), answer(name))
        write(Path("\x1b[2J,\n\u202e\udc80.png"), answer("x"))
    _, first, second = rows(tmp_path / "a.csv")
    assert first[0][0] in "'\\"
    assert second[0] == r"\x1b[2J,\n\u202e\udc80.png"


@pytest.mark.parametrize("name", ["x;=1+1.png", "x; =1+1.png", "x;;@SUM(A1);-1.png", "a,b;+1.png"])
def test_no_cell_is_a_formula_where_semicolons_separate_cells(tmp_path, name):
    """A spreadsheet set to a country with decimal commas takes semicolons, also for tables with commas."""
    with table(tmp_path / "a.csv", LABELS) as write:
        write(Path(name), answer(name))
    with open(tmp_path / "a.csv", newline="") as file:
        cells = [cell.lstrip() for row in csv.reader(file, delimiter=";") for cell in row]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@"))]
    assert any("'" in cell for cell in cells)


def test_json_lines(tmp_path):
    with table(tmp_path / "a.jsonl", LABELS) as write:
        write(Path("1.png"), answer("ä\x9b\u202e.png"))
        write(Path("2.png"), PictureError("it is empty"))
    text = (tmp_path / "a.jsonl").read_text(encoding="utf-8")
    first, second = map(json.loads, text.splitlines())
    assert first["file"] == "ä\x9b\u202e.png" and first["probabilities"]["cat"] == 0.75 and "\x9b" not in text
    assert second == {"file": "2.png", "error": "it is empty"}


def test_nothing_is_overwritten_and_nothing_is_left_of_half_a_table(tmp_path):
    (tmp_path / "a.csv").write_text("mine")
    for name, words in (("a.csv", "nothing is overwritten"), ("a.txt", r"end in \.csv or \.jsonl")):
        with pytest.raises(UsageError, match=words), table(tmp_path / name, LABELS):
            pass
    with pytest.raises(KeyboardInterrupt), table(tmp_path / "b.csv", LABELS):
        raise KeyboardInterrupt
    assert [each.name for each in tmp_path.iterdir()] == ["a.csv"]
    with pytest.raises(UsageError, match="not an empty folder"), folders(tmp_path, LABELS):
        pass


def test_a_disk_that_is_full_at_the_end_is_named_with_the_file(tmp_path, monkeypatch):
    class Full(io.BytesIO):
        def close(self):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("builtins.open", lambda *_: Full())
    with (
        pytest.raises(KeensightError, match=r"b\.csv: no space left on device. The disk is full"),
        table(tmp_path / "b.csv", LABELS),
    ):
        pass
    assert not list(tmp_path.iterdir())


def test_where_nothing_can_be_removed_the_first_error_counts(tmp_path, monkeypatch):
    def refused(*_, **__):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("builtins.open", refused)
    monkeypatch.setattr(Path, "unlink", refused)
    with pytest.raises(KeensightError, match="read-only file system"), table(tmp_path / "b.csv", LABELS):
        pass


def picture(path, content=b"jpeg"):
    return Picture(Path(path), partial(lambda given: given, content))


def test_pictures_are_copied_by_label_under_names_that_are_safe_and_do_not_clash(tmp_path):
    labels = ("cat", "CAT", "not sure", "a/b", "..", "\x1b[2J")
    with folders(tmp_path / "out", labels) as copy:
        for i, label in enumerate(labels):
            copy(picture("in/1.png", bytes([i])), Prediction("", label, 0.9, {}, abstained=False))
        copy(picture("other/1.png", b"second"), Prediction("", "cat", 0.9, {}, abstained=False))
        copy(picture("other/1.PNG", b"third"), Prediction("", "cat", 0.9, {}, abstained=False))
        copy(picture("doubt.png"), Prediction("", "cat", 0.4, {}, abstained=True))
        odd = Prediction("", "cat", 0.99, {}, abstained=True, reasons=(NONE_OF_THESE,))
        copy(picture("odd.png"), odd)
        copy(picture("broken.png"), PictureError("it is empty"))
        copy(picture("x" * 250 + ".png"), Prediction("", "a/b", 0.9, {}, abstained=False))
        copy(picture("a\nb\udc80:c.png"), Prediction("", "a/b", 0.9, {}, abstained=False))
        copy(picture("test[3]", np.full((4, 4, 1), 7, np.uint8)), Prediction("", "..", 0.9, {}, abstained=False))
    found = {str(file.relative_to(tmp_path / "out")): file.read_bytes() for file in (tmp_path / "out").rglob("*.*")
             if file.is_file()}  # fmt: skip
    with Image.open(tmp_path / "out" / "unnamed" / "test[3].png") as drawn:
        assert np.asarray(drawn).tolist() == [[7] * 4] * 4
    del found["unnamed/test[3].png"]
    assert found == {
        "cat/1.png": b"\0", "cat/1 (2).png": b"second", "cat/1 (3).PNG": b"third", "CAT (2)/1.png": b"\1",
        "not sure/doubt.png": b"jpeg", "none of these/odd.png": b"jpeg",
        "not sure (2)/1.png": b"\2", "a-b/1.png": b"\3", "unnamed/1.png": b"\4",
        "-x1b[2J/1.png": b"\5", f"a-b/{'x' * 196}.png": b"jpeg", "a-b/a-nb-udc80-c.png": b"jpeg",
    }  # fmt: skip
