import numpy as np
import pytest

from keensight.training.schedule import SCHEDULES


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_rate_is_a_fraction(name):
    rates = [SCHEDULES[name](p) for p in np.linspace(0, 1, 101)]
    assert min(rates) >= 0 and max(rates) == 1


def test_their_shapes():
    one_cycle, cosine = SCHEDULES["one-cycle"], SCHEDULES["cosine"]
    assert one_cycle(0.1) == pytest.approx(0.52) and one_cycle(0.2) == 1 and one_cycle(1) == 0
    assert cosine(0) == 1 and cosine(0.5) == pytest.approx(0.5) and cosine(1) == pytest.approx(0)
    assert [SCHEDULES["linear"](p) for p in (0, 0.25, 1)] == [1, 0.75, 0]
    assert SCHEDULES["constant"](0.7) == 1
