"""Attacks of many steps against other people's, closed forms, and naive loops."""

import eagerpy
import foolbox
import numpy as np
import pytest
import torch
from torch import nn

from keensight.models.classifier import Classifier
from keensight.models.linear import linear_weights
from keensight.models.zoo import build
from keensight.robustness.attacks.auto import apgd, apgd_targeted
from keensight.robustness.attacks.bumps import bump
from keensight.robustness.attacks.descent import pgd
from keensight.robustness.attacks.minimal import fmn
from keensight.robustness.attacks.moved import rotated, shifted
from keensight.robustness.attacks.objectives import dlr, margin, targeted_dlr
from keensight.robustness.attacks.square import square
from keensight.values import Preprocessing, Threat

torchattacks = pytest.importorskip("torchattacks")

IMAGES = torch.rand(200, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 0.8 + 0.1


@pytest.fixture(scope="module")
def net():
    """A small network with strong weights; its own answers are the labels, so that all are right at first."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        layers = nn.Conv2d(1, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(72, 16), nn.ReLU()
        model = Classifier(nn.Sequential(*layers, nn.Linear(16, 5)), 1).eval()
        for parameter in model.parameters():
            parameter.data *= 3
    return model


@pytest.fixture(scope="module")
def labels(net):
    return net(IMAGES).argmax(dim=1)


def left(model, pictures, labels):
    return float((model(pictures).argmax(dim=1) == labels).float().mean())


def draw(seed=0):
    return torch.Generator().manual_seed(seed)


def dlr_by_hand(z, y):
    """The ratio of Croce and Hein, 2020, section 5, one picture at a time."""
    order = sorted(range(len(z)), key=lambda k: -z[k])
    return -(z[y] - max(z[k] for k in range(len(z)) if k != y)) / (z[order[0]] - z[order[2]])


def test_objectives_are_those_of_their_papers():
    logits, labels = torch.randn(50, 5, generator=draw()), torch.randint(0, 5, (50,), generator=draw(1))
    rows = list(zip(logits.tolist(), labels.tolist(), strict=True))
    assert dlr(logits, labels).tolist() == pytest.approx([dlr_by_hand(z, y) for z, y in rows], rel=1e-5)
    margins = [max(z[:y] + z[y + 1 :]) - z[y] for z, y in rows]
    assert margin(logits, labels).tolist() == pytest.approx(margins, rel=1e-5)
    assert torch.allclose(dlr(100 * logits, labels), dlr(logits, labels), atol=1e-4)
    targets = (labels + 1) % 5
    by_hand = [(z[t] - z[y]) / (sorted(z)[-1] - (sorted(z)[-3] + sorted(z)[-4]) / 2) for (z, y), t in
               zip(rows, targets.tolist(), strict=True)]  # fmt: skip
    assert targeted_dlr(logits, labels, targets).tolist() == pytest.approx(by_hand, rel=1e-5)


@pytest.mark.parametrize("classes", [2, 3])
def test_few_classes_have_no_ratio_but_a_margin(classes):
    logits, labels = torch.randn(20, classes, generator=draw()), torch.randint(0, classes, (20,), generator=draw())
    if classes == 2:
        assert torch.equal(dlr(logits, labels), margin(logits, labels))
    targets = (labels + 1) % classes
    raised = logits.gather(1, targets[:, None]) - logits.gather(1, labels[:, None])
    assert torch.equal(targeted_dlr(logits, labels, targets), raised[:, 0])


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_many_steps_leave_no_more_than_other_peoples_attacks(net, labels, norm):
    eps = {"linf": 0.04, "l2": 0.2}[norm]
    threat = Threat(norm, eps, 20)
    wrapped = foolbox.PyTorchModel(net, bounds=(0, 1), device="cpu")
    theirs = {"linf": foolbox.attacks.LinfPGD, "l2": foolbox.attacks.L2PGD}[norm](steps=20)
    torch.manual_seed(0)
    foolboxes = left(net, theirs(wrapped, eagerpy.astensor(IMAGES).raw, labels, epsilons=eps)[1], labels)
    assert 0.2 < foolboxes < 0.9
    assert left(net, pgd(net, IMAGES, labels, threat, draw()), labels) <= foolboxes + 0.01
    their_norm = {"linf": "Linf", "l2": "L2"}[norm]
    ce = torchattacks.APGD(net, norm=their_norm, eps=eps, steps=20, loss="ce")
    assert left(net, apgd(net, IMAGES, labels, threat, draw()), labels) <= left(net, ce(IMAGES, labels), labels) + 0.01
    by_target = torchattacks.APGDT(net, norm=their_norm, eps=eps, steps=20, n_classes=5)
    ours = left(net, apgd_targeted(net, IMAGES, labels, threat, draw()), labels)
    assert ours <= left(net, by_target(IMAGES, labels), labels) + 0.01


def test_a_picture_that_is_very_sure_is_found_by_the_margin():
    """Cross-entropy is flat where its softmax is 1 in float32; the difference of logits is not."""
    model = build("linear", {"init": "glorot"}, Preprocessing(8, 8, 1), 2, seed=0).eval()
    model.std.fill_(1e-3)
    labels = model(IMAGES).argmax(dim=1)
    threat = Threat("linf", 0.5, 5)
    by_margin = left(model, apgd(model, IMAGES, labels, threat, draw(), margin), labels)
    assert by_margin < left(model, apgd(model, IMAGES, labels, threat, draw()), labels)


@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.06), ("l2", 0.3)])
def test_the_square_attack_asks_for_answers_only(net, labels, norm, eps):
    class Answers(nn.Module):
        def forward(self, images):
            return net(images).detach()

    ours = left(net, square(Answers(), IMAGES, labels, Threat(norm, eps, 30), draw()), labels)
    theirs = torchattacks.Square(net, {"linf": "Linf", "l2": "L2"}[norm], eps, n_queries=300, seed=0)(IMAGES, labels)
    assert ours <= left(net, theirs, labels) + 0.02 and ours < 0.7


@pytest.mark.parametrize("side", [2, 3, 5, 8])
def test_a_bump_is_that_of_torchattacks(net, side):
    theirs = torchattacks.Square(net, norm="L2").eta(side)  # turned, or not, at random
    assert torch.allclose(bump(side), theirs, atol=1e-6) or torch.allclose(bump(side).T, theirs, atol=1e-6)


def test_the_minimal_attack_finds_the_boundary_of_a_linear_model():
    """Its distance is |f(x)| over the dual norm of the weights (Moosavi-Dezfooli et al., 2016, equation 3)."""
    model = build("linear", {"init": "glorot"}, Preprocessing(8, 8, 1), 2, seed=1).eval()
    logits = model(IMAGES).detach()
    gaps, weights = (logits[:, 1] - logits[:, 0]).abs(), linear_weights(model).detach().flatten()
    near = gaps < gaps.median()  # so near that no pixel is clipped
    for norm, dual in (("linf", weights.abs().sum()), ("l2", weights.norm())):
        found = fmn(model, IMAGES[near], logits.argmax(dim=1)[near], Threat(norm, {"linf": 1, "l2": 99}[norm]), draw())
        moved = torch.linalg.vector_norm((found - IMAGES[near]).flatten(1), {"linf": torch.inf, "l2": 2}[norm], dim=1)
        assert moved.numpy() == pytest.approx((gaps[near] / dual).numpy(), rel=0.03, abs=1e-5)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_minimal_attack_goes_no_farther_than_foolboxes(net, labels, norm):
    theirs = {"linf": foolbox.attacks.LInfFMNAttack, "l2": foolbox.attacks.L2FMNAttack}[norm](steps=60)
    wrapped = foolbox.PyTorchModel(net, bounds=(0, 1), device="cpu")
    _, found, _ = theirs(wrapped, eagerpy.astensor(IMAGES).raw, labels, epsilons=[{"linf": 1.0, "l2": 99.0}[norm]])
    ours = fmn(net, IMAGES, labels, Threat(norm, {"linf": 1, "l2": 99}[norm], 60), draw())
    order = {"linf": torch.inf, "l2": 2}[norm]
    medians = [torch.linalg.vector_norm((each - IMAGES).flatten(1), order, dim=1).median() for each in (ours, found[0])]
    assert medians[0] <= 1.03 * medians[1]


def test_shifts_are_all_tried(net, labels):
    padded = np.pad(IMAGES.numpy(), ((0, 0), (0, 0), (2, 2), (2, 2)), mode="edge")
    survived = np.ones(len(IMAGES), bool)
    for down in range(5):
        for right in range(5):
            moved = torch.from_numpy(padded[:, :, down : down + 8, right : right + 8])
            survived &= (net(moved).argmax(dim=1) == labels).numpy()
    assert 0 < survived.mean() < 1
    assert left(net, shifted(net, IMAGES, labels, Threat("shift", 2), draw()), labels) == pytest.approx(survived.mean())


def test_rotations_turn_around_the_centre():
    """A model that is wrong for exactly one picture, its quarter turn, shows that this turn is tried."""
    quarter = IMAGES[:1].rot90(1, (2, 3))

    class NotTurned(nn.Module):
        def forward(self, images):
            wrong = ((images - quarter).abs().amax(dim=(1, 2, 3)) < 1e-3).float()
            return torch.stack([0.5 * torch.ones_like(wrong), wrong], dim=1)

    zero = torch.zeros(1, dtype=torch.long)
    assert torch.allclose(rotated(NotTurned(), IMAGES[:1], zero, Threat("rotation", 90), draw()), quarter, atol=1e-3)
    assert left(NotTurned(), rotated(NotTurned(), IMAGES[:1], zero, Threat("rotation", 80), draw()), zero) == 1
