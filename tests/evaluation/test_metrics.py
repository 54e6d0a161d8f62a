import itertools
import subprocess
import sys

import numpy as np
import pytest
from sklearn import metrics as sk

from keensight.errors import DataError
from keensight.evaluation.metrics import (
    accuracy_interval,
    confusion_counts,
    metrics,
    most_confident_mistakes,
    nearest_mistakes,
    roc_auc,
    telling_mistakes,
)
from keensight.values import Split


def random_case(seed, absent=False):
    """Probabilities on a coarse grid, so that ties are common, over 2 to 7 classes that all occur (or not)."""
    rng = np.random.default_rng(seed)
    K = int(rng.integers(2, 8))
    labels = np.concatenate([np.arange(K), rng.integers(0, K, int(rng.integers(5, 120)))])
    if absent:
        labels = labels[labels != K - 1]
    scores = (
        rng.integers(0, 6, (len(labels), K)) + 1e-3 + 3.0 * (rng.random((len(labels), 1)) < 0.5) * np.eye(K)[labels]
    )
    return scores / scores.sum(axis=1, keepdims=True), labels, tuple(f"class {k}" for k in range(K))


@pytest.mark.parametrize("seed", range(30))
def test_agrees_with_scikit_learn(seed):
    probabilities, labels, names = random_case(seed)
    found, called = metrics(probabilities, labels, names), probabilities.argmax(axis=1)
    assert found.accuracy == pytest.approx(sk.accuracy_score(labels, called))
    assert found.balanced_accuracy == pytest.approx(sk.balanced_accuracy_score(labels, called))
    assert found.confusion == tuple(map(tuple, sk.confusion_matrix(labels, called, labels=range(len(names))).tolist()))
    table = sk.precision_recall_fscore_support(labels, called, labels=range(len(names)), zero_division=0)
    mine = [(each.precision, each.recall, each.f1, each.n) for each in found.per_class]
    np.testing.assert_allclose(mine, np.array(table).T, atol=1e-12)
    scores = probabilities[:, 1] if len(names) == 2 else probabilities
    assert found.roc_auc == pytest.approx(sk.roc_auc_score(labels, scores, multi_class="ovr"), abs=1e-12)
    assert found.loss == pytest.approx(sk.log_loss(labels, probabilities), rel=1e-12)
    assert found.n == len(labels)


def test_auc_of_two_classes_is_the_share_of_pairs_in_the_right_order():
    rng = np.random.default_rng(3)
    labels, score = rng.integers(0, 2, 60), rng.integers(0, 9, 60) / 10
    pairs = list(itertools.product(score[labels == 1], score[labels == 0]))
    wins = np.mean([1.0 if a > b else 0.5 if a == b else 0.0 for a, b in pairs])
    assert roc_auc(np.stack([1 - score, score], axis=1), labels) == pytest.approx(wins, abs=1e-12)


def test_an_absent_class_leaves_auc_undefined_and_balanced_accuracy_to_the_rest():
    probabilities, labels, names = random_case(1, absent=True)
    found = metrics(probabilities, labels, names)
    assert found.roc_auc is None
    recalls = [(probabilities[labels == k].argmax(axis=1) == k).mean() for k in np.unique(labels)]
    assert found.balanced_accuracy == pytest.approx(np.mean(recalls))
    assert found.per_class[-1].n == 0 and found.per_class[-1].recall == 0


# Published to four places for 8 of 10; the rest by the quadratic that Wilson (1927) solves.
def test_interval_against_published_value():
    assert accuracy_interval(8, 10) == pytest.approx((0.4902, 0.9433), abs=5e-5)


@pytest.mark.parametrize(("correct", "n"), [(0, 1), (1, 1), (0, 10), (10, 10), (3, 7), (9_786, 10_000), (1, 60_000)])
def test_interval_ends_solve_wilsons_equation(correct, n):
    low, high = accuracy_interval(correct, n)
    assert 0 <= low <= correct / n <= high <= 1
    roots = np.roots([1 + 1.959964**2 / n, -(2 * correct / n + 1.959964**2 / n), (correct / n) ** 2])
    np.testing.assert_allclose([low, high], np.sort(roots.real), atol=1e-7)


@pytest.mark.parametrize(("correct", "n"), [(0, 0), (3, 2), (-1, 5)])
def test_interval_refuses_the_impossible(correct, n):
    with pytest.raises(DataError, match="at least one picture"):
        accuracy_interval(correct, n)


def test_loss_stays_finite_where_a_probability_is_zero():
    found = metrics(np.array([[1.0, 0.0], [1.0, 0.0]], dtype=np.float32), np.array([0, 1]), ("a", "b"))
    assert found.loss == pytest.approx(-np.log(1e-12) / 2)
    assert found.brier == pytest.approx(1.0)  # 0 for the first picture, 2 for the second


def test_float32_probabilities_give_the_same_numbers_as_float64():
    probabilities, labels, names = random_case(5)
    single = probabilities.astype(np.float32)
    assert metrics(single, labels, names) == metrics(single.astype(np.float64), labels, names)


def test_abstaining_counts_pictures_at_the_threshold_as_answered():
    probabilities = np.array([[0.75, 0.25], [0.5, 0.5], [0.25, 0.75], [0.375, 0.625]])
    found = metrics(probabilities, np.array([0, 0, 0, 1]), ("a", "b"), abstain_below=0.75)
    assert (found.coverage, found.accuracy_answered) == (0.5, 0.5)
    assert metrics(probabilities, np.array([0, 0, 0, 1]), ("a", "b")).coverage == 1
    nobody = metrics(probabilities, np.array([0, 0, 0, 1]), ("a", "b"), abstain_below=0.9)
    assert (nobody.coverage, nobody.accuracy_answered) == (0, None)


def test_confusion_counts_like_a_loop():
    rng = np.random.default_rng(0)
    called, labels = rng.integers(0, 4, 200), rng.integers(0, 4, 200)
    expected = np.zeros((4, 4), int)
    for label, call in zip(labels, called, strict=True):
        expected[label, call] += 1
    np.testing.assert_array_equal(confusion_counts(called, labels, 4), expected)


@pytest.mark.parametrize(
    ("probabilities", "labels", "words"),
    [
        (np.ones((0, 2)), [], "no pictures"),
        (np.full((2, 3), 1 / 3), [0, 1], "the shape must be"),
        (np.full((2, 2), 0.5), [0, 2], "indices into the class names"),
        (np.array([[np.nan, 0.5]]), [0], "not numbers"),
    ],
)
def test_bad_input_is_explained(probabilities, labels, words):
    with pytest.raises(DataError, match=f"(?i){words}"):
        metrics(probabilities, np.array(labels, dtype=np.int64), ("a", "b"))


def test_most_confident_mistakes_are_the_wrong_ones_surest_first():
    rng = np.random.default_rng(7)
    probabilities = rng.dirichlet(np.ones(4), 50)
    labels, rows = rng.integers(0, 4, 50), rng.permutation(500)[:50]
    split = Split(np.zeros((500, 1, 1, 1), np.uint8), rows, labels, tuple(f"picture {i}" for i in range(50)))
    expected = sorted(
        ((-max(p), i) for i, p in enumerate(probabilities.tolist()) if p.index(max(p)) != labels[i]),
    )
    found = most_confident_mistakes(probabilities, split, "abcd", most=10)
    assert [each.path for each in found] == [f"picture {i}" for _, i in expected[:10]]
    for mistake, (minus, i) in zip(found, expected, strict=False):
        assert mistake.row == rows[i] and mistake.probability == -minus
        assert mistake.label == "abcd"[labels[i]] and mistake.predicted == "abcd"[probabilities[i].argmax()]
    assert len(most_confident_mistakes(probabilities, split, "abcd", most=500)) == len(expected)


def guessed(n=50, seed=7):
    """Probabilities of four classes, and a split that they are mostly wrong about."""
    rng = np.random.default_rng(seed)
    labels, rows = rng.integers(0, 4, n), rng.permutation(500)[:n]
    split = Split(np.zeros((500, 1, 1, 1), np.uint8), rows, labels, tuple(f"picture {i}" for i in range(n)))
    return rng.dirichlet(np.ones(4), n), split


def test_nearest_mistakes_are_the_wrong_ones_with_the_smallest_gap_first():
    probabilities, split = guessed()
    gaps = sorted(
        (max(p) - p[label], i)
        for i, (p, label) in enumerate(zip(probabilities.tolist(), split.labels, strict=True))
        if p.index(max(p)) != label
    )
    found = nearest_mistakes(probabilities, split, "abcd", most=8)
    assert [each.path for each in found] == [f"picture {i}" for _, i in gaps[:8]]
    for mistake, (gap, i) in zip(found, gaps, strict=False):
        assert mistake.row == split.rows[i]
        assert mistake.label_probability == probabilities[i, split.labels[i]]
        assert mistake.probability - mistake.label_probability == pytest.approx(gap)


@pytest.mark.parametrize("n", [1, 2, 3, 10, 50])
def test_telling_mistakes_are_each_told_once(n):
    probabilities, split = guessed(n)
    wrong = most_confident_mistakes(probabilities, split, "abcd", most=n)
    surest, nearest = telling_mistakes(probabilities, split, "abcd", most=12)
    assert surest == wrong[: min(12, (len(wrong) + 1) // 2)]
    assert not {each.path for each in surest} & {each.path for each in nearest}
    assert len(nearest) == min(6, len(wrong) - len(surest))
    all_by_gap = nearest_mistakes(probabilities, split, "abcd", most=n)
    assert list(nearest) == [each for each in all_by_gap if each not in surest][:6]


def test_a_perfect_classifier_has_no_mistakes():
    split = Split(np.zeros((3, 1, 1, 1), np.uint8), np.arange(3), np.array([0, 1, 0]), ("a", "b", "c"))
    assert most_confident_mistakes(np.eye(2)[[0, 1, 0]], split, ("x", "y")) == ()
    assert telling_mistakes(np.eye(2)[[0, 1, 0]], split, ("x", "y")) == ((), ())


def test_measuring_loads_neither_matplotlib_nor_scikit_learn_nor_torch():
    heavy = "('matplotlib', 'sklearn', 'scipy', 'torch')"
    script = f"import sys, keensight.evaluation.metrics; print([name for name in {heavy} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "[]\n"
