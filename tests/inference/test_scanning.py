"""Peaks and overlaps of a scan, against plain loops."""

import numpy as np
import pytest

from keensight.inference.scanning import Detection, HeatMap, log_odds, overlap, smoothed, without_overlaps


def test_overlaps_are_dropped_as_a_plain_loop_drops_them():
    rng = np.random.default_rng(0)
    boxes = [
        Detection(
            "ab"[i % 2], 0.9, *rng.uniform(0, 100, 2).tolist(), *rng.uniform(4, 30, 2).tolist(), float(rng.normal())
        )
        for i in range(300)
    ]
    kept = []
    for each in sorted(boxes, key=lambda each: -each.rank):
        if all(overlap(each, other) <= 0.3 for other in kept):
            kept.append(each)
    found = without_overlaps(boxes, 0.3)
    assert set(found) == set(kept) and 20 < len(found) < 300
    assert without_overlaps([], 0.3) == []


def test_overlap_of_boxes():
    a = Detection("", 1, 0, 0, 10, 10, 0)
    assert overlap(a, a) == 1
    assert overlap(a, Detection("", 1, 5, 0, 10, 10, 0)) == pytest.approx(1 / 3)
    assert overlap(a, Detection("", 1, 10, 10, 10, 10, 0)) == 0


def test_smoothing_is_a_mean_of_nine():
    values = np.random.default_rng(0).normal(size=(5, 6))
    assert smoothed(values)[2, 3] == pytest.approx(values[1:4, 2:5].mean())
    assert np.isfinite(log_odds(np.array([[[0.0, 1.0], [1.0, 0.0]]]), [1])).all()


def test_a_heat_map_has_the_highest_of_each_spot():
    heat = HeatMap(100, 200, 50)  # cells of 4 pixels
    shares = np.zeros((20, 40))
    shares[3, 10] = 0.8
    heat.add(shares, 10, 10, 4)
    assert heat.heat_HW.shape == (25, 50)
    assert np.argwhere(heat.heat_HW == np.float32(0.8)).tolist() == [[5, 12]]
