import base64
import io

import numpy as np
import pytest
from PIL import Image

from keensight.explanation.activations import Activation
from keensight.pages.explanation_figures import layer_figures, overlay, overlay_data_uri, shown_maps, spread
from keensight.pages.pictures import signed_colours

RNG = np.random.default_rng(0)


def colour(picture):
    """How far each pixel is from grey."""
    return picture.max(axis=2).astype(int) - picture.min(axis=2)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_overlay_is_strongest_where_the_map_is(channels):
    picture = np.full((9, 7, channels), 90, np.uint8)
    drop = RNG.uniform(-0.2, 0.2, (9, 7))
    drop[4, 3] = 0.6
    found = overlay(picture, drop)
    assert found.shape == (9, 7, 3) and found.dtype == np.uint8
    assert np.unravel_index(colour(found).argmax(), (9, 7)) == (4, 3)
    order = np.abs(drop).ravel()
    for_it = drop.ravel() > 0
    assert np.corrcoef(order[for_it], colour(found).ravel()[for_it])[0, 1] > 0.99
    blue, vermilion = found[drop > 0.05], found[drop < -0.05]
    assert (blue[:, 2] > blue[:, 0]).all() and (vermilion[:, 0] > vermilion[:, 2]).all()


def test_where_nothing_counts_the_picture_is_grey_and_pale():
    picture = RNG.integers(0, 256, (6, 6, 3), dtype=np.uint8)
    found = overlay(picture, np.zeros((6, 6)))
    assert colour(found).max() == 0
    grey = np.asarray(Image.fromarray(picture).convert("L")).astype(float)
    np.testing.assert_allclose(found[..., 0], 255 * 0.45 + 0.55 * grey, atol=1)


def test_a_map_of_next_to_nothing_stays_faint():
    picture = np.full((4, 4, 1), 128, np.uint8)
    assert colour(overlay(picture, np.full((4, 4), 0.01))).max() < 10
    assert colour(overlay(picture, np.full((4, 4), 0.5))).max() > 100


def test_the_overlays_data_uri_is_the_overlay():
    picture, drop = RNG.integers(0, 256, (8, 8, 1), dtype=np.uint8), RNG.normal(size=(8, 8))
    uri = overlay_data_uri(picture, drop)
    back = np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))).convert("RGB"))
    assert back.shape == (240, 240, 3)
    np.testing.assert_array_equal(back[::30, ::30], overlay(picture, drop))


def test_maps_are_the_strongest_and_shrink_by_averaging():
    maps = RNG.normal(size=(40, 80, 80)).astype(np.float32) * np.arange(40).reshape(-1, 1, 1)
    shown = shown_maps(Activation("network.0", maps))
    assert shown.shape == (32, 40, 40)
    np.testing.assert_allclose(shown[0], maps[39].reshape(40, 2, 40, 2).mean(axis=(1, 3)), rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(shown[31], maps[8].reshape(40, 2, 40, 2).mean(axis=(1, 3)), rtol=1e-3, atol=1e-3)
    small = np.abs(RNG.normal(size=(3, 4, 2))).astype(np.float32)
    np.testing.assert_array_equal(sorted(shown_maps(Activation("x", small)).ravel()), sorted(small.ravel()))


def test_a_layers_figure_holds_its_maps():
    maps = np.array([[[0.0, 1.0], [0.5, 0.0]], [[2.0, 0.0], [-1.0, 2.0]]], np.float32)
    (figure,) = layer_figures([Activation("network.0", maps)])
    assert figure.title == "Convolution 1 of 1"
    assert figure.caption == "network.0: all 2 channels, strongest first, 2 × 2 each"
    sheet = np.asarray(Image.open(io.BytesIO(base64.b64decode(figure.uri.split(",")[1]))))
    assert sheet.shape == (42, 87, 4)
    expected = signed_colours(maps)
    np.testing.assert_array_equal(sheet[1:41:20, 1:41:20], expected[1])
    np.testing.assert_array_equal(sheet[1:41:20, 46:86:20], expected[0])


def test_of_many_layers_some_are_shown_first_and_last_among_them():
    layers = [Activation(f"l{i}", np.ones((64, 2, 2), np.float32)) for i in range(49)]
    assert [each.layer for each in spread(layers)] == ["l0", "l7", "l14", "l21", "l27", "l34", "l41", "l48"]
    assert spread(layers[:8]) == layers[:8]
    titles = [figure.title for figure in layer_figures(layers)]
    assert titles[1] == "Convolution 8 of 49" and titles[-1] == "Convolution 49 of 49"
    assert "the 32 strongest of 64 channels" in layer_figures(layers)[0].caption
