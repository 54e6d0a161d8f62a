import json
import shlex

import pytest

import keensight
from keensight.errors import KeensightError
from keensight.training.recipe import load_recipe

CHANGES = ["hidden=[32]", "epochs=2"]


def test_what_is_left_behind(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    test = keensight.lr_range("digits", recipe="dense", set=CHANGES, seed=1)
    assert str(test.folder) == "tunings/digits-lr-range"
    assert {path.name for path in test.folder.iterdir()} == {"lr-range.json", "lr-range.html"}
    kept = json.loads((test.folder / "lr-range.json").read_text())
    assert kept["suggested"] == test.found.suggested
    assert len(kept["rates"]) == len(kept["losses"]) == len(kept["smoothed"])
    assert test.recipe_rate == 0.001
    assert 1e-4 < test.found.suggested < 0.05
    program, verb, data, *rest = shlex.split(test.next_command)
    assert (program, verb, data) == ("keensight", "train", "digits")
    assert rest[:4] == ["--recipe", "dense", "--seed", "1"]
    changes = [word for word in rest[4:] if word != "--set"]
    assert load_recipe("dense", changes).learning_rate == test.found.suggested
    assert test.next_command.replace("'", "&#39;") in test.page.read_text()
    assert str(keensight.lr_range("digits", recipe="dense", set=CHANGES).folder) == "tunings/digits-lr-range-2"


@pytest.mark.parametrize("changes", [["model=transfer"], ["loss=hinge"], ["learning_rat=1"]])
def test_what_cannot_be_tested_leaves_nothing(tmp_path, changes):
    with pytest.raises(KeensightError):
        keensight.lr_range("digits", set=changes, out=tmp_path / "range")
    assert list(tmp_path.iterdir()) == []
