"""Randomised smoothing against what is known: the exact radius of a linear model, and SciPy's interval."""

import pytest
import torch
from scipy.stats import binomtest, norm

from keensight.models.zoo import build
from keensight.robustness.bounds.smoothing import UNSURE, lower_limit, smoothed, widest_radius
from keensight.values import Preprocessing

SIZE = Preprocessing(5, 5, 1)


@pytest.mark.parametrize(("hits", "draws"), [(990, 1000), (60, 100), (1, 40), (40, 40), (0, 40)])
def test_the_limit_is_clopper_and_pearsons(hits, draws):
    expected = binomtest(hits, draws, alternative="greater").proportion_ci(0.999, "exact").low
    assert lower_limit(hits, draws, 0.001) == pytest.approx(expected, abs=1e-9)


def test_radii_of_a_linear_model_are_just_below_the_distance_to_its_boundary():
    """For a linear model, the smoothed radius is the distance (Cohen et al., 2019, proposition 4)."""
    model = build("linear", {"init": "glorot"}, SIZE, 2, seed=1).eval()
    images = torch.rand(12, 1, 5, 5, generator=torch.Generator().manual_seed(0))
    logits = model(images).detach()
    distances = (logits[:, 1] / model.network[1].weight.detach().norm()).abs().double()
    sigma = 0.5
    answers, radii = smoothed(model, images, sigma, 2000, torch.Generator().manual_seed(1))
    clear = distances > 0.1
    assert torch.equal(answers[clear], logits.argmax(dim=1)[clear])
    assert (radii <= distances).all() and (radii >= 0.7 * distances - 0.1).all()
    assert (radii[answers == UNSURE] == 0).all()
    again, _ = smoothed(model, images, sigma, 2000, torch.Generator().manual_seed(1))
    assert torch.equal(answers, again)


def test_what_is_not_the_answer_for_more_than_half_of_the_noise_is_unsure():
    model = build("linear", {}, SIZE, 2, seed=0).eval()  # all weights are 0: the first class, by a tie
    torch.nn.init.normal_(model.network[1].weight, generator=torch.Generator().manual_seed(0))
    centre = torch.full((1, 1, 5, 5), 0.5)
    model.network[1].bias.data.sub_(model(centre)[0, 1].item())  # the boundary goes through it
    answers, radii = smoothed(model, centre, 0.25, 300, torch.Generator().manual_seed(0))
    assert answers.tolist() == [UNSURE] and radii.tolist() == [0.0]


def test_the_widest_radius_is_that_of_a_unanimous_vote():
    assert widest_radius(0.25, 1000) == pytest.approx(0.25 * norm.ppf(0.001 ** (1 / 1000)))
