import numpy as np
import pytest
import torch

import keensight
from keensight.bundle.network import network_of
from keensight.bundle.read import read_bundle
from keensight.data.polarity import Borders
from keensight.errors import KeensightError, RecipeError
from keensight.evaluation.calibration import softmax
from keensight.models.linear import linear_weights
from keensight.models.zoo import build
from keensight.robustness.answers import as_seen, attacked_pictures, logits, outcome, result
from keensight.robustness.attacks.gradient_sign import fgsm
from keensight.robustness.attacks.row import AttackRow
from keensight.robustness.attacks.table import ATTACKS
from keensight.values import Preprocessing, Split, Threat

SIZE = Preprocessing(6, 5, 1)
ANY = Borders(0.0, 1.0)


def noise(n=300, seed=0, low=0, channels=1):
    rng = np.random.default_rng(seed)
    images = rng.integers(low, 256, (n + 2, 6, 5, channels), np.uint8)
    rows = rng.permutation(n + 2)[:n]
    return Split(images, rows, rng.integers(0, 2, n), tuple(f"p{row}" for row in rows))


def random_linear(name="linear", num_classes=2, size=SIZE, seed=0, **options):
    model = build(name, options, size, num_classes, seed)
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator)
    model.mean.fill_(0.3)
    model.std.copy_(torch.linspace(0.4, 0.9, len(model.std)).view(-1, 1, 1))
    return model


def test_logits_are_the_models_own_and_temper_to_the_probabilities(trained):
    bundle = read_bundle(trained.folder)
    model = network_of(bundle)
    pixels = keensight.decode(keensight.open_dataset("digits"), bundle.preprocessing)
    labels = np.array([sample.label for sample in pixels.dataset.samples])
    split = Split(pixels.images, np.arange(400), labels[:400], ("",) * 400)
    found = logits(model, split, bundle.borders)
    assert found.shape == (400, 10)
    with torch.inference_mode():
        one = model(torch.from_numpy(pixels.images[399:400].copy()).permute(0, 3, 1, 2).float() / 255)
    np.testing.assert_allclose(found[399], one[0].numpy(), atol=1e-4)
    shipped, _ = keensight.load(trained.bundle).on_split(split)
    np.testing.assert_allclose(softmax(found, bundle.info.temperature), shipped, atol=1e-4)


def test_pictures_on_paper_are_inverted_as_for_predict():
    images = np.full((2, 6, 5, 1), 250, np.uint8)
    images[:, 2:4, 2] = 10
    images[1] = 255 - images[1]
    split = Split(images, np.array([1, 0]), np.array([0, 1]), ("dark", "light"))
    seen = as_seen(split, Borders(0.0, 0.05, True))
    assert seen.images[seen.rows[0]][0, 0, 0] < 20 and seen.images[seen.rows[1]][0, 0, 0] < 20
    assert seen.paths == ("dark", "light") and list(seen.labels) == [0, 1]
    assert as_seen(split, ANY) is split
    model = random_linear()
    both = logits(model, split, Borders(0.0, 0.05, True))
    with torch.inference_mode():
        by_hand = model(torch.from_numpy(seen.images[seen.rows]).permute(0, 3, 1, 2).float() / 255)
    np.testing.assert_allclose(both, by_hand.numpy(), atol=1e-5)


def test_the_exact_attack_takes_eps_times_the_norm_off_every_margin():
    model, split, eps = random_linear(), noise(), 0.07
    clean, attacked = (logits(model, split, ANY, threat, "exact") for threat in (None, Threat("linf", eps)))
    margins = [(2 * split.labels - 1) * (z[:, 1] - z[:, 0]) for z in (clean, attacked)]
    norm = float(linear_weights(model).detach().abs().sum())
    np.testing.assert_allclose(margins[0] - margins[1], eps * norm, rtol=1e-3)


def test_attacked_pictures_stay_within_eps_and_are_what_the_logits_are_of():
    model, split, eps = random_linear(), noise(40, low=60), 0.1
    shown = attacked_pictures(model, split, ANY, Threat("linf", eps), "fgsm")
    original = split.images[split.rows].astype(int)
    assert shown.shape == original.shape and shown.dtype == np.uint8
    assert 1 <= np.abs(shown - original).max() <= round(255 * eps) + 1
    again = logits(model, Split(shown, np.arange(40), split.labels, split.paths), ANY)
    np.testing.assert_allclose(again, logits(model, split, ANY, Threat("linf", eps)), atol=0.3)
    np.testing.assert_array_equal(attacked_pictures(model, split, ANY), original)


def test_an_outcome_is_what_the_attack_made_of_each_picture():
    model, split, threat = random_linear("logistic", 3), noise(300), Threat("linf", 0.02)
    found = outcome(model, split, threat, "fgsm")
    images = torch.from_numpy(split.images[split.rows]).permute(0, 3, 1, 2).float() / 255
    labels = torch.from_numpy(split.labels)
    attacked = fgsm(model, images, labels, threat)
    right = (model(attacked).argmax(1) == labels).numpy()
    assert found.survived_N.dtype == bool and 0 < right.sum() < 300
    np.testing.assert_array_equal(found.survived_N, right)
    moved = (attacked - images).abs().flatten(start_dim=1).amax(dim=1).numpy()
    np.testing.assert_allclose(found.distance_N, np.where(right, np.inf, moved), atol=1e-6)
    row = result("fgsm", found)
    assert (row.attack, row.threat, row.n) == ("FGSM", threat, 300) and row.accuracy == right.mean()


def test_distances_are_in_the_threats_norm(monkeypatch):
    def brighter(model, images, labels, threat, draw):
        return images + threat.eps * torch.ones(30).div(30**0.5).view(1, 1, 6, 5)

    monkeypatch.setitem(ATTACKS, "brighter", AttackRow(brighter, "brighter", ("l2",), (), clips=False))
    found = outcome(random_linear(), noise(50), Threat("l2", 2.0), "brighter")
    assert not found.survived_N.all()
    np.testing.assert_allclose(found.distance_N[~found.survived_N], 2.0, rtol=1e-5)
    with pytest.raises(RecipeError, match="A threat in linf was asked for, but 'brighter' is for l2"):
        outcome(random_linear(), noise(50), Threat("linf", 0.1), "brighter")


def test_what_an_attack_draws_comes_from_the_seed(monkeypatch):
    def anywhere(model, images, labels, threat, draw):
        return images + threat.eps * (2 * torch.rand(images.shape, generator=draw) - 1)

    monkeypatch.setitem(ATTACKS, "anywhere", AttackRow(anywhere, "anywhere", ("linf",), (), clips=False))
    threat = Threat("linf", 0.5)
    distances = [outcome(random_linear(), noise(), threat, "anywhere", seed=seed).distance_N for seed in (0, 0, 1)]
    np.testing.assert_array_equal(distances[0], distances[1])
    assert not np.array_equal(distances[0], distances[2])


def test_large_pictures_are_attacked_a_few_at_a_time(monkeypatch):
    def counted(model, images, labels, threat, draw):
        counts.append(len(images))
        return images

    counts = []
    monkeypatch.setitem(ATTACKS, "counted", AttackRow(counted, "counted", ("linf",), ()))
    size = Preprocessing(224, 224, 3)
    images = np.zeros((20, 224, 224, 3), np.uint8)
    split = Split(images, np.arange(20), np.zeros(20, np.int64), ("",) * 20)
    outcome(random_linear(size=size), split, Threat("linf", 0.1), "counted")
    assert counts == [4] * 5
    counts.clear()
    outcome(random_linear(), noise(), Threat("linf", 0.1), "counted")
    assert sorted(counts) == [44, 128, 128]


def test_a_model_is_as_it_was_after_it_was_asked():
    model = random_linear().train()
    outcome(model, noise(9), Threat("linf", 0.1), "fgsm")
    assert model.training and all(parameter.grad is None for parameter in model.parameters())


def test_nothing_cannot_be_attacked():
    with pytest.raises(KeensightError, match="no picture to attack"):
        outcome(random_linear(), noise(0), Threat("linf", 0.1), "fgsm")
