"""Random numbers without a generator: each is a hash of what it is for, so nothing has a state to keep or to share.

A picture's draws are the same wherever and with whatever others it is learnt: on one core, on several, on another
machine, or after a run was stopped and resumed. The hash is SplitMix64 (Steele, Lea and Flood, 2014, "Fast splittable
pseudorandom number generators"). Shape letter: N pictures.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from keensight.values import IntArray

GOLDEN = 0x9E3779B97F4A7C15
MASK = (1 << 64) - 1


class Draws:
    """The draws of some pictures: each call gives every picture its next number.

    `members` are the pictures' numbers in their split, and `seed` stands for all else: a run's seed and the epoch.

    >>> alone, both = Draws(7, np.array([5])), Draws(7, np.array([2, 5]))
    >>> alone.uniform()[0] == both.uniform()[1]
    tensor(True)
    """

    def __init__(self, seed: int, members: IntArray) -> None:
        self._keys_N = _mixed(np.asarray(members).astype(np.uint64) * np.uint64(GOLDEN) + np.uint64(seed & MASK))
        self._given = 0

    def uniform(self) -> torch.Tensor:
        """Return numbers in [0, 1), float32 N."""
        return torch.from_numpy((self._bits() >> np.uint64(40)).astype(np.float32) * np.float32(2**-24))

    def within(self, strength: float) -> torch.Tensor:
        """Return numbers from -strength to strength, float32 N."""
        return (self.uniform() * 2 - 1) * strength

    def below(self, n: int) -> torch.Tensor:
        """Return whole numbers from 0 to n - 1, int64 N. `n` is at most 2 ** 31."""
        return torch.from_numpy(((self._bits() >> np.uint64(32)) * np.uint64(n) >> np.uint64(32)).astype(np.int64))

    def _bits(self) -> NDArray[np.uint64]:
        self._given += 1
        return _mixed(self._keys_N + np.uint64(GOLDEN * self._given & MASK))


def seed_of(*numbers: int) -> int:
    """Return a seed, at most 63 bits, that stands for these numbers in this order.

    >>> len({seed_of(a, b) for a in range(100) for b in range(100)})
    10000
    """
    found = np.zeros(1, np.uint64)
    for number in numbers:
        found = _mixed(found + np.uint64((number + 1) * GOLDEN & MASK))
    return int(found[0] >> np.uint64(1))


def _mixed(bits: NDArray[np.uint64]) -> NDArray[np.uint64]:
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))
