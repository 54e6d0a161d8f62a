"""How unlike all training pictures a picture is, from the numbers that a network computes of it before its last layer.

Two tests, or three, measure it. One is how far the features point away from those of training pictures (their nearest
prototypes); another is a small network that was taught to tell training pictures from drawn nonsense. Each misses what
the other finds: nonsense may lie near a prototype, and no drawn nonsense is like all that there is. A small network's
features leave out what its classes do not differ in, such as what the ground of aerial photographs looks like, so a
third test is how unlike colours and textures are: the Mahalanobis distance of statistics of the pixels and of the first
convolution's maps. Of the first two, which judge the same features, the worse counts; the third is other evidence, and
is added: where the worst of all three counted, up to twice as many foreign pictures passed.

Shape letters: N images, C channels, H height, W width, F features, S statistics, P prototypes, B hidden cells.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from itertools import takewhile

import torch
import torch.nn.functional as F
from torch import nn

from keensight.errors import RecipeError
from keensight.models.foreign import Concatenate
from keensight.models.graph import INPUT
from keensight.models.mirror import AddMirrored, MeanOfMirrored
from keensight.models.trace import Step, trace, without_norms
from keensight.models.transfer import Transfer

LEAST_NORM = 1e-6  # features that are all 0 have no direction
MOST_STATISTICS = 256
LEAST_ROWS = 32  # of a map are enough for its statistics
STATISTICS = "oddness.statistics"  # how the names of their steps begin
AGAIN = f"{STATISTICS}.again"  # the first convolution, for a part of large maps


class MapStatistics(nn.Module):
    """The mean, the standard deviation and the maximum of each channel over its pixels: NCHW to N(3C).

    Of large maps, each `every`-th row and column is enough: all of them took more time than the network.
    """

    def __init__(self, every: int) -> None:
        super().__init__()
        self.every = every

    def forward(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        """Return the means of all channels, then their deviations, then their maxima."""
        x_NCHW = x_NCHW[:, :, :: self.every, :: self.every]
        mean_NC11 = x_NCHW.mean(dim=(2, 3), keepdim=True)
        deviation_NC = (x_NCHW - mean_NC11).square().mean(dim=(2, 3)).sqrt()
        return torch.cat([mean_NC11.flatten(1), deviation_NC, x_NCHW.amax(dim=(2, 3))], dim=1)


class Oddness(nn.Module):
    """Features, and behind them statistics, N(F+S), to oddness N; larger is odder.

    `rates` and `zeros` bring the tests' numbers to one scale.
    """

    prototypes_PF: torch.Tensor
    usual_S: torch.Tensor
    whitening_SS: torch.Tensor
    rates: torch.Tensor
    zeros: torch.Tensor

    def __init__(self, num_features: int, num_prototypes: int, num_hidden: int, num_statistics: int = 0) -> None:
        super().__init__()
        self.num_features, self.num_statistics = num_features, num_statistics
        self.register_buffer("prototypes_PF", torch.zeros(num_prototypes, num_features))
        self.hidden = nn.Linear(num_features, num_hidden)
        self.background = nn.Linear(num_hidden, 1)
        for parameter in self.parameters():  # until it is taught: torch's start is another in each process
            nn.init.zeros_(parameter)
        self.register_buffer("usual_S", torch.zeros(num_statistics))
        self.register_buffer("whitening_SS", torch.eye(num_statistics))
        count = 3 if num_statistics else 2
        self.register_buffer("rates", torch.ones(count))
        self.register_buffer("zeros", torch.zeros(count))

    def tests(self, features_NF: torch.Tensor) -> torch.Tensor:
        """Return the tests' numbers as they are, N2 or N3.

        They are the cosine distance to the nearest prototype, the background network's logit, and the root of the mean
        square of the whitened statistics.
        """
        features_NF, statistics_NS = features_NF[:, : self.num_features], features_NF[:, self.num_features :]
        unit_NF = features_NF / features_NF.norm(dim=1, keepdim=True).clamp(min=LEAST_NORM)
        far_N = 1 - (unit_NF @ self.prototypes_PF.T).amax(dim=1)
        found = [far_N, self.background(F.relu(self.hidden(features_NF)))[:, 0]]
        if self.num_statistics:
            white_NS = (statistics_NS - self.usual_S) @ self.whitening_SS.T
            found.append(white_NS.square().mean(dim=1).sqrt())
        return torch.stack(found, dim=1)

    def scaled(self, tests_NT: torch.Tensor) -> torch.Tensor:
        """Return the oddness N that the tests' numbers mean."""
        scaled_NT = (tests_NT - self.zeros) * self.rates
        worse_N = scaled_NT[:, :2].amax(dim=1)
        return (F.relu(worse_N) + F.relu(scaled_NT[:, 2])) / 2 if self.num_statistics else worse_N

    def forward(self, features_NF: torch.Tensor) -> torch.Tensor:
        """Return the oddness, N."""
        return self.scaled(self.tests(features_NF))


def feature_steps(network: nn.Module) -> list[Step]:
    """Return the steps that end with a network's features NF.

    If it answers with the mean for a picture and its mirror image, its features are that mean too.
    Raises RecipeError if it has no linear layer.
    """
    steps = trace(network)
    last = max((i for i, step in enumerate(steps) if isinstance(step.layer, nn.Linear)), default=-1)
    if last < 0:
        raise no_features("The network has no linear layer")
    name = steps[last].inputs[0]
    kept = list(takewhile(lambda step: step.name != name, steps[:last]))
    kept = steps[: len(kept) + 1] if name != INPUT else []
    if any(isinstance(step.layer, MeanOfMirrored) for step in steps[last:]):
        kept = [*kept, Step(f"{name}.mean", MeanOfMirrored().eval(), (name,))]
    return kept


def num_statistics(network: nn.Module, num_channels: int) -> int:
    """Return how many statistics there are beside a network's features: none, if it has no convolution or too large a
    one. A pretrained backbone's features leave out less.
    """
    if isinstance(network, Transfer):
        return 0
    first = _first_maps(feature_steps(network))
    count = 0
    if first is not None and isinstance(first.layer, nn.Conv2d):
        count = 3 * (num_channels + first.layer.out_channels)
    return count if count <= MOST_STATISTICS else 0


def oddness_steps(network: nn.Module, side: int | None) -> list[Step]:
    """Return the steps that end with what `Oddness` reads of pictures with a shorter side of so many pixels.

    It is the features NF, or N(F+S) with the statistics behind them; without these if `side` is None.
    """
    steps = without_norms(feature_steps(network))
    if side is None:
        return steps
    maps = _first_maps(steps)
    assert maps is not None and isinstance(maps.layer, nn.Conv2d), "num_statistics found it"
    before, conv = steps[: steps.index(maps)], maps.layer
    is_mirrored = any(isinstance(step.layer, AddMirrored) for step in before)
    # some of the pixels would not be the same ones of a picture and its mirror image
    every = 1 if is_mirrored else _every(side)
    features, parts = steps[-1].name, [Step(f"{STATISTICS}.pixels", MapStatistics(every), (INPUT,))]
    sees_pictures = all(isinstance(step.layer, AddMirrored) for step in before)  # anything else may make them smaller
    every = _every(side // max(conv.stride)) if sees_pictures and isinstance(conv.padding, tuple) else 1
    if every > 1:
        maps = Step(AGAIN, _in_strides(conv, every), maps.inputs)
        parts.append(maps)
    parts.append(Step(f"{STATISTICS}.maps", MapStatistics(1), (maps.name,)))
    if is_mirrored:
        parts.append(Step(f"{STATISTICS}.both", MeanOfMirrored().eval(), (parts[-1].name,)))
    joined = Step(STATISTICS, Concatenate(dim=1), (features, parts[0].name, parts[-1].name))
    return [*steps, *parts, joined]


def _in_strides(conv: nn.Conv2d, every: int) -> nn.Conv2d:
    """Return a convolution that makes `every` so many rows and columns of the same maps."""
    fewer = copy.deepcopy(conv)
    fewer.stride = conv.stride[0] * every, conv.stride[1] * every
    return fewer


def _every(side: int) -> int:
    """Return which rows of a map make about `LEAST_ROWS` or more: an odd number, as most made patterns are even.

    >>> [_every(side) for side in (28, 64, 96, 128, 224)]
    [1, 1, 3, 3, 7]
    """
    every = max(1, side // LEAST_ROWS)
    return every - (every + 1) % 2


def _first_maps(steps: Sequence[Step]) -> Step | None:
    return next((step for step in steps if isinstance(step.layer, nn.Conv2d)), None)


def no_features(what: str) -> RecipeError:
    """Return the refusal of a network that has no features; `what` says why."""
    return RecipeError(
        f"{what}; a vector of features is needed, by which pictures can be told apart. Let it end in a linear layer, "
        "or set coverage = 1, which takes every picture for one of the classes."
    )
