import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from keensight.bundle.onnx import to_onnx
from keensight.errors import RecipeError
from keensight.models.resnet import Residual
from keensight.models.zoo import build, layers
from keensight.values import Preprocessing

SIZE = Preprocessing(12, 16, 3)
IMAGES = np.random.default_rng(0).integers(0, 256, (3, 12, 16, 3), np.uint8)


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


def test_with_mirror_a_picture_and_its_mirror_image_get_the_same_answer_which_is_the_mean():
    plain = build("resnet", {}, SIZE, 4, 0).eval()
    mirrored = build("resnet", {"mirror": True}, SIZE, 4, 0).eval()
    images = torch.from_numpy(IMAGES).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        expected = (plain(images) + plain(images.flip(3))) / 2
        assert not torch.allclose(plain(images), plain(images.flip(3)), atol=1e-3)
        torch.testing.assert_close(mirrored(images), expected)
        torch.testing.assert_close(mirrored(images.flip(3)), expected)
        assert mirrored.train()(images).shape == (3, 4)


def test_the_exported_model_mirrors_too():
    model = build("resnet", {"mirror": True}, SIZE, 4, 0).eval()
    session = onnxruntime.InferenceSession(to_onnx(model, SIZE, 4, 1.3), providers=["CPUExecutionProvider"])
    (answers,) = session.run(None, {"images": IMAGES})
    (mirrored,) = session.run(None, {"images": np.ascontiguousarray(IMAGES[:, :, ::-1])})
    with torch.no_grad():
        expected = torch.softmax(model(torch.from_numpy(IMAGES).permute(0, 3, 1, 2).float() / 255) / 1.3, dim=1)
    np.testing.assert_allclose(answers, expected.numpy(), atol=1e-5)
    np.testing.assert_allclose(answers, mirrored, atol=1e-6)


def test_a_picture_that_is_too_small_is_refused():
    with pytest.raises(
        RecipeError, match=r"needs pictures of 8x8 pixels or more, and these are 7x9\. Set a larger size"
    ):
        build("resnet", {}, Preprocessing(7, 9, 1), 2, 0)
