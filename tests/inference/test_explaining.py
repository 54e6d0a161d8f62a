from types import SimpleNamespace

import numpy as np

from keensight.explanation.class_activation import by_log_odds, class_activation, in_patches
from keensight.explanation.head import Head, Operator
from keensight.explanation.occlusion import occlusion
from keensight.inference.explaining import reasons
from keensight.inference.predictor import Features, load

PICTURE = np.random.default_rng(0).integers(0, 256, (8, 8, 1), np.uint8)


def test_a_network_without_means_is_explained_by_covering(trained):
    predictor = load(trained.bundle)
    found = reasons(predictor, PICTURE, 3)
    assert found.by_covering
    np.testing.assert_allclose(found.points_HW, occlusion(predictor.probabilities_as_seen, PICTURE, 3))


def with_maps(*sides):
    rng = np.random.default_rng(1)
    maps = {str(i): rng.random((1, 6, side, side)) for i, side in enumerate(sides)}
    joined = Operator("Concat", tuple(f"mean {name}" for name in maps), (), "features")
    linear = Operator("Gemm", ("features",), (rng.normal(size=(3, 6 * len(sides))),), "logits")
    features = Features(
        maps, np.array([0.7, 0.2, 0.1]), Head({f"mean {name}": name for name in maps}, (joined, linear))
    )
    answers = np.array([[0.7, 0.2, 0.1]])
    asked = SimpleNamespace(
        features=lambda _: features, probabilities_as_seen=lambda images: answers[[0] * len(images)]
    )
    return asked, features


def test_a_network_of_means_is_explained_by_its_maps():
    predictor, features = with_maps(5, 7)
    found = reasons(predictor, PICTURE, 1)
    assert not found.by_covering
    weights = by_log_odds(features.probabilities_K, 1) @ features.head.operators[-1].constants[0]
    parts = [class_activation(features.maps[name], weights[None, at : at + 6]) for name, at in (("0", 0), ("1", 6))]
    np.testing.assert_allclose(found.points_HW, in_patches(parts[0], (8, 8)) + in_patches(parts[1], (8, 8)))


def test_maps_of_few_places_do_not_tell_where():
    assert reasons(with_maps(5, 3)[0], PICTURE, 1).by_covering
