import numpy as np
import torch
from sklearn.utils.class_weight import compute_class_weight

from keensight.models.zoo import build
from keensight.training.losses import LOSSES, balanced_weights, cross_entropy, squared_error
from keensight.values import Preprocessing, Recipe, Split

LABELS = torch.tensor([0, 0, 0, 1, 2, 2])
DRAW = torch.Generator()
LOGITS = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))


def naive(logits, labels, smoothing=0.0, weights=None):
    """Cross-entropy picture by picture, from the definition; the mean is over pictures, weighted or not."""
    total = 0.0
    for row, label in zip(logits.double(), labels.tolist(), strict=True):
        log_p = (row - row.exp().sum().log()).tolist()
        k = len(log_p)
        weight = [1.0] * k if weights is None else weights.tolist()
        total -= sum(((1 - smoothing) * (i == label) + smoothing / k) * weight[i] * log_p[i] for i in range(k))
    return total / len(labels)


def test_cross_entropy_is_what_its_definition_says():
    for options in ({}, {"label_smoothing": 0.1}, {"class_weights_K": torch.tensor([0.5, 2.0, 1.0])}):
        value, logits = cross_entropy(**options)(lambda images: images, LOGITS, LABELS, DRAW)
        expected = naive(LOGITS, LABELS, options.get("label_smoothing", 0.0), options.get("class_weights_K"))
        assert abs(value.item() - expected) < 1e-6
        assert torch.equal(logits, LOGITS)


def test_balanced_weights_agree_with_scikit_learn():
    expected = compute_class_weight("balanced", classes=np.arange(3), y=LABELS.numpy())
    assert torch.allclose(balanced_weights(LABELS, 3).double(), torch.from_numpy(expected), atol=1e-6)


def test_squared_error_is_what_its_definition_says():
    value, _ = squared_error()(lambda images: images, LOGITS, LABELS, DRAW)
    probabilities = LOGITS.double().exp() / LOGITS.double().exp().sum(dim=1, keepdim=True)
    total = sum(
        (float(p[k]) - float(k == label)) ** 2 for p, label in zip(probabilities, LABELS, strict=True) for k in range(3)
    )
    assert abs(value.item() - total / 6) < 1e-6


def linear_model():
    model = build("linear", {}, Preprocessing(4, 4, 1), 2, seed=0)
    torch.nn.init.normal_(model.network[1].weight, generator=torch.Generator().manual_seed(1))
    return model


PICTURES = torch.rand(9, 1, 4, 4, generator=torch.Generator().manual_seed(2))
SIGNS = torch.tensor([0, 1, 1, 0, 1, 0, 0, 1, 1])


def test_every_loss_in_the_table_can_be_learnt_from():
    train = Split(np.zeros((9, 4, 4, 1), np.uint8), np.arange(9), SIGNS.numpy(), ("",) * 9)
    for name, row in LOSSES.items():
        model = linear_model()
        loss = row.make(Recipe().having(loss=name, eps=0.05), train, 2)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
        values = []
        for _ in range(60):
            value, _ = loss(model, PICTURES, SIGNS, DRAW)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            values.append(value.item())
        assert values[-1] < values[0], name
