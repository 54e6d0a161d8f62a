"""Certificates for pictures: intervals first, then linear bounds for what they leave open, then cases.

Shape letters: N pictures, K classes.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from keensight.data.polarity import Borders, keeps_polarity
from keensight.errors import KeensightError
from keensight.machine import images_at_a_time
from keensight.models.classifier import Classifier
from keensight.models.tensors import to_images
from keensight.robustness.answers import as_seen
from keensight.robustness.bounds.branching import proves
from keensight.robustness.bounds.known import known_of
from keensight.robustness.bounds.linear import lowest_margins, margin_forms, tightened
from keensight.robustness.bounds.network import Node, nodes_of
from keensight.robustness.bounds.quick import quick_margins
from keensight.robustness.bounds.smoothing import smoothed
from keensight.robustness.still import held_still
from keensight.values import Certificate, Split, Threat

AT_ONCE = 64
HOPEFUL = 3.0  # of a picture's margin at eps 0: inputs of bends are bounded by forms only if no more is missing
NEARLY = 0.5  # cases are tried only if no more than that is missing then
OnPicture = Callable[[int, int], None]  # (pictures done, of how many)


def certified(
    model: Classifier,
    split: Split,
    epsilons: Sequence[float],
    borders: Borders | None = None,
    branch_s: float = 0.0,
    on_picture: OnPicture | None = None,
    thorough: bool = True,
) -> list[Certificate]:
    """Return a certificate for each epsilon, in their order, in the max norm.

    A picture is certified if no change of its pixels by at most epsilon, within [0, 1], changes its right answer: of a
    float32 engine that computes each layer as sums of products, in whatever order. Everything is computed in float64,
    and rounding is taken off (`bounds/known.py`). `borders` are the bundle's, if the model comes from one: a picture
    that is inverted, or could be made to be, is not certified.

    A picture that costs much is one that linear bounds leave open: if `thorough`, the inputs of all bends are bounded
    by forms for it, which takes a tenth of a second for a small network, and seconds for a larger one.

    Without `branch_s`, the result is the same on every machine. With it, so many seconds are spent on cases for the
    pictures that are nearly certified, those first that lack the least.

    Raises KeensightError for a split without pictures, RecipeError for a layer without bounds, naming it.
    """
    if not len(split):
        raise KeensightError("There is no picture to certify. Give a split that is not empty.")
    exact = copy.deepcopy(model).cpu().double().eval().requires_grad_(False)
    nodes = nodes_of(exact)
    model = copy.deepcopy(model).cpu().eval()
    few = min(AT_ONCE, images_at_a_time(*split.shape))
    correct_N = np.zeros(len(split), bool)
    methods = [np.full(len(split), "", dtype="<U12") for _ in epsilons]
    lacking: list[tuple[float, int, int]] = []
    order = sorted(range(len(epsilons)), key=lambda i: epsilons[i])
    with torch.no_grad():
        for batch in split.batches(few):
            images_NCHW, labels_N = _pictures(split, batch, borders)
            logits_NK = model(images_NCHW)
            open_N = logits_NK.argmax(dim=1) == labels_N
            correct_N[batch] = open_N.numpy()
            surplus_N = _surplus(logits_NK, labels_N)
            for i in order:  # what is not certified at an epsilon is not at a larger one
                open_N = open_N & torch.from_numpy(_steady(split, batch, borders, epsilons[i]))
                found, lack_N = _by_bounds(nodes, images_NCHW, labels_N, epsilons[i], open_N, surplus_N, thorough)
                methods[i][batch] = found
                near_N = open_N & torch.from_numpy(found == "") & (lack_N < NEARLY * surplus_N)
                lacking += [(float(lack_N[n] / surplus_N[n]), i, batch.start + int(n)) for n in near_N.nonzero()]
                open_N = open_N & torch.from_numpy(found != "")
            if on_picture:
                on_picture(min(batch.stop, len(split)), len(split))
        until_s = time.monotonic() + branch_s
        for _, i, place in sorted(lacking):
            if time.monotonic() >= until_s:
                break
            images_NCHW, labels_N = _pictures(split, slice(place, place + 1), borders)
            if _by_cases(nodes, images_NCHW, labels_N, epsilons[i], until_s):
                methods[i][place] = "cases"
    return [
        Certificate(Threat("linf", eps), correct_N, method_N != "", method_N)
        for eps, method_N in zip(epsilons, methods, strict=True)
    ]


def certified_by_noise(
    model: Classifier,
    split: Split,
    epsilons: Sequence[float],
    sigma: float,
    draws: int,
    borders: Borders | None = None,
    seed: int = 0,
    on_picture: OnPicture | None = None,
) -> list[Certificate]:
    """Return a certificate for each epsilon in l2, of the smoothed classifier: see `bounds/smoothing.py`.

    `sigma` is the noise, in parts of the pixel range, and `draws` is how much of it each picture gets.
    """
    if not len(split):
        raise KeensightError("There is no picture to certify. Give a split that is not empty.")
    draw = torch.Generator().manual_seed(seed)
    right, radii = [], []
    device = next(iter(model.buffers())).device
    with held_still(model):
        for place in range(len(split)):
            images_NCHW, labels_N = _pictures(split, slice(place, place + 1), borders)
            answers_N, radii_N = smoothed(model, images_NCHW.to(device), sigma, draws, draw)
            right.append(bool(answers_N == labels_N))
            radii.append(float(radii_N))
            if on_picture:
                on_picture(place + 1, len(split))
    right_N, radius_N = np.array(right), np.array(radii)
    whole = slice(0, len(split))
    found = [right_N & (radius_N >= eps) & _steady(split, whole, borders, eps) for eps in epsilons]
    return [
        Certificate(Threat("l2", eps), right_N, each, np.where(each, "smoothing", ""))
        for eps, each in zip(epsilons, found, strict=True)
    ]


def _pictures(split: Split, batch: slice, borders: Borders | None) -> tuple[torch.Tensor, torch.Tensor]:
    part = split.take(batch)
    part = part if borders is None else as_seen(part, borders)
    return to_images(part.gather(), torch.device("cpu")), torch.from_numpy(part.labels)


def _steady(split: Split, batch: slice, borders: Borders | None, eps: float) -> NDArray[np.bool_]:
    """Say which pictures are not inverted before the network sees them, and cannot be made to be."""
    part = split.take(batch)
    return np.ones(len(part), bool) if borders is None else keeps_polarity(part.gather(), borders, eps)


def _surplus(logits_NK: torch.Tensor, labels_N: torch.Tensor) -> torch.Tensor:
    """Return how far the label's logit is above the next."""
    own = logits_NK.gather(1, labels_N[:, None])
    return (own - logits_NK.scatter(1, labels_N[:, None], -torch.inf)).amin(dim=1).double()


def _by_bounds(
    nodes: Sequence[Node],
    images_NCHW: torch.Tensor,
    labels_N: torch.Tensor,
    eps: float,
    open_N: torch.Tensor,
    surplus_N: torch.Tensor,
    thorough: bool,
) -> tuple[NDArray[np.str_], torch.Tensor]:
    """Return what certifies each picture that is open, "" for the others, and how much each lacks."""
    found = np.full(len(labels_N), "", dtype="<U12")
    lack_N = torch.full((len(labels_N),), torch.inf, dtype=torch.float64)
    members = open_N.nonzero()[:, 0]

    def settle(members: torch.Tensor, margins_NM: torch.Tensor, method: str) -> torch.Tensor:
        least_N = margins_NM.amin(dim=1)
        found[members[least_N > 0].numpy()] = method
        lack_N[members] = -least_N
        return least_N <= 0

    if len(members) and (quick_NK := quick_margins(nodes, images_NCHW[members], eps, labels_N[members])) is not None:
        members = members[settle(members, quick_NK, "intervals")]
    if len(members):
        values, labels = known_of(nodes, images_NCHW[members], eps), labels_N[members]
        left = settle(members, lowest_margins(nodes, values, labels, through=False), "intervals")
        members, labels, values = members[left], labels[left], [known.picked(left) for known in values]
    if len(members):
        left = settle(members, lowest_margins(nodes, values, labels), "linear")
        members = members[left]
    if not thorough:
        return found, lack_N
    for member in members[lack_N[members] < HOPEFUL * surplus_N[members]][:, None]:
        tight = tightened(nodes, images_NCHW[member], eps)
        settle(member, lowest_margins(nodes, tight, labels_N[member]), "linear")
    return found, lack_N


def _by_cases(
    nodes: Sequence[Node], images_1CHW: torch.Tensor, labels_1: torch.Tensor, eps: float, until_s: float
) -> bool:
    values = tightened(nodes, images_1CHW, eps)
    margins_1M = lowest_margins(nodes, values, labels_1)
    others_1M = margin_forms(labels_1, values[-1].lower.shape[1])[1]
    missing = [(float(margin), int(other)) for margin, other in zip(margins_1M[0], others_1M[0], strict=True)]
    open = [other for margin, other in sorted(missing) if margin <= 0]
    return all(proves(nodes, values, int(labels_1), other, until_s) for other in open)
