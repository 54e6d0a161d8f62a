from collections import Counter

import numpy as np
import pytest

from keensight.data.dealing import deal

HALVES = {"val": 0.25, "test": 0.25}


def held(units, homes, label):
    return Counter(home for unit, home in zip(units, homes, strict=True) if label in unit)


def test_a_class_of_three_units_is_in_every_split():
    units = [Counter({0: 5}) for _ in range(20)] + [Counter({0: 2, 1: 1}) for _ in range(3)]
    assert held(units, deal(units, {"val": 0.15, "test": 0.15}), 1) == {"train": 1, "val": 1, "test": 1}


def test_two_rare_classes_that_share_units_are_both_in_every_split():
    units = [Counter({0: 9}) for _ in range(12)] + [Counter({0: 1, 1: 1, 2: 3}) for _ in range(3)]
    units += [Counter({0: 4, 2: 1}) for _ in range(4)]
    homes = deal(units, {"val": 0.15, "test": 0.15})
    assert len(held(units, homes, 1)) == len(held(units, homes, 2)) == 3


@pytest.mark.parametrize("seed", range(5))
def test_shares_are_about_those_asked_for(seed):
    draw = np.random.default_rng(seed)
    units = [Counter({k: int(n) for k, n in enumerate(draw.poisson(3, 4)) if n} or {0: 1}) for _ in range(80)]
    homes = deal(units, HALVES)
    total = sum(units, Counter())
    for name, part in (HALVES | {"train": 0.5}).items():
        here = sum((unit for unit, home in zip(units, homes, strict=True) if home == name), Counter())
        for label, n in total.items():
            assert here[label] / n == pytest.approx(part, abs=0.1)
    assert homes == deal(units, HALVES)


def test_what_cannot_be_spared_stays():
    units = [Counter({0: 5, 1: 1}), Counter({0: 5})]
    assert len(held(units, deal(units, HALVES), 1)) == 1
