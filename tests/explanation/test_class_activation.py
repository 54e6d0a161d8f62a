import numpy as np
import pytest
import torch

from keensight.explanation.class_activation import by_log_odds, class_activation, in_patches


@pytest.mark.parametrize(("num_classes", "k"), [(2, 1), (5, 3)])
def test_each_place_adds_its_part_of_the_gradient(num_classes, k):
    """Torch differentiates the log-odds by the features; times the features, that is what each place adds."""
    draw = torch.Generator().manual_seed(0)
    features = torch.randn(6, 4, 5, generator=draw, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(num_classes, 6, generator=draw, dtype=torch.float64)
    biases = torch.randn(num_classes, generator=draw, dtype=torch.float64)
    logits = weights @ features.mean(dim=(1, 2)) + biases
    others = [j for j in range(num_classes) if j != k]
    (logits[k] - logits[others].logsumexp(0)).backward()
    probabilities = logits.softmax(0).detach().numpy()
    slopes = by_log_odds(probabilities, k) @ weights.numpy()
    found = class_activation(features.detach().numpy()[None], slopes[None])
    np.testing.assert_allclose(found, (features.grad * features).sum(0).detach().numpy(), atol=1e-12)


def test_for_two_classes_the_sum_is_the_log_odds_without_the_biases():
    rng = np.random.default_rng(0)
    features, weights = rng.random((8, 7, 7)), rng.normal(size=(2, 8))
    logits = weights @ features.mean(axis=(1, 2))
    slopes = by_log_odds(np.exp(logits) / np.exp(logits).sum(), 0) @ weights
    found = class_activation(features[None], slopes[None])
    assert found.sum() == pytest.approx(logits[0] - logits[1])


def test_a_model_that_is_certain_has_log_odds_too():
    assert by_log_odds(np.array([1.0, 0.0, 0.0]), 0).tolist() == [1.0, -0.5, -0.5]


def test_maps_of_the_mirror_image_are_flipped_back():
    maps = np.zeros((2, 1, 1, 3))
    maps[0, 0, 0, 0] = maps[1, 0, 0, 2] = 3.0  # at the left of the picture, and so at the right of its mirror image
    assert class_activation(maps, np.array([[1.0], [2.0]])).tolist() == [[3.0, 0.0, 0.0]]


def test_patches_are_summed_as_a_naive_loop_does():
    points = np.random.default_rng(0).normal(size=(9, 12))
    found = in_patches(points, (9, 12), 0.4)  # the same size: nothing is enlarged
    rows, columns = 4, 5  # of a patch
    for y in range(9):
        for x in range(12):
            top, left = y - rows // 2, x - columns // 2
            patch = points[max(0, top) : top + rows, max(0, left) : left + columns]
            assert found[y, x] == pytest.approx(patch.sum(), abs=1e-5)


def test_the_peak_is_in_the_middle_of_what_was_found():
    points = np.zeros((7, 7))
    points[2:4, 4:6] = 1.0
    found = in_patches(points, (224, 224))
    row, column = np.unravel_index(found.argmax(), found.shape)
    assert abs(row - 3 * 32) < 8 and abs(column - 5 * 32) < 8
    assert 2.5 < found.max() < 4  # the patch is a little smaller than they are
