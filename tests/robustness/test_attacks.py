"""One contract for every attack in the table, and answers from someone else where there are some."""

import eagerpy
import foolbox
import pytest
import torch
from torch import nn

from keensight.errors import KeensightError, RecipeError
from keensight.models.classifier import Classifier
from keensight.models.linear import linear_weights
from keensight.models.zoo import build
from keensight.robustness.attacks.gradient_sign import fgsm
from keensight.robustness.attacks.linear import exact_linear
from keensight.robustness.attacks.table import ATTACKS, ENSEMBLE, quickest
from keensight.robustness.needs import are_met
from keensight.training.recipe import ROWS
from keensight.values import Preprocessing, Threat
from keensight.verbs.compare import compare

GENERATOR = torch.Generator().manual_seed(0)
IMAGES = torch.rand(16, 1, 8, 8, generator=GENERATOR)
LABELS = torch.randint(0, 3, (16,), generator=GENERATOR)
EPS = {"linf": (0.0, 0.05, 0.3), "l2": (0.0, 0.5, 2.0), "shift": (0, 1, 2), "rotation": (0.0, 30.0)}
ORDERS = {"linf": float("inf"), "l2": 2.0}


def draw(seed=0):
    return torch.Generator().manual_seed(seed)


def a_linear_model():
    return build("linear", {"init": "glorot"}, Preprocessing(8, 8, 1), 2, seed=0).eval()


def a_conv_net():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 2)
    return Classifier(nn.Sequential(*layers), 1).eval()


@pytest.fixture
def model():
    return build("dense", {"hidden": (16,)}, Preprocessing(8, 8, 1), 3, seed=0).eval()


@pytest.mark.parametrize(
    ("name", "norm", "make"),
    [
        (name, norm, make)
        for name, row in ATTACKS.items()
        for norm in row.norms
        for make in (a_linear_model, a_conv_net)
    ],
)
def test_every_attack_keeps_its_contract(name, norm, make):
    row, model, labels = ATTACKS[name], make(), LABELS.clamp(max=1)
    if not are_met(row.needs, model, 2):
        with pytest.raises(KeensightError):
            row.run(model, IMAGES, labels, Threat(norm, 0.1), draw())
        return
    before, state = IMAGES.clone(), {key: value.clone() for key, value in model.state_dict().items()}
    for eps in EPS[norm]:
        threat = Threat(norm, eps, steps=5)
        attacked = row.run(model, IMAGES, labels, threat, draw())
        assert attacked.shape == IMAGES.shape and (eps or torch.equal(attacked, IMAGES))
        if norm in ORDERS:
            assert torch.linalg.vector_norm((attacked - IMAGES).flatten(1), ORDERS[norm], dim=1).max() <= eps + 1e-6
        if row.clips:
            assert attacked.min() >= 0 and attacked.max() <= 1
        assert torch.equal(IMAGES, before) and not attacked.requires_grad
        assert torch.equal(attacked, row.run(model, IMAGES, labels, threat, draw()))
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("name", ATTACKS)
def test_every_attack_is_a_choice_and_is_named_where_one_chooses(name):
    is_on_pixels = "linf" in ATTACKS[name].norms
    assert (name in ROWS["attack"]) == is_on_pixels and (name in compare.__doc__) >= is_on_pixels
    assert ATTACKS[name].title and set(ENSEMBLE) <= set(ATTACKS)


def test_the_quickest_attack_is_one_that_all_models_are_fit_for(model):
    assert quickest([a_linear_model(), a_linear_model()], 2) == "exact"
    assert quickest([a_linear_model(), a_conv_net()], 2) == "fgsm" and quickest([model], 3) == "fgsm"


def test_whole_numbers_have_no_gradient():
    model = a_conv_net()
    model.register_parameter("scale", nn.Parameter(torch.tensor([3], dtype=torch.int8), requires_grad=False))
    with pytest.raises(KeensightError, match="No attack in one look fits these models of 2 classes"):
        quickest([model], 2)


def test_fgsm_agrees_with_foolbox(model):
    theirs = foolbox.attacks.LinfFastGradientAttack(random_start=False)
    wrapped = foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu")
    expected, _, _ = theirs(wrapped, eagerpy.astensor(IMAGES).raw, LABELS, epsilons=0.1)
    assert torch.allclose(fgsm(model, IMAGES, LABELS, Threat("linf", 0.1)), expected, atol=1e-6)


def test_fgsm_is_exact_for_a_linear_model():
    """Two classes: the best move is eps * sign of the difference of the weights (Goodfellow et al., section 3)."""
    model = build("logistic", {}, Preprocessing(8, 8, 1), 2, seed=0).eval()
    weight = torch.randn(2, 64, generator=GENERATOR)
    model.network[1].weight.data.copy_(weight)
    labels = torch.zeros(16, dtype=torch.long)
    attacked = fgsm(model, IMAGES, labels, Threat("linf", 0.1))
    best = (IMAGES + 0.1 * (weight[1] - weight[0]).sign().view(1, 1, 8, 8)).clamp(0, 1)
    assert torch.allclose(attacked, best, atol=1e-6)


def test_no_attack_is_worse_than_the_exact_one():
    model = build("linear", {"init": "glorot"}, Preprocessing(8, 8, 1), 2, seed=3)
    model.std.fill_(0.5)
    labels = LABELS.clamp(max=1)

    def margins(images):
        logits = model(images).detach()
        return (2 * labels - 1) * (logits[:, 1] - logits[:, 0])

    worst = margins(exact_linear(model, IMAGES, labels, Threat("linf", 0.1)))
    assert torch.allclose(worst, margins(IMAGES) - 0.1 * linear_weights(model).abs().sum(), atol=1e-4)
    for row in ATTACKS.values():
        if "linf" in row.norms:
            assert (margins(row.run(model, IMAGES, labels, Threat("linf", 0.1), draw())) >= worst - 1e-5).all()


def test_the_exact_attack_is_for_linear_models(model):
    with pytest.raises(RecipeError, match="need a linear model"):
        exact_linear(model, IMAGES, LABELS, Threat("linf", 0.1))
