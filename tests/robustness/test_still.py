import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from keensight.models.classifier import Classifier
from keensight.models.dropout import Dropout, seed_dropout
from keensight.robustness.attacks.gradient_sign import fgsm
from keensight.robustness.still import held_still
from keensight.values import Threat

IMAGES = torch.rand(12, 1, 6, 6, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(12) % 2


def network():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        frozen = nn.BatchNorm2d(4).eval()  # as a frozen backbone's are, while its head learns
        head = nn.Flatten(), Dropout(0.5), nn.Linear(64, 2)
        model = Classifier(nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), frozen, nn.ReLU(), *head), 1)
    model.train()
    frozen.eval()
    seed_dropout(model, 3)
    return model


def step(model, attacked):
    """One step of adversarial training: with pictures that it looks for, or with pictures that are given."""
    if attacked is None:
        with held_still(model):
            attacked = fgsm(model, IMAGES, LABELS, Threat("linf", 0.1))
    F.cross_entropy(model(attacked), LABELS).backward()


def test_an_attack_inside_a_loss_leaves_no_trace_in_the_model():
    """Statistics, gradients and what dropout draws next are those of a step that was handed the attack's pictures."""
    looks, given = network(), network()
    attacked = fgsm(copy.deepcopy(given).eval(), IMAGES, LABELS, Threat("linf", 0.1))
    for _ in range(3):
        step(looks, None)
        attacked = fgsm(copy.deepcopy(given).eval(), IMAGES, LABELS, Threat("linf", 0.1))
        step(given, attacked)
    for (name, one), other in zip(looks.named_buffers(), given.buffers(), strict=True):
        assert torch.equal(one, other), name
    assert looks.network[1].num_batches_tracked == 3 and not torch.equal(looks.network[1].running_mean, torch.zeros(4))
    for one, other in zip(looks.parameters(), given.parameters(), strict=True):
        assert torch.equal(one.grad, other.grad)


def test_every_part_is_as_it_was_even_after_an_error():
    model = network()
    before = [module.training for module in model.modules()]
    assert True in before and False in before
    with pytest.raises(ZeroDivisionError), held_still(model):
        assert not any(module.training for module in model.modules())
        raise ZeroDivisionError
    assert [module.training for module in model.modules()] == before
