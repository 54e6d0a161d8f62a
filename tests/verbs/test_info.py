import json
import shutil

import pytest

import keensight
from keensight.engines.table import ENGINES
from keensight.errors import KeensightError, RunError, UsageError
from keensight.training.recipe import recipe_names
from keensight.values import Preprocessing


def test_the_history_of_a_run_can_be_plotted_again(trained, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(trained.folder, run)
    said = keensight.info(run, plot=True)
    assert said["kind"] == "run" and said["epochs_done"] == 8
    assert said["best_val_accuracy"] == max(epoch.val_accuracy for epoch in trained.report.history)
    svg = (run / "history.svg").read_text()
    assert said["plot"] == str(run / "history.svg") and svg.startswith("<svg")
    assert "loss and accuracy of training and validation over 8 epochs" in svg


def test_an_unfinished_run_is_described_and_plotted(trained, tmp_path):
    for name in ("recipe.toml", "history.jsonl"):
        shutil.copy(trained.folder / name, tmp_path / name)
    lines = (tmp_path / "history.jsonl").read_text().splitlines()
    (tmp_path / "history.jsonl").write_text("\n".join(lines[:3]))
    said = keensight.info(tmp_path, plot=True)
    assert said["kind"] == "run" and said["epochs_done"] == 3 and "--resume" in said["stopped"]
    assert (tmp_path / "history.svg").exists()


def test_a_folder_of_runs_is_not_taken_for_one(trained, tmp_path):
    runs = tmp_path / "runs"
    for number in range(7):
        (runs / f"digits-{number}").mkdir(parents=True)
        for name in ("recipe.toml", "history.jsonl"):
            shutil.copy(trained.folder / name, runs / f"digits-{number}" / name)
    for plot in (False, True):
        with pytest.raises(RunError) as refusal:
            keensight.info(runs, plot=plot)
        assert str(refusal.value) == (
            f"{runs} is a folder of runs: digits-0, digits-1, digits-2, digits-3, digits-4 and 2 more. Give one of "
            f"them, such as {runs}/digits-0."
        )


def test_engines_of_a_bundle_are_measured(trained):
    for thing in (trained.bundle, trained.folder):
        said = keensight.info(thing, engines=True)
        assert [each["name"] for each in said["engines"]] == list(ENGINES)
        assert said["engine"] == "onnxruntime"  # it takes less time than decoding a picture
        for each in said["engines"]:
            assert (each["images_per_s"] is None) == bool(each["why_not"])
    assert said["engines"][0]["images_per_s"] > 0
    with pytest.raises(UsageError, match="`engines` measures how fast a bundle answers, and cnn is none"):
        keensight.info("cnn", engines=True)


def test_where_there_is_no_history_there_is_nothing_to_plot(trained, tmp_path):
    with pytest.raises(RunError, match=r"has no history.jsonl.* Give a run folder"):
        keensight.info(trained.bundle, plot=True)
    (tmp_path / "recipe.toml").write_text("")
    for text in ("", "{}", json.dumps([1]), "\x00"):
        (tmp_path / "history.jsonl").write_text(text)
        with pytest.raises(RunError, match="history.jsonl"):
            keensight.info(tmp_path)


ARTICLES = {"digits-dense": 407_050, "fashion": 507_530, "husky": 3_304_769}  # as the articles have them
BUILT = {"zero-one": 2, "zero-one-robust": 2, "fashion-tiny": 10, "digits-scratch": 10, "planes": 2}


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipes_layers_are_those_of_the_model_that_it_builds(name):
    said = keensight.info(name, layers=True)
    recipe, shown = keensight.load_recipe(name), said["shown_for"]
    size = Preprocessing(shown["height"], shown["width"], shown["channels"])
    built = keensight.build(recipe.model.name, recipe.model.options, size, shown["classes"], 0)
    total = sum(row["parameters"] for row in said["layers"])
    assert total == sum(p.numel() for p in built.parameters()) == ARTICLES.get(name, total)
    assert shown["classes"] == BUILT.get(name, shown["classes"])
    if recipe.data.size:
        assert (shown["height"], shown["width"]) == (recipe.data.size, recipe.data.size)
    if recipe.data.source == "mnist":
        assert shown == {"height": 28, "width": 28, "channels": 1, "fit": "squash", "classes": shown["classes"]}


def test_the_cache_is_described_and_emptied(tmp_path, monkeypatch):
    monkeypatch.setenv("KEENSIGHT_CACHE", str(tmp_path))
    (tmp_path / "pixels" / "a").mkdir(parents=True)
    (tmp_path / "pixels" / "a" / "images.npy").write_bytes(bytes(700))
    said = keensight.info(cache=True)
    assert (said["kind"], said["path"], said["bytes"], said["limit_bytes"]) == ("cache", str(tmp_path), 700, 20 * 10**9)
    (entry,) = said["entries"]
    assert (entry["kind"], entry["name"], entry["bytes"], entry["in_use"]) == ("pixels", "a", 700, False)
    said = keensight.info(clear_cache=True)
    assert said["removed"] == [entry] and said["bytes"] == 0 and said["entries"] == []
    assert not (tmp_path / "pixels" / "a").exists()


def test_one_thing_or_the_cache_is_described():
    for given in ((), ("digits",)):
        with pytest.raises(UsageError, match="one thing, or the cache"):
            keensight.info(*given, cache=bool(given))


def test_a_path_that_is_not_there_is_said_to_be_missing():
    with pytest.raises(
        KeensightError, match=r"^There is no file or folder pets/cats, and no recipe, model or data"
    ) as told:
        keensight.info("pets/cats")
    assert "`keensight recipes` lists them" in str(told.value) and len(str(told.value)) < 400
    with pytest.raises(KeensightError, match="Did you mean 'husky'"):
        keensight.info("huksy")
