"""Backbones of others: what is missing is named, and a file of features is a backbone."""

import sys

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from safetensors.torch import save_file

import keensight
from keensight.bundle.network import network_of
from keensight.bundle.read import read_bundle
from keensight.errors import KeensightError, RecipeError
from keensight.models.backbone import backbone, package_behind
from keensight.models.external import expected_of
from keensight.pipeline.notes import pictures_of_backbone
from keensight.training.recipe import load_recipe


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """Put a module called timm, with this code, before all others."""

    def install(code):
        for name in [name for name in sys.modules if name.partition(".")[0] == "timm"]:
            monkeypatch.delitem(sys.modules, name)
        (tmp_path / "timm.py").write_text(code)
        monkeypatch.syspath_prepend(str(tmp_path))

    yield install
    sys.modules.pop("timm", None)


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (
            "import torchvisiom",
            "timm, which is installed, but which itself needs torchvisiom.*`pip install torchvisiom`",
        ),
        (
            "raise RuntimeError('operator torchvision::nms does not exist')",
            r"cannot be loaded: operator torchvision::nms does not exist.*torchvision's build is not that",
        ),
        (
            "from os import nothing",
            "installed but cannot be loaded: cannot import name 'nothing'.*--force-reinstall timm",
        ),
    ],
)
def test_what_is_really_missing_is_named(fake, code, says):
    fake(code)
    with pytest.raises(KeensightError, match=says):
        backbone("timm/resnet18", 32, 32)


def features_file(path, size=12, **metadata):
    """Write a file of features: a convolution and ReLU, of which maps come out."""
    weight = np.random.default_rng(0).normal(0, 1, (6, 3, 3, 3)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"], kernel_shape=[3, 3]), helper.make_node("Relu", ["y"], ["z"])],
        "features",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, size, size])],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, ["N", 6, size - 2, size - 2])],
        [numpy_helper.from_array(weight, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, metadata)
    onnx.save(model, path)
    return path, weight


def test_a_file_of_features_is_a_backbone(tmp_path):
    path, weight = features_file(tmp_path / "f.onnx", mean="[0.5, 0.5, 0.5]", std="[1, 2, 4]")
    found = backbone(str(path), 12, 12)
    assert (found.num_features, found.mean, found.std, found.size_px) == (6, (0.5,) * 3, (1.0, 2.0, 4.0), 12)
    x = torch.randn(3, 3, 12, 12)
    expected = torch.relu(torch.nn.functional.conv2d(x, torch.from_numpy(weight))).mean((2, 3))
    torch.testing.assert_close(found.network(x), expected)


def test_a_model_on_it_is_trained_exported_and_explained(tmp_path, monkeypatch):
    path, _ = features_file(tmp_path / "f.onnx")
    rng = np.random.default_rng(1)
    for k, label in enumerate("ab"):
        (tmp_path / "data" / label).mkdir(parents=True)
        for i in range(20):
            pixels = rng.integers(0, 150, (15, 20, 3), np.uint8)
            pixels[..., k] += 100
            Image.fromarray(pixels).save(tmp_path / "data" / label / f"{i}.png")
    monkeypatch.chdir(tmp_path)
    run = keensight.train("data", out="run", set=["model=transfer", "backbone=f.onnx"])
    assert run.report.test.accuracy == 1 and run.report.preprocessing["fit"] == "crop"
    assert run.report.preprocessing["height"] == 12
    path.unlink()  # the bundle needs it no more
    images = torch.rand(4, 3, 12, 12)
    model = network_of(read_bundle(run.bundle))
    again = keensight.load(run.bundle)
    bytes_NHWC = (images * 255).round().byte()
    with torch.no_grad():
        own = (model(bytes_NHWC.float() / 255) / again.bundle.info.temperature).softmax(1)
    np.testing.assert_allclose(again.probabilities_as_seen(bytes_NHWC.permute(0, 2, 3, 1).numpy()), own, atol=1e-5)
    assert keensight.explain(run.bundle, "data/a/0.png", out="why")


FAKE = """
from types import SimpleNamespace
import torch

class Network(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.body = torch.nn.Linear(192, 5)
        self.pretrained_cfg = dict(mean=[0.5] * 3, std=[1.0] * 3, input_size=(3, 8, 8), classifier="head.fc")

    def forward(self, x):
        return self.body(x.flatten(1))

class models:
    def get_pretrained_cfg(name):
        return SimpleNamespace(input_size=(3, 8, 8), crop_mode="squash", crop_pct=0.875, interpolation="bicubic")

def create_model(name, pretrained, num_classes):
    if pretrained:
        raise RuntimeError("no hub is reachable")
    return Network()
"""


def test_weights_of_a_file_fill_a_network_of_a_library(fake, tmp_path, monkeypatch):
    fake(FAKE)
    monkeypatch.chdir(tmp_path)
    weights = {"body.weight": torch.randn(5, 192), "body.bias": torch.randn(5), "head.fc.weight": torch.randn(2, 5)}
    save_file(weights, "w.safetensors")
    recipe = load_recipe("default", ["model=transfer", "model.backbone=timm/tiny@w.safetensors"])
    name = str(recipe.model.options["backbone"])
    assert name == f"timm/tiny@{tmp_path}/w.safetensors"  # found from other folders too
    x = torch.randn(2, 3, 8, 8)
    expected = x.flatten(1) @ weights["body.weight"].T + weights["body.bias"]
    torch.testing.assert_close(backbone(name, 8, 8).network(x), expected)
    assert package_behind(name) is None
    said = pictures_of_backbone(name, expected_of(name))
    assert "squares of 8 pixels squeezed into shape: so are these" in said
    assert "no margin is cut off (its library keeps 88% of the side), and pictures are resized bilinearly" in said


def test_weights_that_do_not_fit_are_refused(fake, tmp_path):
    fake(FAKE)
    file = tmp_path / "w.safetensors"
    with pytest.raises(RecipeError, match=r"No such file.*that .*w.safetensors holds weights of it"):
        backbone(f"timm/tiny@{file}", 8, 8)
    file.write_bytes(b"no")
    with pytest.raises(RecipeError, match="is not a safetensors file"):
        backbone(f"timm/tiny@{file}", 8, 8)
    save_file({"body.weight": torch.zeros(5, 192), "tail.weight": torch.zeros(1)}, file)
    with pytest.raises(
        RecipeError, match=r"1 are missing \['body.bias'\], and 1 are of something else \['tail.weight'\]"
    ):
        backbone(f"timm/tiny@{file}", 8, 8)
    save_file({"body.weight": torch.zeros(4, 192), "body.bias": torch.zeros(4)}, file)
    with pytest.raises(RecipeError, match="size mismatch"):
        backbone(f"timm/tiny@{file}", 8, 8)
    with pytest.raises(RecipeError, match=r"does not say of which network. .*timm/resnet18@w.safetensors"):
        backbone(str(file), 8, 8)


def test_files_that_are_none_are_refused(tmp_path):
    (tmp_path / "x.onnx").write_bytes(b"no")
    with pytest.raises(RecipeError, match="is not an ONNX file of features"):
        backbone(str(tmp_path / "x.onnx"), 12, 12)
    with pytest.raises(RecipeError, match="cannot be read"):
        backbone(str(tmp_path / "none.onnx"), 12, 12)
