"""Certificates of whole splits: what they are of, which epsilon, and what cannot be certified."""

import numpy as np
import pytest
import torch

from keensight.data.polarity import Borders, match_polarity
from keensight.errors import KeensightError
from keensight.models.zoo import build
from keensight.robustness.certificates import certified, certified_by_noise
from keensight.values import Preprocessing, Split, Threat

SIZE = Preprocessing(6, 6, 1)


def always(label):
    """A model that answers the same to every picture, by far."""
    model = build("linear", {}, SIZE, 2, seed=0).eval()
    model.network[1].bias.data.fill_(5.0 if label else -5.0)
    return model


def wavering(seed):
    """A model whose answers depend on the picture."""
    model = build("dense", {"hidden": (12, 12)}, SIZE, 2, seed).eval()
    model.mean.fill_(0.5)
    for layer in (1, 3, 5):
        model.network[layer].weight.data.mul_(3)
        model.network[layer].bias.data.zero_()
    return model


def levels(*borders):
    """Pictures with these levels at the border, and white inside."""
    images = np.stack([np.full((6, 6, 1), level, np.uint8) for level in borders])
    images[:, 2:4, 2:4] = 255
    return Split(images, np.arange(len(borders)), np.ones(len(borders), np.int64), ("",) * len(borders))


def noise(count, seed=0):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, 6, 6, 1), np.uint8)
    return Split(images, rng.permutation(count), rng.integers(0, 2, count), ("",) * count)


def test_a_picture_that_may_be_inverted_is_not_certified():
    dark, split, eps = Borders(0.0, 0.1, True), levels(0, 100, 130, 200), 0.1
    (found,) = certified(always(1), split, [eps], dark)
    assert found.certified_N.tolist() == [True, True, False, False]
    for n in range(4):  # what an attacker may do to the border
        lighter = np.minimum(split.images[n : n + 1].astype(int) + round(255 * eps), 255).astype(np.uint8)
        assert not (found.certified_N[n] and match_polarity(lighter, dark)[1].any())
    (free,) = certified(always(1), split, [eps], Borders(0.0, 0.1, False))
    assert free.certified_N.all() and certified(always(1), split, [eps])[0].certified_N.all()
    light = certified(always(1), levels(0, 100, 130, 200), [eps], Borders(0.9, 1.0, True))[0]
    assert light.certified_N.tolist() == [False, False, False, True]
    by_noise = certified_by_noise(always(1), split, [eps], 0.1, 40, dark)[0]
    assert by_noise.certified_N.tolist() == [True, True, False, False]


def test_a_wrong_answer_is_not_certified_and_each_epsilon_has_its_certificate():
    split = levels(0, 100)
    assert not certified(always(0), split, [0.1])[0].certified_N.any()
    model, some = wavering(1), noise(90)
    one, zero, two = certified(model, some, [0.03, 0.0, 0.06])
    assert [each.threat for each in (one, zero, two)] == [Threat("linf", eps) for eps in (0.03, 0.0, 0.06)]
    assert (zero.certified_N >= one.certified_N).all() and (one.certified_N >= two.certified_N).all()
    assert zero.accuracy > one.accuracy > two.accuracy > 0
    with torch.no_grad():
        right = model(torch.from_numpy(some.gather()).permute(0, 3, 1, 2).float() / 255).argmax(dim=1).numpy()
    np.testing.assert_array_equal(zero.correct_N, right == some.labels)
    np.testing.assert_array_equal(zero.certified_N, zero.method_N != "")


def test_a_picture_has_the_same_certificate_alone_and_among_others():
    model, some = build("strided", {"filters": (4,), "hidden": 8}, SIZE, 2, seed=2).eval(), noise(70)
    (whole,) = certified(model, some, [0.02])
    alone = [certified(model, some.take(slice(n, n + 1)), [0.02])[0] for n in range(0, 70, 10)]
    assert [each.method_N[0] for each in alone] == whole.method_N[::10].tolist()


def test_what_is_quick_certifies_no_more():
    model, some = wavering(3), noise(150)
    quick, thorough = (certified(model, some, [0.03], thorough=each)[0] for each in (False, True))
    assert (quick.certified_N <= thorough.certified_N).all() and quick.accuracy < thorough.accuracy


@pytest.mark.parametrize(
    "prove", [lambda m, s: certified(m, s, [0.1]), lambda m, s: certified_by_noise(m, s, [0.1], 1, 20)]
)
def test_nothing_cannot_be_certified(prove):
    with pytest.raises(KeensightError, match="no picture to certify"):
        prove(always(1), noise(0))
