"""One contract for every bound and every network: no picture within epsilon is below it. Exact where that is known."""

import copy
import itertools

import numpy as np
import pytest
import torch
from scipy.optimize import LinearConstraint, milp
from torch import nn

from keensight.errors import RecipeError
from keensight.models.classifier import Classifier
from keensight.models.foreign import PaddedPool2d
from keensight.models.graph import graph
from keensight.models.zoo import build
from keensight.robustness.bounds.intervals import box, margins
from keensight.robustness.bounds.known import known_of
from keensight.robustness.bounds.linear import lowest, lowest_margins, margin_forms, noise_of_margins, tightened
from keensight.robustness.bounds.network import in_a_row, nodes_of
from keensight.robustness.bounds.quick import quick_margins
from keensight.values import Preprocessing

ZOO = [
    ("logistic", {}, Preprocessing(6, 6, 1), 4),
    ("linear", {"init": "glorot"}, Preprocessing(6, 6, 3), 2),
    ("dense", {"hidden": (12, 8), "dropout": 0.2}, Preprocessing(4, 4, 1), 3),
    ("cnn", {"filters": 4}, Preprocessing(8, 8, 1), 3),
    ("cnn", {"filters": 4, "mirror": True}, Preprocessing(8, 8, 3), 2),
    ("resnet", {"filters": 3}, Preprocessing(8, 8, 1), 4),
    ("strided", {"filters": (4, 6), "hidden": 12}, Preprocessing(12, 12, 1), 3),
    ("fashion", {}, Preprocessing(9, 9, 1), 2),
    ("planes", {}, Preprocessing(6, 6, 1), 2),
]


def network(name, options, size, num_classes, seed):
    """A network unlike any start: its weights, and the statistics of its normalisation, are random."""
    model = build(name, options, size, num_classes, seed).eval()
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.copy_(torch.randn(module.running_mean.shape, generator=generator) / 5)
            module.running_var.copy_(torch.rand(module.running_var.shape, generator=generator) + 0.5)
            module.weight.data.copy_(torch.randn(module.weight.shape, generator=generator))
        elif isinstance(module, (nn.Linear, nn.Conv2d)) and module.bias is not None:
            module.bias.data.copy_(torch.randn(module.bias.shape, generator=generator) / 5)
    if name == "logistic":
        model.network[1].weight.data.copy_(torch.randn(model.network[1].weight.shape, generator=generator))
    model.mean.fill_(0.3)
    model.std.copy_(torch.linspace(0.4, 0.9, len(model.std)).view(-1, 1, 1))
    return model


def pictures(size, count, seed):
    """Random pictures, many of whose pixels are black or white, where the box has a corner."""
    generator = torch.Generator().manual_seed(seed)
    shape = (count, size.channels, size.height, size.width)
    return (1.6 * torch.rand(shape, generator=generator) - 0.3).clamp(0, 1)


def attacked(model, images, labels, eps, steps=15, seed=0):
    """The smallest margins that gradient descent finds, N, K - 1, each attacked by itself, in float32."""
    forms, _ = margin_forms(labels, model(images).shape[1])
    count, num_forms = forms.shape[:2]
    each = images.repeat_interleave(num_forms, 0)
    forms = forms.float().flatten(end_dim=1)
    generator = torch.Generator().manual_seed(seed)
    moved = (each + eps * torch.randn(each.shape, generator=generator).sign()).clamp(0, 1)
    best = torch.full((len(each),), torch.inf)
    for step in range(steps + 1):
        moved = moved.detach().requires_grad_()
        margins_R = (model(moved) * forms).sum(dim=1)
        best = torch.minimum(best, margins_R.detach())
        (gradient,) = torch.autograd.grad(margins_R.sum(), moved)
        moved = moved - 2 * eps / (1 + step) * gradient.sign()
        moved = torch.minimum(torch.maximum(moved, each - eps), each + eps).clamp(0, 1)
    return best.view(count, num_forms)


def bounds_of(model, images, labels, eps, tight=True):
    """Lower bounds of all margins: by intervals, by linear bounds, and by those with tightened inputs of bends.

    The first, where there are any, are the quick intervals.
    """
    nodes = nodes_of(copy.deepcopy(model).double())
    with torch.no_grad():
        quick = quick_margins(nodes, images, eps, labels)
        values = known_of(nodes, images, eps)
        found = [] if quick is None else [quick.gather(1, margin_forms(labels, quick.shape[1])[1])]
        found += [lowest_margins(nodes, values, labels, through=False), lowest_margins(nodes, values, labels)]
        return [*found, lowest_margins(nodes, tightened(nodes, images, eps), labels)] if tight else found


def check(model, images, eps, tight=True):
    labels = model(images).argmax(dim=1)
    least = attacked(model, images, labels, eps).double()
    for bound in bounds_of(model, images, labels, eps, tight):
        assert (bound <= least).all()
    return bound, least


@pytest.mark.parametrize(("name", "options", "size", "num_classes"), ZOO)
def test_no_attack_is_below_a_bound(name, options, size, num_classes):
    model = network(name, options, size, num_classes, seed=1)
    for eps in (0.0, 0.002, 0.05):
        bound, least = check(model, pictures(size, 4, seed=2), eps, tight=eps < 0.01 or size.height < 9)
        if eps == 0.0:  # nothing but rounding is between them
            assert (least - bound).max() < 0.1
        elif eps == 0.002:
            assert (least - bound).mean() < 0.15 * least.abs().mean() + 0.02  # a bound of minus infinity is sound too


def test_quick_intervals_are_as_tight_as_those_that_count_rounding_by_itself():
    model = network(*ZOO[6], seed=3)
    images = pictures(ZOO[6][2], 20, seed=4)
    for eps in (0.0, 0.02):
        quick, intervals, *_ = bounds_of(model, images, torch.arange(20) % 3, eps, tight=False)
        assert (quick - intervals).abs().max() < 1e-4  # of margins around 1
    with torch.no_grad():  # without a matrix at its end, there are none
        assert quick_margins(nodes_of(network(*ZOO[1], seed=3).double()), images, 0.1, torch.zeros(20)) is None


def test_no_attack_is_below_a_bound_on_many_small_networks():
    for seed in range(25):
        name, options, size, num_classes = ZOO[2 + seed % 5]
        eps = (0.01, 0.05, 0.2)[seed % 3]
        check(network(name, options, size, num_classes, seed), pictures(size, 20, seed), eps, tight=seed % 5 < 2)


@pytest.mark.slow
def test_no_attack_is_below_a_bound_on_thousands_of_networks():
    for seed in range(2000):
        name, options, size, num_classes = ZOO[seed % 7]
        eps = (0.003, 0.03, 0.1, 0.3)[seed % 4]
        check(network(name, options, size, num_classes, 100 + seed), pictures(size, 8, seed), eps, tight=seed % 4 == 0)


def test_the_rounding_of_float32_is_within_the_noise():
    """What float32 makes of pictures is as near to float64's as the running error bound says, and not by far nearer."""
    nearest = []
    for seed in range(30):
        name, options, size, num_classes = ZOO[2 + seed % 5]
        model, images = network(name, options, size, num_classes, seed), pictures(size, 20, seed)
        exact = copy.deepcopy(model).double()
        nodes = nodes_of(exact)
        with torch.no_grad():
            noise = known_of(nodes, images, 0.0)[-1].noise
            error = (model(images).double() - exact(images.double())).abs()
        assert (error <= noise).all()
        nearest.append(float((noise / error.amax()).min()))
    assert min(nearest) < 500


@pytest.mark.parametrize(("name", "options", "size", "num_classes"), ZOO[:2])
def test_bounds_of_linear_models_are_exact(name, options, size, num_classes):
    """The closed form: a pixel goes to the end of its interval that the weights' sign says."""
    model, images, eps = network(name, options, size, num_classes, 3), pictures(size, 30, 4), 0.1
    labels = model(images).argmax(dim=1)
    weights = model.network[1].weight.detach().double()
    weights = torch.cat([0 * weights, weights]) if len(weights) == 1 else weights
    std = model.std.double().expand(-1, size.height, size.width).flatten()
    forms, _ = margin_forms(labels, num_classes)
    rows = (forms @ weights) / std
    low, high = ((images.double() + sign * eps).clamp(0, 1).flatten(start_dim=1) for sign in (-1, 1))
    logits = copy.deepcopy(model).double()(torch.zeros(1, *images.shape[1:]).double()).detach()
    expected = (rows.clamp(min=0) * low[:, None] + rows.clamp(max=0) * high[:, None]).sum(2) + (forms @ logits[0])
    nodes = nodes_of(copy.deepcopy(model).double())
    with torch.no_grad():
        found = lowest(nodes, known_of(nodes, images, eps), len(nodes), forms)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)  # what an attacker in float32 may gain is taken off
    assert all((bound <= expected).all() for bound in bounds_of(model, images, labels, eps))


def dense_weights(model):
    return [each.detach().double().numpy() for layer in model.network if isinstance(layer, nn.Linear)
            for each in (layer.weight, layer.bias)]  # fmt: skip


def smallest_by_milp(model, image, eps, form):
    """The smallest value of a form in a ReLU network's logits, by mixed integer programming (Tjeng et al., 2017)."""
    weights = dense_weights(model)
    *hidden, (last_w, last_b) = zip(weights[::2], weights[1::2], strict=True)
    low, high = (np.clip(image.double().numpy().ravel() + sign * eps, 0, 1) for sign in (-1, 1))
    low, high = ((each - model.mean.item()) / model.std.item() for each in (low, high))
    lows, highs, rows, tops, whole = list(low), list(high), [], [], [0] * len(low)
    before = list(range(len(low)))
    for (
        w,
        b,
    ) in hidden:  # y = relu(w x + b): y >= w x + b, y >= 0, y <= w x + b - floor (1 - s), y <= top s, s in {0, 1}
        at_low, at_high = np.array([lows[i] for i in before]), np.array([highs[i] for i in before])
        least = np.clip(w, 0, None) @ at_low + np.clip(w, None, 0) @ at_high + b
        most = np.clip(w, 0, None) @ at_high + np.clip(w, None, 0) @ at_low + b
        cells = [len(lows) + i for i in range(len(b))]
        switches = [len(lows) + len(b) + i for i in range(len(b))]
        lows += [0] * (2 * len(b))
        highs += [*np.clip(most, 0, None), *[1] * len(b)]
        whole += [*[0] * len(b), *[1] * len(b)]
        for i, (cell, switch) in enumerate(zip(cells, switches, strict=True)):
            floor, top = min(least[i], 0), max(most[i], 0)
            inputs = dict(zip(before, w[i], strict=True))
            rows += [
                inputs | {cell: -1},
                {k: -v for k, v in inputs.items()} | {cell: 1, switch: -floor},
                {cell: 1, switch: -top},
            ]
            tops += [-b[i], b[i] - floor, 0]
        before = cells
    matrix = np.zeros((len(rows), len(lows)))
    for i, row in enumerate(rows):
        matrix[i, list(row)] = list(row.values())
    costs = np.zeros(len(lows))
    costs[before] = form @ last_w
    found = milp(
        costs, constraints=LinearConstraint(matrix, ub=np.array(tops)), integrality=whole, bounds=(lows, highs)
    )
    return found.fun + form @ last_b


def test_the_exact_answer_lies_between_bound_and_attack():
    gaps = []
    for seed in range(8):
        size, eps = Preprocessing(3, 3, 1), (0.05, 0.15)[seed % 2]
        model, images = network("dense", {"hidden": (8, 5)}, size, 3, seed), pictures(size, 2, seed)
        for layer in (1, 3, 5):
            model.network[layer].weight.data.mul_(2)
        labels = model(images).argmax(dim=1)
        forms, _ = margin_forms(labels, 3)
        least = attacked(model, images, labels, eps, steps=40)
        bounds = bounds_of(model, images, labels, eps)
        for n, m in itertools.product(range(2), range(2)):
            exact = smallest_by_milp(model, images[n], eps, forms[n, m].numpy())
            assert least[n, m] >= exact - 1e-5
            assert all(bound[n, m] <= exact for bound in bounds)
            gaps.append([exact - float(bound[n, m]) for bound in bounds])
    _, intervals, linear, tight = np.mean(gaps, axis=0)
    assert tight < linear < intervals and tight < 0.5 * intervals


def test_bounds_while_training_are_those_of_certificates():
    for name, options, size, num_classes in ZOO[2:]:
        if options.get("mirror"):
            continue
        model, images = network(name, options, size, num_classes, 5), pictures(size, 6, 6)
        labels = model(images).argmax(dim=1)
        exact = copy.deepcopy(model).double()
        found = margins(nodes_of(exact), *box(images.double(), 0.02), labels)
        _, others = margin_forms(labels, num_classes)
        nodes = nodes_of(exact)
        values = known_of(nodes, images, 0.02)
        with torch.no_grad():
            expected = lowest_margins(nodes, values, labels, through=False)
            expected += noise_of_margins(values[-1], labels, others)
        assert (found.gather(1, labels[:, None]) == 0).all()
        torch.testing.assert_close(found.detach().gather(1, others), expected, atol=1e-4, rtol=1e-5)


def test_training_goes_through_the_bounds():
    """The gradient of the bounds agrees with finite differences."""
    size = Preprocessing(4, 4, 1)
    model = network("dense", {"hidden": (5,)}, size, 3, 7).double()
    images, labels = pictures(size, 3, 8).double(), torch.tensor([0, 1, 2])
    weight = model.network[1].weight

    def total(values):
        weight.data.copy_(values)
        return margins(nodes_of(model), *box(images, 0.05), labels).sum()

    start = weight.detach().clone()
    (gradient,) = torch.autograd.grad(total(start), weight)
    for i, j in ((0, 0), (2, 7), (4, 15)):
        step = torch.zeros_like(start)
        step[i, j] = 1e-6
        slope = (total(start + step) - total(start - step)).item() / 2e-6
        assert gradient[i, j].item() == pytest.approx(slope, abs=1e-4)


def test_networks_of_other_libraries_are_bounded_by_tracing():
    """An imported graph: padding of its own, two inputs, and a join."""
    steps = [
        {"layer": "ZeroPad2d", "padding": (1, 0, 1, 0)},
        {"layer": "Conv2d", "in_channels": 1, "out_channels": 3, "kernel_size": 3},
        {"layer": "ReLU"},
        {"layer": "PaddedPool2d", "inputs": ["2"], "kind": "average", "kernel_size": (2, 2), "stride": (2, 2),
         "pads": (0, 1, 0, 1)},
        {"layer": "PaddedPool2d", "inputs": ["2"], "kind": "max", "kernel_size": (2, 2), "stride": (2, 2),
         "pads": (0, 1, 0, 1)},
        {"layer": "Concatenate", "inputs": ["3", "4"], "dim": 1},
        {"layer": "Flatten"},
        {"layer": "Linear", "in_features": 96, "out_features": 3},
    ]  # fmt: skip
    torch.manual_seed(0)
    model = Classifier(graph(steps), 1).eval()
    assert in_a_row(model.network) is None
    for eps in (0.01, 0.1):
        check(model, pictures(Preprocessing(8, 8, 1), 6, 9), eps)


@pytest.mark.parametrize(
    "pool",
    [nn.MaxPool2d(3, stride=2, padding=1), nn.AvgPool2d(3, 2, 1), nn.AdaptiveAvgPool2d(2), nn.MaxPool2d(2, stride=1),
     PaddedPool2d("max", (3, 2), (2, 2), (0, 1, 1, 0))],
)  # fmt: skip
def test_every_kind_of_pooling_is_bounded(pool):
    torch.manual_seed(1)
    layers = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), pool, nn.Flatten())
    size = layers(torch.zeros(1, 1, 8, 8)).shape[1]
    model = Classifier(nn.Sequential(*layers, nn.Linear(size, 8), nn.ReLU(), nn.Linear(8, 3)), 1).eval()
    for eps in (0.01, 0.1):
        check(model, pictures(Preprocessing(8, 8, 1), 6, 3), eps)


@pytest.mark.parametrize(
    ("layer", "named"),
    [(nn.Sigmoid(), "'2', a Sigmoid"), (nn.MaxPool2d(2, ceil_mode=True), "'2', a MaxPool2d with these options")],
)
def test_a_layer_without_bounds_is_named(layer, named):
    model = Classifier(nn.Sequential(nn.Conv2d(1, 1, 3), nn.ReLU(), layer, nn.Flatten()), 1)
    with pytest.raises(RecipeError, match=f"No bounds are known for the layer {named}"):
        nodes_of(model)
