import numpy as np
import pytest
import torch
from torch import nn

from keensight.errors import KeensightError
from keensight.models.classifier import Classifier
from keensight.models.zoo import build
from keensight.robustness.answers import outcome
from keensight.robustness.ensemble import ensemble, fitting, masking
from keensight.robustness.opaque import Opaque
from keensight.values import Preprocessing, Split, Threat


def net(classes=4, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers = nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(216, classes)
        return Classifier(nn.Sequential(*layers), 1).eval()


def pictures(model, n=120):
    images = np.random.default_rng(0).integers(20, 236, (n, 8, 8, 1), np.uint8)
    with torch.no_grad():
        labels = model(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255).argmax(dim=1).numpy()
    labels[:10] = (labels[:10] + 1) % 4  # wrong from the start
    return Split(images, np.arange(n), labels, ("",) * n)


def test_a_picture_must_survive_every_attack_and_every_smaller_epsilon():
    model = net()
    split, names = pictures(model), ["fgsm", "apgd-ce", "square"]
    threats = [Threat("linf", eps, 10) for eps in (0.0, 0.04, 0.08)]
    clean, small, large = ensemble(model, split, threats, names)
    assert clean.worst.survived_N.sum() == 110 and (clean.worst.distance_N[:10] == 0).all()
    assert not (large.worst.survived_N & ~small.worst.survived_N).any()
    for left in (small, large):
        counts = [count for _, count in left.after]
        assert [name for name, _ in left.after] == names and counts == sorted(counts, reverse=True)
        assert counts[-1] == left.worst.survived_N.sum() and 0 < counts[-1] < 110
        fgsm = outcome(model, split, left.worst.threat, "fgsm").survived_N
        assert not (left.worst.survived_N & ~fgsm).any()
        moved = left.worst.distance_N[~left.worst.survived_N]
        assert (
            moved.max() <= left.worst.threat.eps + 1e-6 and np.isinf(left.worst.distance_N[left.worst.survived_N]).all()
        )
    again = ensemble(model, split, threats, names)[-1].worst
    np.testing.assert_array_equal(again.distance_N, large.worst.distance_N)


def test_threats_grow():
    model = net()
    with pytest.raises(KeensightError, match="do not grow"):
        ensemble(model, pictures(model), [Threat("linf", 0.2), Threat("linf", 0.1)], ["fgsm"])


def test_masked_gradients_are_noticed_and_honest_ones_are_not_accused():
    class Stairs(nn.Module):
        """The same answers but for a rounding that no gradient passes."""

        def __init__(self, model):
            super().__init__()
            self.model = model

        def forward(self, images):
            return self.model((images * 64).round() / 64)

    model = net()
    split, names, threat = pictures(model), fitting(model, 4, "linf"), Threat("linf", 0.06, 20)
    (honest,) = ensemble(model, split, [threat], names)
    assert not masking(model, split, honest, 4).is_likely
    hidden = Stairs(model)
    (left,) = ensemble(hidden, split, [threat], names)
    signs = masking(hidden, split, left, 4)
    assert signs.is_likely and signs.only_square > 10 and left.worst.accuracy < 0.8


def test_a_model_that_only_answers_is_asked_without_gradients():
    model = net()

    def answer(images_NHWC):
        with torch.no_grad():
            return model(torch.from_numpy(images_NHWC).permute(0, 3, 1, 2).float() / 255).softmax(dim=1).numpy()

    opaque, split = Opaque(answer), pictures(model)
    assert fitting(opaque, 4, "linf") == ["square"] and fitting(opaque, 4, "l2") == ["square"]
    (left,) = ensemble(opaque, split, [Threat("linf", 0.08, 20)], ["square"])
    assert left.worst.accuracy < 0.8
    assert not masking(opaque, split, left, 4).is_likely


def test_the_attacks_of_an_ensemble_fit_the_model():
    linear = build("linear", {"init": "glorot"}, Preprocessing(8, 8, 1), 2, seed=0)
    assert fitting(linear, 2, "linf") == ["exact"]
    assert fitting(net(), 4, "linf") == ["fgsm", "apgd-ce", "apgd-dlr", "apgd-t", "minimal", "square"]
    assert "apgd-t" not in fitting(net(2), 2, "linf")
    assert fitting(net(), 4, "shift") == ["shifts"] and fitting(net(), 4, "rotation") == ["rotations"]
