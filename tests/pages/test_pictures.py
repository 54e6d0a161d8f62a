import base64
import io

import numpy as np
import pytest
from PIL import Image

from keensight.explanation.weights import FirstLayer
from keensight.pages.pictures import (
    mosaic_data_uri,
    picture_data_uri,
    sample_members,
    signed_colours,
    strongest,
    weight_colours,
    weights_gallery,
)
from keensight.values import Split

RNG = np.random.default_rng(0)


def pixels(uri):
    head, data = uri.split(",")
    assert head == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))


def a_split(labels):
    labels, n = np.array(labels), len(labels)
    return Split(np.zeros((9 * n, 1, 1, 1), np.uint8), np.arange(n) * 9, labels, ("x",) * n)


def test_samples_are_of_their_class_without_repeats():
    split = a_split(RNG.integers(0, 4, 200))
    found = sample_members(split, 4, seed=3)
    assert list(found) == [0, 1, 2, 3]
    for k, members in found.items():
        assert len(set(members.tolist())) == 6
        assert (split.labels[members] == k).all()


def test_samples_depend_on_the_seed_alone():
    split = a_split([0] * 50 + [1] * 50)
    again, other = sample_members(split, 2, seed=1), sample_members(split, 2, seed=2)
    np.testing.assert_array_equal(sample_members(split, 2, seed=1)[1], again[1])
    assert set(again[1].tolist()) != set(other[1].tolist())
    alone = sample_members(a_split([2] * 50 + [1] * 50), 3, seed=1)
    np.testing.assert_array_equal(alone[1], again[1])  # whatever the other classes are


def test_samples_of_few_pictures_and_of_many_classes():
    found = sample_members(a_split([0, 2, 2]), 3, seed=0)
    assert {k: len(members) for k, members in found.items()} == {0: 1, 2: 2}
    assert list(sample_members(a_split(list(range(30)) * 2), 30, seed=0)) == list(range(10))


def test_signed_colours_tell_sign_and_size():
    maps = np.array([[[0.0, 1.0], [-0.5, 0.25]]])
    (picture,) = signed_colours(maps)
    assert picture[0, 0, 3] == 0
    assert picture[0, 1].tolist() == [0, 114, 178, 255]
    assert picture[1, 0, :3].tolist() == [213, 94, 0]
    np.testing.assert_allclose(picture[..., 3] / 255, np.abs(maps[0]), atol=0.02)
    np.testing.assert_array_equal(signed_colours(maps, 2.0)[0, ..., :3], picture[..., :3])
    np.testing.assert_allclose(signed_colours(maps, 2.0)[0, ..., 3] / 255, np.abs(maps[0]) / 2, atol=0.02)
    assert not signed_colours(np.zeros((1, 2, 2)))[..., 3].any()


def test_colour_filters_are_colours_around_grey():
    weights = np.zeros((2, 3, 1, 2))
    weights[0, 0, 0, 0], weights[1, 2, 0, 1] = 2.0, -2.0
    colours = weight_colours(weights)
    assert colours.shape == (2, 1, 2, 4)
    assert colours[0, 0, 0].tolist() == [255, 128, 128, 255] and colours[1, 0, 1].tolist() == [128, 128, 0, 255]
    assert colours[0, 0, 1].tolist() == [128, 128, 128, 255]
    one = RNG.normal(size=(5, 1, 3, 3))
    np.testing.assert_array_equal(weight_colours(one), signed_colours(one[:, 0]))


def test_a_mosaic_holds_every_tile_in_rows():
    tiles = RNG.integers(0, 256, (5, 3, 2, 4), dtype=np.uint8)
    sheet = pixels(mosaic_data_uri(tiles, columns=3, tile_px=7))  # a factor of 2
    assert sheet.shape == (8 + 3 + 8, 6 + 3 + 6 + 3 + 6, 4)  # with a frame of 1 around each, and 3 between
    for i, tile in enumerate(tiles):
        top, left = i // 3 * 11 + 1, i % 3 * 9 + 1
        np.testing.assert_array_equal(sheet[top : top + 6 : 2, left : left + 4 : 2], tile)
        np.testing.assert_array_equal(sheet[top + 1 : top + 6 : 2, left + 1 : left + 4 : 2], tile)
    assert not sheet[8:, 15:].any()  # where the sixth would be
    assert not sheet[8:11].any() and not sheet[:, 6:9].any()


def test_strongest_is_by_mean_size():
    maps = RNG.normal(size=(7, 3, 4)) * np.array([1, 5, 2, 7, 3, 0, 4]).reshape(-1, 1, 1)
    sizes = [sum(abs(value) for value in each.ravel().tolist()) for each in maps]
    assert strongest(maps, 4).tolist() == sorted(range(7), key=lambda i: -sizes[i])[:4]


def test_the_gallery_of_a_linear_model_has_the_weights_of_each_class():
    weights = RNG.normal(size=(3, 1, 8, 8))
    gallery = weights_gallery(FirstLayer("linear", weights, ("a", "b", "c")))
    assert [caption for _, caption in gallery.tiles] == ["a", "b", "c"]
    for (uri, _), expected in zip(gallery.tiles, signed_colours(weights[:, 0]), strict=True):
        np.testing.assert_array_equal(pixels(uri)[1:-1:20, 1:-1:20], expected)  # one scale for all of them
    assert "speaks for a class where it is blue" in gallery.caption


def test_the_gallery_of_two_classes_is_one_picture_of_one_against_the_other():
    gallery = weights_gallery(FirstLayer("linear", RNG.normal(size=(1, 3, 4, 4)), ("zero", "one")))
    ((_, caption),) = gallery.tiles
    assert caption == ""
    assert "speaks for “one”; where it is orange, for “zero”" in gallery.caption
    assert "red, green and blue are added up" in gallery.caption


@pytest.mark.parametrize(
    ("kind", "shape", "words"),
    [
        ("convolution", (24, 1, 3, 3), "The 24 filters, strongest first, of the first convolution, 3 × 3 each"),
        ("convolution", (100, 3, 5, 5), "The 64 strongest of 100 filters of the first convolution, 5 × 5 each"),
        ("dense", (512, 1, 8, 8), "The 64 strongest of 512 cells of the first layer."),
    ],
)
def test_the_gallery_of_other_networks_is_one_mosaic(kind, shape, words):
    weights = RNG.normal(size=shape)
    gallery = weights_gallery(FirstLayer(kind, weights, ("a", "b")))
    ((uri, _),) = gallery.tiles
    assert gallery.caption.startswith(words)
    first = strongest(np.abs(weights).mean(axis=1) if kind == "convolution" else weights.sum(axis=1), 64)[0]
    factor = 40 // shape[2]
    colours = weight_colours(weights) if kind == "convolution" else None
    tile = pixels(uri)[1 : 1 + 40 // shape[2] * shape[2] : factor, 1 : 1 + factor * shape[3] : factor]
    if colours is not None:
        np.testing.assert_array_equal(tile[..., :3], colours[first][..., :3])
    else:
        np.testing.assert_array_equal(tile[..., :3], signed_colours(weights.sum(axis=1))[first][..., :3])


@pytest.mark.parametrize(
    ("shape", "size"), [((28, 28, 1), (140, 140)), ((8, 16, 3), (320, 160)), ((400, 300, 3), (120, 160))]
)
def test_picture_data_uri(shape, size):
    picture = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    head, data = picture_data_uri(picture, 160).split(",")
    assert head == "data:image/png;base64"
    back = Image.open(io.BytesIO(base64.b64decode(data)))
    assert back.size == size
    if size[1] >= shape[0]:
        factor = size[1] // shape[0]
        np.testing.assert_array_equal(np.atleast_3d(np.asarray(back))[::factor, ::factor], picture)


def test_a_very_wide_picture_stays_within_the_page():
    back = picture_data_uri(np.zeros((2, 4000, 3), np.uint8), 100)
    assert Image.open(io.BytesIO(base64.b64decode(back.split(",")[1]))).width == 400


def test_a_photograph_may_lose_a_little_and_pixels_nothing():
    rng = np.random.default_rng(0)
    photo = np.asarray(Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).resize((160, 160)))
    exact, lossy = picture_data_uri(photo, 160), picture_data_uri(photo, 160, lossy=True)
    assert lossy.startswith("data:image/jpeg;base64,") and len(lossy) < 0.3 * len(exact)
    back = np.asarray(Image.open(io.BytesIO(base64.b64decode(lossy.split(",")[1]))).convert("RGB")).astype(int)
    assert abs(back - photo).mean() < 4
    for kept in (photo[:, :, :1], np.zeros((4, 4, 3), np.uint8)):  # grey, and one that PNG has smaller
        assert picture_data_uri(kept, 160, lossy=True) == picture_data_uri(kept, 160)
