"""How close training comes to the best that a robust linear classifier can be: a linear program knows.

The mean of max(0, 1 - (y f(x) - eps ||w||_1)) is convex in (w, b), and piecewise linear. So its minimum is found
exactly, and a dual solution proves it, whoever found that: see `proven_bound`.

Shape letters: N pictures, D pixels.
"""

import numpy as np
import pytest
import torch
from scipy import sparse
from scipy.optimize import linprog

import keensight
from keensight.data.sources import only
from keensight.models.linear import linear_weights
from keensight.robustness.answers import outcome
from keensight.values import Threat

pytestmark = pytest.mark.thorough

# what it takes to come near the optimum, which the recipe does not want
TO_THE_END = {"epochs": 60, "batch_size": 100, "learning_rate": 0.05, "momentum": 0.9}


def objective(w, b, pictures_ND, signs_N, eps):
    """The mean robust hinge loss from its definition, in float64."""
    return np.maximum(0, 1 - (signs_N * (pictures_ND @ w + b) - eps * np.abs(w).sum())).mean()


def solve(pictures_ND, signs_N, eps):
    """Return the best w, b, and the dual solution: one number for each picture.

    The unknowns are w = p - m with p, m >= 0, b, s >= sum(p + m), and the pictures' losses.
    """
    n, d = pictures_ND.shape
    towards = sparse.csr_matrix(pictures_ND * signs_N[:, None])
    losses = [-towards, towards, -signs_N[:, None].astype(float), np.full((n, 1), eps), -sparse.eye(n)]
    norm = [np.ones((1, 2 * d)), [[0.0, -1.0]], sparse.csr_matrix((1, n))]
    found = linprog(
        np.r_[np.zeros(2 * d + 2), np.full(n, 1 / n)],
        A_ub=sparse.vstack([sparse.hstack(losses), sparse.hstack(norm)]).tocsc(),
        b_ub=np.r_[-np.ones(n), 0],
        bounds=[(0, None)] * (2 * d) + [(None, None), (0, None)] + [(0, None)] * n,
        method="highs-ds",
    )
    assert found.success, found.message
    return found.x[:d] - found.x[d : 2 * d], found.x[2 * d], -found.ineqlin.marginals[:n]


def proven_bound(a_N, pictures_ND, signs_N, eps):
    """Return a number that no (w, b) gets below, after checking that `a_N` proves it: weak duality.

    For 0 <= a <= 1/N the objective is at least sum_i a_i (1 - y_i f(x_i) + eps ||w||_1), which is sum(a) plus terms
    that cannot be negative where sum_i a_i y_i = 0 and no |sum_i a_i y_i x_i| is above eps sum(a).
    """
    assert a_N.min() >= -1e-9 and a_N.max() <= 1 / len(a_N) + 1e-9
    assert abs(a_N @ signs_N) < 1e-7
    assert np.abs((a_N * signs_N) @ pictures_ND).max() <= eps * a_N.sum() + 1e-7
    return a_N.sum()


def pictures_of(split):
    return split.images[split.rows].reshape(len(split), -1) / 255, 2 * split.labels - 1


def splits_of(dataset, recipe):
    dataset = only(dataset, recipe.data.classes)
    return keensight.split(keensight.decode(dataset, keensight.choose_preprocessing(dataset, recipe)), seed=recipe.seed)


def learn(splits, recipe):
    model = keensight.build(recipe.model.name, recipe.model.options, splits.preprocessing, 2, recipe.seed)
    list(keensight.fit(model, splits, recipe))
    return model


def weights_of(model):
    return linear_weights(model).detach().double().flatten().numpy(), model.network[1].bias.item()


def put(w, b, model):
    with torch.no_grad():
        model.network[1].weight.copy_(torch.from_numpy(w)[None])
        model.network[1].bias.fill_(b)


@pytest.fixture(scope="module")
def digits():
    """Zeros and ones of scikit-learn's digits, 8x8."""
    return splits_of(keensight.open_dataset("digits"), keensight.load_recipe("zero-one-robust"))


@pytest.mark.parametrize("eps", [0.2, 0.3])
def test_the_reference_is_the_optimum(digits, eps):
    """Proven by its dual; and no random step, large or small, leads below it."""
    pictures, signs = pictures_of(digits.train)
    w, b, a = solve(pictures, signs, eps)
    best = objective(w, b, pictures, signs, eps)
    assert best == pytest.approx(proven_bound(a, pictures, signs, eps), abs=1e-6)
    rng = np.random.default_rng(0)
    for size in np.repeat([1e-4, 1e-2, 1.0], 100):
        step, support = size * rng.standard_normal(len(w)), np.abs(w) > 1e-9
        along = step * support if rng.integers(2) else step  # among weights in use, and among all
        assert objective(w + along, b + size * rng.standard_normal(), pictures, signs, eps) >= best - 1e-9


@pytest.mark.parametrize("eps", [0.2, pytest.param(0.3, marks=pytest.mark.slow)])
def test_training_comes_close_to_the_optimum_and_never_below(digits, eps):
    """Measured: 1.3 % above the optimum of 0.1147, and 0.9 % above that of 0.3394."""
    pictures, signs = pictures_of(digits.train)
    w, b, a = solve(pictures, signs, eps)
    assert proven_bound(a, pictures, signs, eps) > 0.1  # a task with an optimum of nothing would be no test
    best = objective(w, b, pictures, signs, eps)
    recipe = keensight.load_recipe("zero-one-robust")
    patient = recipe.having(eps=eps, epochs=500, batch_size=300, learning_rate=0.2, optimizer="adam")
    assert best - 1e-6 <= objective(*weights_of(learn(digits, patient)), pictures, signs, eps) <= 1.02 * best


def accuracies(model, split):
    """Return the accuracy on a split at eps 0, 0.1, 0.2 and 0.3 of the exact attack."""
    return [outcome(model, split, Threat("linf", eps), "exact").accuracy for eps in (0, 0.1, 0.2, 0.3)]


@pytest.mark.slow
def test_the_recipe_stops_before_the_optimum_and_why(shared):
    """At the optimum, 10,766 pictures of MNIST, clean accuracy is below what the recipe promises.

    Measured at eps 0.2, seed 0: the optimum is 0.0745, proven to 1e-6, and has 0.9905, 0.9877, 0.9825, 0.9754 on the
    test pictures (n = 2,115) under attacks of 0, 0.1, 0.2, 0.3. Sixty epochs with momentum come within 0.3 % of it.
    The recipe stays 1.63 times above, with 0.9986, 0.9924, 0.9697, 0.8061: it gives up accuracy under strong attacks
    for being right on the pictures that nobody attacked.
    """
    recipe = keensight.load_recipe("zero-one-robust")
    splits = splits_of(keensight.open_dataset(shared / "mnist"), recipe)
    pictures, signs = pictures_of(splits.train)
    w, b, a = solve(pictures, signs, recipe.train.eps)
    best = objective(w, b, pictures, signs, recipe.train.eps)
    assert best == pytest.approx(proven_bound(a, pictures, signs, recipe.train.eps), abs=1e-6)
    optimal = keensight.build("linear", {}, splits.preprocessing, 2, seed=0)
    put(w, b, optimal)
    stopped, patient = learn(splits, recipe), learn(splits, recipe.having(**TO_THE_END))
    excess = [objective(*weights_of(model), pictures, signs, recipe.train.eps) / best for model in (patient, stopped)]
    print(f"optimum {best:.5f}, patient and recipe {excess} times that")
    of_optimum, of_recipe = accuracies(optimal, splits.test), accuracies(stopped, splits.test)
    print(f"optimum {of_optimum}, recipe {of_recipe}")
    assert 1 - 1e-5 <= excess[0] <= 1.01 and 1.3 <= excess[1] <= 1.9
    assert of_optimum[0] < 0.995 and of_recipe[0] >= 0.997
    assert of_optimum[2] > of_recipe[2] >= 0.965
