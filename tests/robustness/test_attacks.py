"""One contract for every attack, and answers from someone else where there are some."""

import eagerpy
import foolbox
import numpy as np
import pytest
import torch

from keensight.errors import RecipeError
from keensight.models.linear import linear_weights
from keensight.models.zoo import build
from keensight.robustness.attacks import accuracy_under_attack, exact_linear, fgsm
from keensight.values import Preprocessing, Split, Threat

GENERATOR = torch.Generator().manual_seed(0)
IMAGES = torch.rand(16, 1, 8, 8, generator=GENERATOR)
LABELS = torch.randint(0, 3, (16,), generator=GENERATOR)
ATTACKS = {"fgsm": fgsm}


@pytest.fixture
def model():
    return build("dense", {"hidden": (16,)}, Preprocessing(8, 8, 1), 3, seed=0).eval()


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("eps", [0.0, 0.05, 0.3])
def test_an_attack_stays_within_its_threat(model, name, eps):
    before = IMAGES.clone()
    attacked = ATTACKS[name](model, IMAGES, LABELS, Threat("linf", eps))
    assert (attacked - IMAGES).abs().max() <= eps + 1e-6
    assert attacked.min() >= 0 and attacked.max() <= 1
    assert torch.equal(IMAGES, before) and not attacked.requires_grad
    assert torch.equal(attacked, ATTACKS[name](model, IMAGES, LABELS, Threat("linf", eps)))


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
    assert (margins(fgsm(model, IMAGES, labels, Threat("linf", 0.1))) >= worst - 1e-5).all()


def test_the_exact_attack_is_for_linear_models(model):
    with pytest.raises(RecipeError, match="exact for a linear model"):
        exact_linear(model, IMAGES, LABELS, Threat("linf", 0.1))


def test_accuracy_under_attack_counts(model):
    pixels = (IMAGES.permute(0, 2, 3, 1).numpy() * 255).round().astype(np.uint8)
    split = Split(pixels, np.arange(16)[::-1].copy(), LABELS.numpy()[::-1].copy(), ("",) * 16)
    result = accuracy_under_attack(model, split, Threat("linf", 0.1), most=10)
    rows = split.rows[:10]
    images = torch.from_numpy(pixels[rows]).permute(0, 3, 1, 2).float() / 255
    attacked = fgsm(model, images, LABELS[rows.copy()], Threat("linf", 0.1))
    assert result.n == 10 and result.attack == "FGSM"
    assert result.accuracy == (model(attacked).argmax(1) == LABELS[rows.copy()]).float().mean().item()


def test_a_threat_checks_itself():
    with pytest.raises(RecipeError, match="pixels lie in"):
        Threat("linf", 1.5)
