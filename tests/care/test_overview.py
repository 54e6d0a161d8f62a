import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from keensight.care.overview import distances, places, reduced, told
from keensight.models.imagenet import class_names


@pytest.fixture(scope="module")
def clusters():
    """Five clusters in 60 dimensions, 40 rows each, and their numbers."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(5), 40)
    return (rng.normal(0, 12, (5, 60))[labels] + rng.normal(0, 1, (200, 60))).astype(np.float32), labels


@pytest.mark.parametrize("landmarks", [200, 100])
def test_what_is_alike_is_near_on_the_map_also_between_landmarks(clusters, landmarks):
    features, labels = clusters
    found = places(reduced(features), landmarks)
    assert found.min() == 0 and found.max() == 1 and found.shape == (200, 2)
    near = NearestNeighbors(n_neighbors=6).fit(found).kneighbors(found, return_distance=False)[:, 1:]
    assert (labels[near] == labels[:, None]).mean() > 0.97
    assert np.array_equal(found, places(reduced(features), landmarks))


@pytest.mark.parametrize("count", [2, 3, 4, 6])
def test_a_few_pictures_have_places_too(count):
    found = places(reduced(np.random.default_rng(0).normal(size=(count, 7)).astype(np.float32)))
    assert found.shape == (count, 2) and np.isfinite(found).all()


def test_components_are_those_of_the_singular_values(clusters):
    features, _ = clusters
    middle = features - features.mean(axis=0)
    exact = np.linalg.svd(middle, compute_uv=False)[:5]
    assert np.allclose(np.linalg.norm(reduced(features), axis=0)[:5], exact, rtol=1e-3)


def test_the_odd_one_is_far_from_its_class():
    features = np.array([[0.0], [1.0], [2.0], [9.0], [50.0], [52.0]])
    far = distances(features, np.array([0, 0, 0, 0, 1, 1]), 2)
    assert far.argmax() == 3
    assert far[3] == pytest.approx(6 / np.median([3, 2, 1, 6]))
    assert far[4] == far[5] == 1


def test_names_are_those_of_imagenet():
    names = class_names()
    assert len(names) == 1000 and len(set(names)) == 1000
    assert [names[i] for i in (0, 250, 281, 999)] == ["tench", "Siberian husky", "tabby", "toilet tissue"]
    probabilities = np.full((3, 1000), 1e-5)
    probabilities[:2, 250], probabilities[2, 281] = 0.9, 0.8
    assert told(probabilities, np.array([0, 0, 1]), 2) == ((("Siberian husky", 0.9),), (("tabby", 0.8),))
