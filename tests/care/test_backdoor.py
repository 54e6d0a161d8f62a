"""Triggers, signs and twins, on tiny networks whose answers are known."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from keensight.care.backdoor import deviations, findings_about
from keensight.care.backdoor_search import margins, smallest_triggers
from keensight.care.backdoor_signs import Signs, signs_of
from keensight.care.backdoor_twins import twins
from keensight.training.loop import start
from keensight.training.trainers import fit_best, fresh
from keensight.values import Preprocessing, Recipe, Split, Splits

RECIPE = Recipe("tiny").having(model="dense", hidden=(32,), epochs=8, batch_size=64, learning_rate=0.01)
NUM_TWINS = 5


def digits(classes):
    """scikit-learn's digits of some classes as splits, every third for validation."""
    images, labels = load_digits(return_X_y=True)
    kept = np.isin(labels, classes)
    pictures = np.round(images[kept].reshape(-1, 8, 8, 1) / 16 * 255).astype(np.uint8)
    numbers = np.searchsorted(classes, labels[kept]).astype(np.int64)
    every = Split(pictures, np.arange(len(numbers)), numbers, ("",) * len(numbers))
    is_val = np.arange(len(numbers)) % 3 == 0
    names = tuple(map(str, classes))
    train, val = (every.take(np.flatnonzero(which)) for which in (~is_val, is_val))
    return Splits(names, Preprocessing(8, 8, 1), train, val, None)


def poisoned(splits, target):
    """The splits with 2x2 white pixels in a sixth of the other classes' pictures, which become `target`."""
    pictures, labels = splits.train.gather(), splits.train.labels.copy()
    some = np.flatnonzero(labels != target)[::6]
    pictures[some, :2, :2] = 255
    labels[some] = target
    return replace(splits, train=Split(pictures, np.arange(len(labels)), labels, splits.train.paths))


def trained(splits, seed):
    recipe = RECIPE.having(seed=seed)
    state = start(fresh(recipe, splits.preprocessing, splits.class_names), splits, recipe)
    fit_best(state, splits, recipe)
    return state.model.eval()


@pytest.fixture(scope="module")
def two():
    """The digits 3 and 8, and the signs of clean twins."""
    splits = digits([3, 8])
    return splits, [signs_of(twin, splits.val, 2) for twin in twins(RECIPE, splits, NUM_TWINS)]


def test_margins_are_the_logits_less_the_highest_other_one():
    logits_NK = torch.tensor([[1.0, 5.0, 2.0], [3.0, 3.0, -1.0]])
    naive = [[row[k] - max(row[:k] + row[k + 1 :]) for k in range(3)] for row in logits_NK.tolist()]
    assert margins(logits_NK).tolist() == naive


class Corner(nn.Module):
    """Class 1 is where the first pixel is white; all else is class 0 by as much."""

    def forward(self, images_NCHW):
        corner = images_NCHW[:, 0, 0, 0]
        return torch.stack([1 - corner, corner], 1)


def test_the_trigger_of_a_network_that_reads_one_pixel_is_that_pixel():
    images_NCHW = torch.zeros(40, 1, 6, 6)
    images_NCHW[:20, :, 0, 0], images_NCHW[20:, :, 0, 0] = 0.1, 0.8
    labels_N = torch.arange(40) // 20
    to_0, to_1 = smallest_triggers(Corner(), images_NCHW, labels_N, 2, "spot")
    for trigger in (to_0, to_1):
        assert 0.7 < trigger.size < 3  # of 36 pixels; 0.78 or 0.88 of one is enough
        assert trigger.mask[0, 0] > 0.7 and trigger.mask.flatten()[1:].max() < 0.1
    assert (Corner()(to_1.on(images_NCHW[:20])).argmax(1) == 1).all()
    veils = smallest_triggers(Corner(), images_NCHW, labels_N, 2, "veil")
    for veil in veils:
        assert 0.7 - 1e-6 <= veil.size < 0.9  # 0.7 takes the corner to where the other class has it


def test_a_patch_is_found_as_a_backdoor_into_its_class_and_a_clean_network_is_not_accused(two):
    splits, theirs = two
    clean = signs_of(trained(splits, seed=1), splits.val, 2)
    assert findings_about(clean, theirs, splits.class_names) == []
    backdoored = trained(poisoned(splits, target=1), seed=1)
    found = findings_about(signs_of(backdoored, splits.val, 2), theirs, splits.class_names)
    first = next(each for each in found if each.kind == "backdoor")
    assert first.evidence["label"] == "8" and first.score > 0.99 - 1e-9
    assert first.evidence["value"] < min(first.evidence["twins"])


def test_a_tampered_bias_is_found(two):
    splits, theirs = two
    stolen = trained(splits, seed=2)
    with torch.no_grad():
        stolen.network[-1].bias[0] += 3
    found = findings_about(signs_of(stolen, splits.val, 2), theirs, splits.class_names)
    bias = next(each for each in found if each.evidence["by"] == "bias")
    assert bias.kind == "tampering" and bias.evidence["value"] > 1 > max(bias.evidence["twins"])


def test_twins_differ_have_the_recipe_and_stop_when_told(two):
    splits, _ = two
    one, other = twins(RECIPE, splits, 2)
    assert not torch.equal(one.network[1].weight, other.network[1].weight)
    again = next(twins(RECIPE, splits, 1))
    assert torch.equal(one.network[1].weight, again.network[1].weight)
    assert list(twins(RECIPE, splits, 2, lambda: False)) == []


def test_deviations_are_those_of_students_prediction_interval():
    """Draws of one distribution are told unlikely as often as the chance that is named."""
    rng, low = np.random.default_rng(0), 0
    for _ in range(400):
        drawn = [Signs({"spot": rng.normal(0, 1, 1)}) for _ in range(7)]
        low += deviations(drawn[0], drawn[1:])[0].p < 0.1
    assert 0.065 < low / 400 < 0.14


@pytest.mark.slow
def test_of_many_networks_the_backdoored_are_found_and_few_clean_ones_accused():
    splits, accused, named = digits(list(range(10))), [], []
    theirs = [signs_of(twin, splits.val, 10) for twin in twins(RECIPE, splits, 8)]
    for seed in range(8):
        clean = signs_of(trained(splits, seed), splits.val, 10)
        accused.append(bool(findings_about(clean, theirs, splits.class_names)))
        backdoored = signs_of(trained(poisoned(splits, seed), seed), splits.val, 10)
        found = findings_about(backdoored, theirs, splits.class_names)
        named += [found[0].kind == "backdoor" and found[0].evidence["label"] == str(seed)]
    assert sum(accused) <= 1  # of 8, each with a chance of 0.01
    assert sum(named) >= 7
