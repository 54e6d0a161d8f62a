import pytest

from keensight.errors import RecipeError
from keensight.models.zoo import build
from keensight.training.trainers import check_fits, fit_any
from keensight.values import Preprocessing, Recipe

SIZE = Preprocessing(8, 8, 1)


def check(recipe, model, classes):
    check_fits(recipe, build(model, {}, SIZE, len(classes), 0), classes)


@pytest.mark.parametrize("loss", ["hinge", "robust-hinge"])
def test_a_two_class_loss_refuses_more_classes(loss):
    with pytest.raises(RecipeError, match=rf"The loss '{loss}' is for two classes, but the data has 3: a, b, c\."):
        check(Recipe().having(loss=loss), "cnn", ("a", "b", "c"))
    check(Recipe().having(loss=loss), "cnn", ("a", "b"))


def test_what_is_exact_for_linear_models_refuses_others():
    for what, settings in (
        ("loss 'robust-hinge'", {"loss": "robust-hinge", "eps": 0.1}),
        ("attack 'exact'", {"attack": "exact", "attack_eps": (0.1,)}),
    ):
        with pytest.raises(RecipeError) as refusal:
            check(Recipe().having(model="dense", **settings), "dense", ("a", "b"))
        assert str(refusal.value) == (
            f"The {what} is for linear models of two classes, and the model here is 'dense', of 2 classes. Use the "
            f"model 'linear' for two classes, or another {what.split()[0]}."
        )
        check(Recipe().having(model="linear", **settings), "linear", ("a", "b"))
    with pytest.raises(RecipeError, match="is 'logistic', of 3 classes"):
        check(Recipe().having(model="logistic", attack="exact", attack_eps=(0.1,)), "logistic", ("a", "b", "c"))


def test_gradient_descent_by_hand_refuses_what_it_lacks():
    with pytest.raises(RecipeError, match="plain gradient descent"):
        check(Recipe(), "scratch", ("a", "b"))


@pytest.mark.parametrize(
    ("model", "trainer"), [("cnn", "fit"), ("scratch", "fit_by_hand"), ("transfer", "fit_transfer")]
)
def test_every_network_learns_in_its_own_way(model, trainer, monkeypatch):
    from torch import nn

    from keensight.models import transfer
    from keensight.models.backbone import Backbone
    from keensight.training import trainers
    from keensight.training.loop import State

    body = Backbone(nn.Sequential(nn.Flatten()), 192, (0.0,) * 3, (1.0,) * 3, 8)
    monkeypatch.setattr(transfer, "load_backbone", lambda name, height, width: body)
    monkeypatch.setattr(trainers, trainer, lambda *given, **named: trainer)
    built = build(model, {}, SIZE, 2, 0)
    assert fit_any(State(built, None), None, Recipe()) == trainer
