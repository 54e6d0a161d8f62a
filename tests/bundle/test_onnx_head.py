from functools import reduce

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from keensight.bundle.onnx_check import check_onnx
from keensight.bundle.onnx_head import head_of, with_output
from keensight.explanation.head import slopes
from keensight.interop.onnx.write import to_onnx
from keensight.models import transfer
from keensight.models.backbone import Backbone
from keensight.models.classifier import Classifier
from keensight.models.zoo import build
from keensight.values import Preprocessing

SIZE = Preprocessing(12, 16, 3)


def a_network(*end):
    torch.manual_seed(0)
    return Classifier(nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(), *end), SIZE.channels).eval()


def pooled(num_classes=4):
    return a_network(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, num_classes))


def drawn(name, height, width):
    """A backbone of random weights that gives as many features as its name says."""
    torch.manual_seed(int(name))
    body = nn.Sequential(nn.Conv2d(3, int(name), 3), nn.ReLU6(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return Backbone(body.eval(), int(name), (0.3,) * 3, (0.4,) * 3, 8, nn.Linear(int(name), 9))


HEADS = {
    "linear": [nn.Linear(5, 4)],
    "two layers": [nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 4)],
    "normalised": [nn.BatchNorm1d(5), nn.Linear(5, 4)],
    "probabilities": {"backbone": "5", "probabilities": True},
    "mirror": {"backbone": "5", "mirror": True},
    "joined": {"backbone": "5+7"},
    "all of it": {"backbone": "5+7", "probabilities": True, "mirror": True},
}


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
def test_slopes_are_those_that_torch_finds(head, monkeypatch):
    monkeypatch.setattr(transfer, "load_backbone", drawn)
    if isinstance(head, dict):
        model = build("transfer", head, SIZE, 4, seed=0).eval()
    else:
        model = a_network(nn.AdaptiveAvgPool2d(1), nn.Flatten(), *head)
    content = to_onnx(model, SIZE, 4, 1.7)
    found = head_of(content)
    image = np.random.default_rng(0).integers(0, 256, (1, 12, 16, 3), np.uint8)
    with_maps = reduce(with_output, found.maps.values(), content)
    session = onnxruntime.InferenceSession(with_maps, providers=["CPUExecutionProvider"])
    names = list(found.maps.values())
    maps = dict(zip(names, session.run(names, {"images": image}), strict=True))

    seen = []  # the maps that torch takes the mean of, in the order of the network

    def keep(pool, inputs):
        inputs[0].retain_grad()
        seen.append(inputs[0])

    for module in model.modules():
        if isinstance(module, nn.AdaptiveAvgPool2d):
            module.register_forward_pre_hook(keep)
    with torch.enable_grad():
        pixels = torch.from_numpy(image).permute(0, 3, 1, 2).float().div(255).requires_grad_()
        by_logits = torch.tensor([1.0, -0.5, 0.0, -0.5])
        (model(pixels)[0] / 1.7 @ by_logits).backward()

    by_means = slopes(found, maps, by_logits.numpy())
    assert len(by_means) == len(seen)
    for expected in seen:
        (name,) = (name for name in names if maps[name].shape == tuple(expected.shape))
        np.testing.assert_allclose(maps[name], expected.detach(), atol=1e-5)
        np.testing.assert_allclose(by_means[name], expected.grad.sum(dim=(2, 3)), atol=1e-6, rtol=1e-4)


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
        (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 4)),
    ],
    ids=["dense", "maximum", "another function"],
)
def test_networks_that_end_in_another_way_have_none(end):
    assert head_of(to_onnx(a_network(*end), SIZE, 4, 1.0)) is None


def test_one_logit_for_two_classes_has_none():
    assert head_of(to_onnx(build("linear", {}, SIZE, 2, seed=0).eval(), SIZE, 2, 1.0)) is None
