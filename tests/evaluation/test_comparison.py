import itertools
from math import comb

import numpy as np
import pytest

from keensight.evaluation.comparison import (
    decision_values,
    errors,
    hinge_loss,
    mcnemar,
    shared_edges,
    telling_eps,
)
from keensight.evaluation.metrics import gaps, mistakes
from keensight.values import AttackResult, Threat


def tossed(only_first, only_second):
    """McNemar's exact p-value by its definition: every outcome of the tosses that is no likelier than this one."""
    n = only_first + only_second
    chances = [comb(n, k) / 2**n for k in range(n + 1)]
    return min(1.0, sum(chance for chance in chances if chance <= chances[only_first] * (1 + 1e-9)))


@pytest.mark.parametrize(("only_first", "only_second"), [(0, 0), (1, 0), (5, 0), (0, 6), (7, 1), (12, 12), (30, 15)])
def test_mcnemar_is_the_binomial_tail(only_first, only_second):
    both, neither = 20, 9
    first = np.array([True] * (both + only_first) + [False] * (only_second + neither))
    second = np.array([True] * both + [False] * only_first + [True] * only_second + [False] * neither)
    found = mcnemar(first, second)
    assert found[:2] == (only_first, only_second)
    assert found[2] == pytest.approx(tossed(only_first, only_second))
    assert mcnemar(second, first) == (only_second, only_first, pytest.approx(found[2]))


def test_mcnemar_of_a_textbook_pair():
    """Ten to two: 2 * (1 + 12 + 66) / 4096, by hand."""
    first = np.array([True] * 10 + [False] * 2)
    assert mcnemar(first, ~first)[2] == pytest.approx(158 / 4096)


def test_gaps_by_a_naive_loop():
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(40, 5)).astype(np.float32), rng.integers(0, 5, 40)
    before = logits.copy()
    for row, label, gap in zip(logits, labels, gaps(logits, labels), strict=True):
        assert gap == pytest.approx(row[label] - max(z for k, z in enumerate(row) if k != label))
    np.testing.assert_array_equal(logits, before)


def test_two_classes_have_a_signed_decision_value():
    logits, labels = np.array([[0.5, 2.0], [3.0, 1.0], [1.0, 4.0]]), np.array([1, 1, 0])
    np.testing.assert_allclose(decision_values(logits, labels), [1.5, -2.0, 3.0])
    np.testing.assert_allclose(gaps(logits, labels), [1.5, -2.0, -3.0])  # y f(x)
    three = np.column_stack([logits, [9.0, 0.0, 0.0]])
    np.testing.assert_allclose(decision_values(three, labels), [-7.0, -2.0, -3.0])


def test_mistakes_come_nearest_first_and_are_what_argmax_gets_wrong():
    rng = np.random.default_rng(1)
    logits, labels = rng.normal(size=(200, 3)), rng.integers(0, 3, 200)
    found = mistakes(logits, labels)
    assert sorted(found) == [i for i in range(200) if logits[i].argmax() != labels[i]]
    depths = [max(logits[i]) - logits[i][labels[i]] for i in found]
    assert depths == sorted(depths)
    counted = errors(logits, labels, 0.1)
    assert (counted.eps, counted.n, counted.wrong) == (0.1, 200, len(found))
    assert counted.median_gap == pytest.approx(sorted(depths)[len(depths) // 2], rel=0.1)
    assert counted.median_gap == pytest.approx(float(np.median(depths)))


def test_no_mistakes():
    logits, labels = np.eye(3), np.arange(3)
    assert len(mistakes(logits, labels)) == 0
    assert errors(logits, labels, 0.0).median_gap is None


def results(accuracies):
    return [AttackResult("FGSM", Threat("linf", eps), accuracy, 9) for eps, accuracy in accuracies.items()]


def test_the_telling_epsilon_is_where_bundles_differ_most():
    one = results({0.0: 0.2, 0.1: 0.9, 0.2: 0.1, 0.3: 0.0})
    other = results({0.0: 1.0, 0.1: 0.9, 0.2: 0.8, 0.3: 0.3})
    assert telling_eps([one, other]) == 0.2
    assert telling_eps([one, one]) == 0.3
    assert telling_eps([results({0.0: 1.0})] * 2) is None
    assert telling_eps([[], []]) is None


@pytest.mark.parametrize("values", [[[]], [[-3.0, -0.5], [4.0]], [[0.1, 9.0]], [[-7.0]], [[-1e-9, 50.0]], [[0.0]]])
def test_shared_edges_hold_everything_and_have_zero_among_them(values):
    arrays = [np.array(each, float) for each in values]
    edges = shared_edges(arrays, 40)
    assert len(edges) == 41
    assert np.abs(edges).min() == 0
    np.testing.assert_allclose(np.diff(edges), np.diff(edges)[0])
    together = np.concatenate(arrays)
    assert np.histogram(together, edges)[0].sum() == len(together)


def test_hinge_losses_by_hand():
    """Eps 0.2 and weights (3, -4, 0.5): the attacker takes 0.2 * 7.5 = 1.5 off every margin."""
    margins = np.array([-1.0, 0.0, 1.0, 2.0, 2.5, 3.0])
    np.testing.assert_allclose(hinge_loss(margins), [2.0, 1.0, 0.0, 0.0, 0.0, 0.0])
    np.testing.assert_allclose(hinge_loss(margins, 0.2, 7.5), [3.5, 2.5, 1.5, 0.5, 0.0, 0.0])


def test_robust_hinge_is_the_worst_corner_of_the_box():
    """Of all corners of the box around a picture, none has a larger hinge loss, and one has this."""
    weights, picture, eps = np.array([0.7, -1.2, 0.4, 2.0]), np.array([0.1, 0.9, 0.3, 0.4]), 0.15
    corners = picture + eps * np.array(list(itertools.product([-1, 1], repeat=4)))
    worst = max(max(0.0, 1 - corner @ weights) for corner in corners)
    assert hinge_loss(np.array([picture @ weights]), eps, np.abs(weights).sum())[0] == pytest.approx(worst)
