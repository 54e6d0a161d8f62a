"""What of a recipe is told in a run; that training trains is tested in tests/cli/test_contract.py."""

import json

import pytest

import keensight
from keensight.training.recipe import load_recipe
from keensight.values import Recipe


@pytest.mark.parametrize(
    ("data", "dataset", "is_for"),
    [("", "mine", True), ("huskies.zip", "huskies", True), ("huskies.zip", "mine", False), ("mnist", "mnist", True)],
)
def test_a_recipes_story_is_its_own_datas(data, dataset, is_for):
    recipe = Recipe().having(
        about="A story.", data=data, caution="Careful.", reported="75 %", promise={"test.accuracy": 0.7}
    )
    assert recipe.is_for(dataset) is is_for
    assert recipe.told_of(dataset) == (recipe if is_for else Recipe())


def test_on_other_data_a_run_is_not_told_the_articles_story(tmp_path):
    run = keensight.train("digits", recipe="digits-dense", out=tmp_path, set=["epochs=1"])
    story = load_recipe("digits-dense")
    assert run.report.recipe["name"] == "digits-dense" and not run.report.recipe["about"]
    for text in (run.folder / "report.html", run.bundle / "bundle.json", run.bundle / "MODEL_CARD.md"):
        content = text.read_text()
        assert " ".join(story.about.split()) not in " ".join(content.split()) and story.reported not in content
    assert json.loads((run.bundle / "bundle.json").read_text())["recipe"]["data"]["source"] == ""
    assert load_recipe(str(tmp_path / "recipe.toml")).about == story.about, "which --resume compares"
