from collections import Counter

import numpy as np
import pytest
from sklearn.model_selection import StratifiedGroupKFold

from keensight.errors import DataError
from keensight.training.folds import folds

LABELS = np.random.default_rng(0).choice(4, 203, p=[0.5, 0.3, 0.15, 0.05])


def fractions(labels, some):
    """Return the largest distance of a class's share of a fold from its share of all."""
    whole = Counter(labels.tolist())
    return max(abs(Counter(labels[held].tolist())[k] / n - 1 / len(some)) for _, held in some for k, n in whole.items())


@pytest.mark.parametrize("groups", [None, np.arange(203) // 3, np.full(203, 7) * (np.arange(203) % 50)])
@pytest.mark.parametrize("k", [2, 5, 10])
def test_every_row_is_held_out_once_and_groups_stay_whole(groups, k):
    some = list(folds(LABELS, groups, k, seed=1))
    assert len(some) == k
    assert sorted(np.concatenate([held for _, held in some]).tolist()) == list(range(203))
    for train, held in some:
        assert sorted([*train, *held]) == list(range(203))
        if groups is not None:
            assert not set(groups[train]) & set(groups[held])


def test_each_class_is_spread_evenly():
    for _, held in folds(LABELS, k=5):
        for label, n in Counter(LABELS.tolist()).items():
            assert n // 5 <= (LABELS[held] == label).sum() <= -(-n // 5)


def test_folds_are_as_stratified_as_those_of_scikit_learn():
    draw = np.random.default_rng(2)
    groups = draw.integers(0, 60, 203)
    theirs = list(StratifiedGroupKFold(5, shuffle=True, random_state=0).split(LABELS, LABELS, groups))
    assert fractions(LABELS, list(folds(LABELS, groups))) <= fractions(LABELS, theirs) + 0.02


def test_a_seed_draws_the_same_folds_and_another_draws_others():
    def held(seed):
        return [held.tolist() for _, held in folds(LABELS, seed=seed)]

    assert held(3) == held(3) != held(4)


def test_few_groups_give_fewer_folds_and_none_is_empty():
    labels, groups = np.array([0, 0, 0, 1, 1, 1]), np.array([9, 9, 4, 4, 6, 6])
    some = list(folds(labels, groups, k=5))
    assert [len(held) for _, held in some] == [2, 2, 2]
    assert len(list(folds(np.array([0, 1, 0]), k=5))) == 3


@pytest.mark.parametrize(("n", "groups", "k"), [(1, None, 5), (4, [2, 2, 2, 2], 5), (4, None, 1), (0, None, 5)])
def test_what_cannot_be_divided_is_refused(n, groups, k):
    with pytest.raises(DataError, match="two groups or more"):
        list(folds(np.zeros(n, np.int64), None if groups is None else np.array(groups), k))
