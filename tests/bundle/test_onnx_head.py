import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from keensight.bundle.onnx_check import check_onnx
from keensight.bundle.onnx_head import head_of, with_output
from keensight.interop.onnx.write import to_onnx
from keensight.models.classifier import Classifier
from keensight.models.zoo import build
from keensight.values import Preprocessing

SIZE = Preprocessing(12, 16, 3)


def a_network(*end):
    torch.manual_seed(0)
    return Classifier(nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(), *end), SIZE.channels).eval()


def pooled(num_classes=4):
    return a_network(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, num_classes))


def test_features_and_weights_give_the_answer_again():
    model = to_onnx(pooled(), SIZE, 4, 1.7)
    head = head_of(model)
    images = np.random.default_rng(0).integers(0, 256, (2, 12, 16, 3), np.uint8)
    names = ["probabilities", head.features]
    session = onnxruntime.InferenceSession(with_output(model, head.features), providers=["CPUExecutionProvider"])
    probabilities, features = session.run(names, {"images": images})
    assert features.shape == (2, 5, 10, 14)
    weights = {each.name: onnx.numpy_helper.to_array(each) for each in onnx.load_from_string(model).graph.initializer}
    bias = next(value for name, value in weights.items() if name.endswith("bias") and value.shape == (4,))
    logits = features.mean(axis=(2, 3)) @ head.weights_KC.T + bias / 1.7
    np.testing.assert_allclose(np.exp(logits) / np.exp(logits).sum(1, keepdims=True), probabilities, atol=1e-6)


def test_one_more_output_is_what_onnx_itself_would_write():
    model = to_onnx(pooled(), SIZE, 4, 1.0)
    proto = onnx.load_from_string(model)
    proto.graph.output.append(onnx.ValueInfoProto(name="é" * 100))
    assert onnx.load_from_string(with_output(model, "é" * 100)) == proto
    with pytest.raises(ValueError, match="twice"):  # a file that comes so is refused
        check_onnx(with_output(model, "pixels"), SIZE, 4)


@pytest.mark.parametrize(
    "end",
    [
        (nn.Flatten(), nn.Linear(5 * 10 * 14, 4)),
        (nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(5, 4)),
        (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 4)),
    ],
    ids=["dense", "maximum", "two layers"],
)
def test_networks_that_end_in_another_way_have_none(end):
    assert head_of(to_onnx(a_network(*end), SIZE, 4, 1.0)) is None


def test_one_logit_for_two_classes_has_none():
    assert head_of(to_onnx(build("linear", {}, SIZE, 2, seed=0).eval(), SIZE, 2, 1.0)) is None
