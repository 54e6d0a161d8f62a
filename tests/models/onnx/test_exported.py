"""Networks that the table of layers does not cover: the ONNX file answers as torch does, and what cannot is named."""

import numpy as np
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from keensight.bundle.onnx_check import check_onnx
from keensight.errors import BundleError
from keensight.models.classifier import as_classifier
from keensight.models.onnx.write import to_onnx
from keensight.values import Preprocessing

SIZE = Preprocessing(16, 16, 3)


class Tokens(nn.Module):
    """A small vision transformer: patches, a class token, positions, attention, an MLP."""

    def __init__(self, fused):
        super().__init__()
        self.patch = nn.Conv2d(3, 12, 4, 4)
        self.cls = nn.Parameter(torch.randn(1, 1, 12))
        self.place = nn.Parameter(torch.randn(1, 17, 12))
        self.norm, self.qkv, self.out, self.head = (
            nn.LayerNorm(12), nn.Linear(12, 36), nn.Linear(12, 12), nn.Linear(12, 4),
        )  # fmt: skip
        self.fused = fused

    def forward(self, x):
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls.expand(x.shape[0], -1, -1), x], dim=1) + self.place
        n, length, width = x.shape
        q, k, v = self.qkv(self.norm(x)).reshape(n, length, 3, 3, width // 3).permute(2, 0, 3, 1, 4).unbind(0)
        if self.fused:
            mixed = F.scaled_dot_product_attention(q, k, v)
        else:
            mixed = ((q * 0.5) @ k.transpose(-2, -1)).softmax(dim=-1) @ v
        x = x + F.gelu(self.out(mixed.transpose(1, 2).reshape(n, length, width)))
        return self.head(x[:, 0])


class Branches(nn.Module):
    """Functions, changes in place, splits and joins, squeeze and excitation, pools, group normalisation."""

    def __init__(self):
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 8, 3, padding="same"), nn.BatchNorm2d(8)
        self.group, self.squeeze, self.head = nn.GroupNorm(2, 8), nn.Conv2d(8, 8, 1), nn.Linear(8, 4)

    def forward(self, x):
        x = F.hardswish(self.norm(self.first(x)), inplace=True)
        one, other = x.chunk(2, dim=1)
        x = torch.cat([F.relu6(one), F.leaky_relu(other, 0.2)], dim=1)
        x = x * torch.sigmoid(self.squeeze(F.adaptive_avg_pool2d(x, 1)))
        x = self.group(F.avg_pool2d(F.pad(x, (1, 1, 1, 1)), 3, 2))
        x = x + torch.roll(x, (1, 2), (2, 3)).abs().sqrt()
        return self.head(x.amax((2, 3)) - x.mean((2, 3)) ** 2)


def random_statistics(network):
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2)


@pytest.mark.parametrize(
    "network", [lambda: Tokens(True), lambda: Tokens(False), Branches], ids=["fused", "plain", "branches"]
)
def test_it_answers_as_torch_does(network):
    torch.manual_seed(0)
    network = network()
    random_statistics(network)
    model = as_classifier(network.eval(), SIZE, 4)
    onnx = to_onnx(model, SIZE, 4, temperature=1.0)
    assert check_onnx(onnx, SIZE, 4) == ("probabilities",)
    for count in (1, 5):
        images = np.random.default_rng(count).integers(0, 256, (count, 16, 16, 3), np.uint8)
        (answer,) = onnxruntime.InferenceSession(onnx).run(None, {"images": images})
        with torch.no_grad():
            expected = network(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255).softmax(1)
        np.testing.assert_allclose(answer, expected, atol=1e-5)


class Odd(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.inner = nn.Sequential(nn.Flatten(), nn.Linear(768, 4))
        self.function = function

    def forward(self, x):
        return self.function(self.inner(x))


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (lambda x: x.cumsum(1), r"cumsum, in .*Odd"),
        (lambda x: x if x.sum() > 0 else -x, r"Odd cannot be exported.*must not depend on the pictures"),
        (lambda x: F.elu(x, 1.0) * torch.fft.fft(x).real, r"fft_fft|cannot be exported"),
    ],
)
def test_what_cannot_be_exported_is_named(function, says):
    with pytest.raises(BundleError, match=says):
        to_onnx(as_classifier(Odd(function), SIZE, 4), SIZE, 4, temperature=1.0)
