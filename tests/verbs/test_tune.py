"""`tune` as a function: what it leaves behind, and what it refuses. The command line's side is in tests/cli."""

import json
import shutil
import tomllib
from dataclasses import asdict, replace

import numpy as np
import pytest
from PIL import Image

import keensight
from keensight.data.sources import open_dataset
from keensight.errors import RecipeError, RunError, TrainingError, UsageError
from keensight.evaluation.gain import Gain
from keensight.files import write_atomically
from keensight.pipeline import search_folder
from keensight.pipeline import trials as module
from keensight.pipeline.budget import seconds_of
from keensight.pipeline.prepare import prepare
from keensight.pipeline.watch import Watcher
from keensight.training.recipe import load_recipe
from keensight.values.recipe import flattened

CHANGES = ["model=logistic", "epochs=4", "learning_rate=0.0005"]


class Notes(Watcher):
    def __init__(self):
        self.heard, self.trials = [], []

    def note(self, text):
        self.heard.append(text)

    def trial(self, number, trials, score):
        self.trials.append((number, trials, score))


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def search(tmp_path_factory, cache):
    """Six trials on digits, from a learning rate that is far too small."""
    patch = pytest.MonkeyPatch()
    patch.setenv("KEENSIGHT_CACHE", str(cache))
    found = keensight.tune("digits", set=CHANGES, trials=6, out=tmp_path_factory.mktemp("tune") / "search")
    patch.undo()
    return found


def values(found):
    return [(trial.number, trial.state, trial.values, trial.val_accuracy) for trial in found.trials]


def test_what_is_left_behind(search):
    assert {path.name for path in search.folder.iterdir()} == {
        "recipe.toml", "tuning.json", "trials.jsonl", "best.toml", "tuning.html"
    }  # fmt: skip
    assert [trial.number for trial in search.trials] == list(range(6))
    lines = [json.loads(line) for line in (search.folder / "trials.jsonl").read_text().splitlines()]
    assert lines == json.loads(json.dumps([asdict(trial) for trial in search.trials]))
    kept = json.loads((search.folder / "tuning.json").read_text())
    assert [each["key"] for each in kept["search"]] == ["batch_size", "weight_decay", "label_smoothing"]
    assert kept["result"]["best"] == search.winner.number
    assert search.num_val == kept["num_val"] == 269
    assert f"--recipe {search.advised}" in search.page.read_text()


def test_what_is_advised_is_the_best_only_where_it_is_better(search):
    assert replace(search, gain=Gain(0.05, 0.01, 0.09)).advised == search.best
    assert replace(search, gain=Gain(0.01, -0.01, 0.03)).advised == search.folder / "recipe.toml"
    assert replace(search, gain=None).advised == search.best, "the recipe as it was came to nothing"


def test_the_best_recipe_says_nothing_that_is_by_default(search):
    written = flattened(tomllib.loads(search.best.read_text()))
    assert set(written) - {"weight_decay", "label_smoothing", "batch_size"} == {
        "name", "about", "model", "epochs", "learning_rate"
    }  # fmt: skip
    assert dict(search.winner.values).items() <= written.items()
    again = load_recipe(str(search.folder / "recipe.toml"))
    assert load_recipe(str(search.best)) == again.having(
        name="default-tuned", about=written["about"], **search.winner.values
    )


def test_trial_0_is_the_recipe(search):
    assert search.trials[0].values == {"batch_size": 128, "weight_decay": 0.01, "label_smoothing": 0.0}


def test_training_with_what_was_found_gives_the_accuracy_that_was_promised(search, cache, monkeypatch, tmp_path):
    """By way of a recipe file, the whole of `train`, ONNX and a report; and on the splits that `train` draws."""
    monkeypatch.setenv("KEENSIGHT_CACHE", str(cache))
    run = keensight.train("digits", recipe=str(search.best), out=tmp_path / "run")
    assert run.report.val.accuracy == pytest.approx(search.winner.val_accuracy, abs=1e-9)
    recipe = load_recipe(str(search.best))
    assert recipe.name == "default-tuned" and "tuned: validation accuracy" in recipe.about and not recipe.promise

    splits = prepare(open_dataset("digits"), load_recipe("default", CHANGES), Watcher(), choosing=True).splits
    lines = [json.loads(line) for line in (run.folder / "splits.jsonl").read_text().splitlines()]
    for name, part in (("train", splits.train), ("val", splits.val)):
        assert part.paths == tuple(line["file"] for line in lines if line["split"] == name)
    assert any(line["split"] == "test" for line in lines) and splits.test is None


def test_what_is_set_stays_as_it_is(search):
    assert load_recipe(str(search.best)).train.learning_rate == 0.0005
    assert load_recipe(str(search.best)).train.epochs == 4


def test_more_trials_go_on_from_where_it_was(search, cache, monkeypatch, tmp_path):
    monkeypatch.setenv("KEENSIGHT_CACHE", str(cache))
    short, notes = tmp_path / "short", Notes()
    keensight.tune("digits", set=CHANGES, trials=2, out=short)
    (short / "best.toml").unlink()  # as where a kill comes between the trials and the recipe of their best
    grown = keensight.tune("digits", resume=True, trials=6, out=short, watcher=notes)
    assert values(grown) == values(search)
    assert (short / "best.toml").read_text() == search.best.read_text()
    assert notes.heard[0].startswith("10 classes: ") and notes.heard[1:] == ["Continuing after 2 trials."]
    assert [number for number, _, _ in notes.trials] == [2, 3, 4, 5]
    assert notes.trials[0][1] == 6 and notes.trials[0][2].startswith("best so far 0.")
    again = keensight.tune("digits", resume=True, out=short, watcher=notes)
    assert values(again) == values(search)
    assert notes.heard[-1] == "The search is finished, with 6 trials. Ask for more with --trials."


def test_an_interrupt_leaves_a_page_of_what_there_is(cache, monkeypatch, tmp_path):
    monkeypatch.setenv("KEENSIGHT_CACHE", str(cache))
    true = module.fit_any
    runs = []

    def interrupted(*given):
        runs.append(given)
        if len(runs) > 2:
            raise KeyboardInterrupt
        return true(*given)

    monkeypatch.setattr(module, "fit_any", interrupted)
    with pytest.raises(KeyboardInterrupt) as stop:
        keensight.tune("digits", set=CHANGES, trials=6, out=tmp_path / "search")
    page = tmp_path / "search" / "tuning.html"
    assert f"2 trials that ended are in {tmp_path / 'search'}, and on its page, {page}; go on with" in str(stop.value)
    html = page.read_text()
    assert "The search was interrupted" in html and "2 finished, 0 stopped early" in html
    assert "result" not in json.loads((tmp_path / "search" / "tuning.json").read_text())
    with pytest.raises(RunError, match="holds an unfinished search"):
        keensight.tune("digits", set=CHANGES, out=tmp_path / "search")

    with pytest.raises(KeyboardInterrupt, match="before the first trial ended; nothing was kept"):
        keensight.tune("digits", set=CHANGES, out=tmp_path / "other")
    assert not (tmp_path / "other").exists()

    monkeypatch.setattr(module, "fit_any", true)
    assert len(keensight.tune("digits", resume=True, out=tmp_path / "search").trials) == 6
    assert "The search was interrupted" not in page.read_text()


def test_a_kill_between_the_plan_and_the_recipe_loses_nothing(search, cache, monkeypatch, tmp_path):
    monkeypatch.setenv("KEENSIGHT_CACHE", str(cache))
    torn = tmp_path / "torn"
    torn.mkdir()
    plan = json.loads((search.folder / "tuning.json").read_text())
    del plan["result"]
    (torn / "tuning.json").write_text(json.dumps(plan))
    with pytest.raises(RunError, match="holds an unfinished search"):
        keensight.tune("digits", set=CHANGES, out=torn)
    found = keensight.tune("digits", resume=True, out=torn)
    assert values(found) == values(search)
    assert (torn / "recipe.toml").read_text() == (search.folder / "recipe.toml").read_text()


def test_the_plan_is_written_before_the_recipe(cache, monkeypatch, tmp_path):
    monkeypatch.setenv("KEENSIGHT_CACHE", str(cache))
    written = []
    monkeypatch.setattr(search_folder, "write_atomically", lambda path, content: _note(written, path, content))
    keensight.tune("digits", set=CHANGES, trials=1, out=tmp_path / "search")
    assert written[:2] == ["tuning.json", "recipe.toml"]


def _note(written, path, content):
    written.append(path.name)
    write_atomically(path, content)


def test_a_budget_ends_the_search_but_not_the_first_trial(cache, monkeypatch, tmp_path, ticking):
    monkeypatch.setenv("KEENSIGHT_CACHE", str(cache))
    found = keensight.tune("digits", set=CHANGES, budget=0.001, out=tmp_path / "search")
    assert [trial.state for trial in found.trials] == ["finished"]
    assert found.trials[0].epochs == 4
    assert found.importances == {}
    notes = Notes()
    keensight.tune("digits", resume=True, out=tmp_path / "search", watcher=notes)
    assert notes.heard[0].startswith("10 classes: ")
    assert notes.heard[1:] == [
        "The search is finished: its 0.001 s are used up, after 1 trial. Ask for more with --trials or --budget."
    ]
    more = keensight.tune("digits", resume=True, budget=7 * found.seconds, out=tmp_path / "search")
    assert len(more.trials) > 1 and more.seconds < 7 * found.seconds + 3 * ticking


def test_failed_trials_are_kept_with_their_reason_and_all_failing_is_an_error(cache, monkeypatch, tmp_path):
    monkeypatch.setenv("KEENSIGHT_CACHE", str(cache))
    true = module.fit_any

    def fails(state, splits, recipe, *rest):
        if recipe.train.batch_size > limit:
            raise TrainingError(f"Memory ran out with batch_size={recipe.train.batch_size}.")
        return true(state, splits, recipe, *rest)

    monkeypatch.setattr(module, "fit_any", fails)
    limit = 127
    found = keensight.tune("digits", set=CHANGES, trials=5, out=tmp_path / "some")
    assert found.trials[0].state == "failed" and "batch_size=128" in found.trials[0].reason
    assert found.gain is None and found.winner.values["batch_size"] < 128
    assert "Memory ran out with batch_size=128" in found.page.read_text()

    limit = 0
    with pytest.raises(TrainingError, match=r"None of the 2 trials has a result.*batch_size=128.*trials.jsonl"):
        keensight.tune("digits", set=CHANGES, trials=2, out=tmp_path / "all")
    assert (tmp_path / "all" / "trials.jsonl").exists()
    limit = 1000
    assert len(keensight.tune("digits", resume=True, trials=3, out=tmp_path / "all").trials) == 3


# --- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["90", "90s", " 1.5 min ", "1.5m", ".025h"])
def test_budgets(text):
    assert seconds_of(text) == 90


@pytest.mark.parametrize("text", ["0", "-5", "soon", "10 days", "", "nan", "1e400"])
def test_no_budgets(text):
    with pytest.raises(UsageError, match=r"A budget of .* was given\. Give seconds above 0, or a time such as 90s"):
        seconds_of(text)


def test_no_trials(tmp_path):
    with pytest.raises(UsageError, match="0 trials were asked for. It takes at least 1"):
        keensight.tune("digits", trials=0, out=tmp_path / "search")


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        (
            {"recipe": "dense"},
            RecipeError,
            ["began with name = 'default'", "'dense'", "Resume without changes", "--out"],
        ),
        ({"set": ["learning_rate=0.5"]}, RecipeError, ["began with learning_rate = 0.0005", "0.5", "--out"]),
        ({"seed": 9}, RecipeError, ["began with seed = 0", "9 was asked for"]),
        ({"search": ["rotate"]}, RunError, ["the keys batch_size, weight_decay", "rotate were asked for", "--out"]),
        ({"set": ["epochs=4"]}, RunError, ["began with the keys", "Resume without --set"]),
    ],
)
def test_going_on_asks_for_the_same_search(search, cache, monkeypatch, options, error, words):
    monkeypatch.setenv("KEENSIGHT_CACHE", str(cache))
    before = files(search.folder)
    with pytest.raises(error) as refusal:
        keensight.tune("digits", resume=True, out=search.folder, trials=9, **options)
    assert all(word in str(refusal.value) for word in words), refusal.value
    assert files(search.folder) == before


def test_going_on_takes_the_same_words_again(search, cache, monkeypatch):
    monkeypatch.setenv("KEENSIGHT_CACHE", str(cache))
    again = keensight.tune("digits", set=CHANGES, seed=0, resume=True, out=search.folder)
    assert values(again) == values(search)


def test_other_pictures_are_refused(search, tmp_path):
    rng = np.random.default_rng(0)
    for name in "0123456789":
        (tmp_path / "other" / name).mkdir(parents=True)
        for i in range(6):
            Image.fromarray(rng.integers(0, 255, (8, 8), np.uint8)).save(tmp_path / "other" / name / f"{i}.png")
    before = files(search.folder)
    with pytest.raises(RunError, match=r"not those that the search in .* began with.*Give the same DATA"):
        keensight.tune(tmp_path / "other", resume=True, out=search.folder, trials=9)
    assert files(search.folder) == before


def test_a_folder_that_is_taken_or_none(search, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RunError, match=r"holds a finished search of 6 trials. Add to it with --resume --trials 26, "):
        keensight.tune("digits", out=search.folder)
    begun = tmp_path / "begun"
    shutil.copytree(search.folder, begun)
    (begun / "tuning.json").write_text((begun / "tuning.json").read_text().replace('"result"', '"old"'))
    with pytest.raises(RunError, match=r"holds an unfinished search.*--resume"):
        keensight.tune("digits", out=begun)
    shutil.rmtree(begun)
    with pytest.raises(RunError, match=r"no search to resume in .* no tuning.json. Tune without --resume first"):
        keensight.tune("digits", out=tmp_path / "nothing", resume=True)
    with pytest.raises(RunError, match=r"There is no search of digits under tunings"):
        keensight.tune("digits", resume=True)
    assert list(tmp_path.iterdir()) == []


def test_damaged_trials_are_refused(cache, monkeypatch, tmp_path):
    monkeypatch.setenv("KEENSIGHT_CACHE", str(cache))
    keensight.tune("digits", set=CHANGES, trials=1, out=tmp_path / "search")
    file = tmp_path / "search" / "trials.jsonl"
    file.write_text(file.read_text() + '{"number": 1, "sta')
    with pytest.raises(RunError, match=r"trials.jsonl is damaged .*remove its last lines, or search into another"):
        keensight.tune("digits", resume=True, trials=2, out=tmp_path / "search")

    for damage in ("{", "[]", '{"fingerprint": "x"}'):
        (tmp_path / "search" / "tuning.json").write_text(damage)
        with pytest.raises(RunError, match=r"tuning.json is damaged .* must be as .* search into another folder"):
            keensight.tune("digits", resume=True, trials=2, out=tmp_path / "search")


def test_a_recipe_that_does_not_fit_leaves_nothing(tmp_path):
    for options in ({"set": ["loss=hinge"]}, {"search": ["nonsense"]}, {"set": ["model=transfer"]}):
        with pytest.raises(keensight.KeensightError):
            keensight.tune("digits", out=tmp_path / "search", **options)
    assert list(tmp_path.iterdir()) == []
