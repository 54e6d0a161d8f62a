import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from keensight.errors import TrainingError
from keensight.models.classifier import set_normalisation
from keensight.models.tensors import to_images
from keensight.models.zoo import build
from keensight.training import loop
from keensight.training.loop import evaluate, fit, predict_logits, start
from keensight.training.recipe import with_epochs
from keensight.values import Preprocessing, Recipe, Split, Splits

SIZE = Preprocessing(8, 8, 1)
RECIPE = Recipe().having(epochs=3, batch_size=32, precision="float32")


def part(n, seed):
    """Two classes that differ in brightness, with noise on top."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n)
    images = (rng.integers(0, 160, (n, 8, 8, 1)) + 60 * labels[:, None, None, None]).astype(np.uint8)
    return Split(images, np.arange(n), labels, tuple(map(str, range(n))))


SPLITS = Splits(("dark", "light"), SIZE, part(200, 0), part(60, 1), None)


def begin(recipe=RECIPE, model="cnn"):
    return start(build(model, {}, SIZE, 2, recipe.seed), SPLITS, recipe)


def weights(state):
    return torch.cat([p.detach().flatten() for p in state.model.parameters()])


def test_it_learns_and_says_how_it_goes():
    state = begin()
    epochs = list(fit(state, SPLITS, RECIPE))
    assert [epoch.number for epoch in epochs] == [1, 2, 3] and state.history == epochs
    assert epochs[-1].val_accuracy > 0.95 and epochs[-1].train_loss < epochs[0].train_loss
    assert [bool(epoch.stopped) for epoch in epochs] == [False, False, True]
    assert epochs[-1].stopped == "all 3 epochs are done"
    assert evaluate(state.model, SPLITS.val, RECIPE) == (epochs[-1].val_loss, epochs[-1].val_accuracy)


@pytest.mark.parametrize(
    ("optimizer", "schedule"), [("adam", "one-cycle"), ("adamw", "cosine"), ("sgd", "linear"), ("adam", "constant")]
)
def test_the_same_seed_gives_the_same_bits(optimizer, schedule):
    recipe = RECIPE.having(optimizer=optimizer, schedule=schedule, learning_rate=0.01, rotate=10.0)
    runs = []
    for _ in range(2):
        state = begin(recipe)
        list(fit(state, SPLITS, recipe))
        runs.append(weights(state))
    assert torch.equal(*runs)
    other = begin(recipe.having(seed=1))
    list(fit(other, SPLITS, recipe.having(seed=1)))
    assert not torch.equal(runs[0], weights(other))


def test_breaking_out_and_going_on_gives_the_same_bits():
    whole, halted = begin(), begin()
    list(fit(whole, SPLITS, RECIPE))
    for _ in fit(halted, SPLITS, RECIPE):
        torch.rand(7)  # what the consumer does to the global generator is no matter
        break
    assert len(halted.history) == 1
    list(fit(halted, SPLITS, RECIPE))
    assert torch.equal(weights(whole), weights(halted))


def test_one_epoch_of_sgd_equals_a_naive_loop():
    """The same batches through plain torch: gradients, momentum and rate by hand."""
    recipe = RECIPE.having(
        model="logistic", optimizer="sgd", momentum=0.0, weight_decay=0.0, schedule="constant",
        learning_rate=0.1, epochs=1,
    )  # fmt: skip
    state = begin(recipe, "logistic")
    list(fit(state, SPLITS, recipe))
    naive = build("logistic", {}, SIZE, 2, 0)
    set_normalisation(naive, SPLITS.train)
    for batch in loop.shuffled_batches(SPLITS.train, recipe, 1):
        images = torch.from_numpy(SPLITS.train.images[batch]).permute(0, 3, 1, 2) / 255
        loss = F.cross_entropy(naive(images), torch.from_numpy(SPLITS.train.labels[batch]))
        gradients = torch.autograd.grad(loss, list(naive.parameters()))
        with torch.no_grad():
            for p, gradient in zip(naive.parameters(), gradients, strict=True):
                p -= 0.1 * gradient
    expected = torch.cat([p.detach().flatten() for p in naive.parameters()])
    assert torch.allclose(weights(state), expected, atol=1e-6)


def test_a_model_alone_is_enough():
    model = build("cnn", {}, SIZE, 2, 0)
    state = begin()
    assert list(fit(model, SPLITS, RECIPE))[-1].val_loss == list(fit(state, SPLITS, RECIPE))[-1].val_loss


def test_every_picture_is_seen_once_in_an_epoch():
    split = Split(np.zeros((203, 1, 1, 1), np.uint8), np.arange(203), np.zeros(203, int), ("",) * 203)
    batches = loop.shuffled_batches(split, RECIPE, 1)
    assert sorted(np.concatenate(batches).tolist()) == list(range(203))
    assert {len(batch) for batch in batches} == {29}
    assert not np.array_equal(batches[0], loop.shuffled_batches(split, RECIPE, 2)[0])


def test_stop_rules(ticking):
    target = RECIPE.having(target_accuracy=0.6, epochs=50)
    assert list(fit(begin(target), SPLITS, target))[-1].stopped == "validation accuracy reached 0.6"
    patient = RECIPE.having(patience=2, epochs=200, schedule="constant")
    epochs = list(fit(begin(patient), SPLITS, patient))
    assert epochs[-1].stopped == "no better for 2 epochs" and len(epochs) < 200
    assert [epoch.best for epoch in epochs[-2:]] == [False, False] and epochs[-3].best
    hurried = RECIPE.having(budget_s=0.5, epochs=10_000, schedule="linear")
    state = begin(hurried)
    last = list(fit(state, SPLITS, hurried))[-1]
    assert "budget" in last.stopped and 0.5 <= state.seconds <= 0.5 + 3 * ticking
    assert last.learning_rate < 0.5 * hurried.train.learning_rate  # the schedule came down with the clock


def test_a_finished_run_yields_no_more():
    state = begin()
    list(fit(state, SPLITS, RECIPE))
    before = weights(state)
    assert list(fit(state, SPLITS, RECIPE)) == [] and torch.equal(before, weights(state))


def test_a_loss_that_is_no_number_stops_with_advice():
    wild = RECIPE.having(optimizer="sgd", learning_rate=100.0, momentum=0.99, schedule="constant", epochs=50)
    with pytest.raises(TrainingError, match=r"no longer a number in epoch \d+.*--set learning_rate=10"):
        list(fit(begin(wild), SPLITS, wild))


def test_running_out_of_memory_says_what_to_lower():
    def greedy(model, images, labels, draw):
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(TrainingError, match="batch_size=32. Try --set batch_size=16"):
        list(fit(begin(), SPLITS, RECIPE, loss=greedy))


def test_a_loss_of_ones_own_is_used():
    def asked(model, images, labels, draw):
        logits = model(images)
        return logits.square().mean(), logits

    state = begin()
    epochs = list(fit(state, SPLITS, RECIPE.having(epochs=20, learning_rate=0.01), loss=asked))
    assert epochs[-1].train_loss < 0.01


def test_a_loss_draws_from_the_recipes_seed_and_from_nothing_else():
    """The same in every run, others in every epoch and piece; augmentation and dropout draw what they always do."""

    def learn(seed, draws):
        def loss(model, images, labels, draw):
            drawn.append(torch.rand(1, generator=draw).item() if draws else 0.0)
            seen.append(images.sum().item())
            logits = model(images)
            return F.cross_entropy(logits, labels), logits

        drawn, seen = [], []
        recipe = RECIPE.having(seed=seed, shift=0.2, dropout=0.2)
        state = start(build("cnn", recipe.model.options, SIZE, 2, seed), SPLITS, recipe)
        list(fit(state, SPLITS, recipe, loss=loss))
        return sorted(drawn), sorted(seen), weights(state)  # pieces come in any order

    first, again, other, without = learn(0, True), learn(0, True), learn(1, True), learn(0, False)
    assert first[0] == again[0] and len(set(first[0])) == len(first[0]) and not set(first[0]) & set(other[0])
    assert first[1] == without[1] and torch.equal(first[2], without[2])


def test_images_arrive_as_nchw_in_0_1():
    images = np.random.default_rng(0).integers(0, 256, (5, 4, 6, 3), np.uint8)
    batch = to_images(images[np.array([3, 0])], torch.device("cpu"))
    assert batch.shape == (2, 3, 4, 6) and batch.is_contiguous(memory_format=torch.channels_last)
    assert np.allclose(batch[0, :, 1, 2].numpy(), images[3, 1, 2] / 255)


def test_bfloat16_stays_close_to_float32():
    state = begin()
    list(fit(state, SPLITS, RECIPE))
    exact = predict_logits(state.model, SPLITS.val, RECIPE)
    rough = predict_logits(state.model, SPLITS.val, RECIPE.having(precision="bfloat16"))
    assert not torch.equal(exact, rough) and (exact - rough).abs().max() < 0.1
    bf16 = RECIPE.having(precision="bfloat16")
    state = begin(bf16)
    assert list(fit(state, SPLITS, bf16))[-1].val_accuracy > 0.95
    assert all(p.dtype == torch.float32 for p in state.model.parameters())


def test_the_number_of_epochs_follows_the_work():
    model = begin().model
    assert with_epochs(RECIPE, model, SPLITS).train.epochs == 3
    assert with_epochs(RECIPE.having(epochs=0), model, SPLITS).train.epochs == 60
    many = replace(SPLITS, train=replace(SPLITS.train, rows=np.zeros(10_000_000, np.int64)))
    assert with_epochs(RECIPE.having(epochs=0), model, many).train.epochs == 3


def test_seconds_add_up():
    state = begin()
    epochs = list(fit(state, SPLITS, RECIPE))
    assert math.isclose(state.seconds, sum(epoch.seconds for epoch in epochs), abs_tol=0.01)


def test_the_last_epoch_can_be_kept_whatever_its_accuracy():
    state = begin(RECIPE.having(keep="last", learning_rate=0.5, optimizer="sgd", epochs=6))
    epochs = list(fit(state, SPLITS, RECIPE.having(keep="last", learning_rate=0.5, optimizer="sgd", epochs=6)))
    assert all(epoch.best for epoch in epochs)
    by_accuracy = list(fit(begin(), SPLITS, RECIPE.having(epochs=6)))
    assert not all(epoch.best for epoch in by_accuracy)
