from functools import reduce

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from keensight.bundle.onnx_check import check_onnx
from keensight.bundle.onnx_head import head_of, with_output
from keensight.explanation.head import STEPS, slopes
from keensight.models import transfer
from keensight.models.backbone import Backbone
from keensight.models.classifier import Classifier
from keensight.models.onnx.write import to_onnx
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
    "bent": [nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 6), nn.Sigmoid(), nn.Linear(6, 4)],
    "convolutions of one pixel": (nn.Conv2d(5, 6, 1), nn.Hardswish(), nn.Conv2d(6, 4, 1), nn.Flatten()),
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
    else:  # a tuple is of layers of pictures
        model = a_network(nn.AdaptiveAvgPool2d(1), *([] if isinstance(head, tuple) else [nn.Flatten()]), *head)
    content = to_onnx(model, SIZE, 4, 1.7)
    found = head_of(content)
    image = np.random.default_rng(0).integers(0, 256, (1, 12, 16, 3), np.uint8)
    with_maps = reduce(with_output, found.maps.values(), content)
    session = onnxruntime.InferenceSession(with_maps, providers=["CPUExecutionProvider"])
    names = list(found.maps.values())
    maps = dict(zip(names, session.run(names, {"images": image}), strict=True))

    seen = {}  # what torch takes the mean of: the maps, and slopes by these for each step of the way
    share = [1.0]

    def scaled(pool, inputs):
        (maps,) = inputs
        maps = maps.detach() * share[0]
        seen.setdefault(pool, []).append(maps.requires_grad_())
        return maps

    for module in model.modules():
        if isinstance(module, nn.AdaptiveAvgPool2d):
            module.register_forward_pre_hook(scaled)
    by_logits = torch.tensor([1.0, -0.5, 0.0, -0.5])
    pixels = torch.from_numpy(image).permute(0, 3, 1, 2).float().div(255)
    for share[0] in (np.arange(STEPS) + 0.5) / STEPS:
        with torch.enable_grad():
            (model(pixels)[0] / 1.7 @ by_logits).backward()

    by_means = slopes(found, maps, by_logits.numpy())
    assert len(by_means) == len(seen)
    for steps in seen.values():
        (name,) = (name for name in names if maps[name].shape == tuple(steps[0].shape))
        np.testing.assert_allclose(maps[name], steps[-1].detach() / share[0], atol=1e-5)
        expected = sum(step.grad.sum(dim=(2, 3)) for step in steps) / STEPS
        np.testing.assert_allclose(by_means[name], expected, atol=1e-6, rtol=1e-4)

    share[0] = 0.0  # what is added to a picture of nothing is all that there is
    with torch.no_grad():
        nothing = model(pixels)[0] / 1.7 @ by_logits
    share[0] = 1.0
    with torch.no_grad():
        something = model(pixels)[0] / 1.7 @ by_logits
    added = sum((by_means[name] * maps[name].mean(axis=(2, 3))).sum() for name in names)
    assert added == pytest.approx(float(something - nothing), abs=2e-3)


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
        (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 6), nn.Softplus(), nn.Linear(6, 4)),
        (nn.AdaptiveAvgPool2d(1), nn.Conv2d(5, 4, 3, padding=1), nn.Flatten()),
    ],
    ids=["dense", "maximum", "another function", "convolutions of more pixels"],
)
def test_networks_that_end_in_another_way_have_none(end):
    assert head_of(to_onnx(a_network(*end), SIZE, 4, 1.0)) is None


def test_one_logit_for_two_classes_has_none():
    assert head_of(to_onnx(build("linear", {}, SIZE, 2, seed=0).eval(), SIZE, 2, 1.0)) is None
