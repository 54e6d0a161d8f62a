"""A search by several workers: the same trials, whoever is ready first and wherever it was killed."""

import json
import math
import random
from types import SimpleNamespace

import pytest

import keensight
from keensight.errors import RunError, UsageError
from keensight.pipeline import trials as module
from keensight.pipeline.trials import AT_ONCE, next_trials, trier, with_seeds, worker_with
from keensight.training.search_space import Dimension
from keensight.training.tune import Point
from keensight.values import Recipe

SPACE = [Dimension("learning_rate", 1e-4, 1e-1, log=True)]


def objective(values):
    """Best at a rate of 0.01; a rate far off is bad from the start."""
    for step in range(1, 11):
        quality = math.exp(-abs(math.log10(values["learning_rate"] / 0.01)))
        yield Point(step / 10, quality * step / 10 + values.get("seed", 0) / 1000, 1 - quality)


class Crew:
    """Answers in a random order, with JSON between it and whoever asks."""

    def __init__(self, seed, dies_after=10**9):
        self.random, self.left, self.work = random.Random(seed), dies_after, worker_with(objective)

    def map(self, orders):
        orders = [json.loads(json.dumps(order)) for order in orders]
        assert len(orders) <= AT_ONCE
        self.random.shuffle(orders)
        for order in orders:
            if not self.left:
                raise KeyboardInterrupt
            self.left -= 1
            yield json.loads(json.dumps(self.work(order)))


def search(crew, found, most):
    """What the verb does: trials are kept once all before them are there."""
    material = SimpleNamespace(recipe=Recipe().having(learning_rate=0.0005))
    while len(found) < most:
        ended = {}
        for trial in next_trials(crew, SPACE, material, found, most):
            ended[trial.number] = trial
            while len(found) in ended:
                found.append(ended.pop(len(found)))
    return [(each.number, each.state, each.values, each.val_accuracy, each.reached) for each in found]


@pytest.fixture(scope="module")
def whole():
    return search(Crew(0), [], 20)


def test_the_order_in_which_trials_end_changes_nothing(whole):
    first = whole
    assert first == search(Crew(1), [], 20) and [each[0] for each in first] == list(range(20))
    assert first[0][2] == {"learning_rate": 0.0005}
    assert any(each[1] == "pruned" for each in first[AT_ONCE:]) and all(e[1] == "finished" for e in first[:AT_ONCE])
    assert max(each[3] for each in first[AT_ONCE:]) > max(each[3] for each in first[:AT_ONCE])  # it learns


@pytest.mark.parametrize("after", [5, 11])
def test_killed_anywhere_it_goes_on_with_the_same_trials(after, whole):
    found = []
    with pytest.raises(KeyboardInterrupt):
        search(Crew(after, dies_after=after), found, 14)
    assert len(found) <= after
    assert search(Crew(0), found, 14) == whole[:14]


def test_more_trials_begin_as_if_they_had_been_asked_for_at_first(whole):
    few = []
    search(Crew(0), few, 11)
    assert search(Crew(1), few, 14) == whole[:14]


def test_seeds_are_tried_with_all_else_the_same():
    own, best = ({"learning_rate": rate} for rate in (0.0005, 0.01))
    (low, lower), (high, higher) = with_seeds(Crew(0), [own, best], [5, 9])
    assert (high, higher) == (pytest.approx(1.005), pytest.approx(1.009)) and low < lower < high


def test_a_worker_that_sees_other_pictures_says_so(tmp_path):
    settings = {
        "data": "digits", "folder": str(tmp_path), "recipe": Recipe().having(epochs=1).table(), "fingerprint": "other",
    }  # fmt: skip
    with pytest.raises(RunError, match=r"other pictures or labels at digits .*all must see the same DATA"):
        trier(settings)


def test_what_makes_no_sense_is_refused(tmp_path):
    for options, message in (
        ({"workers": 0}, "--workers is 0"), ({"cluster": "10.0.0.1:6379"}, "--workers 2"), ({"seeds": -1}, "-1 seeds"),
    ):  # fmt: skip
        with pytest.raises(UsageError, match=message):
            keensight.tune("digits", out=tmp_path / "out", **options)
    assert not list(tmp_path.iterdir())


class Here:
    """Workers in this process."""

    def __init__(self, count, recipe):
        self.recipe = recipe
        assert recipe.module == module.__name__

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def map(self, orders):
        return map(self.recipe.make(), reversed(list(orders)))


@pytest.mark.thorough
def test_the_verb_with_workers(tmp_path, monkeypatch):
    monkeypatch.setattr("keensight.verbs.tune.Processes", Here)
    changes = ["model=logistic", "epochs=2", "learning_rate=0.0005"]
    out = tmp_path / "out"
    found = keensight.tune("digits", set=changes, trials=3, out=out, workers=2, seeds=2)
    assert found.spread.seeds == (1, 2) and len(found.spread.own) == len(found.spread.best) == 2
    assert json.loads((out / "tuning.json").read_text())["result"]["seeds"]["seeds"] == [1, 2]
    assert "With 3 seeds" in (out / "tuning.html").read_text()
    more = keensight.tune("digits", out=out, resume=True, trials=4)  # without workers: the search knows its own kind
    assert [trial.values for trial in more.trials[:3]] == [trial.values for trial in found.trials]
    one = tmp_path / "one after the other"
    keensight.tune("digits", set=changes, trials=1, out=one)
    with pytest.raises(RunError, match="one recipe after the other.*Resume without --workers"):
        keensight.tune("digits", out=one, resume=True, trials=2, workers=2)
