"""The studio's work, told in lines of JSON."""

import io
import json

import pytest

import keensight
from keensight.verbs.studio_work import VERBS, Teller

QUICK = ["hidden=[8]", "batch_size=256"]


def lines(teller):
    return [json.loads(line) for line in teller._out.getvalue().splitlines()]


@pytest.mark.thorough
def test_a_training_ends_when_it_is_enough_and_two_are_compared_in_a_sentence(tmp_path):
    teller = Teller(io.StringIO())
    teller.enough.set()
    short = keensight.train("digits", recipe="dense", set=[*QUICK, "epochs=6"], out=tmp_path / "1", watcher=teller)
    assert len(short.report.history) == 1 and (short.bundle / "model.onnx").exists()
    told = lines(teller)
    assert [each["epochs"] for each in told if each["event"] == "epoch"] == [6]
    assert any("ended after epoch 1" in each.get("text", "") for each in told)
    longer = keensight.train("digits", recipe="dense", set=[*QUICK, "epochs=6"], out=tmp_path / "2")
    assert len(longer.report.history) == 6
    order = {"bundles": [str(short.bundle), str(longer.bundle)], "data": "digits", "out": str(tmp_path / "c")}
    found = VERBS["compare"](order, Teller(io.StringIO()))
    new, old = longer.report.test.accuracy, short.report.test.accuracy
    assert f"the new model gets {new:.0%} right, and the old one {old:.0%}" in found["sentence"]
    assert "The new one is better, and that is hardly luck." in found["sentence"]


def test_findings_come_with_their_sentences(tmp_path, draw):
    data = draw(tmp_path / "data", ["cat", "dog"], 6, 0)
    (data / "cat" / "again.png").write_bytes((data / "cat" / "0-0.png").read_bytes())
    found = VERBS["audit"]({"data": str(data), "out": str(tmp_path / "out")}, Teller(io.StringIO()))
    (copies,) = (each for each in found["findings"] if each["kind"] == "identical")
    assert sorted(copies["samples"]) == ["cat/0-0.png", "cat/again.png"] and copies["sentence"]
    assert not any(each in copies["sentence"] for each in copies["samples"])  # the pictures stand beside it


def test_notes_say_nothing_of_commands():
    teller = Teller(io.StringIO())
    teller.note("How they do under attack was not measured. --attack fgsm measures it, in about 5 s.")
    teller.note("Left out 1 of what mine holds: cup/a.jpg: it is damaged.")
    teller.note("`keensight audit` finds more.")
    assert [each["text"] for each in lines(teller)] == [
        "How they do under attack was not measured.",
        "Left out 1 of what mine holds: cup/a.jpg: it is damaged.",
    ]
