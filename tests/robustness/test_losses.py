import torch

from keensight.models.zoo import build
from keensight.robustness.losses import hinge
from keensight.values import Preprocessing

DRAW = torch.Generator()
PICTURES = torch.rand(9, 1, 4, 4, generator=torch.Generator().manual_seed(2))
SIGNS = torch.tensor([0, 1, 1, 0, 1, 0, 0, 1, 1])


def linear_model():
    model = build("linear", {}, Preprocessing(4, 4, 1), 2, seed=0)
    torch.nn.init.normal_(model.network[1].weight, generator=torch.Generator().manual_seed(1))
    return model


def test_hinge_is_what_its_definition_says():
    value, logits = hinge()(linear_model(), PICTURES, SIGNS, DRAW)
    f = (logits[:, 1] - logits[:, 0]).tolist()
    expected = sum(max(0.0, 1 - (2 * y - 1) * fx) for y, fx in zip(SIGNS.tolist(), f, strict=True)) / 9
    assert abs(value.item() - expected) < 1e-6


def test_robust_hinge_is_the_hinge_of_the_worst_picture():
    """Against the hinge loss after the exact attack, and against random changes, none of which is worse."""
    model = linear_model()
    w = model.network[1].weight.detach().view(1, 1, 4, 4)
    y = (2 * SIGNS - 1).view(-1, 1, 1, 1)
    robust, _ = hinge(0.1)(model, PICTURES, SIGNS, DRAW)
    worst, _ = hinge()(model, PICTURES - 0.1 * y * w.sign(), SIGNS, DRAW)
    assert abs(robust.item() - worst.item()) < 1e-5
    for seed in range(50):
        noise = 0.1 * (2 * torch.rand(9, 1, 4, 4, generator=torch.Generator().manual_seed(seed)) - 1)
        assert hinge()(model, PICTURES + noise, SIGNS, DRAW)[0] <= robust + 1e-6
