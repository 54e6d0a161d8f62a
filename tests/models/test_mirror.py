import numpy as np
import onnxruntime
import pytest
import torch

from keensight.models.onnx.write import to_onnx
from keensight.models.zoo import build
from keensight.values import Preprocessing

SIZE = Preprocessing(12, 16, 3)
IMAGES = np.random.default_rng(0).integers(0, 256, (3, 12, 16, 3), np.uint8)
PLAIN = {"dropout": 0.0}


@pytest.mark.parametrize("name", ["cnn", "resnet"])
def test_with_mirror_a_picture_and_its_mirror_image_get_the_same_answer_which_is_the_mean(name):
    plain = build(name, PLAIN, SIZE, 4, 0).eval()
    mirrored = build(name, {**PLAIN, "mirror": True}, SIZE, 4, 0).eval()
    images = torch.from_numpy(IMAGES).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        expected = (plain(images) + plain(images.flip(3))) / 2
        assert not torch.allclose(plain(images), plain(images.flip(3)), atol=1e-3)
        torch.testing.assert_close(mirrored(images), expected)
        torch.testing.assert_close(mirrored(images.flip(3)), expected)
        assert mirrored.train()(images).shape == (3, 4)


@pytest.mark.parametrize("name", ["cnn", "resnet"])
def test_the_exported_model_mirrors_too(name):
    model = build(name, {**PLAIN, "mirror": True}, SIZE, 4, 0).eval()
    session = onnxruntime.InferenceSession(to_onnx(model, SIZE, 4, 1.3), providers=["CPUExecutionProvider"])
    (answers,) = session.run(None, {"images": IMAGES})
    (mirrored,) = session.run(None, {"images": np.ascontiguousarray(IMAGES[:, :, ::-1])})
    with torch.no_grad():
        expected = torch.softmax(model(torch.from_numpy(IMAGES).permute(0, 3, 1, 2).float() / 255) / 1.3, dim=1)
    np.testing.assert_allclose(answers, expected.numpy(), atol=1e-5)
    np.testing.assert_allclose(answers, mirrored, atol=1e-6)
