from types import SimpleNamespace

import numpy as np

from keensight.explanation.class_activation import class_activation, in_patches
from keensight.explanation.occlusion import occlusion
from keensight.inference.explaining import reasons
from keensight.inference.predictor import Features, load

PICTURE = np.random.default_rng(0).integers(0, 256, (8, 8, 1), np.uint8)


def test_a_network_without_means_is_explained_by_covering(trained):
    predictor = load(trained.bundle)
    found = reasons(predictor, PICTURE, 3)
    assert found.by_covering
    np.testing.assert_allclose(found.points_HW, occlusion(predictor.probabilities_as_seen, PICTURE, 3))


def with_maps(side):
    rng = np.random.default_rng(1)
    features = Features(rng.random((6, side, side)), np.array([0.7, 0.2, 0.1]), rng.normal(size=(3, 6)))
    answers = np.array([[0.7, 0.2, 0.1]])
    asked = SimpleNamespace(
        features=lambda _: features, probabilities_as_seen=lambda images: answers[[0] * len(images)]
    )
    return asked, features


def test_a_network_of_means_is_explained_by_its_maps():
    predictor, features = with_maps(5)
    found = reasons(predictor, PICTURE, 1)
    assert not found.by_covering
    points = class_activation(features.maps_Chw, features.weights_KC, features.probabilities_K, 1)
    np.testing.assert_array_equal(found.points_HW, in_patches(points, (8, 8)))


def test_maps_of_few_places_do_not_tell_where():
    assert reasons(with_maps(3)[0], PICTURE, 1).by_covering
