import pytest
import torch
from torch import nn

from keensight.errors import RecipeError, UsageError
from keensight.models.classifier import Classifier
from keensight.models.transfer import Transfer
from keensight.models.zoo import MODELS
from keensight.training.recipe import from_table, load_recipe, recipe_names
from keensight.training.search_space import check_can_be_tuned, search_space, values_of
from keensight.values import Recipe

DENSE = Recipe().having(model="dense", epochs=12, learning_rate=0.001)


def keys(*words, **options):
    return [dimension.key for dimension in search_space(*words, **options)]


def test_the_standard_keys():
    found = {dimension.key: dimension for dimension in search_space(DENSE, 1000)}
    assert list(found) == ["learning_rate", "batch_size", "epochs", "weight_decay", "label_smoothing", "dropout"]
    rate = found["learning_rate"]
    assert rate.log and rate.low == pytest.approx(0.001 / 30, rel=0.01) and rate.high == pytest.approx(0.03)
    assert found["batch_size"].choices == (32, 64, 128, 256, 512)
    assert (found["epochs"].low, found["epochs"].high) == (3, 24)
    (long,) = search_space(DENSE.having(epochs=60_000), 1000, search=["epochs"])
    assert long.high == 100_000, "a recipe takes no more"


def test_what_a_model_or_loss_lacks_is_not_searched():
    assert "dropout" not in keys(DENSE.having(model="logistic"), 1000)
    assert "label_smoothing" not in keys(DENSE.having(loss="squared-error"), 1000)
    assert keys(DENSE.having(model="scratch"), 1000) == ["learning_rate", "batch_size", "epochs"]


def test_what_is_set_is_not_searched():
    assert "epochs" not in keys(DENSE, 1000, fixed=["epochs", "hidden"])
    assert keys(DENSE, 1000, search=["rotate", "learning_rate"]) == ["rotate", "learning_rate"]


def test_no_batch_is_larger_than_the_data_except_the_recipes_own():
    (sizes,) = search_space(DENSE.having(batch_size=100), 70, search=["batch_size"])
    assert sizes.choices == (32, 64, 100)


@pytest.mark.parametrize("name", recipe_names())
def test_every_range_holds_the_recipes_own_value(name):
    """Also of keys that are only searched by name, and of recipes whose weight decay is 0."""
    recipe = load_recipe(name).having(epochs=load_recipe(name).train.epochs or 7)
    with pytest.raises(UsageError, match="cannot be searched") as refusal:
        search_space(recipe, 1000, search=["nothing"])
    listed = str(refusal.value).rpartition(" are ")[2].rstrip(".").split(", ")
    assert "learning_rate" in listed
    for dimension in search_space(recipe, 1000, search=listed):
        own = values_of(recipe, [dimension.key])[dimension.key]
        assert own in dimension.choices if dimension.choices else dimension.low <= own <= dimension.high, dimension


def test_every_searched_value_makes_a_recipe_that_is_accepted():
    for dimension in search_space(DENSE, 1000):
        for value in dimension.choices or (dimension.nearest(dimension.low), dimension.nearest(dimension.high)):
            from_table({"model": "dense", dimension.key: value})


def test_values_go_into_the_recipe_and_its_options():
    changed = DENSE.having(hidden=(9,)).having(dropout=0.3, epochs=4)
    assert changed.model.options == {"hidden": (9,), "dropout": 0.3} and changed.train.epochs == 4
    assert values_of(changed, ["dropout", "epochs", "learning_rate"]) == {
        "dropout": 0.3, "epochs": 4, "learning_rate": 0.001
    }  # fmt: skip


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"search": ["learning_rat"]}, ["learning_rat", "Did you mean 'learning_rate'?", "'dense' are learning_rate"]),
        ({"search": ["epochs"], "fixed": ["epochs"]}, ["--set fixes epochs", "--search names it", "Leave it out"]),
        (
            {"fixed": ["learning_rate", "batch_size", "epochs", "weight_decay", "label_smoothing", "dropout"]},
            ["Nothing is left to search", "Leave one of them out", "--search", "rotate"],
        ),
    ],
)
def test_refusals(options, words):
    with pytest.raises(UsageError) as refusal:
        search_space(DENSE, 1000, **options)
    assert all(word in str(refusal.value) for word in words), refusal.value


def test_a_frozen_backbone_leaves_nothing_to_tune():
    class Pretrained:
        network, num_features, mean, std = nn.Flatten(), 4, (0.0,), (1.0,)

    def model(rate):
        with torch.random.fork_rng():
            return Classifier(Transfer(Pretrained, 2, 0.0, rate), 1)

    check_can_be_tuned(model(0.1))
    with pytest.raises(RecipeError, match=r"only the head .* learns.*--set backbone_rate=0.1"):
        check_can_be_tuned(model(0.0))
    assert "transfer" in MODELS
