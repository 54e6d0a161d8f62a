"""Randomised smoothing: the answer that noise makes the most frequent, and how far it cannot change, for any network.

Shape letters: N images, C channels, H height, W width, K classes.
"""

from __future__ import annotations

import math

import torch
from torch import nn

DRAWS_TO_CHOOSE = 100  # noisy copies that choose the answer; others then count how often it is given
AT_ONCE = 256
UNSURE = -1


def smoothed(
    model: nn.Module, images_NCHW: torch.Tensor, sigma: float, draws: int, draw: torch.Generator, risk: float = 0.001
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the smoothed classifier's answers N and the radii N, in l2, within which each is certain.

    The smoothed classifier answers with the class that `model` gives the most often when normal noise of the standard
    deviation `sigma`, in parts of the pixel range, is added. Cohen, Rosenfeld and Kolter (2019, arXiv:1902.02918,
    algorithm CERTIFY): the class's probability is at least p, by Clopper and Pearson, and the radius is sigma times the
    normal quantile of p. An answer is `UNSURE`, with the radius 0, if p is not above 1/2. Each radius is wrong with a
    probability of at most `risk`. All noise comes from `draw`.
    """
    answers, radii = [], []
    for image_CHW in images_NCHW:
        chosen = int(_votes(model, image_CHW, sigma, DRAWS_TO_CHOOSE, draw).argmax())
        least = lower_limit(int(_votes(model, image_CHW, sigma, draws, draw)[chosen]), draws, risk)
        answers.append(chosen if least > 0.5 else UNSURE)
        radii.append(sigma * _quantile(least) if least > 0.5 else 0.0)
    return torch.tensor(answers), torch.tensor(radii, dtype=torch.float64)


def lower_limit(hits: int, draws: int, risk: float) -> float:
    """Return the probability that one has at least, if `hits` of `draws` were: wrong with a probability of `risk`.

    The one-sided interval of Clopper and Pearson (1934).

    >>> round(lower_limit(1000, 1000, 0.001), 4)
    0.9931
    """
    from scipy.special import betaincinv  # here, as its import takes a fifth of a second, of every `train`

    return float(betaincinv(hits, draws - hits + 1, risk)) if hits else 0.0


def widest_radius(sigma: float, draws: int, risk: float = 0.001) -> float:
    """Return the largest radius that can be certified with this noise and number of draws."""
    return sigma * _quantile(lower_limit(draws, draws, risk))


def _quantile(probability: float) -> float:
    """Return the number that a draw of the normal distribution is below with this probability."""
    from scipy.special import ndtri

    return float(ndtri(probability))


def _votes(model: nn.Module, image_CHW: torch.Tensor, sigma: float, draws: int, draw: torch.Generator) -> torch.Tensor:
    """Return how often each class is the answer: K."""
    counts = torch.zeros(0)
    for part in range(math.ceil(draws / AT_ONCE)):
        size = min(AT_ONCE, draws - part * AT_ONCE)
        noise_NCHW = torch.randn(size, *image_CHW.shape, generator=draw).to(image_CHW.device)
        with torch.inference_mode():
            logits_NK = model(image_CHW + sigma * noise_NCHW)
        found = torch.bincount(logits_NK.argmax(dim=1).cpu(), minlength=logits_NK.shape[1])
        counts = found if not len(counts) else counts + found
    return counts
