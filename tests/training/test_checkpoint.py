import numpy as np
import pytest
import torch
from safetensors import safe_open

from keensight.errors import RunError
from keensight.models.zoo import build
from keensight.training.checkpoint import load_state, load_weights, save_state, save_weights
from keensight.training.loop import start
from keensight.values import Epoch, Preprocessing, Recipe, Split, Splits

SIZE = Preprocessing(8, 8, 1)


def trained(recipe, steps=3, seed=0, options=None):
    pictures = Split(np.arange(256, dtype=np.uint8).reshape(4, 8, 8, 1), np.arange(4), np.arange(4) % 2, ("",) * 4)
    splits = Splits(("a", "b"), SIZE, pictures, pictures, None)
    state = start(build("cnn", options or {}, SIZE, 2, seed), splits, recipe)
    for step in range(steps):
        images = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(step))
        state.optimizer.zero_grad()
        state.model(images).square().sum().backward()
        state.optimizer.step()
    state.history.append(Epoch(1, 0.5, 0.75, 0.4, 0.8, 0.001, 1.5, True))
    state.seconds = 1.5
    return state


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
def test_a_state_comes_back_bit_for_bit(tmp_path, optimizer):
    recipe = Recipe().having(optimizer=optimizer)
    state = trained(recipe)
    save_state(tmp_path / "last.safetensors", state)
    other = trained(recipe, steps=0, seed=9)
    load_state(tmp_path / "last.safetensors", other)
    assert other.history == state.history and other.seconds == state.seconds
    for one, two in zip(state.model.parameters(), other.model.parameters(), strict=True):
        assert torch.equal(one, two)
        for name, slot in state.optimizer.state[one].items():
            assert torch.equal(slot, other.optimizer.state[two][name])
            if slot.shape == one.shape:  # fused optimisers walk raw memory, so the strides matter too
                assert other.optimizer.state[two][name].stride() == two.stride()


def test_there_is_no_pickle(tmp_path):
    save_state(tmp_path / "last.safetensors", trained(Recipe()))
    with safe_open(tmp_path / "last.safetensors", "pt") as file:
        assert "model.network.0.weight" in file.keys()  # noqa: SIM118


def test_another_recipes_checkpoint_is_refused(tmp_path):
    save_state(tmp_path / "last.safetensors", trained(Recipe()))
    with pytest.raises(RunError, match="does not fit this recipe"):
        load_state(tmp_path / "last.safetensors", trained(Recipe(), options={"filters": 8}))


def test_a_damaged_or_missing_checkpoint_is_refused(tmp_path):
    with pytest.raises(RunError, match="after an epoch"):
        load_state(tmp_path / "last.safetensors", trained(Recipe()))
    (tmp_path / "last.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0nonsense")
    with pytest.raises(RunError, match="is damaged, or not a safetensors file"):
        load_state(tmp_path / "last.safetensors", trained(Recipe()))


def test_a_folder_is_no_file_of_weights(tmp_path):
    with pytest.raises(RunError, match=r"is a folder\. Give a \.safetensors file, as .*--weights-only"):
        load_weights(tmp_path, trained(Recipe()).model)


def test_weights_alone(tmp_path):
    model = trained(Recipe()).model
    save_weights(tmp_path / "best.safetensors", model)
    other = build("cnn", {}, SIZE, 2, 5)
    load_weights(tmp_path / "best.safetensors", other)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        (
            "cnn",
            {"filters": 8},
            r"model's: network\.0\.weight is 24x1x3x3 there and 8x1x3x3 in the model\. Use the recipe",
        ),
        ("dense", {}, r"it lacks network\.1\.weight.*; the model has no network\.0\.weight"),
    ],
)
def test_weights_of_another_shape_or_name_are_refused_and_change_nothing(tmp_path, model, options, message):
    save_weights(tmp_path / "best.safetensors", trained(Recipe()).model)
    other = build(model, options, SIZE, 2, 5)
    before = {name: tensor.clone() for name, tensor in other.state_dict().items()}
    with pytest.raises(RunError, match=message):
        load_weights(tmp_path / "best.safetensors", other)
    assert all(torch.equal(tensor, before[name]) for name, tensor in other.state_dict().items())
