"""Oddness on features whose geometry is known, and its thresholds."""

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.covariance import EmpiricalCovariance
from sklearn.datasets import load_digits

import keensight
from keensight.evaluation.oddness import (
    Known,
    as_split,
    fit_oddness,
    fit_with_few,
    oddness,
    prototypes,
    softened,
    threshold,
    whitening,
)


def cluster(middle, n, seed, num_features=40):
    """Features around a direction."""
    draw = np.random.default_rng([seed, middle])
    found = draw.normal(size=(n, num_features)) * 0.3
    found[:, middle] += 3
    return (found * draw.uniform(0.5, 2, (n, 1))).astype(np.float32)


def some(seed, n=120):
    return np.concatenate([cluster(0, n, seed), cluster(1, n, seed)])


KNOWN = Known(
    some(0), np.repeat([0, 1], 120), some(1), {"near": cluster(2, 40, 0) + cluster(0, 40, 9), "far": cluster(3, 40, 0)}
)


def test_own_pictures_are_taken_and_others_refused():
    module = fit_oddness(KNOWN, num_classes=2, seed=0)
    limit = threshold(oddness(module, KNOWN.val_NF), 0.95)
    assert (oddness(module, some(2)) <= limit).mean() > 0.9
    assert (oddness(module, some(2)) <= limit).mean() < 1
    assert (oddness(module, cluster(2, 100, 5) + cluster(0, 100, 8)) > limit).mean() > 0.85  # as it was taught
    assert (oddness(module, cluster(7, 100, 5)) > limit).all()  # far from all, and never met


def test_the_worse_of_both_tests_counts_and_both_have_one_scale():
    module = fit_oddness(KNOWN, num_classes=2, seed=0)
    features_NF = torch.from_numpy(KNOWN.val_NF)
    with torch.no_grad():
        scaled_N2 = ((module.tests(features_NF) - module.zeros) * module.rates).numpy()
    np.testing.assert_allclose(oddness(module, KNOWN.val_NF), scaled_N2.max(axis=1), rtol=1e-6)
    np.testing.assert_allclose(np.median(scaled_N2, axis=0), 0, atol=1e-3)
    np.testing.assert_allclose(np.quantile(scaled_N2, 0.95, axis=0), 1, atol=1e-3)


def test_distances_are_those_of_a_slow_loop():
    module = fit_oddness(KNOWN, num_classes=2, seed=0)
    centres = module.prototypes_PF.numpy().astype(np.float64)
    with torch.no_grad():
        far_N = module.tests(torch.from_numpy(KNOWN.val_NF))[:, 0].numpy()
    for features, far in zip(KNOWN.val_NF[:20].astype(np.float64), far_N, strict=False):
        cosines = [float(features @ centre) / np.linalg.norm(features) for centre in centres]
        assert far == pytest.approx(1 - max(cosines), abs=1e-5)


def test_distances_are_those_of_pytorch_ood_to_one_neighbour(bare):
    """Between vectors of length 1, the cosine distance is half of the squared Euclidean one."""
    bare("pytorch_ood")
    from pytorch_ood.detector.knn import KNN

    module = fit_oddness(KNOWN, num_classes=2, seed=0)
    theirs = KNN(None, k=1).fit_features(module.prototypes_PF, torch.zeros(len(module.prototypes_PF)))
    features_NF = torch.from_numpy(np.concatenate([KNOWN.val_NF, cluster(7, 50, 5)]))
    with torch.no_grad():
        far_N = module.tests(features_NF)[:, 0].numpy()
    np.testing.assert_allclose(far_N, theirs.predict_features(features_NF).numpy() ** 2 / 2, atol=1e-5)


def test_the_same_seed_gives_the_same_bits():
    first, second = (fit_oddness(KNOWN, num_classes=2, seed=4).state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_kind_as_near_as_own_pictures_is_no_nonsense():
    """Told that its own pictures are nonsense, a model takes them all the same."""
    usual = fit_oddness(KNOWN, num_classes=2, seed=0)
    told = Known(KNOWN.train_NF, KNOWN.labels_N, KNOWN.val_NF, {**KNOWN.nonsense, "own": some(0)[::2]})
    misled = fit_oddness(told, num_classes=2, seed=0)
    assert all(torch.equal(usual.state_dict()[name], misled.state_dict()[name]) for name in usual.state_dict())


def test_no_nonsense_at_all_leaves_the_distance():
    module = fit_oddness(Known(*(KNOWN.train_NF, KNOWN.labels_N, KNOWN.val_NF), {}), num_classes=2, seed=0)
    with torch.no_grad():
        tests_N2 = module.tests(torch.from_numpy(KNOWN.val_NF))
    assert tests_N2[:, 0].std() > 0 and not tests_N2[:, 1].any()  # nothing was taught, and nothing is drawn
    limit = threshold(oddness(module, KNOWN.val_NF), 0.95)
    assert (oddness(module, cluster(7, 100, 5)) > limit).all()


def test_features_of_zero_are_odd_and_finite():
    module = fit_oddness(KNOWN, num_classes=2, seed=0)
    assert np.isfinite(oddness(module, np.zeros((3, 40), np.float32))).all()


@pytest.mark.parametrize("n", [19, 20, 39, 218, 1000])
def test_at_most_the_stated_share_of_validation_pictures_is_refused(n):
    for seed in range(20):
        own_N = np.random.default_rng(seed).normal(size=n).astype(np.float32)
        assert (own_N > threshold(own_N, 0.95)).mean() <= 0.05


@pytest.mark.parametrize("n", [19, 40, 200])
def test_new_pictures_are_taken_as_often_as_stated(n):
    draw = np.random.default_rng(n)
    taken = [(draw.normal(size=200) <= threshold(draw.normal(size=n), 0.95)).mean() for _ in range(600)]
    assert 0.945 < np.mean(taken) < 0.98


def test_with_few_pictures_the_threshold_lies_beyond_all_of_them():
    own_N = np.array([0.1, 0.4, 0.2], np.float32)
    assert threshold(own_N, 0.95) > 0.4 + 0.2


def test_prototypes_are_directions_of_each_class_or_of_all():
    found = prototypes(KNOWN.train_NF, KNOWN.labels_N, 2, 6, seed=0)
    assert found.shape == (6, 40) and found.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-5)
    assert (found[:3].argmax(axis=1) == 0).all() and (found[3:].argmax(axis=1) == 1).all()
    many = prototypes(KNOWN.train_NF, np.arange(240), 240, 6, seed=0)
    twice = prototypes(np.tile(KNOWN.train_NF[:4], (2, 1)), np.zeros(8, np.int64), 1, 6, seed=0)
    assert len(twice) == 4
    assert len(many) == 6 and {0, 1} == set(many.argmax(axis=1).tolist())


@pytest.mark.thorough
def test_a_digit_from_a_larger_file_is_as_little_odd_as_one_of_the_data(tmp_path):
    """Drawn on a page or photographed, it is softer than the data's own after it was made smaller."""
    run = keensight.train("digits", set=["model=dense", "hidden=[64]", "epochs=8"], out=tmp_path / "run")
    report, predictor = run.report.odd, keensight.load(run.bundle)
    images = (load_digits().images[::12] * 15.9).astype(np.uint8)
    for side, how in ((28, Image.Resampling.BICUBIC), (200, Image.Resampling.LANCZOS)):
        softer = [
            Image.fromarray(each).resize((side, side), how).resize((8, 8), Image.Resampling.BILINEAR) for each in images
        ]
        answers = predictor.on_images(np.stack([np.asarray(each)[..., None] for each in softer]))
        assert np.mean([answer.is_none_of_these for answer in answers]) < 0.12
    refused = [each.share for each in report.kinds if not each.is_own]
    assert np.mean(refused) > 0.9


def test_held_out_training_pictures_are_as_odd_as_new_ones():
    """Those that a module was fitted to are less odd, so they could not set a threshold."""
    train_NF, labels_N = np.concatenate([cluster(0, 35, 2), cluster(1, 35, 2)]), np.repeat([0, 1], 35)
    known = Known(train_NF, labels_N, some(50, 8)[:15], {"near": cluster(2, 20, 2) + cluster(0, 20, 9)})
    learnt = fit_with_few(known, np.arange(70), num_classes=2, seed=0)
    assert learnt.crossed_N.shape == (70,)
    new_N, met_N = (oddness(learnt.module, features) for features in (some(99), train_NF))
    limit = threshold(np.concatenate([oddness(learnt.module, known.val_NF), learnt.crossed_N]), 0.95)
    assert 0.01 < (new_N > limit).mean() < 0.1
    assert abs(np.median(learnt.crossed_N) - np.median(new_N)) < 0.25 < np.median(new_N) - np.median(met_N)


def test_pictures_of_one_unit_are_held_out_together():
    """Each training picture is there twice. A module that has met the copy would find nothing odd."""
    one_NF = np.concatenate([cluster(0, 30, 3), cluster(1, 30, 3)])
    known = Known(np.tile(one_NF, (2, 1)), np.tile(np.repeat([0, 1], 30), 2), some(4, 10), {})
    together = fit_with_few(known, np.tile(np.arange(60), 2), num_classes=2, seed=0).crossed_N
    apart = fit_with_few(known, np.arange(120), num_classes=2, seed=0).crossed_N
    assert np.median(together) > np.median(apart)


def test_the_distance_of_statistics_is_mahalanobis_as_scikit_learn_has_it():
    draw = np.random.default_rng(0)
    found_NS = (draw.normal(size=(4000, 6)) @ draw.normal(size=(6, 6)) + 5).astype(np.float32)
    usual_S, whitening_SS = whitening(found_NS)
    ours = (((found_NS - usual_S) @ whitening_SS.T) ** 2).sum(axis=1)
    np.testing.assert_allclose(ours, EmpiricalCovariance().fit(found_NS).mahalanobis(found_NS), rtol=0.05)


def test_the_distance_of_statistics_is_mahalanobis_as_pytorch_ood_has_it(bare):
    bare("pytorch_ood")
    from pytorch_ood.detector.mahalanobis import Mahalanobis

    draw = np.random.default_rng(1)
    found_NS = (draw.normal(size=(3000, 6)) @ draw.normal(size=(6, 6)) + 5).astype(np.float32)
    usual_S, whitening_SS = whitening(found_NS)
    ours = (((found_NS - usual_S) @ whitening_SS.T) ** 2).sum(axis=1)
    theirs = Mahalanobis(None).fit_features(torch.from_numpy(found_NS), torch.zeros(3000, dtype=torch.int64))
    half = theirs.predict_features(torch.from_numpy(found_NS)).numpy()  # of squared distances, by a sum over pictures
    np.testing.assert_allclose(ours, 2 * 3000 * half, rtol=0.05)


def test_what_looks_unlike_in_statistics_alone_is_refused():
    """Its features are those of a class, as where a network looks at shapes alone."""
    draw = np.random.default_rng(0)

    def with_statistics(features, middle):
        return np.concatenate([features, draw.normal(middle, 1, (len(features), 5)).astype(np.float32)], axis=1)

    train_NF, val_NF, new_NF = (with_statistics(some(seed), 0.0) for seed in (0, 1, 2))
    other_NF = with_statistics(some(3), 6.0)
    nonsense = {kind: with_statistics(features, 0.0) for kind, features in KNOWN.nonsense.items()}
    module = fit_oddness(Known(train_NF, KNOWN.labels_N, val_NF, nonsense, 5), num_classes=2, seed=0)
    limit = threshold(oddness(module, val_NF), 0.95)
    assert (oddness(module, new_NF) <= limit).mean() > 0.88 and (oddness(module, other_NF) > limit).all()
    with torch.no_grad():
        scaled_N3 = ((module.tests(torch.from_numpy(other_NF)) - module.zeros) * module.rates).numpy()
    both_N2 = np.maximum(np.stack([scaled_N3[:, :2].max(axis=1), scaled_N3[:, 2]], axis=1), 0)
    np.testing.assert_allclose(oddness(module, other_NF), both_N2.mean(axis=1), rtol=1e-5)
    plain = fit_oddness(KNOWN, num_classes=2, seed=0)
    limit = threshold(oddness(plain, KNOWN.val_NF), 0.95)
    assert (oddness(plain, other_NF[:, :40]) <= limit).mean() > 0.88


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1, 3), (1, 6, 3), (6, 1, 3), (5, 4, 1), (5, 4, 3)])
def test_pictures_of_any_shape_are_softened(shape):
    images = np.random.default_rng(0).integers(0, 256, (2, *shape), np.uint8)
    for soft, image in zip(softened(as_split(images)).gather(), images, strict=True):
        for channel in range(shape[2]):  # each by itself, as Pillow does it for one
            large = Image.fromarray(image[..., channel]).resize((4 * shape[1], 4 * shape[0]), Image.Resampling.BICUBIC)
            expected = np.asarray(large.resize(shape[1::-1], Image.Resampling.BILINEAR))
            assert np.array_equal(soft[..., channel], expected)
