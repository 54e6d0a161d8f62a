"""What every test has: a cache of its own, and the real pictures where they are."""

import itertools
import os
import runpy
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import keensight

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is loaded: two workers share two cores

BRIEF = runpy.run_path(str(Path(__file__).with_name("brief.py")))
SHARED = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep tests out of the user's cache and away from the user's data."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("KEENSIGHT_CACHE", str(folder))
    monkeypatch.delenv("KEENSIGHT_DATA", raising=False)
    return folder


@pytest.fixture
def ticking(monkeypatch: pytest.MonkeyPatch) -> float:
    """A clock that goes on only when it is looked at, by as much as this, so that no test depends on the machine."""
    tick_s = 0.01
    looks = itertools.count()
    monkeypatch.setattr(time, "perf_counter", lambda: tick_s * next(looks))
    return tick_s


@pytest.fixture
def shared() -> Path:
    """The folder of real pictures; tests that need it are skipped where it is missing."""
    if not SHARED.is_dir():
        pytest.skip(f"real pictures are missing: {SHARED} does not exist")
    return SHARED


@pytest.fixture(scope="module")
def brief() -> Iterator[None]:
    """Leave out of runs what takes long, and has tests of its own: see tests/brief.py."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in BRIEF["CHANGES"].items():
            patch.setattr(name, value)
        yield


@pytest.fixture(scope="module")
def brief_with_oddness() -> Iterator[None]:
    """Leave out of runs what takes long, but learn all of oddness."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in BRIEF["WITH_ODDNESS"].items():
            patch.setattr(name, value)
        yield


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory):
    """A run on the digits, with everything that `keensight.train` writes."""
    patch = pytest.MonkeyPatch()
    patch.setenv("KEENSIGHT_CACHE", str(tmp_path_factory.mktemp("cache")))
    run = keensight.train("digits", out=tmp_path_factory.mktemp("runs") / "digits", set=["epochs=8"])
    patch.undo()
    return run


@pytest.fixture(scope="session")
def draw() -> Callable[[Path, Sequence[str], int, int], Path]:
    """Write pictures of noise, lighter in the third of their label, into a folder of class folders; return it."""

    def draw(folder: Path, labels: Sequence[str], count: int, seed: int) -> Path:
        rng = np.random.default_rng(seed)
        for k, label in enumerate(labels):
            for i in range(count):
                pixels = rng.integers(0, 120, (9, 9, 3), np.uint8)
                pixels[3 * (k % 3) : 3 * (k % 3) + 3] += 120
                file = folder / label / f"{seed}-{i}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(file)
        return folder

    return draw
