from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from keensight.bundle.onnx_check import check_onnx
from keensight.engines.onnx_runtime import OnnxRuntime
from keensight.errors import BundleError, RecipeError
from keensight.models import features as asked
from keensight.models import transfer as module
from keensight.models.backbone import Backbone
from keensight.models.features import features
from keensight.models.joined import Resized
from keensight.models.onnx.write import to_onnx
from keensight.models.zoo import build
from keensight.values import Preprocessing, Split

SIZE = Preprocessing(12, 10, 3)
RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (9, 12, 10, 3), np.uint8)
PICTURES = Split(IMAGES, np.arange(9), np.arange(9) % 3, ("",) * 9)


def drawn(name, height, width):
    """A backbone of random weights: its name says how many features it has, and whether its classes are known."""
    torch.manual_seed(sum(map(ord, name)))
    n = int(name.rstrip("?!"))
    body = nn.Sequential(nn.Conv2d(3, n, 3), nn.BatchNorm2d(n), nn.ReLU6(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    classes = None if name.endswith("?") else nn.Linear(n, 5)
    return Backbone(body.eval(), n, (0.3,) * 3, (0.5 if name.endswith("!") else 0.4,) * 3, 8, classes)


@pytest.fixture(autouse=True)
def no_weights(monkeypatch):
    monkeypatch.setattr(module, "load_backbone", drawn)


def by_hand(options):
    """The features, spelt out for one picture after the other."""
    parts = [drawn(name, 12, 10) for name in options["backbone"].split("+")]
    rows = []
    for image in IMAGES:
        seen = (torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255 - 0.3) / 0.4
        both = [seen, torch.flip(seen, [3])] if options.get("mirror") else [seen]
        answers = []
        for each in both:
            row = []
            for part in parts:
                found = part.network(each)[0]
                row.append(found)
                if options.get("probabilities"):
                    logits = part.classes(found)
                    row.append((logits.exp() / logits.exp().sum()).sqrt())
            answers.append(torch.cat(row))
        rows.append(torch.stack(answers).mean(dim=0))
    return torch.stack(rows).detach().numpy()


@pytest.mark.parametrize(
    "options",
    [
        {"backbone": "7"},
        {"backbone": "7", "mirror": True},
        {"backbone": "7", "probabilities": True},
        {"backbone": "7+4"},
        {"backbone": "7+4", "mirror": True, "probabilities": True},
    ],
)
def test_features_and_exported_answers_are_those_by_hand(options):
    model = build("transfer", options, SIZE, 3, seed=0).eval()
    with torch.no_grad():
        model.mean.fill_(0.3)
        model.std.fill_(0.4)
        naive = by_hand(options)
        assert np.abs(features(model, PICTURES) - naive).max() < 1e-5
        head = model.network.head
        wanted = torch.softmax(torch.from_numpy(naive) @ head.weight.T + head.bias, dim=1).numpy()
    onnx = to_onnx(model, SIZE, 3, temperature=1.0)
    check_onnx(onnx, SIZE, 3)
    assert np.abs(OnnxRuntime(onnx, 1, False).run(IMAGES)["probabilities"] - wanted).max() < 1e-5


def test_what_a_network_computed_is_used_again_by_others_that_have_it(own_cache):
    features(build("transfer", {"backbone": "7"}, SIZE, 3, seed=0), PICTURES)
    assert len(list((own_cache / "features").iterdir())) == 1
    features(build("transfer", {"backbone": "7", "probabilities": True}, SIZE, 3, seed=0), PICTURES)
    assert len(list((own_cache / "features").iterdir())) == 1
    features(build("transfer", {"backbone": "7+4", "mirror": True}, SIZE, 3, seed=0), PICTURES)
    assert len(list((own_cache / "features").iterdir())) == 4


def test_a_network_that_cannot_be_written_as_onnx_is_asked_through_torch(monkeypatch):
    wanted = features(build("transfer", {"backbone": "7", "mirror": True}, SIZE, 3, seed=0), PICTURES)

    def refuse(*_):
        raise BundleError("It has a layer that has no counterpart.")

    monkeypatch.setattr(asked, "features_to_onnx", refuse)
    monkeypatch.setattr(asked, "VERSION", asked.VERSION + 1)
    found = features(build("transfer", {"backbone": "7", "mirror": True}, SIZE, 3, seed=0), PICTURES)
    assert np.abs(found - wanted).max() < 1e-5


def smaller(name, height, width):
    """As `drawn`, but one with an "s" was trained on 6 pixels, where others were on 8."""
    found = drawn(name.replace("s", ""), height, width)
    return replace(found, size_px=6) if "s" in name else found


def test_each_of_several_backbones_sees_pictures_of_its_own_size(monkeypatch):
    monkeypatch.setattr(module, "load_backbone", smaller)
    model = build("transfer", {"backbone": "7+4s", "probabilities": True}, SIZE, 3, seed=0).eval()
    alone, small = (smaller(name, 12, 10).network for name in ("7", "4s"))
    with torch.no_grad():
        seen = (torch.from_numpy(IMAGES).permute(0, 3, 1, 2).float() / 255 - model.mean) / model.std
        found = features(model, PICTURES)
        # 12x10 becomes 9x8: 10 * 6 / 8 is 7.5, rounded to even
        by_hand = small(nn.functional.interpolate(seen, (9, 8), mode="bilinear")).numpy()
    np.testing.assert_allclose(found[:, :7], alone(seen).detach().numpy(), atol=1e-5)
    np.testing.assert_allclose(found[:, 12:16], by_hand, atol=1e-5)
    wanted = model(torch.from_numpy(IMAGES).permute(0, 3, 1, 2).float() / 255).softmax(dim=1).detach().numpy()
    answers = OnnxRuntime(to_onnx(model, SIZE, 3, temperature=1.0), 1, False).run(IMAGES)["probabilities"]
    assert np.abs(answers - wanted).max() < 1e-5


@pytest.mark.parametrize(
    ("side", "seen"), [(8, [8, 6]), (16, [16, 12]), (7, [8, 6]), (6, [8, 6]), (5, [5, 5])],
    ids=["the larger", "above both", "between", "the smaller", "below both"],
)  # fmt: skip
def test_backbones_see_what_they_were_trained_on_if_pictures_are_large_enough(monkeypatch, side, seen):
    monkeypatch.setattr(module, "load_backbone", smaller)
    networks = [part.network for part in module._in_their_sizes(["7", "4s"], side, side)]
    assert [each.resize.size[0] if isinstance(each, Resized) else side for each in networks] == seen
    (one,) = module._in_their_sizes(["4s"], side, side)
    assert not isinstance(one.network, Resized), "a single one sees pictures as they were asked for"


def test_the_features_at_two_sizes_are_kept_apart(monkeypatch, own_cache):
    """Their weights are the same, and so are the pictures."""
    monkeypatch.setattr(module, "load_backbone", smaller)
    own = features(build("transfer", {"backbone": "4"}, SIZE, 3, seed=0), PICTURES)
    joined = features(build("transfer", {"backbone": "7+4s"}, SIZE, 3, seed=0), PICTURES)
    assert len(list((own_cache / "features").iterdir())) == 3
    assert np.abs(own - joined[:, 7:]).max() > 1e-3


def test_in_training_a_picture_is_seen_once_and_batch_statistics_stay():
    network = build("transfer", {"backbone": "7", "mirror": True, "backbone_rate": 0.1}, SIZE, 3, seed=0).network
    network.train()
    once = network.backbone(torch.ones(2, 3, 12, 10))
    assert torch.equal(once, network.backbone.network(torch.ones(2, 3, 12, 10)))
    assert not any(m.training for m in network.backbone.network.modules())
    network.eval()
    assert not network.backbone.first.training


def test_backbones_that_do_not_go_together_are_refused():
    with pytest.raises(RecipeError, match="normalised differently"):
        build("transfer", {"backbone": "7+4!"}, SIZE, 3, seed=0)
    with pytest.raises(RecipeError, match="does not tell its probabilities"):
        build("transfer", {"backbone": "7?", "probabilities": True}, SIZE, 3, seed=0)
