import numpy as np
import pytest

from keensight.training.schedule import SCHEDULES

PROGRESS = np.linspace(0, 1, 101)
SHAPES = {
    "one-cycle": np.interp(PROGRESS, [0, 0.2, 1], [0.04, 1, 0]),
    "cosine": np.cos(np.pi * PROGRESS / 2) ** 2,
    "linear": np.interp(PROGRESS, [0, 1], [1, 0]),
    "constant": np.ones(101),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_rate_over_a_run(name):
    rates = [SCHEDULES[name](p) for p in PROGRESS]
    assert rates == pytest.approx(SHAPES[name])
    assert min(rates) >= 0 and max(rates) == 1
