import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save

import keensight
from keensight.bundle.network import network_of, recipe_of
from keensight.bundle.read import read_bundle
from keensight.errors import BundleError, RunError
from keensight.evaluation.calibration import softmax


def test_it_answers_as_the_onnx_model_does(trained):
    bundle = read_bundle(trained.folder)
    model = network_of(bundle)
    predictor = keensight.load(trained.bundle)
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 1), np.uint8)
    images[:, 0] = 0  # dark at the border, so that none is inverted
    answers, inverted = predictor.probabilities(images)
    with torch.inference_mode():
        logits = model(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255)
    assert not model.training and not inverted.any()
    np.testing.assert_allclose(softmax(logits.numpy(), bundle.info.temperature), answers, atol=1e-5)


def test_its_recipe_comes_back(trained):
    bundle = read_bundle(trained.bundle)
    assert recipe_of(bundle) == keensight.load_recipe(str(trained.folder / "recipe.toml"))


def test_a_bundle_of_format_1_has_a_flat_recipe(trained):
    recipe = recipe_of(read_bundle(Path(__file__).parent / "frozen" / "bundle"))
    assert recipe.model.name == recipe.name == "logistic" and recipe.train.epochs == 60
    assert recipe.having(epochs=0, about="") == keensight.load_recipe("logistic").having(about="")


def test_weights_that_are_missing_or_not_its_own_are_refused(trained, tmp_path):
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    info = json.loads((trained.bundle / "bundle.json").read_text()) | {"format": 1, "files": None}  # none is listed
    (bundle / "bundle.json").write_text(json.dumps(info))
    with pytest.raises(BundleError, match=r"has no model.safetensors"):
        network_of(read_bundle(bundle))
    (bundle / "model.safetensors").write_bytes(b"not weights at all")
    with pytest.raises(BundleError, match="model.safetensors cannot be read .*its header does not fit"):
        network_of(read_bundle(bundle))
    (bundle / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"\n0")
    with pytest.raises(BundleError, match="model.safetensors cannot be read .*not a JSON object"):
        network_of(read_bundle(bundle))
    header = b'{"x":{"dtype":"F32","shape":[0,99999999999999999999],"data_offsets":[0,0]}}'
    (bundle / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(RunError, match="is damaged, or not a safetensors file"):  # a size that the library cannot hold
        network_of(read_bundle(bundle))
    (bundle / "model.safetensors").write_bytes(save({"x": np.zeros(1, np.float32)}))
    with pytest.raises(RunError, match="are not this model's: it lacks"):
        network_of(read_bundle(bundle))
