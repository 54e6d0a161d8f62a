import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from keensight.errors import RecipeError
from keensight.models.tensors import on_one_core, side_by_side
from keensight.models.zoo import build
from keensight.training.checkpoint import bytes_of, load_state_bytes
from keensight.training.loop import Pauses, fit, start
from keensight.training.pieces import LEAST, Pieces, enough_threads, num_pieces, with_pieces
from keensight.training.team import add_up, share, whole_nodes
from keensight.values import Preprocessing, Recipe, Split, Splits

SIZE = Preprocessing(12, 12, 1)
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (96, 12, 12, 1), np.uint8)
LABELS = RNG.integers(0, 3, 96)
PART = Split(IMAGES, np.arange(96), LABELS, ("",) * 96)
SPLITS = Splits(("a", "b", "c"), SIZE, PART, PART, None)


@pytest.fixture(autouse=True)
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def images(rows):
    return torch.from_numpy(IMAGES[rows]).permute(0, 3, 1, 2).float() / 255


def learn(seed, network, rows):
    logits = network(images(rows))
    labels = torch.from_numpy(LABELS[rows])
    return F.cross_entropy(logits, labels), (logits.argmax(dim=1) == labels).sum()


@pytest.mark.parametrize("rows", [np.arange(64), np.arange(37)])
def test_the_gradients_are_those_of_the_whole_batch(rows):
    model = build("fashion", {}, SIZE, 3, 0).to(memory_format=torch.channels_last)
    with Pieces(model, 2, 0) as pieces:
        value, right, _ = pieces.backward(learn, rows, 0)
    ours = [p.grad.clone() for p in model.parameters()]
    assert all(p.grad.stride() == p.stride() for p in model.parameters())
    model.zero_grad()
    whole, whole_right = learn(0, model, rows)
    whole.backward()
    assert abs(value - whole.detach()) < 1e-6 and right == whole_right
    for one, parameter in zip(ours, model.parameters(), strict=True):
        torch.testing.assert_close(one, parameter.grad, atol=1e-6, rtol=1e-4)


def test_batch_statistics_are_the_mean_of_the_pieces():
    model = nn.Sequential(nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(144, 3))
    naive = [nn.BatchNorm2d(1), nn.BatchNorm2d(1)]
    with Pieces(model, 2, 0) as pieces:
        for first in (0, 32):
            pieces.backward(learn, np.arange(first, first + 32), first)
            for i, norm in enumerate(naive):
                norm(images(np.arange(first + 16 * i, first + 16 * (i + 1))))
        pieces.settle()
    expected = torch.stack([norm.running_mean for norm in naive]).mean(dim=0)
    torch.testing.assert_close(model[0].running_mean, expected)
    assert model[0].num_batches_tracked == 2


class Workers:
    """A team of threads in this process: the bits must be those of one worker, whatever they are told."""

    def __init__(self, size):
        self.size, self.given = size, [None] * size
        self.barrier = threading.Barrier(size)

    def member(self, rank):
        return Worker(self, rank)


class Worker:
    def __init__(self, workers, rank):
        self.workers, self.rank, self.size = workers, rank, workers.size

    def exchange(self, own):
        self.workers.given[self.rank] = own
        self.workers.barrier.wait()
        found = list(self.workers.given)
        self.workers.barrier.wait()
        return found

    def total(self, sums, count):
        known = {}
        for rank, given in enumerate(self.exchange(sums)):
            known |= dict(zip(whole_nodes(share(count, rank, self.size), count), given, strict=True))
        return add_up((0, count), known, lambda one, other: [a + b for a, b in zip(one, other, strict=True)])

    def gather(self, own):
        return torch.cat(self.exchange(own))


def bits(state):
    return torch.cat([tensor.flatten().double() for tensor in state.model.state_dict().values()])


RECIPES = {
    "batch norm": ("cnn", {"rotate": 10.0, "crop": 1}),
    "dropout": ("planes", {"flip": True, "zoom": 0.2, "brightness": 0.1}),
}


@pytest.mark.parametrize("name", RECIPES)
def test_threads_workers_and_pauses_change_no_bit(name):
    """Also a run that stops in the middle of an epoch on three workers, and goes on with one."""
    model, changes = RECIPES[name]
    recipe = Recipe().having(epochs=2, batch_size=48, pieces=3, precision="float32", **changes)

    def begin():
        return start(build(model, {"dropout": 0.3}, SIZE, 3, 0), SPLITS, recipe)

    def run(size, state_of=begin, pauses=lambda rank, state: None):
        workers, states = Workers(size), [state_of() for _ in range(size)]

        def work(rank):
            with suppress(ZeroDivisionError):
                list(fit(states[rank], SPLITS, recipe, team=workers.member(rank), pauses=pauses(rank, states[rank])))

        with ThreadPoolExecutor(size) as threads:
            list(threads.map(work, range(size)))
        assert all(torch.equal(bits(states[0]), bits(state)) for state in states)
        return states[0]

    torch.set_num_threads(1)
    alone = begin()
    list(fit(alone, SPLITS, recipe))
    torch.set_num_threads(2)
    assert torch.equal(bits(alone), bits(run(2))) and torch.equal(bits(alone), bits(run(3)))
    kept = []

    def stops(rank, state):
        def keep():
            if len(state.history) == 1:
                kept.append(bytes_of(state))
                raise ZeroDivisionError

        return Pauses(0.0, keep)

    run(3, pauses=stops)
    state = begin()
    load_state_bytes(kept[0], state)
    assert state.partial.steps == 1 and len(state.history) == 1
    list(fit(state, SPLITS, recipe))
    assert torch.equal(bits(alone), bits(state))
    assert [epoch.val_loss for epoch in alone.history] == [epoch.val_loss for epoch in state.history]
    assert [epoch.train_loss for epoch in alone.history] == [epoch.train_loss for epoch in state.history]


def test_a_batch_that_cannot_be_cut_or_shared_is_refused():
    fashion, cnn = (build(name, {}, SIZE, 3, 0) for name in ("fashion", "cnn"))
    assert with_pieces(Recipe(), fashion, 96).train.pieces == 2
    assert with_pieces(Recipe(), fashion, 96, workers=4).train.pieces == 8
    assert with_pieces(Recipe().having(pieces=3), fashion, 96).train.pieces == 3
    assert with_pieces(Recipe(), fashion, 3).train.pieces == 1
    with pytest.raises(RecipeError, match=r"A batch has 10 pictures here .* into 11 pieces. Set pieces to 10 or fewer"):
        with_pieces(Recipe().having(pieces=11), fashion, 10)
    with pytest.raises(RecipeError, match=r"4 workers .* 96 pictures is cut into 3 pieces .* 32 .* --workers 3\.$"):
        with_pieces(Recipe(), cnn, 96, workers=4)
    with pytest.raises(RecipeError, match=r"one worker, or set batch_size to 64 or more and leave pieces out"):
        with_pieces(Recipe().having(batch_size=32), cnn, 400, workers=2)
    assert with_pieces(Recipe().having(batch_size=64), cnn, 63 * 20).train.pieces == 2  # of 31 or 32 pictures
    with pytest.raises(RecipeError, match=r"budget_s is 9, and 2 workers .* Leave it and --budget out"):
        with_pieces(Recipe().having(budget_s=9.0), cnn, 96, workers=2)


def test_networks_that_draw_from_torchs_generator_go_piece_by_piece():
    """torch's own dropout: in two pieces, with one thread or two, the same bits in every run."""
    recipe = Recipe().having(epochs=1, batch_size=48, pieces=2, precision="float32")
    ends = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        torch.manual_seed(0)
        network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Dropout(0.5), nn.Linear(400, 3))
        state = start(network, SPLITS, recipe)
        list(fit(state, SPLITS, recipe))
        ends.append(bits(state))
    assert torch.equal(*ends)


def test_pieces_are_never_too_small():
    cnn, fashion, dense = (build(name, {}, SIZE, 3, 0) for name in ("cnn", "fashion", "dense"))
    assert num_pieces(cnn, 64) == 2 and num_pieces(cnn, 63) == 1  # it has batch normalisation
    assert num_pieces(fashion, 16) == 2 and num_pieces(fashion, 15) == 1
    assert num_pieces(dense, 128) == 1  # large products share the cores well
    torch.set_num_threads(1)
    assert num_pieces(fashion, 128) == 1


def test_a_network_with_torchs_own_dropout_is_left_in_one_piece():
    assert num_pieces(nn.Sequential(nn.Conv2d(1, 8, 3), nn.Dropout(0.5)), 128) == 1


def test_answers_come_in_order_and_the_number_of_threads_is_left_as_it_was():
    before = torch.get_num_threads()
    with side_by_side(2, caller_too=True) as threads:
        found = list(threads.map(lambda n: (n, torch.get_num_threads()), range(20)))
        assert torch.get_num_threads() == 1  # nothing that is done in between wakes other threads
    assert found == [(n, 1) for n in range(20)]
    assert torch.get_num_threads() == before


def test_blocks_that_end_in_another_order_than_they_began_leave_the_number_of_threads_as_it_was():
    before = torch.get_num_threads()
    first, second = side_by_side(2, caller_too=True), on_one_core()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    second.__exit__(None, None, None)
    assert torch.get_num_threads() == before


def test_an_error_in_a_thread_is_raised():
    def refuse(seed, network, rows):
        raise MemoryError

    model = build("dense", {}, SIZE, 3, 0)
    with pytest.raises(MemoryError), Pieces(model, 2, 0) as pieces:
        pieces.backward(refuse, np.arange(32), 0)
    assert torch.get_num_threads() == 2 and LEAST == 8


def test_tiny_products_are_not_shared_and_large_ones_are():
    seen = {}
    dense = nn.Sequential(nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 10))
    for name, network, batch, precision in (
        ("logistic", nn.Linear(784, 10), 128, "float32"),
        ("dense", dense, 128, "float32"),
        ("dense in bfloat16", dense, 128, "bfloat16"),
        ("many at a time in bfloat16", dense, 512, "bfloat16"),
        ("convolution", nn.Conv2d(1, 4, 3), 8, "bfloat16"),
    ):
        with pytest.raises(ZeroDivisionError), enough_threads(network, batch, precision):
            seen[name] = torch.get_num_threads()
            raise ZeroDivisionError
        assert torch.get_num_threads() == 2
    assert list(seen.values()) == [1, 2, 1, 2, 2], seen


def test_a_step_seeds_the_processors_generator_as_torch_does_and_no_others(monkeypatch):
    drawn = []

    def look(seed, network, rows):
        drawn.append((seed, torch.rand(3)))
        return learn(seed, network, rows)

    model = build("dense", {"hidden": [4]}, SIZE, 3, 0)
    monkeypatch.setattr(torch.cuda, "manual_seed_all", None)  # as torch.manual_seed would call it
    with torch.random.fork_rng(devices=[]), Pieces(model, 1, 5) as pieces:
        for step in range(3):
            pieces.backward(look, np.arange(32), step)
    for seed, numbers in drawn:
        assert torch.equal(numbers, torch.rand(3, generator=torch.Generator().manual_seed(seed - 1)))
    assert len({seed for seed, _ in drawn}) == 3
