"""What a recipe says of loss, optimiser, decay and schedule, against loops that are written here from the formulas."""

import math

import numpy as np
import pytest
import torch
from torch import nn

import keensight
from keensight.training.loop import shuffled_batches
from keensight.training.schedule import SCHEDULES
from keensight.values import Preprocessing, Split, Splits

SIZE = Preprocessing(8, 8, 1)
COUNTS = (150, 30, 60)
EPOCHS, RATE, DECAY, MOMENTUM, SMOOTHING = 2, 0.01, 0.3, 0.8, 0.2
SETTINGS = ["normalise=false", "dropout=0", "filters=4", "batch_size=32", "precision=float32", f"epochs={EPOCHS}"]
SETTINGS += [f"learning_rate={RATE}", f"weight_decay={DECAY}", f"momentum={MOMENTUM}"]
WARM_UP = 0.2
SHAPES = {  # by progress in [0, 1]
    "one-cycle": lambda p: 0.04 + 0.96 * p / WARM_UP if p < WARM_UP else 1 - (p - WARM_UP) / (1 - WARM_UP),
    "cosine": lambda p: (1 + math.cos(math.pi * p)) / 2,
    "linear": lambda p: 1 - p,
    "constant": lambda p: 1.0,
}


def part(seed):
    """Three classes, of unequal size, that differ in brightness."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(3), COUNTS))
    images = (rng.integers(0, 130, (len(labels), 8, 8, 1)) + 60 * labels[:, None, None, None]).astype(np.uint8)
    return Split(images, np.arange(len(labels)), labels, tuple(map(str, range(len(labels)))))


SPLITS = Splits(("dark", "grey", "light"), SIZE, part(0), part(1), None)


def trained(*changes):
    """Return the weights after training by the recipe, by name, and its epochs."""
    recipe = keensight.load_recipe("default", [*SETTINGS, *changes])
    model = keensight.build("cnn", {"dropout": 0.0, "filters": 4}, SIZE, 3, 0)
    epochs = list(keensight.fit(model, SPLITS, recipe))
    return {name: p.detach().double() for name, p in model.named_parameters()}, epochs


def by_hand(schedule, step, class_weights=(1.0, 1.0, 1.0), smoothing=0.0):
    """Return the same, computed in float64: `step` changes a parameter and its state in place."""
    recipe = keensight.load_recipe("default", SETTINGS)  # for the order of the pictures alone
    model = keensight.build("cnn", {"dropout": 0.0, "filters": 4}, SIZE, 3, 0).double().train()
    decayed = {f"{name}.weight" for name, m in model.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)}
    states = {name: {} for name, _ in model.named_parameters()}
    losses, rates, done = [], [], 0
    for number in range(1, EPOCHS + 1):
        batches, total = shuffled_batches(SPLITS.train, recipe, number), 0.0
        for rows in batches:
            rate = RATE * SHAPES[schedule](done / (EPOCHS * len(batches)))
            images = torch.from_numpy(SPLITS.train.images[rows] / 255).permute(0, 3, 1, 2)
            loss = 0.0
            for logits, label in zip(model(images), SPLITS.train.labels[rows], strict=True):
                log_p = logits - logits.exp().sum().log()
                for k in range(3):
                    target = (1 - smoothing) * (k == label) + smoothing / 3
                    loss = loss - class_weights[k] * target * log_p[k] / len(rows)
            gradients = torch.autograd.grad(loss, list(model.parameters()))
            with torch.no_grad():
                for (name, p), g in zip(model.named_parameters(), gradients, strict=True):
                    step(p, g, rate, DECAY if name in decayed else 0.0, states[name], done + 1)
            total += loss.item() * len(rows)
            done += 1
        losses.append(total / sum(COUNTS))
        rates.append(rate)
    return dict(model.named_parameters()), losses, rates


def sgd(p, g, rate, decay, state, _):
    """Nesterov's momentum, with decay as a part of the gradient (Sutskever et al., 2013)."""
    g = g + decay * p
    state["v"] = MOMENTUM * state["v"] + g if state else g
    p -= rate * (g + MOMENTUM * state["v"])


def adam(p, g, rate, decay, state, t):
    """Kingma and Ba, 2014, algorithm 1, with decay as a part of the gradient."""
    g = g + decay * p
    state["m"] = 0.9 * state.get("m", 0) + 0.1 * g
    state["v"] = 0.999 * state.get("v", 0) + 0.001 * g**2
    p -= rate * (state["m"] / (1 - 0.9**t)) / ((state["v"] / (1 - 0.999**t)).sqrt() + 1e-8)


def adamw(p, g, rate, decay, state, t):
    """Loshchilov and Hutter, 2017, algorithm 2: decay beside the gradient."""
    p *= 1 - rate * decay
    adam(p, g, rate, 0.0, state, t)


def compare(found, expected):
    (weights, epochs), (weights_by_hand, losses, rates) = found, expected
    assert [epoch.learning_rate for epoch in epochs] == pytest.approx(rates)
    assert [epoch.train_loss for epoch in epochs] == pytest.approx(losses, abs=1e-4)
    for name, p in weights_by_hand.items():
        assert torch.allclose(weights[name], p, atol=1e-4), name


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_every_schedule(schedule):
    compare(trained(f"schedule={schedule}", "optimizer=adamw"), by_hand(schedule, adamw))


@pytest.mark.parametrize("step", [sgd, adam])  # adamw is above
def test_other_optimizers_and_what_they_decay(step):
    compare(trained("schedule=linear", f"optimizer={step.__name__}"), by_hand("linear", step))


def test_classes_that_count_the_same_and_labels_that_are_smoothed():
    balanced = [sum(COUNTS) / (3 * count) for count in COUNTS]
    for changes, options in (
        (["class_weights=balanced"], {"class_weights": balanced}),
        ([f"label_smoothing={SMOOTHING}"], {"smoothing": SMOOTHING}),
        (
            ["class_weights=balanced", f"label_smoothing={SMOOTHING}"],
            {"class_weights": balanced, "smoothing": SMOOTHING},
        ),
    ):
        compare(trained("schedule=constant", "optimizer=sgd", *changes), by_hand("constant", sgd, **options))
