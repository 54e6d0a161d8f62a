"""Backbones of others: what is missing is named, and a file of features is a backbone."""

import sys

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

import keensight
from keensight.bundle.network import network_of
from keensight.bundle.read import read_bundle
from keensight.errors import KeensightError, RecipeError
from keensight.models.backbone import backbone


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


def test_files_that_are_none_are_refused(tmp_path):
    (tmp_path / "x.onnx").write_bytes(b"no")
    with pytest.raises(RecipeError, match="is not an ONNX file of features"):
        backbone(str(tmp_path / "x.onnx"), 12, 12)
    with pytest.raises(RecipeError, match="cannot be read"):
        backbone(str(tmp_path / "none.onnx"), 12, 12)
