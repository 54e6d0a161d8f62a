"""The features before the last layer, and their oddness in ONNX."""

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from keensight.bundle.onnx_check import check_onnx
from keensight.errors import RecipeError
from keensight.models.classifier import Classifier
from keensight.models.features import features, last_features
from keensight.models.oddness import AGAIN, Oddness, feature_steps, num_statistics, oddness_steps
from keensight.models.onnx.write import to_onnx
from keensight.models.zoo import build
from keensight.values import Preprocessing, Split

SIZE = Preprocessing(24, 24, 3)


def pictures(n=10):
    images = np.random.default_rng(0).integers(0, 256, (n, 24, 24, 3), np.uint8)
    return Split(images, np.arange(n), np.zeros(n, np.int64), ("",) * n)


def a_model(name, size=SIZE, **options):
    model = build(name, options, size, 2, 0).eval()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.uniform_(-0.2, 0.2)
                module.running_var.uniform_(0.5, 2)
    return model


def what_the_last_layer_reads(model, split):
    """By a hook on the last linear layer; for a mirroring network, the mean of both halves."""
    seen = []
    last = [module for module in model.modules() if isinstance(module, nn.Linear)][-1]
    hook = last.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        model(torch.from_numpy(split.gather()).permute(0, 3, 1, 2).float() / 255)
    hook.remove()
    return seen[0].reshape(-1, len(split), seen[0].shape[1]).mean(dim=0).numpy()


KINDS = [
    ("cnn", {}), ("cnn", {"mirror": True}), ("resnet", {"mirror": True}), ("dense", {"dropout": 0.1}), ("logistic", {}),
    ("linear", {}), ("planes", {}), ("fashion", {}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "options"), KINDS)
def test_features_are_what_the_last_layer_reads(name, options):
    model = a_model(name, **options)
    np.testing.assert_allclose(
        last_features(model, pictures()), what_the_last_layer_reads(model, pictures()), rtol=1e-3, atol=1e-4
    )


@pytest.mark.parametrize(("name", "options"), KINDS)
def test_onnx_has_the_same_oddness_and_the_same_probabilities(name, options):
    model, split = a_model(name, **options), pictures()
    features_NF = torch.from_numpy(last_features(model, split))
    module = Oddness(features_NF.shape[1], 5, 4)
    torch.manual_seed(0)
    module.prototypes_PF.copy_(nn.functional.normalize(torch.randn(5, features_NF.shape[1])))
    module.rates.copy_(torch.tensor([2.0, 0.5]))
    module.zeros.copy_(torch.tensor([0.4, -0.1]))
    plain, both = (to_onnx(model, SIZE, 2, 1.3, oddness=odd) for odd in (None, module))
    assert check_onnx(both, SIZE, 2) == ("probabilities", "oddness")
    images = split.gather()
    (before,) = onnxruntime.InferenceSession(plain).run(None, {"images": images})
    after, odd_N = onnxruntime.InferenceSession(both).run(None, {"images": images})
    np.testing.assert_array_equal(before, after)
    with torch.no_grad():
        np.testing.assert_allclose(odd_N, module(features_NF).numpy(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "options", "side", "every"),
    [
        ("cnn", {}, 24, 1),
        ("cnn", {"mirror": True}, 24, 1),
        ("resnet", {"mirror": True}, 24, 1),
        ("planes", {}, 24, 1),
        ("fashion", {}, 24, 1),
        ("cnn", {"mirror": True}, 99, 3),
        ("husky", {}, 161, 5),
    ],
)
def test_statistics_are_those_of_pixels_and_first_maps_and_onnx_reads_the_same(name, options, side, every):
    size = Preprocessing(side, side + 1, 3)
    split = Split(
        np.random.default_rng(0).integers(0, 256, (10, side, side + 1, 3), np.uint8),
        np.arange(10), np.zeros(10, np.int64), ("",) * 10,
    )  # fmt: skip
    model = a_model(name, size, **options)
    seen = []
    first = next(module for module in model.modules() if isinstance(module, nn.Conv2d))
    hook = first.register_forward_hook(lambda module, inputs, output: seen.append(output))
    images_NCHW = torch.from_numpy(split.gather()).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        model(images_NCHW)
        normalised = ((images_NCHW - model.mean) / model.std).numpy()
    hook.remove()
    steps = 1 if options.get("mirror") else every, every  # of pixels, and of maps
    both = [levels[:, :, ::step, ::step] for levels, step in zip((normalised, seen[0].numpy()), steps, strict=True)]
    count, features_NF = num_statistics(model.network, 3), last_features(model, split, with_statistics=True)
    found = features_NF[:, -count:]
    assert np.array_equal(features_NF[:, :-count], last_features(model, split))
    if not any(isinstance(module, nn.BatchNorm2d) for module in model.modules()):  # it is folded into the maps
        naive = []
        for i in range(len(split)):
            row = []
            for maps in both:
                rows = [maps[i], *([maps[i + len(split)]] if len(maps) > len(split) else [])]
                levels = [np.concatenate([m.mean((1, 2)), m.std((1, 2)), m.max((1, 2))]) for m in rows]
                row.append(np.mean(levels, axis=0))
            naive.append(np.concatenate(row))
        np.testing.assert_allclose(found, naive, rtol=1e-3, atol=1e-4)
    module = Oddness(features_NF.shape[1] - count, 5, 4, count)
    torch.manual_seed(0)
    module.prototypes_PF.copy_(nn.functional.normalize(torch.randn(*module.prototypes_PF.shape)))
    module.usual_S.copy_(torch.from_numpy(found.mean(axis=0)))
    module.whitening_SS.copy_(torch.randn(count, count))
    module.rates.copy_(torch.tensor([2.0, 0.5, 100.0]))
    onnx = to_onnx(model, size, 2, 1.3, oddness=module)
    check_onnx(onnx, size, 2)
    _, odd_N = onnxruntime.InferenceSession(onnx).run(None, {"images": split.gather()})
    with torch.no_grad():
        np.testing.assert_allclose(odd_N, module(torch.from_numpy(features_NF)).numpy(), rtol=1e-3, atol=1e-3)
        third_N = module.tests(torch.from_numpy(features_NF))[:, 2].numpy()
        assert (100 * third_N / 2 <= odd_N + 0.01).all() and (third_N > 0).all(), "it counts, of every picture"


@pytest.mark.parametrize(
    "layers",
    [
        [nn.Conv2d(3, 8, 3, padding="same")],  # which torch has without strides alone
        [nn.Conv2d(3, 8, 3, stride=2)],
        [nn.Conv2d(3, 8, (3, 5), stride=(1, 2), padding=(0, 1), dilation=2)],
        [nn.AvgPool2d(8), nn.Conv2d(3, 8, 3)],  # whose maps are small
    ],
)
def test_all_kinds_of_first_convolutions_have_statistics_of_large_pictures(layers):
    size = Preprocessing(224, 224, 3)
    network = nn.Sequential(*layers, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2))
    model = Classifier(network, 3).eval()
    maps = network[: len(layers)](torch.rand(1, 3, 224, 224))
    steps = {step.name: step.layer for step in oddness_steps(network, 224)}
    again = steps.get(AGAIN, layers[-1])
    assert min(again(torch.rand(1, 3, 224, 224)).shape[2:] if AGAIN in steps else maps.shape[2:]) >= min(
        16, *maps.shape[2:]
    )
    split = Split(np.zeros((4, 224, 224, 3), np.uint8), np.arange(4), np.zeros(4, np.int64), ("",) * 4)
    assert last_features(model, split, with_statistics=True).shape == (4, 8 + num_statistics(network, 3))
    if layers[0].padding != "same":
        check_onnx(to_onnx(model, size, 2, 1.0, oddness=Oddness(8, 2, 2, num_statistics(network, 3))), size, 2)


def test_a_mirroring_networks_statistics_are_those_of_the_mirror_image_too():
    model = a_model("cnn", Preprocessing(128, 128, 3), mirror=True)
    images = np.random.default_rng(0).integers(0, 256, (2, 128, 128, 3), np.uint8)
    of_both = [
        last_features(model, Split(each, np.arange(2), np.zeros(2, np.int64), ("",) * 2), with_statistics=True)
        for each in (images, np.ascontiguousarray(images[:, :, ::-1]))
    ]
    np.testing.assert_allclose(*of_both, rtol=1e-4, atol=1e-4)


def test_which_networks_have_statistics():
    assert num_statistics(a_model("planes").network, 3) == 3 * (3 + 32)
    assert num_statistics(a_model("resnet", filters=64).network, 3) in (0, 3 * (3 + 64))
    assert num_statistics(a_model("dense").network, 3) == 0


def test_a_network_without_a_linear_layer_is_refused():
    network = nn.Sequential(nn.Conv2d(3, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(RecipeError, match="no linear layer; a vector.*set coverage = 1"):
        feature_steps(network)


@pytest.mark.parametrize("options", [{}, {"mirror": True}, {"mirror": True, "probabilities": True}])
def test_a_backbones_cached_features_are_those_that_oddness_reads_in_the_graph(options):
    size = Preprocessing(32, 32, 3)
    images = np.random.default_rng(1).integers(0, 256, (3, 32, 32, 3), np.uint8)
    split = Split(images, np.arange(3), np.zeros(3, np.int64), ("",) * 3)
    model = build("transfer", options, size, 2, 0).eval()
    features_NF = features(model, split)
    np.testing.assert_allclose(last_features(model, split), features_NF, rtol=1e-4, atol=1e-4)
    module = Oddness(features_NF.shape[1], 3, 2)
    module.prototypes_PF.copy_(torch.from_numpy(features_NF / np.linalg.norm(features_NF, axis=1, keepdims=True)))
    session = onnxruntime.InferenceSession(to_onnx(model, size, 2, 1.0, oddness=module))
    _, odd_N = session.run(None, {"images": images})
    with torch.no_grad():
        np.testing.assert_allclose(odd_N, module(torch.from_numpy(features_NF)).numpy(), atol=1e-4)
