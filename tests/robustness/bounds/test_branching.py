"""Branch and bound against the exact answer: every pattern of a hidden layer's ReLUs, each a linear program."""

import copy
import itertools
import time

import numpy as np
import torch
from scipy.optimize import linprog
from torch import nn

from keensight.models.classifier import Classifier
from keensight.models.zoo import build
from keensight.robustness.bounds.branching import proves
from keensight.robustness.bounds.linear import lowest_margins, margin_forms, tightened
from keensight.robustness.bounds.network import nodes_of
from keensight.values import Preprocessing

SIZE = Preprocessing(3, 3, 1)


def smallest(model, image, eps, label, other):
    """The smallest margin, by enumeration of the patterns of the one hidden layer."""
    layers = [layer for layer in model.network if isinstance(layer, nn.Linear)]
    (w1, b1), (w2, b2) = ([each.detach().double().numpy() for each in (layer.weight, layer.bias)] for layer in layers)
    pixels = image.flatten().double().numpy()
    bounds = list(zip(np.clip(pixels - eps, 0, 1), np.clip(pixels + eps, 0, 1), strict=True))
    least = np.inf
    for pattern in itertools.product((0, 1), repeat=len(b1)):
        on = np.array(pattern)
        signs, row = 2 * on - 1, (w2[label] - w2[other]) * on
        found = linprog(row @ w1, A_ub=-signs[:, None] * w1, b_ub=signs * b1, bounds=bounds)
        if found.status == 0:
            least = min(least, found.fun + row @ b1 + b2[label] - b2[other])
    return least


def test_cases_prove_what_is_true_and_nothing_else():
    gained = 0
    for seed in range(3):
        model = build("dense", {"hidden": (6,)}, SIZE, 3, seed).eval()
        for layer in model.network:
            if isinstance(layer, nn.Linear):
                layer.weight.data.mul_(2.5)
        image = torch.rand(1, 1, 3, 3, generator=torch.Generator().manual_seed(seed))
        label = int(model(image).argmax())
        nodes = nodes_of(copy.deepcopy(model).double().requires_grad_(False))
        for eps in (0.15, 0.3):
            with torch.no_grad():
                values = tightened(nodes, image, eps)
                bounds = lowest_margins(nodes, values, torch.tensor([label]))[0].tolist()
            others = margin_forms(torch.tensor([label]), 3)[1][0].tolist()
            for bound, other in zip(bounds, others, strict=True):
                exact = smallest(model, image, eps, label, other)
                proved = proves(nodes, values, label, other, time.monotonic() + 60)
                assert bound <= exact
                assert proved <= (exact > 0)
                assert proved or exact < 0.05  # what is nearly 0 may stay open
                gained += proved and bound <= 0
    assert gained


def test_a_network_without_relus_has_no_cases():
    torch.manual_seed(0)
    layers = nn.Conv2d(1, 4, 2), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(4, 2)
    nodes = nodes_of(Classifier(nn.Sequential(*layers), 1).eval().double().requires_grad_(False))
    image = torch.rand(1, 1, 3, 3, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        values = tightened(nodes, image, 0.3)
        margins = [float(lowest_margins(nodes, values, torch.tensor([label]))) for label in (0, 1)]
    proved = [proves(nodes, values, label, 1 - label, time.monotonic() + 60) for label in (0, 1)]
    assert proved == [margin > 0 for margin in margins] and not all(proved)


def test_no_time_is_no_proof():
    model = build("dense", {"hidden": (6,)}, SIZE, 2, 0).eval()
    image = torch.full((1, 1, 3, 3), 0.5)
    nodes = nodes_of(copy.deepcopy(model).double().requires_grad_(False))
    values = tightened(nodes, image, 0.0)
    label = int(model(image).argmax())
    assert proves(nodes, values, label, 1 - label, time.monotonic() + 60)
    assert not proves(nodes, values, label, 1 - label, time.monotonic() - 1)
