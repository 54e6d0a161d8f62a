"""Losses that train for certificates and against attacks: each compared with its definition."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.special import log_softmax
from scipy.stats import entropy

import keensight
from keensight.errors import RecipeError
from keensight.models.zoo import build
from keensight.robustness.adversarial import fast_loss, one_step, trades_loss
from keensight.robustness.bounds.intervals import box, margins
from keensight.robustness.bounds.network import nodes_of
from keensight.robustness.certificates import certified
from keensight.robustness.certified import interval_loss
from keensight.training.checkpoint import weights_of
from keensight.training.loop import fit, start
from keensight.training.losses import reach
from keensight.training.trainers import check_fits
from keensight.values import Preprocessing, Split, Splits

SIZE = Preprocessing(8, 8, 1)
IMAGES = torch.rand(12, 1, 8, 8, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(12) % 3


@pytest.fixture
def model():
    return build("strided", {"filters": (4, 4), "hidden": 16, "init": "he"}, SIZE, 3, seed=0)


def draw(seed=0):
    return torch.Generator().manual_seed(seed)


def cross_entropy(model, images):
    return -log_softmax(model(images).detach().double().numpy(), axis=1)[np.arange(12), LABELS]


def test_the_interval_loss_is_what_its_definition_says(model):
    loss = interval_loss(0.1, kappa=0.25, ramp=0.5)
    clean = cross_entropy(model, IMAGES).mean()
    assert loss.at(0.0)(model, IMAGES, LABELS, draw())[0].item() == pytest.approx(clean, abs=1e-5)
    for progress, eps, kappa in ((0.25, 0.05, 0.625), (0.5, 0.1, 0.25), (1.0, 0.1, 0.25)):
        margins_NK = margins(nodes_of(model), *box(IMAGES, eps), LABELS).detach().double().numpy()
        bound = -log_softmax(-margins_NK, axis=1)[np.arange(12), LABELS].mean()
        value, logits = loss.at(progress)(model, IMAGES, LABELS, draw())
        assert value.item() == pytest.approx(kappa * clean + (1 - kappa) * bound, abs=1e-5)
        assert torch.equal(logits, model(IMAGES))
        for seed in range(20):  # the worst logits are worse than those of any attack
            attacked = one_step(model, IMAGES, LABELS, eps, draw(seed))
            assert cross_entropy(model, attacked).mean() <= bound + 1e-6
    assert loss(model, IMAGES, LABELS, draw())[0] == loss.at(1.0)(model, IMAGES, LABELS, draw())[0]


def test_bounds_alone_are_learnt_without_asking_for_answers(model):
    alone = interval_loss(0.1, kappa=0.0, ramp=0.5).at(1.0)
    asked = []
    handle = model.register_forward_hook(lambda *_: asked.append(1))
    value, logits_NK = alone(model, IMAGES, LABELS, draw())
    handle.remove()
    margins_NK = margins(nodes_of(model), *box(IMAGES, 0.1), LABELS).detach()
    assert not asked and value.item() == pytest.approx(F.cross_entropy(-margins_NK, LABELS).item(), abs=1e-5)
    assert torch.equal(logits_NK.argmax(dim=1) == LABELS, (margins_NK >= 0).all(dim=1))  # right is what is certified


def test_attacked_pictures_take_the_place_of_clean_ones(model):
    value, logits = interval_loss(0.1, 0.5, 0.0, attacked=True)(model, IMAGES, LABELS, draw(3))
    attacked = one_step(model, IMAGES, LABELS, 0.1, draw(3))
    assert torch.equal(logits, model(attacked)) and (attacked - IMAGES).abs().max() <= 0.1 + 1e-6
    bound = 2 * value.item() - cross_entropy(model, attacked).mean()
    expected = 2 * interval_loss(0.1, 0.5, 0.0)(model, IMAGES, LABELS, draw())[0].item()
    assert bound == pytest.approx(expected - cross_entropy(model, IMAGES).mean(), abs=1e-4)


def test_one_step_hurts_and_stays_within_epsilon(model):
    attacked = one_step(model, IMAGES, LABELS, 0.1, draw())
    assert attacked.min() >= 0 and attacked.max() <= 1 and (attacked - IMAGES).abs().max() <= 0.1 + 1e-6
    noise = IMAGES + 0.1 * (2 * torch.rand(IMAGES.shape, generator=draw(1)) - 1)
    assert cross_entropy(model, attacked).mean() > cross_entropy(model, noise.clamp(0, 1)).mean() + 0.05
    assert not torch.equal(attacked, one_step(model, IMAGES, LABELS, 0.1, draw(1)))


def test_the_fast_loss_learns_the_worse_of_half_a_step_and_a_whole_one(model):
    """A network that an attacker leaves behind when it goes too far: its loss is highest half way."""

    class Fooled(torch.nn.Module):
        def forward(self, images):
            away = (images - 0.5).flatten(start_dim=1).mean(dim=1)
            return torch.stack([-torch.sin(away * 40), torch.zeros_like(away), torch.zeros_like(away)], dim=1)

    images, labels = torch.full((6, 1, 8, 8), 0.5), torch.zeros(6, dtype=torch.long)
    value, _ = fast_loss(0.08, 0.0)(Fooled(), images, labels, draw())
    start = images + 0.08 * (2 * torch.rand(images.shape, generator=draw()) - 1)
    ends = [torch.clamp(start + part * 0.1, max=0.58) for part in (0.5, 1.0)]  # the loss rises with every pixel
    losses = [F.cross_entropy(Fooled()(end), labels, reduction="none") for end in ends]
    assert losses[0].mean() > losses[1].mean() + 0.05
    assert value.item() == pytest.approx(torch.maximum(*losses).mean().item(), abs=1e-4)


def test_trades_is_what_its_definition_says(model):
    clean = cross_entropy(model, IMAGES).mean()
    assert trades_loss(0.1, 0.0, 3, 0.0)(model, IMAGES, LABELS, draw())[0].item() == pytest.approx(clean, abs=1e-5)
    value, logits = trades_loss(0.1, 0.0, 5, 2.0)(model, IMAGES, LABELS, draw())
    assert torch.equal(logits, model(IMAGES))
    answers = model(IMAGES).softmax(dim=1).detach().numpy()
    most = 0.0
    for seed in range(20):
        noise = IMAGES + 0.1 * torch.randn(IMAGES.shape, generator=draw(seed)).sign()
        apart = entropy(answers, model(noise.clamp(0, 1)).softmax(dim=1).detach().numpy(), axis=1)
        most = max(most, apart.mean())
    assert (value.item() - clean) / 2 > 1.5 * most


@pytest.mark.parametrize("name", ["interval", "attacked", "fast", "trades"])
def test_nothing_is_left_behind_and_the_seed_says_what_is_drawn(model, name):
    losses = {
        "interval": interval_loss(0.1, 0.5, 0.4),
        "attacked": interval_loss(0.1, 0.5, 0.4, attacked=True),
        "fast": fast_loss(0.1, 0.4),
        "trades": trades_loss(0.1, 0.4, 3, 6.0),
    }
    model.train()
    images = IMAGES.clone()
    values = [losses[name].at(0.7)(model, images, LABELS, draw(seed))[0].item() for seed in (0, 0, 1)]
    assert values[0] == values[1] and (values[1] != values[2] or name == "interval")
    assert model.training and torch.equal(images, IMAGES) and all(p.grad is None for p in model.parameters())


def stripes(count, seed):
    """Pictures whose lighter third is their class, with noise."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, count)
    images = rng.integers(60, 150, (count, 8, 8, 1), np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[:, 3 * label - (label == 2) : 3 * label + 3] += 100
    return Split(images, np.arange(count), labels, ("",) * count)


def trained(loss, epochs=6, stop=None):
    changes = ["model=strided", "filters=[4,4]", "hidden=16", f"loss={loss}", f"epochs={epochs}",
               *["eps=0.1"] * (loss != "cross-entropy"), "batch_size=32", "keep=last", "precision=float32"]  # fmt: skip
    recipe = keensight.load_recipe("default", changes)
    splits = Splits(("a", "b", "c"), SIZE, stripes(400, 0), stripes(100, 1), None)
    model = build("strided", {"filters": (4, 4), "hidden": 16}, SIZE, 3, seed=0)
    state = start(model, splits, recipe)
    for epoch in fit(state, splits, recipe):
        if stop is not None and epoch.number == stop:
            state.model.train()  # as somebody may leave it
            break
    for _ in fit(state, splits, recipe) if stop else ():
        pass
    return model


def test_training_for_certificates_gives_certificates():
    robust, plain = (certified(trained(loss), stripes(200, 2), [0.1])[0] for loss in ("intervals", "cross-entropy"))
    assert robust.accuracy > plain.accuracy + 0.05
    by_intervals = [(each.method_N == "intervals").mean() for each in (robust, plain)]
    assert by_intervals[0] > 0.6 and by_intervals[0] > by_intervals[1] + 0.5
    assert plain.correct_N.mean() > 0.9


@pytest.mark.parametrize("loss", ["intervals-attacked", "fast"])
def test_a_resumed_run_has_the_same_bits(loss):
    whole, halves = trained(loss, epochs=3), trained(loss, epochs=3, stop=2)
    assert weights_of(whole) == weights_of(halves)
    assert copy.deepcopy(whole)(IMAGES).equal(halves(IMAGES))


def test_a_network_that_cannot_be_bounded_is_refused_before_training():
    recipe = keensight.load_recipe("default", ["loss=intervals", "eps=0.1"])
    model = build("cnn", {}, SIZE, 3, seed=0)
    check_fits(recipe, model, ("a", "b", "c"))
    model.network.append(torch.nn.Tanh())
    with pytest.raises(RecipeError, match="loss 'intervals' is for models whose layers stand in a row and have bounds"):
        check_fits(recipe, model, ("a", "b", "c"))


def test_every_robust_recipe_says_what_it_promises_and_trains_for_its_epsilon_at_least():
    for name in ("digits-certified", "fashion-certified"):
        recipe = keensight.load_recipe(name)
        assert recipe.train.eps in recipe.evaluate.certify_eps and reach(recipe) >= recipe.train.eps
        assert recipe.promise[f"certified.{recipe.train.eps:g}"] > 0.7 and recipe.train.keep == "last"
    assert reach(keensight.load_recipe("digits-certified", ["eps=0.3"])) == pytest.approx(0.32)
    one, other = keensight.load_recipe("digits-robust"), keensight.load_recipe("digits-certified")
    assert (one.data, one.model, one.train, one.augment) == (other.data, other.model, other.train, other.augment)


def test_the_strided_network_is_the_small_one_of_the_literature_and_starts_with_tight_bounds():
    size = Preprocessing(28, 28, 1)
    model = build("strided", {}, size, 10, seed=0)
    assert sum(p.numel() for p in model.parameters()) == 210_618  # 4x4 convolutions of 16 and 32, dense 128 and 10
    images = torch.rand(8, 1, 28, 28, generator=draw())
    spreads = []
    for init in ("intervals", "he"):
        nodes = nodes_of(build("strided", {"init": init}, size, 10, seed=0))
        spreads.append(-margins(nodes, *box(images, 0.1), torch.zeros(8, dtype=torch.long)).mean().item())
    assert 0 < spreads[0] < 1 < 20 * spreads[0] < spreads[1]
    with pytest.raises(RecipeError, match="halves pictures 3 times.*need 8x8 pixels"):
        build("strided", {"filters": (4, 4, 4)}, Preprocessing(5, 5, 1), 2, seed=0)
    with pytest.raises(RecipeError, match="clip is 0.5.*from 0 to less than 0.5"):
        build("strided", {"clip": 0.5}, size, 2, seed=0)
    with pytest.raises(RecipeError, match="init is 'ones'"):
        build("strided", {"init": "ones"}, size, 2, seed=0)


def test_clipping_makes_pixels_near_black_or_white_certain():
    size = Preprocessing(8, 8, 3)
    layers = build("strided", {"clip": 0.3}, size, 2, seed=0).network[:4]
    images = torch.rand(4, 3, 8, 8, generator=draw())
    expected = np.clip((images.numpy() - 0.3) / 0.4, 0, 1)
    np.testing.assert_allclose(layers(images).numpy(), expected, atol=1e-6)
    ends = (images > 0.5).float()
    for moved in (ends + 0.3, ends - 0.3, ends):
        torch.testing.assert_close(layers(moved.clamp(0, 1)), ends, atol=1e-6, rtol=0)
    model = build("strided", {"clip": 0.3}, size, 2, seed=0)
    labels = model(ends).argmax(dim=1)
    margins_NK = margins(nodes_of(model), *box(ends, 0.3), labels)
    logits_NK = model(ends)
    torch.testing.assert_close(margins_NK, logits_NK.gather(1, labels[:, None]) - logits_NK, atol=1e-5, rtol=0)
