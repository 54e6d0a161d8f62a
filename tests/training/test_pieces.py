import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from keensight.models.tensors import side_by_side
from keensight.models.zoo import build
from keensight.training.loop import fit, start
from keensight.training.pieces import LEAST, Pieces, enough_threads, num_pieces
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


def learn(piece, network, rows):
    logits = network(images(rows))
    labels = torch.from_numpy(LABELS[rows])
    return F.cross_entropy(logits, labels), (logits.argmax(dim=1) == labels).sum()


@pytest.mark.parametrize("rows", [np.arange(64), np.arange(37)])
def test_the_gradients_are_those_of_the_whole_batch(rows):
    model = build("fashion", {}, SIZE, 3, 0).to(memory_format=torch.channels_last)
    with Pieces(model, 2, 0) as pieces:
        value, right = pieces.backward(learn, rows)
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
            pieces.backward(learn, np.arange(first, first + 32))
            for i, norm in enumerate(naive):
                norm(images(np.arange(first + 16 * i, first + 16 * (i + 1))))
    expected = torch.stack([norm.running_mean for norm in naive]).mean(dim=0)
    torch.testing.assert_close(model[0].running_mean, expected)
    assert model[0].num_batches_tracked == 2


@pytest.mark.parametrize("model", ["cnn", "planes"])
def test_training_side_by_side_gives_the_same_bits_every_time(model):
    recipe = Recipe().having(epochs=2, batch_size=64, rotate=10.0, precision="float32")
    ends = []
    for _ in range(2):
        state = start(build(model, {"dropout": 0.3}, SIZE, 3, 0), SPLITS, recipe)
        assert num_pieces(state.model, 64) == 2
        list(fit(state, SPLITS, recipe))
        ends.append(torch.cat([p.detach().flatten() for p in state.model.parameters()]))
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
    with side_by_side(2) as threads:
        found = list(threads.map(lambda n: (n, torch.get_num_threads()), range(20)))
    assert found == [(n, 1) for n in range(20)]
    assert torch.get_num_threads() == before


def test_an_error_in_a_thread_is_raised():
    def refuse(piece, network, rows):
        raise MemoryError

    model = build("dense", {}, SIZE, 3, 0)
    with pytest.raises(MemoryError), Pieces(model, 2, 0) as pieces:
        pieces.backward(refuse, np.arange(32))
    assert torch.get_num_threads() == 2 and LEAST == 8


def test_tiny_products_are_not_shared_and_large_ones_are():
    seen = {}
    for name, network, batch in (
        ("logistic", nn.Linear(784, 10), 128),
        ("dense", nn.Sequential(nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 10)), 128),
        ("convolution", nn.Conv2d(1, 4, 3), 8),
    ):
        with pytest.raises(ZeroDivisionError), enough_threads(network, batch):
            seen[name] = torch.get_num_threads()
            raise ZeroDivisionError
        assert torch.get_num_threads() == 2
    assert seen == {"logistic": 1, "dense": 2, "convolution": 2}
