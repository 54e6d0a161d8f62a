"""How unlike all training pictures a picture is, from the numbers that a network computes of it before its last layer.

Two tests, and the worse one counts. One measures how far the features point away from those of training pictures (their
nearest prototypes); the other is a small network that was taught to tell training pictures from drawn nonsense. Each
misses what the other finds: nonsense may lie near a prototype, and no drawn nonsense is like all that there is.

Shape letters: N images, C channels, H height, W width, F features, P prototypes, B hidden cells.
"""

from __future__ import annotations

from itertools import takewhile

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from keensight.errors import RecipeError
from keensight.machine import cores, images_at_a_time
from keensight.models.classifier import Classifier
from keensight.models.features import features
from keensight.models.graph import INPUT
from keensight.models.mirror import MeanOfMirrored
from keensight.models.tensors import side_by_side, to_images
from keensight.models.trace import Step, run, trace, without_norms
from keensight.models.transfer import Transfer
from keensight.values import FloatArray, Split

LEAST_NORM = 1e-6  # features that are all 0 have no direction


class Oddness(nn.Module):
    """Features NF to oddness N; larger is odder. `rates` and `zeros` bring both tests' numbers to one scale."""

    prototypes_PF: torch.Tensor
    rates: torch.Tensor
    zeros: torch.Tensor

    def __init__(self, num_features: int, num_prototypes: int, num_hidden: int) -> None:
        super().__init__()
        self.register_buffer("prototypes_PF", torch.zeros(num_prototypes, num_features))
        self.hidden = nn.Linear(num_features, num_hidden)
        self.background = nn.Linear(num_hidden, 1)
        self.register_buffer("rates", torch.ones(2))
        self.register_buffer("zeros", torch.zeros(2))

    def tests(self, features_NF: torch.Tensor) -> torch.Tensor:
        """Return both tests' numbers as they are, N2: cosine distance to the nearest prototype; background logit."""
        unit_NF = features_NF / features_NF.norm(dim=1, keepdim=True).clamp(min=LEAST_NORM)
        far_N = 1 - (unit_NF @ self.prototypes_PF.T).amax(dim=1)
        return torch.stack([far_N, self.background(F.relu(self.hidden(features_NF)))[:, 0]], dim=1)

    def scaled(self, tests_N2: torch.Tensor) -> torch.Tensor:
        """Return the oddness N that both tests' numbers mean."""
        odd_N: torch.Tensor = ((tests_N2 - self.zeros) * self.rates).amax(dim=1)
        return odd_N

    def forward(self, features_NF: torch.Tensor) -> torch.Tensor:
        """Return the oddness, N."""
        return self.scaled(self.tests(features_NF))


def last_features(model: Classifier, split: Split) -> FloatArray:
    """Return the features float32 NF of a split's pictures: what the network's last linear layer reads.

    Raises RecipeError if it has no linear layer, or one that reads more than a vector.
    """
    if isinstance(model.network, Transfer):
        return features(model, split)
    steps = without_norms(feature_steps(model.network))
    device = model.mean.device

    def compute(batch: slice) -> FloatArray:
        with torch.inference_mode():
            images_NCHW = to_images(split.gather(batch), device)
            found: FloatArray = run(steps, (images_NCHW - model.mean) / model.std).float().cpu().numpy()
            return found

    with side_by_side(cores() if device.type == "cpu" else 1) as threads:
        features_NF = np.concatenate(list(threads.map(compute, split.batches(images_at_a_time(*split.shape)))))
    if features_NF.shape[1:] != (features_NF.size // len(split),):
        raise _no_features(f"The network's last linear layer reads {features_NF.shape[1:]} of a picture")
    return features_NF


def feature_steps(network: nn.Module) -> list[Step]:
    """Return the steps that end with a network's features NF.

    If it answers with the mean for a picture and its mirror image, its features are that mean too.
    Raises RecipeError if it has no linear layer.
    """
    steps = trace(network)
    last = max((i for i, step in enumerate(steps) if isinstance(step.layer, nn.Linear)), default=-1)
    if last < 0:
        raise _no_features("The network has no linear layer")
    name = steps[last].inputs[0]
    kept = list(takewhile(lambda step: step.name != name, steps[:last]))
    kept = steps[: len(kept) + 1] if name != INPUT else []
    if any(isinstance(step.layer, MeanOfMirrored) for step in steps[last:]):
        kept = [*kept, Step(f"{name}.mean", MeanOfMirrored().eval(), (name,))]
    return kept


def _no_features(what: str) -> RecipeError:
    return RecipeError(
        f"{what}; a vector of features is needed, by which pictures can be told apart. Let it end in a linear layer, "
        "or set coverage = 1, which takes every picture for one of the classes."
    )
