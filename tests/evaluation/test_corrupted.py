import numpy as np

from keensight.data.corruptions import CORRUPTIONS, corrupt
from keensight.evaluation.corrupted import under_corruptions
from keensight.values import Split


def test_accuracies_are_those_of_the_corrupted_pictures():
    """A model that tells bright from dark, corruption by corruption, by hand."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (30, 9, 9, 1), np.uint8)
    labels = (images.mean(axis=(1, 2, 3)) > 127).astype(np.int64)
    split = Split(images, np.arange(30), labels, ("",) * 30)

    def answer(seen):
        return (seen.mean(axis=(1, 2, 3)) > 127).astype(np.int64)

    rows, often = under_corruptions(answer, split, (1, 4), seed=2)
    assert [row.name for row in rows] == list(CORRUPTIONS) and rows[0].severities == (1, 4)
    right = np.zeros(30)
    for place, (name, row) in enumerate(zip(CORRUPTIONS, rows, strict=True)):
        for severity, accuracy in zip((1, 4), row.accuracies, strict=True):
            is_right = answer(corrupt(images, name, severity, 2000 + 10 * place + severity)) == labels
            assert accuracy == is_right.mean()
            right += is_right
    np.testing.assert_allclose(often, right / 30)
    assert under_corruptions(answer, split, (1, 4), seed=2)[0] == rows
