"""Sets of labels: by hand, and what they promise."""

import numpy as np
import pytest
import torch

from keensight.errors import DataError
from keensight.evaluation.conformal import FREE_RANKS, PENALTY, calibrate, label_sets, scores
from keensight.evaluation.measured_sets import measure_sets
from keensight.values import LabelSets


def some_answers(n, num_classes, seed, sharpness=2.0):
    """Probabilities NK, and labels N drawn by others: the model is somewhat too sure."""
    draw = np.random.default_rng(seed)
    logits = draw.normal(size=(n, num_classes)) * sharpness
    labels = [draw.choice(num_classes, p=np.exp(row) / np.exp(row).sum()) for row in logits]
    powers = np.exp(1.5 * logits)
    return powers / powers.sum(axis=1, keepdims=True), np.array(labels)


def score_by_hand(probabilities, label):
    """Equation 3 of the paper with u = 0: go down the list and add what is met before the label."""
    score, rank = 0.0, 1
    for other in sorted(range(len(probabilities)), key=lambda k: (-probabilities[k], k)):
        if other == label:
            return score + PENALTY * max(0, rank - FREE_RANKS)
        score, rank = score + probabilities[other], rank + 1
    raise AssertionError


@pytest.mark.parametrize("num_classes", [2, 5, 40])
def test_quantile_and_sets_are_those_of_a_slow_loop(num_classes):
    probabilities, labels = some_answers(300, num_classes, seed=num_classes)
    rule = calibrate(probabilities, labels, 0.9)
    in_order = sorted(score_by_hand(row, label) for row, label in zip(probabilities, labels, strict=True))
    assert rule.quantile == pytest.approx(in_order[271 - 1], abs=1e-12)  # ceil(301 * 0.9) = 271
    new, _ = some_answers(50, num_classes, seed=99)
    expected = [[score_by_hand(row, k) <= rule.quantile for k in range(num_classes)] for row in new]
    np.testing.assert_array_equal(label_sets(new, rule), expected)
    assert label_sets(new, rule)[np.arange(50), new.argmax(axis=1)].all()


@pytest.mark.parametrize(("num_classes", "coverage"), [(2, 0.95), (5, 0.9), (40, 0.95)])
def test_scores_quantile_and_sets_are_those_of_torchcp(num_classes, coverage, bare, monkeypatch):
    bare("torchcp", "torchcp.classification", "torchcp.classification.utils")
    from torchcp.classification.score.raps import RAPS
    from torchcp.utils.common import calculate_conformal_value

    # it subtracts U p where the paper adds u p to what is before: its U = 1 is the paper's u = 0
    monkeypatch.setattr(torch, "rand", lambda *size, **_: torch.ones(*size, dtype=torch.float64))
    theirs = RAPS(penalty=PENALTY, kreg=FREE_RANKS, randomized=True)
    probabilities, labels = some_answers(300, num_classes, seed=num_classes)
    new, _ = some_answers(50, num_classes, seed=99)
    of_labels_N = theirs._calculate_single_label(torch.from_numpy(probabilities), torch.from_numpy(labels))
    of_all_NK = theirs._calculate_all_label(torch.from_numpy(new)).numpy()
    rule = calibrate(probabilities, labels, coverage)
    np.testing.assert_allclose(scores(new, rule), of_all_NK, atol=1e-9)
    # in float32
    assert rule.quantile == pytest.approx(float(calculate_conformal_value(of_labels_N, 1 - coverage)), abs=1e-6)
    np.testing.assert_array_equal(label_sets(new, rule), of_all_NK <= rule.quantile + 1e-6)


@pytest.mark.parametrize("num_classes", [2, 10])
def test_new_pictures_have_their_label_in_the_set_as_often_as_promised(num_classes):
    """Over 400 calibrations, the mean coverage of new pictures is at least 95 %, and no more than ties explain."""
    kept = []
    for seed in range(400):
        probabilities, labels = some_answers(160, num_classes, seed)
        rule = calibrate(probabilities[:100], labels[:100])
        kept.append(label_sets(probabilities[100:], rule)[np.arange(60), labels[100:]].mean())
    assert 0.948 < np.mean(kept) < 0.97


def test_too_few_pictures_for_a_promise_give_all_labels():
    probabilities, labels = some_answers(18, 7, seed=0)
    assert label_sets(probabilities, calibrate(probabilities, labels)).all()
    probabilities, labels = some_answers(19, 7, seed=0)
    assert not label_sets(probabilities, calibrate(probabilities, labels)).all()
    with pytest.raises(DataError, match="coverage is 1"):
        calibrate(probabilities, labels, 1)


def test_what_the_sets_keep_is_counted_by_class():
    probabilities = np.array([[0.5, 0.3, 0.2], [0.1, 0.8, 0.1], [0.6, 0.3, 0.1]])
    found = measure_sets(probabilities, np.array([0, 0, 0]), LabelSets(0.55, 0.95, penalty=0.0, free_ranks=1))
    # sets: {0, 1} as 0.5 are before 1; {1}; {0} as 0.6 are before 1
    assert (found.n, found.coverage, found.size) == (3, pytest.approx(2 / 3), pytest.approx(4 / 3))
    assert found.per_class[0].n == 3 and found.per_class[0].coverage == pytest.approx(2 / 3)
    assert (found.per_class[1].n, found.per_class[1].coverage, found.per_class[1].size) == (0, None, None)
    assert 0 < found.low < found.coverage < found.high < 1
