"""Metrics of probabilities on labelled pictures: every number that a report quotes, in NumPy alone.

scikit-learn has all of these, and tests compare with it; importing it would make `keensight evaluate`
two seconds slower. Shape letters: N pictures, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from keensight.errors import DataError
from keensight.evaluation.calibration import expected_calibration_error, reliability_bins
from keensight.values import ClassMetrics, FloatArray, IntArray, Metrics, Mistake, Split

Z_95 = 1.959963984540054  # the normal distribution's 97.5 % point
SMALLEST_PROBABILITY = 1e-12  # keeps the loss finite where a probability has underflowed to 0


def metrics(
    probabilities_NK: FloatArray,
    labels_N: IntArray,
    class_names: Sequence[str],
    abstain_below: float = 0.0,
    odd_N: NDArray[np.bool_] | None = None,
) -> Metrics:
    """Measure `probabilities_NK` (rows sum to 1) against `labels_N` (class indices).

    A picture is answered where its top probability is at least `abstain_below`, and it is not `odd_N`: refused as none
    of the classes. Accuracy and loss are those of all pictures, answered or not. All is computed in float64.
    Raises DataError where there are no pictures, the shapes disagree, or a probability is not a number.

    >>> found = metrics(np.array([[0.9, 0.1], [0.3, 0.7], [0.6, 0.4]]), np.array([0, 1, 1]), ("cat", "dog"))
    >>> round(found.accuracy, 3), found.confusion
    (0.667, ((1, 0), (1, 1)))
    """
    probabilities_NK = _checked(probabilities_NK, labels_N, class_names)
    n = len(labels_N)
    called_N = probabilities_NK.argmax(axis=1)
    right_N = called_N == labels_N
    low, high = accuracy_interval(int(right_N.sum()), n)
    confusion_KK = confusion_counts(called_N, labels_N, len(class_names))
    truth_NK = np.eye(len(class_names))[labels_N]
    loss_N = -np.log(np.maximum(probabilities_NK[np.arange(n), labels_N], SMALLEST_PROBABILITY))
    odd_N = np.zeros(n, bool) if odd_N is None else odd_N
    answered_N = (probabilities_NK.max(axis=1) >= abstain_below) & ~odd_N
    support_K = confusion_KK.sum(axis=1)
    per_class = _per_class(confusion_KK, class_names)
    return Metrics(
        accuracy=float(right_N.mean()),
        accuracy_low=low,
        accuracy_high=high,
        loss=float(loss_N.mean()),
        n=n,
        balanced_accuracy=float(np.mean([each.recall for each in per_class if each.n])),
        roc_auc=roc_auc(probabilities_NK, labels_N) if (support_K > 0).all() and len(support_K) > 1 else None,
        ece=expected_calibration_error(probabilities_NK, labels_N),
        brier=float(((probabilities_NK - truth_NK) ** 2).sum(axis=1).mean()),
        coverage=float(answered_N.mean()),
        accuracy_answered=float(right_N[answered_N].mean()) if answered_N.any() else None,
        per_class=per_class,
        confusion=tuple(tuple(int(count) for count in row) for row in confusion_KK),
        reliability=reliability_bins(probabilities_NK, labels_N),
        none_of_these=float(odd_N.mean()),
    )


def accuracy_interval(correct: int, n: int) -> tuple[float, float]:
    """Return the 95 % score interval for an accuracy of `correct` in `n` (Wilson 1927), both ends in [0, 1].

    Raises DataError where `n` is not positive or `correct` is not in 0..n.

    >>> low, high = accuracy_interval(8, 10)
    >>> round(low, 4), round(high, 4)
    (0.4902, 0.9433)
    """
    if not 0 <= correct <= n or n == 0:
        raise DataError(
            f"There is no interval for {correct} right of {n}. It needs at least one picture, and no more right "
            "answers than pictures; check that the split is not empty."
        )
    share, z2 = correct / n, Z_95**2
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z_95 / (1 + z2 / n) * float(np.sqrt(share * (1 - share) / n + z2 / (4 * n * n)))
    # Both ends are set exactly at the edges, where rounding would leave 0.9999999999999999 for "all right".
    return (0.0 if correct == 0 else middle - half), (1.0 if correct == n else middle + half)


def confusion_counts(called_N: IntArray, labels_N: IntArray, num_classes: int) -> IntArray:
    """Return the K x K matrix whose entry [i, j] counts pictures of class i that were predicted as class j."""
    flat = np.bincount(labels_N * num_classes + called_N, minlength=num_classes**2)
    return flat.reshape(num_classes, num_classes).astype(np.int64)


def roc_auc(probabilities_NK: FloatArray, labels_N: IntArray) -> float:
    """Return the area under the ROC curve: of class 1 for two classes, else the mean over one-vs-rest.

    It is the chance that a picture of the class gets a higher probability for it than a picture of another class, ties
    counting half (Hanley & McNeil 1982). Each class needs at least one picture, and one picture of another class.
    """
    num_classes = probabilities_NK.shape[1]
    classes = [1] if num_classes == 2 else range(num_classes)
    return float(np.mean([_binary_auc(probabilities_NK[:, k], labels_N == k) for k in classes]))


def gaps(scores_NK: FloatArray, labels_N: IntArray) -> NDArray[np.float64]:
    """Return by how much each label's logit or probability exceeds the largest other, float64 N: below 0 for a mistake.

    For the logits of two classes, that is y f(x), with f(x) = z1 - z0 and y = -1 or +1.

    >>> gaps(np.array([[1.0, 3.0, 2.5], [1.0, 3.0, 2.5]]), np.array([1, 0]))
    array([ 0.5, -2. ])
    """
    scores_NK = np.array(scores_NK, np.float64)
    everyone = np.arange(len(labels_N))
    of_label_N = scores_NK[everyone, labels_N]
    scores_NK[everyone, labels_N] = -np.inf
    return np.asarray(of_label_N - scores_NK.max(axis=1))


def mistakes(scores_NK: FloatArray, labels_N: IntArray) -> IntArray:
    """Return the indices of the mistakes, those nearest to the decision boundary (of the smallest gap) first.

    >>> mistakes(np.array([[0.9, 0.1], [0.6, 0.4], [0.3, 0.7]]), np.array([1, 1, 1]))
    array([1, 0])
    """
    wrong_M = np.flatnonzero(scores_NK.argmax(axis=1) != labels_N)
    return wrong_M[np.argsort(-gaps(scores_NK[wrong_M], labels_N[wrong_M]), kind="stable")]


def most_confident_mistakes(
    probabilities_NK: FloatArray, split: Split, class_names: Sequence[str], most: int = 24
) -> tuple[Mistake, ...]:
    """Return up to `most` misclassified pictures of `split`, surest first, ties in the split's order.

    `row` of each is its row in ``split.images``. Raises DataError as `metrics` does.
    """
    probabilities_NK = _checked(probabilities_NK, split.labels, class_names)
    called_N, top_N = probabilities_NK.argmax(axis=1), probabilities_NK.max(axis=1)
    wrong_M = np.flatnonzero(called_N != split.labels)
    return _described(wrong_M[np.argsort(-top_N[wrong_M], kind="stable")][:most], probabilities_NK, split, class_names)


def nearest_mistakes(
    probabilities_NK: FloatArray, split: Split, class_names: Sequence[str], most: int = 12
) -> tuple[Mistake, ...]:
    """Return up to `most` misclassified pictures of `split`, those nearest to the decision boundary first.

    Near means a small gap between the probabilities of the predicted class and of the label. Ties stay in the split's
    order; `row` of each is its row in ``split.images``. Raises DataError as `metrics` does.
    """
    probabilities_NK = _checked(probabilities_NK, split.labels, class_names)
    return _described(mistakes(probabilities_NK, split.labels)[:most], probabilities_NK, split, class_names)


def telling_mistakes(
    probabilities_NK: FloatArray, split: Split, class_names: Sequence[str], most: int = 24
) -> tuple[tuple[Mistake, ...], tuple[Mistake, ...]]:
    """Return the surest mistakes (up to `most`) and the nearest to the boundary (up to half as many), each once.

    If there are few mistakes, half of them count as the surest. Raises DataError as `metrics` does.
    """
    nearest = nearest_mistakes(probabilities_NK, split, class_names, most=len(split))
    surest = most_confident_mistakes(probabilities_NK, split, class_names, min(most, (len(nearest) + 1) // 2))
    taken = {each.row for each in surest}
    return surest, tuple(each for each in nearest if each.row not in taken)[: most // 2]


def _described(
    chosen: IntArray, probabilities_NK: FloatArray, split: Split, class_names: Sequence[str]
) -> tuple[Mistake, ...]:
    called_N = probabilities_NK.argmax(axis=1)
    return tuple(
        Mistake(
            path=split.paths[i],
            label=class_names[split.labels[i]],
            predicted=class_names[called_N[i]],
            probability=float(probabilities_NK[i, called_N[i]]),
            label_probability=float(probabilities_NK[i, split.labels[i]]),
            row=int(split.rows[i]),
        )
        for i in chosen
    )


def _checked(probabilities_NK: FloatArray, labels_N: IntArray, class_names: Sequence[str]) -> NDArray[np.float64]:
    expected = (len(labels_N), len(class_names))
    if not len(labels_N):
        raise DataError("There are no pictures to measure on. Metrics need at least one; check that the split has any.")
    if probabilities_NK.shape != expected:
        raise DataError(
            f"The probabilities have shape {probabilities_NK.shape} for {expected[0]:,} pictures of {expected[1]:,} "
            f"classes. The shape must be {expected}; check that the classifier was trained on these classes."
        )
    if labels_N.min() < 0 or labels_N.max() >= len(class_names):
        raise DataError(
            f"Labels run from {labels_N.min()} to {labels_N.max()}, but there are {len(class_names)} classes. "
            "Labels must be indices into the class names; check that both come from the same dataset."
        )
    if not np.isfinite(probabilities_NK).all():
        raise DataError(
            "The classifier gave probabilities that are not numbers. They must lie in [0, 1]; "
            "check its weights, and the learning rate that it was trained with."
        )
    return probabilities_NK.astype(np.float64)


def _per_class(confusion_KK: IntArray, class_names: Sequence[str]) -> tuple[ClassMetrics, ...]:
    right_K = np.diag(confusion_KK)
    called_K, support_K = confusion_KK.sum(axis=0), confusion_KK.sum(axis=1)
    precision_K = right_K / np.maximum(called_K, 1)
    recall_K = right_K / np.maximum(support_K, 1)
    f1_K = 2 * right_K / np.maximum(called_K + support_K, 1)
    return tuple(
        ClassMetrics(name, float(precision_K[k]), float(recall_K[k]), float(f1_K[k]), int(support_K[k]))
        for k, name in enumerate(class_names)
    )


def _binary_auc(scores_N: FloatArray, positive_N: NDArray[np.bool_]) -> float:
    _, group_N, sizes = np.unique(scores_N, return_inverse=True, return_counts=True)
    last_rank = np.cumsum(sizes)
    ranks_N = (last_rank - (sizes - 1) / 2)[group_N]  # tied scores share the mean of their ranks
    num_positive = int(positive_N.sum())
    num_negative = len(positive_N) - num_positive
    wins = ranks_N[positive_N].sum() - num_positive * (num_positive + 1) / 2
    return float(wins / (num_positive * num_negative))
