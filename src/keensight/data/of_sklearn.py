"""Pictures that scikit-learn brings, read from its folder: its import takes a second, and they need none of it."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image

from keensight.errors import DataError
from keensight.values import FloatArray, IntArray, Uint8Array


@cache
def photographs() -> tuple[Uint8Array, ...]:
    """Return two photographs, uint8 HWC: a temple in China, and a flower."""
    made = []
    for name in ("china.jpg", "flower.jpg"):
        with Image.open(_folder() / "images" / name) as image:
            made.append(np.asarray(image))
    return tuple(made)


@cache
def handwritten_digits() -> tuple[FloatArray, IntArray]:
    """Return 1,797 digits NHW of 8x8 pixels from 0 to 16, and which they are, N."""
    rows = np.loadtxt(digits_file(), delimiter=",")
    return rows[:, :-1].reshape(-1, 8, 8), rows[:, -1].astype(np.int64)


def digits_file() -> Path:
    """Return where the digits are."""
    return _folder() / "data" / "digits.csv.gz"


def _folder() -> Path:
    found = find_spec("sklearn")  # imports nothing
    if found is None or not found.submodule_search_locations:
        raise DataError(
            'The digits come with scikit-learn, which is not installed. Run pip install "keensight[all]", or '
            "give pictures of your own."
        )
    return Path(found.submodule_search_locations[0]) / "datasets"
