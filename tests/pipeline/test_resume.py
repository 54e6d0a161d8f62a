"""Going on with what an older release began: its recipe is flat, and says nothing of what its data are like."""

import pytest
import tomli_w

from keensight.errors import RecipeError
from keensight.pipeline.resume import own_recipe, same_recipe
from keensight.training.recipe import load_recipe
from keensight.workspace import RUN

YOUNGER = ("shape", "num_classes")


@pytest.fixture
def old(tmp_path):
    flat = load_recipe("digits-dense", ["epochs=2"]).flat()
    flat = {name: list(value) if isinstance(value, tuple) else value for name, value in flat.items()}
    (tmp_path / "recipe.toml").write_text(tomli_w.dumps({k: v for k, v in flat.items() if k not in YOUNGER}))
    return tmp_path


def test_a_run_of_old_goes_on_with_the_recipe_that_it_has(old):
    asked = load_recipe("digits-dense", ["epochs=2"])
    assert own_recipe(old, None).having(shape=asked.data.shape, num_classes=10) == asked
    assert same_recipe(old, "digits-dense", ["train.epochs=2"], None, RUN) == own_recipe(old, None)


@pytest.mark.parametrize("change", ["epochs=3", "hidden=[64]", "augment.flip=true"])
def test_what_contradicts_it_is_refused(old, change):
    key = change.partition("=")[0].rpartition(".")[2]
    with pytest.raises(RecipeError, match=f"began with {key} = .*Resume without changes"):
        same_recipe(old, "digits-dense", ["epochs=2", change], None, RUN)
