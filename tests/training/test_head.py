from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import nn

from keensight.errors import TrainingError
from keensight.models import features as on_features
from keensight.models import transfer as module
from keensight.models.backbone import Backbone
from keensight.models.features import features
from keensight.models.zoo import build
from keensight.training import head as on_head
from keensight.training.checkpoint import load_state, save_state
from keensight.training.folds import folds
from keensight.training.head import L2, fit_head, fit_transfer, fold_score, regularisation_path
from keensight.training.loop import evaluate, fit, start
from keensight.values import Preprocessing, Recipe, Split, Splits

SIZE = Preprocessing(8, 8, 1)
DIGITS = load_digits()


def tiny(name="tiny", height=8, width=8):
    body = [nn.Conv2d(3, 24, 3), nn.BatchNorm2d(24), nn.ReLU6(), nn.MaxPool2d(2), nn.Flatten()]
    return Backbone(nn.Sequential(*body), 24 * 9, (0.3,) * 3, (0.4,) * 3, 8)


@pytest.fixture(autouse=True)
def no_weights(monkeypatch):
    monkeypatch.setattr(module, "load_backbone", tiny)


def split_of(first, last):
    images = (DIGITS.images * 15.9).astype(np.uint8)[..., None]
    rows = np.arange(first, last)
    return Split(images, rows, DIGITS.target[rows].astype(np.int64), ("",) * len(rows))


@pytest.fixture
def splits():
    return Splits(tuple("0123456789"), SIZE, split_of(0, 300), split_of(300, 500), None)


def network(rate=0.0):
    return build("transfer", {"backbone_rate": rate, "dropout": 0.1}, SIZE, 10, seed=0)


def test_features_are_what_the_backbone_answers(splits):
    model = network(rate=0.1)
    model.network.backbone[1].running_mean.uniform_(-1, 1)
    model.network.backbone[1].running_var.uniform_(0.5, 2)
    images = torch.from_numpy(splits.val.images[splits.val.rows]).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        naive = model.eval().network.backbone((images - model.mean) / model.std)
    answers = features(model.train(), splits.val)
    assert answers.dtype == np.float32 and answers.shape == (200, 216)
    assert np.abs(answers - naive.numpy()).max() < 1e-5
    assert model.training and not model.network.backbone.training


def test_the_number_of_threads_is_left_as_it_was_and_changes_no_bit(splits, monkeypatch, own_cache):
    before = torch.get_num_threads()
    first = features(network(), splits.val)
    assert torch.get_num_threads() == before
    for file in (own_cache / "features").iterdir():
        file.unlink()
    monkeypatch.setattr(on_features, "cores", lambda: 1)
    assert np.array_equal(features(network(), splits.val), first)


def test_features_are_kept_by_weights_pictures_and_normalisation(splits, monkeypatch):
    computed = []
    compute = on_features._compute
    monkeypatch.setattr(on_features, "_compute", lambda *given: computed.append(1) or compute(*given))
    model = network()
    first = features(model, splits.val)
    again = features(network(), splits.val)
    assert len(computed) == 1 and np.array_equal(first, again)
    features(model, splits.train)
    assert len(computed) == 2
    model.mean += 0.1
    features(model, splits.val)
    assert len(computed) == 3
    model.network.backbone[0].weight.data[0, 0, 0, 0] += 0.1
    features(model, splits.val)
    assert len(computed) == 4
    model.network.head.weight.data += 1  # the head has no part in them
    features(model, splits.val)
    assert len(computed) == 4


def test_a_damaged_cache_is_computed_again(splits, own_cache):
    first = features(network(), splits.val)
    (file,) = (own_cache / "features").iterdir()
    for damaged in (b"", b"nonsense", file.read_bytes()[:-10]):
        file.write_bytes(damaged)
        assert np.array_equal(features(network(), splits.val), first)


def test_progress_counts_pictures(splits, monkeypatch):
    monkeypatch.setattr(on_features, "images_at_a_time", lambda *size: 64)
    heard = []
    features(network(), splits.val, lambda done, total: heard.append((done, total)))
    assert heard[-1] == (200, 200) and heard == sorted(heard) and len(heard) == 25


@pytest.mark.parametrize("balanced", [False, True])
def test_the_head_is_what_scikit_learn_finds(balanced):
    x, y = torch.from_numpy(DIGITS.data[:400]).float(), torch.from_numpy(DIGITS.target[:400].astype(np.int64) // 4)
    weights = len(y) / (3 * torch.bincount(y).float()) if balanced else None
    standard = (x - x.mean(0)) / x.std(0, correction=0).clamp(min=1e-6)
    for ours in regularisation_path(x, y, 3, (0.1, 0.01), weights):
        theirs = LogisticRegression(
            C=1 / (len(y) * ours.l2), max_iter=3000, tol=1e-7, class_weight="balanced" if balanced else None
        ).fit(standard.double().numpy(), y.numpy())
        probabilities = ours.logits(x).softmax(dim=1).numpy()
        assert np.abs(probabilities - theirs.predict_proba(standard.double().numpy())).max() < 5e-3


def test_a_block_is_scaled_as_a_whole():
    """Two blocks, the second of numbers a thousand times smaller: both count, and their quiet features count little."""
    x = torch.from_numpy(np.hstack([DIGITS.data[:300], DIGITS.data[:300, :40] ** 2 / 1e5])).float()
    y = torch.from_numpy(DIGITS.target[:300].astype(np.int64) // 4)
    centred = (x - x.mean(0)).double().numpy()
    parts = np.split(centred, [64], axis=1)
    scaled = np.hstack([part / np.sqrt((part**2).mean()) for part in parts])
    for ours in regularisation_path(x, y, 3, (0.1, 0.01), blocks=(64, 40)):
        theirs = LogisticRegression(C=1 / (len(y) * ours.l2), max_iter=5000, tol=1e-7).fit(scaled, y.numpy())
        assert np.abs(ours.logits(x).softmax(dim=1).numpy() - theirs.predict_proba(scaled)).max() < 5e-3


def test_the_path_is_walked_from_strong_to_weak():
    x, y = torch.from_numpy(DIGITS.data[:100]).float(), torch.from_numpy(DIGITS.target[:100].astype(np.int64))
    heads = list(regularisation_path(x, y, 10, (0.01, 1.0, 0.1)))
    assert [h.l2 for h in heads] == [1.0, 0.1, 0.01]
    losses = [nn.functional.cross_entropy(h.logits(x), y).item() for h in heads]
    assert losses == sorted(losses, reverse=True)


def losses_in_folds(x, splits, k=5):
    """Scikit-learn's log loss for each strength, from the folds that the head's strength is chosen on."""
    losses = {}
    for l2 in L2:
        summed = 0.0
        for learnt, held in folds(splits.train.labels, splits.train.units, k, 0):
            scaler = StandardScaler().fit(x[learnt])
            head = LogisticRegression(C=1 / (len(learnt) * l2), max_iter=3000).fit(
                scaler.transform(x[learnt]), splits.train.labels[learnt]
            )
            answers = head.predict_proba(scaler.transform(x[held]))
            summed -= np.log(answers[np.arange(len(held)), splits.train.labels[held]]).sum()
        losses[l2] = summed / len(x)
    return losses


def test_the_strength_is_chosen_in_cross_validation_and_put_in_place(splits):
    model = network()
    best = fit_head(model, splits, Recipe())
    assert torch.equal(model.network.head.weight, best.weight_KF)
    found = fold_score(model, splits.train, Recipe())
    assert best.l2 == found.l2 and found.n == len(splits.train)
    losses = losses_in_folds(features(model, splits.train).astype(np.float64), splits)
    near = [l2 for l2, loss in losses.items() if loss < 1.02 * min(losses.values())]
    assert found.l2 in near and found.loss == pytest.approx(losses[found.l2], rel=0.05)
    assert evaluate(model, splits.val, Recipe())[1] > 0.85


def test_with_many_pictures_the_strength_is_chosen_on_validation(splits, monkeypatch):
    monkeypatch.setattr(on_head, "MOST_FOLDED", 100)
    model = network()
    best = fit_head(model, splits, Recipe())
    train, val = (torch.from_numpy(features(model, s)) for s in (splits.train, splits.val))
    losses = {
        h.l2: nn.functional.cross_entropy(h.logits(val), torch.from_numpy(splits.val.labels)).item()
        for h in regularisation_path(train, torch.from_numpy(splits.train.labels), 10, L2)
    }
    assert best.l2 == min(losses, key=losses.get) and L2[0] > best.l2 > L2[-1]


def test_a_strength_that_is_given_is_used(splits):
    model = build("transfer", {"l2": 0.05}, SIZE, 10, seed=0)
    assert fit_head(model, splits, Recipe()).l2 == 0.05


@pytest.mark.parametrize("units", [None, np.zeros(300, np.int64)])
def test_pictures_of_one_group_are_not_folded(splits, units):
    splits = replace(splits, train=replace(splits.train, units=units))
    assert fit_head(network(), splits, Recipe()).l2 in L2


def test_a_frozen_backbone_stops_after_the_head(splits):
    model = network()
    epochs = list(fit_transfer(model, splits, Recipe().having(epochs=5)))
    assert [epoch.stopped for epoch in epochs] == ["the head is fitted, and the backbone is frozen"]
    loss, accuracy = evaluate(model, splits.val, Recipe().having(precision="float32"))
    assert epochs[0].val_accuracy == accuracy and epochs[0].val_loss == pytest.approx(loss, abs=1e-5)
    assert epochs[0].best and epochs[0].number == 1


def test_one_epoch_or_a_target_ends_it_at_the_head(splits):
    assert len(list(fit_transfer(network(0.1), splits, Recipe().having(epochs=1)))) == 1
    (epoch,) = fit_transfer(network(0.1), splits, Recipe().having(epochs=5, target_accuracy=0.5))
    assert epoch.stopped == "validation accuracy reached 0.5"


def test_fine_tuning_goes_on_from_the_head_with_a_smaller_rate_below(splits):
    recipe = Recipe().having(epochs=3, batch_size=64, learning_rate=0.001, weight_decay=0.0)
    model = network(0.1)
    state = start(model, splits, recipe)
    before = model.network.backbone[0].weight.detach().clone()
    epochs = []
    for epoch in fit_transfer(state, splits, recipe):
        epochs.append(epoch)
        if epoch.number == 1:
            assert torch.equal(model.network.backbone[0].weight, before)
    assert [epoch.number for epoch in epochs] == [1, 2, 3]
    assert epochs[0].val_accuracy > 0.8 and epochs[1].val_accuracy > 0.7, "it starts from the head that was fitted"
    assert not torch.equal(model.network.backbone[0].weight, before)
    rates = {group["lr_scale"]: group["lr"] for group in state.optimizer.param_groups}
    assert rates[0.1] == pytest.approx(0.1 * rates[1.0]) and rates[1.0] == epochs[-1].learning_rate


def test_a_step_of_the_backbone_is_a_tenth_of_what_it_would_be(splits):
    """Plain gradient descent: what the scale does to the first step can be read off the weights."""
    recipe = Recipe().having(
        optimizer="sgd", momentum=0.0, weight_decay=0.0, epochs=1, batch_size=300, learning_rate=0.1
    )
    moved = {}
    for rate in (1.0, 0.1):
        model = network(rate)
        before = [p.detach().clone() for p in model.network.parameters()]
        next(iter(fit(model, splits, recipe)))
        moved[rate] = [(p.detach() - b) for p, b in zip(model.network.parameters(), before, strict=True)]
    *backbone_full, head_full, bias_full = moved[1.0]
    *backbone_tenth, head_tenth, bias_tenth = moved[0.1]
    for full, tenth in zip(backbone_full, backbone_tenth, strict=True):
        assert torch.allclose(tenth, full / 10, atol=1e-6)
    assert backbone_full[0].abs().max() > 1e-4
    assert torch.allclose(head_tenth, head_full) and torch.allclose(bias_tenth, bias_full)


@pytest.mark.parametrize("stop_after", [1, 2])
def test_a_resumed_run_ends_with_the_same_bits(splits, tmp_path, stop_after):
    recipe = Recipe().having(epochs=3, batch_size=64, learning_rate=0.003, rotate=10.0)
    whole = start(network(0.1), splits, recipe)
    list(fit_transfer(whole, splits, recipe))
    first = start(network(0.1), splits, recipe)
    for epoch in fit_transfer(first, splits, recipe):
        save_state(tmp_path / "last.safetensors", first)
        if epoch.number == stop_after:
            break
    second = start(network(0.1), splits, recipe)
    load_state(tmp_path / "last.safetensors", second)
    list(fit_transfer(second, splits, recipe))
    assert len(second.history) == 3
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, second.model.state_dict()[name]), name


def test_a_network_without_a_backbone_is_refused(splits):
    model = build("dense", {}, SIZE, 10, seed=0)
    with pytest.raises(TrainingError, match="has no backbone with features for a head"):
        features(model, splits.val)
