"""The test split stays where it is: settings are chosen without it."""

import numpy as np
import pytest

import keensight
from keensight.data.sources import open_dataset
from keensight.data.splits import split
from keensight.pipeline import prepare as choosing
from keensight.pipeline.prepare import prepare
from keensight.pipeline.watch import Watcher
from keensight.training.recipe import load_recipe
from keensight.values import Split

CHANGES = ["model=logistic", "epochs=1", "seed=3", "val_fraction=0.2"]


class Guarded:
    """Pictures that may be looked at, except for some rows."""

    def __init__(self, images, forbidden):
        self.images, self.forbidden = images, set(forbidden.tolist())
        self.shape, self.dtype = images.shape, images.dtype

    def __getitem__(self, rows):
        assert isinstance(rows, np.ndarray), "only rows by their numbers"
        assert not self.forbidden & set(rows.tolist()), "a test picture is read"
        return self.images[rows]

    def shuffled(self, rows, rng, batches, pieces=1):
        return rng.permutation(len(rows))


@pytest.fixture
def guarded(monkeypatch):
    """Make reading a test picture raise, from the moment that the pictures are divided."""
    watched = []

    def guarding(pixels, **options):
        found = split(pixels, **options)
        images = Guarded(found.test.images, found.test.rows)
        train, val, test = (
            Split(images, part.rows, part.labels, part.paths) for part in (found.train, found.val, found.test)
        )
        watched.append(test)
        return type(found)(found.class_names, found.preprocessing, train, val, test, found.findings)

    monkeypatch.setattr(choosing, "split", guarding)
    return watched


def test_the_guard_guards(guarded):
    prepare(open_dataset("digits"), load_recipe("default", CHANGES), Watcher(), choosing=True)
    with pytest.raises(AssertionError, match="a test picture is read"):
        guarded[0].images[guarded[0].rows[:1]]


def test_no_test_picture_is_read(guarded, tmp_path):
    keensight.tune("digits", set=CHANGES, trials=2, out=tmp_path / "search")
    keensight.lr_range("digits", set=CHANGES, out=tmp_path / "range")
    assert len(guarded) == 2
