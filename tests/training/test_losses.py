import numpy as np
import torch
from sklearn.utils.class_weight import compute_class_weight

from keensight.training.losses import balanced_weights, cross_entropy

LABELS = torch.tensor([0, 0, 0, 1, 2, 2])
LOGITS = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))


def naive(logits, labels, smoothing=0.0, weights=None):
    """Cross-entropy picture by picture, from the definition."""
    total = scale = 0.0
    for row, label in zip(logits.double(), labels, strict=True):
        log_p = (row - row.exp().sum().log()).tolist()
        k = len(log_p)
        weight = [1.0] * k if weights is None else weights.tolist()
        total -= sum(((1 - smoothing) * (i == label) + smoothing / k) * weight[i] * log_p[i] for i in range(k))
        scale += weight[label]
    return total / scale


def test_cross_entropy_is_what_its_definition_says():
    for options in ({}, {"label_smoothing": 0.1}, {"class_weights_K": torch.tensor([0.5, 2.0, 1.0])}):
        value, logits = cross_entropy(**options)(lambda images: images, LOGITS, LABELS)
        expected = naive(LOGITS, LABELS, options.get("label_smoothing", 0.0), options.get("class_weights_K"))
        assert abs(value.item() - expected) < 1e-6
        assert torch.equal(logits, LOGITS)


def test_balanced_weights_agree_with_scikit_learn():
    expected = compute_class_weight("balanced", classes=np.arange(3), y=LABELS.numpy())
    assert torch.allclose(balanced_weights(LABELS, 3).double(), torch.from_numpy(expected), atol=1e-6)
