import pytest
import torch
from torch import nn

from keensight.errors import RecipeError
from keensight.models.layers import layers
from keensight.models.resnet import Residual
from keensight.models.zoo import build
from keensight.values import Preprocessing


def test_a_residual_adds():
    double = nn.Conv2d(1, 1, 1, bias=False)
    nn.init.constant_(double.weight, 2.0)
    assert Residual(double)(torch.ones(1, 1, 2, 2)).tolist() == [[[[3.0, 3.0], [3.0, 3.0]]]]


def test_stages_halve_the_picture_and_double_the_channels():
    shapes = [
        row.shape for row in layers(build("resnet", {}, Preprocessing(28, 28, 1), 10, 0), Preprocessing(28, 28, 1))
    ]
    assert [shape for i, shape in enumerate(shapes) if shape not in shapes[:i] and len(shape) == 3] == [
        (16, 28, 28), (32, 28, 28), (32, 14, 14), (64, 14, 14), (64, 7, 7), (128, 7, 7), (128, 3, 3), (128, 1, 1),
    ]  # fmt: skip


def test_a_picture_that_is_too_small_is_refused():
    with pytest.raises(
        RecipeError, match=r"needs pictures of 8x8 pixels or more, and these are 7x9\. Set a larger size"
    ):
        build("resnet", {}, Preprocessing(7, 9, 1), 2, 0)
