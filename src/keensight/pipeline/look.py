"""A first look at pictures, without torch: whether a pretrained backbone suits them, and the size to try first."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from keensight.data.cache import SMALL_PX, TINY_PX, choose_preprocessing, peek
from keensight.models.packages import is_installed
from keensight.values import Dataset, Preprocessing, Recipe

FEW = 3_000  # small pictures: with more, a network from scratch learns from them what a backbone knows
FIRST = "efficientnet-lite0"
SIDE_PX = 224  # at which it learnt


@dataclass(frozen=True, slots=True)
class Look:
    """What pictures are like: how many, their typical shorter side in pixels, and whether they are few and all grey."""

    n: int
    side: int
    grey: bool

    @property
    def small(self) -> bool:
        """Whether they are at most as large as those that a network from scratch takes as they are."""
        return self.side <= SMALL_PX


def look_at(dataset: Dataset, own: Recipe) -> Look:
    """Return what pictures are like. Raises DataError if none can be read."""
    n = len(dataset.samples)
    # where all pictures are grey, each header is read: only few pictures are looked at so, as it decides for no more
    return Look(n, side_of(dataset), n <= FEW and choose_preprocessing(dataset, own).channels == 1)


def side_of(dataset: Dataset) -> int:
    """Return the typical shorter side of pictures, in pixels."""
    return int(np.median([min(header.height, header.width) for header in peek(dataset)]))


def suits_a_backbone(look: Look, own: Recipe) -> bool:
    """Whether a pretrained backbone sees enough of such pictures, and they are too few to learn from alone."""
    asked_px = own.data.size or look.side
    return min(look.side, asked_px) >= TINY_PX and not (look.small and (look.grey or look.n > FEW))


def first_size(dataset: Dataset) -> Preprocessing:
    """Return the size and the channels that `train` without a recipe begins with."""
    own = Recipe()
    if suits_a_backbone(look_at(dataset, own), own) and is_installed(FIRST):
        own = own.having(size=SIDE_PX)
    return choose_preprocessing(dataset, own)
