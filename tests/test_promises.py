"""Promise checking, which `make promises` does: on the report of a run, and on numbers made up here."""

import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest

from keensight.errors import RecipeError
from keensight.training.recipe import load_recipe, recipe_names
from keensight.values import AttackResult, Threat

SPEC = importlib.util.spec_from_file_location("promises", Path(__file__).parents[1] / "benchmarks" / "promises.py")
promises = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(promises)
broken, check_promise, numbers = promises.broken, promises.check_promise, promises.numbers


@pytest.fixture
def report(trained):
    attacked = AttackResult("FGSM", Threat("linf", 0.05), 0.4, 100)
    return replace(trained.report, attacks=(attacked,))


def test_the_numbers_are_the_reports(report):
    found = numbers(report)
    assert found["test.accuracy"] == report.test.accuracy and found["val.roc_auc"] == report.val.roc_auc
    assert found["attack.0.05"] == 0.4 and found["parameters"] == report.model["parameters"]
    assert "test.accuracy" not in numbers(replace(report, test=None))


def test_the_mean_over_seeds_must_keep_the_promise(report):
    worse = replace(report, attacks=(replace(report.attacks[0], accuracy=0.2),))
    assert broken({"attack.0.05": 0.3, "test.accuracy": 0.5}, [report, worse]) == []
    assert broken({"attack.0.05": 0.31}, [report, worse]) == [
        "attack.0.05 is 0.3 (mean of 2), and at least 0.31 was promised"
    ]


def test_parameters_are_promised_at_most(report):
    count = report.model["parameters"]
    assert broken({"parameters": count}, [report]) == []
    (sentence,) = broken({"parameters": count - 1}, [report])
    assert "at most" in sentence


def test_what_is_not_measured_cannot_be_promised(report):
    with pytest.raises(RecipeError, match=r"'test\.acuracy' is not among the numbers.*Did you mean 'test\.accuracy'"):
        broken({"test.acuracy": 0.5}, [report])
    with pytest.raises(RecipeError, match=r"'attack\.0\.7' of default is not among the numbers"):
        check_promise(load_recipe("default").having(promise={"attack.0.7": 0.5}))


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_says_what_it_is_and_promises_what_can_be_measured(name):
    recipe = load_recipe(name)
    check_promise(recipe)
    assert len(recipe.about.split()) > 10
    assert not recipe.data.source or recipe.promise or recipe.name == "husky-logistic"
