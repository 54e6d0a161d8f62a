import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from keensight.bundle.onnx_check import check_onnx
from keensight.bundle.onnx_head import head_of
from keensight.explanation.head import slopes
from keensight.interop.onnx import quantize
from keensight.models import transfer
from keensight.models.backbone import Backbone
from keensight.models.onnx.write import to_onnx
from keensight.models.zoo import build
from keensight.values import Preprocessing

SIZE = Preprocessing(12, 16, 3)
IMAGES = np.random.default_rng(0).integers(0, 256, (24, 12, 16, 3), np.uint8)


def drawn(name, height, width):
    """A backbone of random weights, whose probabilities for a hundred classes are small."""
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU6(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return Backbone(body.eval(), 8, (0.3,) * 3, (0.4,) * 3, 8, nn.Linear(8, 100))


@pytest.fixture
def model(monkeypatch):
    monkeypatch.setattr(transfer, "load_backbone", drawn)
    return to_onnx(build("transfer", {"probabilities": True, "mirror": True}, SIZE, 3, seed=0).eval(), SIZE, 3, 1.0)


def quantised_inputs(content):
    nodes = onnx.load_model_from_string(content).graph.node
    return {name for node in nodes if node.op_type == "QuantizeLinear" for name in node.input}


def test_what_follows_the_means_of_maps_stays_float32(model):
    found = quantize.to_int8(model, [IMAGES])
    check_onnx(found, SIZE, 3)
    known, kept = ({p.key: p.value for p in onnx.load_from_string(each).metadata_props} for each in (model, found))
    assert known and known.items() <= kept.items()
    made = {name for each in head_of(model).operators for name in (*each.inputs, each.output)}
    quantised = quantised_inputs(found)
    assert quantised and not quantised & (made - set(head_of(model).maps))
    before, after = (
        onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"]).run(None, {"images": IMAGES})[0]
        for content in (model, found)
    )
    np.testing.assert_allclose(before, after, atol=0.01)


def test_the_head_of_an_int8_model_is_found_too(model, monkeypatch):
    """Even of one that is int8 to its end, as those of earlier versions are."""
    monkeypatch.setattr(quantize, "head_of", lambda _: None)
    found = quantize.to_int8(model, [IMAGES])
    assert quantised_inputs(found) & {each.output for each in head_of(model).operators}
    (name,), (int8,) = head_of(model).maps.values(), head_of(found).maps.values()
    maps = np.random.default_rng(1).random((2, 8, 5, 7))
    expected = slopes(head_of(model), {name: maps}, np.array([1.0, -0.5, -0.5]))[name]
    np.testing.assert_allclose(
        slopes(head_of(found), {int8: maps}, np.array([1.0, -0.5, -0.5]))[int8],
        expected,
        atol=0.02 * abs(expected).max(),
    )
