import numpy as np
import torch
from scipy import stats

from keensight.training.draws import Draws, seed_of

MASK = (1 << 64) - 1


def splitmix(state):
    """The reference, in whole numbers: Vigna's splitmix64.c."""
    bits = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 & MASK
    bits = (bits ^ (bits >> 27)) * 0x94D049BB133111EB & MASK
    return bits ^ (bits >> 31)


def test_it_is_splitmix64():
    golden, seed, members = 0x9E3779B97F4A7C15, 2**63 + 11, np.array([0, 5, 2**31])
    draws = Draws(seed, members)
    for k in (1, 2, 3):
        expected = [splitmix(splitmix((int(m) * golden + seed) & MASK) + golden * k & MASK) >> 40 for m in members]
        assert (draws.uniform() * 2**24).tolist() == expected


def test_draws_are_even_and_independent():
    draws = Draws(3, np.arange(100_000))
    first, second, tenths = draws.uniform().numpy(), draws.uniform().numpy(), draws.below(10).numpy()
    assert first.min() >= 0 and first.max() < 1
    assert stats.kstest(first, "uniform").pvalue > 0.001 and stats.kstest(second, "uniform").pvalue > 0.001
    assert stats.chisquare(np.bincount(tenths, minlength=10)).pvalue > 0.001 and tenths.max() == 9
    for other in (second, tenths, np.roll(first, 1), Draws(4, np.arange(100_000)).uniform().numpy()):
        assert abs(np.corrcoef(first, other)[0, 1]) < 0.015


def test_a_seed_depends_on_every_number_and_their_order():
    assert len({seed_of(), seed_of(0), seed_of(1, 2), seed_of(2, 1), seed_of(1, 2, 0)}) == 5
    assert 0 <= seed_of(2**32, 7) < 2**63
    assert torch.equal(Draws(seed_of(1), np.arange(9)).below(2**31), Draws(seed_of(1), np.arange(9)).below(2**31))
