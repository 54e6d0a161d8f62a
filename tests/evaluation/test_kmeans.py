import numpy as np
import pytest
from sklearn.cluster import KMeans

from keensight.evaluation.kmeans import centres_of


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("rows", "features", "count"), [(200, 128, 20), (600, 40, 100), (30, 5, 30), (50, 3, 1)])
def test_centres_are_those_of_scikit_learn(rows, features, count, seed):
    draw = np.random.default_rng(seed)
    found = np.maximum(draw.normal(0.3, 1, (rows, features)), 0).astype(np.float32)
    found /= np.linalg.norm(found, axis=1, keepdims=True) + 1e-6
    theirs = KMeans(count, n_init=1, max_iter=20, random_state=seed).fit(found).cluster_centers_
    assert np.abs(centres_of(found, count, seed) - theirs).max() < 1e-5


def test_a_centre_that_no_row_is_nearest_to_moves_to_the_furthest_row():
    from keensight.evaluation.kmeans import _means

    rows = np.array([[0.0], [1.0], [10.0]], np.float32)
    means = _means(rows, np.array([0, 0, 0]), np.array([[0.0], [50.0]], np.float32))
    assert means.ravel().tolist() == [0.5, 10.0]
