import json
import shlex

import pytest
from PIL import Image

import keensight
from keensight.errors import KeensightError, RunError
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
    assert load_recipe("dense", changes).train.learning_rate == test.found.suggested
    assert test.next_command.replace("'", "&#39;") in test.page.read_text()
    assert str(keensight.lr_range("digits", recipe="dense", set=CHANGES).folder) == "tunings/digits-lr-range-2"


def test_here_with_pictures_whose_path_is_no_text(tmp_path, monkeypatch):
    """The folder one is in has a name, too; and a page is written whatever the data is called."""
    data = tmp_path / "d\udcff"
    for i in range(40):
        (data / "ab"[i % 2]).mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), 100 * (i % 2) + i).save(data / "ab"[i % 2] / f"{i}.png")
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path / "mine")
    test = keensight.lr_range(data, recipe="logistic", out=".")
    assert "<h1><bdi>mine</bdi></h1>" in test.page.read_text() and "d\\udcff" in test.page.read_text()
    found = keensight.tune(data, recipe="logistic", set=["epochs=1"], trials=1, out=tmp_path / "search")
    assert json.loads((found.folder / "tuning.json").read_text())["data"] == str(data)
    with pytest.raises(RunError, match="holds a finished range test already. Choose another folder"):
        keensight.lr_range(data, recipe="logistic", out=".")
    test.page.unlink()  # as a kill between the numbers and the page leaves it
    with pytest.raises(RunError, match="is not empty. Choose a new or empty folder"):
        keensight.lr_range(data, recipe="logistic", out=".")


@pytest.mark.parametrize("changes", [["model=transfer"], ["loss=hinge"], ["learning_rat=1"]])
def test_what_cannot_be_tested_leaves_nothing(tmp_path, changes):
    with pytest.raises(KeensightError):
        keensight.lr_range("digits", set=changes, out=tmp_path / "range")
    assert list(tmp_path.iterdir()) == []
