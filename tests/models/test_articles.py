"""The articles print their networks' tables: these are they, in the order channels, height, width."""

import pytest
from torch import nn

from keensight.errors import RecipeError
from keensight.models.layers import layers
from keensight.models.zoo import build
from keensight.values import Preprocessing

HUSKY = [
    ("Conv2d", (32, 126, 126), 896),
    ("MaxPool2d", (32, 63, 63), 0),
    ("Dropout", (32, 63, 63), 0),
    ("Conv2d", (64, 61, 61), 18_496),
    ("MaxPool2d", (64, 30, 30), 0),
    ("Dropout", (64, 30, 30), 0),
    ("Conv2d", (128, 28, 28), 73_856),
    ("MaxPool2d", (128, 14, 14), 0),
    ("Dropout", (128, 14, 14), 0),
    ("Flatten", (25_088,), 0),
    ("Linear", (128,), 3_211_392),
    ("Linear", (1,), 129),
]
FASHION = [
    ("Conv2d", (16, 26, 26), 160),
    ("Conv2d", (64, 24, 24), 9_280),
    ("MaxPool2d", (64, 11, 11), 0),
    ("Flatten", (7_744,), 0),
    ("Linear", (64,), 495_680),
    ("Linear", (32,), 2_080),
    ("Linear", (10,), 330),
]


@pytest.mark.parametrize(
    ("name", "size", "num_classes", "table", "total"),
    [
        ("husky", Preprocessing(128, 128, 3), 2, HUSKY, 3_304_769),
        ("fashion", Preprocessing(28, 28, 1), 10, FASHION, 507_530),
    ],
)
def test_the_table_is_the_articles(name, size, num_classes, table, total):
    rows = layers(build(name, {}, size, num_classes, seed=0), size)
    kept = [(row.name, row.shape, row.parameters) for row in rows if row.name not in ("ReLU", "TwoLogits")]
    assert kept == table
    assert sum(row.parameters for row in rows) == total


@pytest.mark.parametrize(("name", "least"), [("husky", 22), ("fashion", 7), ("planes", 4)])
def test_the_smallest_picture(name, least):
    build(name, {}, Preprocessing(least, least, 1), 2, seed=0)
    with pytest.raises(RecipeError, match=f"needs pictures of {least}x{least} pixels or more"):
        build(name, {}, Preprocessing(least - 1, least, 1), 2, seed=0)


@pytest.mark.parametrize("name", ["husky", "fashion"])
def test_they_start_as_keras_starts_them(name):
    """Glorot's uniform weights, whose bound follows from the cells read and fed, and biases of 0."""
    network = build(name, {}, Preprocessing(128, 128, 3), 2, seed=0).network
    for layer in network:
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            cells = layer.weight[0][0].numel()
            bound = (6 / (cells * (layer.weight.shape[0] + layer.weight.shape[1]))) ** 0.5
            assert not layer.bias.any() and 0.9 * bound < layer.weight.abs().max() <= bound
