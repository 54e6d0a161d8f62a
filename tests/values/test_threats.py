import numpy as np
import pytest

from keensight.errors import KeensightError, RecipeError
from keensight.values import Outcome, Threat, worst


def outcome(threat, *distances):
    distance_N = np.array(distances)
    return Outcome(threat, np.isinf(distance_N), distance_N)


def test_a_threat_checks_itself():
    with pytest.raises(RecipeError, match="pixels lie in"):
        Threat("linf", 1.5)
    with pytest.raises(RecipeError, match="norm is 'l1'; linf, l2, shift, rotation are accepted"):
        Threat("l1", 0.1)
    for eps in (-0.1, float("inf"), float("nan")):
        with pytest.raises(RecipeError, match="epsilon of"):
            Threat("l2", eps)
    with pytest.raises(RecipeError, match="-1 steps"):
        Threat("linf", 0.1, steps=-1)
    assert Threat("l2", 3.0).steps == 0  # a whole picture can move by more than 1


def test_the_worst_of_several_attacks_is_an_and():
    rng, threat = np.random.default_rng(0), Threat("linf", 0.1)
    found = [outcome(threat, *np.where(rng.random(50) < 0.7, np.inf, rng.random(50))) for _ in range(3)]
    together = worst(found)
    for i in range(50):
        assert together.survived_N[i] == all(each.survived_N[i] for each in found)
        assert together.distance_N[i] == min(each.distance_N[i] for each in found)
    assert together.accuracy == np.mean(together.survived_N) < min(each.accuracy for each in found)
    assert worst(found[:1]).accuracy == found[0].accuracy and together.threat == threat


def test_the_worst_of_nothing_or_of_different_threats_is_refused():
    one = outcome(Threat("linf", 0.1), 0.1, np.inf)
    for others in ([], [one, outcome(Threat("linf", 0.2), 0.1, np.inf)], [one, outcome(Threat("linf", 0.1), 0.1)]):
        with pytest.raises(KeensightError, match="The worst of these outcomes was asked for"):
            worst(others)
