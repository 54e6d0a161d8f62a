"""Projected gradient descent that chooses its steps by itself: APGD, with three objectives.

Shape letters: N images, C channels, H height, W width, K classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import partial
from typing import TypeAlias

import torch
from torch import nn

from keensight.robustness.attacks.ball import project, random_start, uphill
from keensight.robustness.attacks.look import Look, look, still_right
from keensight.robustness.attacks.objectives import Objective, cross_entropy, dlr, targeted_dlr
from keensight.robustness.attacks.row import AttackRow
from keensight.robustness.needs import GRADIENTS
from keensight.values import Threat

STEPS = 100
MOST_TARGETS = 9
MOMENTUM = 0.75  # of the new direction; the rest is the last move's
ENOUGH_RISES = 0.75  # of the steps since the last checkpoint; with fewer, steps are halved
FIRST, NEARER, LEAST = 0.22, 0.03, 0.06  # of all steps: to the first checkpoint, by how much each is nearer, at least

# (logits NK, labels N, targets N) to N numbers, as an Objective; `targets` are other classes
Aim: TypeAlias = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(slots=True, eq=False)
class _Search:
    """The pictures that still resist, and what is known of them; they lie along every field's first axis."""

    rows: torch.Tensor  # places in the batch
    origin: torch.Tensor
    labels: torch.Tensor
    targets: torch.Tensor
    at: torch.Tensor
    before: torch.Tensor
    seen: Look
    best: torch.Tensor
    best_seen: Look
    step: torch.Tensor
    rises: torch.Tensor  # steps since the last checkpoint that raised the objective
    was_halved: torch.Tensor
    checked_value: torch.Tensor  # the best at the last checkpoint

    def keep(self, kept_N: torch.Tensor) -> None:
        """Forget the other pictures."""
        for field in fields(self):
            setattr(self, field.name, getattr(self, field.name)[kept_N])


def apgd(
    model: nn.Module,
    images_NCHW: torch.Tensor,
    labels_N: torch.Tensor,
    threat: Threat,
    draw: torch.Generator,
    objective: Objective = cross_entropy,
) -> torch.Tensor:
    """Take `threat.steps` (100) steps with momentum from a random start, shorter ones where they stop helping.

    Auto-PGD (Croce and Hein, 2020, arXiv:2003.01690, algorithm 1): there is no step size to choose. A picture that is
    answered wrongly is left alone from there on. Returns pictures float NCHW: the first that was answered wrongly, or
    the one with the highest objective.
    """

    def aim(logits_NK: torch.Tensor, labels_N: torch.Tensor, targets_N: torch.Tensor) -> torch.Tensor:
        return objective(logits_NK, labels_N)

    return _search(model, images_NCHW, labels_N, labels_N, threat, draw, aim)


def apgd_targeted(
    model: nn.Module, images_NCHW: torch.Tensor, labels_N: torch.Tensor, threat: Threat, draw: torch.Generator
) -> torch.Tensor:
    """Attack as `apgd` does, with one other class after another as the target: at most nine, the most probable first.

    Returns pictures float NCHW.
    """
    attacked_NCHW = images_NCHW.clone()
    with torch.no_grad():
        others_NK = model(images_NCHW).float().scatter(1, labels_N[:, None], -torch.inf)
    likely_NK = others_NK.argsort(dim=1, descending=True)
    for nth in range(min(MOST_TARGETS, likely_NK.shape[1] - 1)):
        rows = still_right(model, attacked_NCHW, labels_N)
        if not len(rows):
            break
        targets = likely_NK[rows, nth]
        attacked_NCHW[rows] = _search(model, images_NCHW[rows], labels_N[rows], targets, threat, draw, targeted_dlr)
    return attacked_NCHW


def checkpoints(steps: int) -> list[int]:
    """Return after which steps APGD looks back.

    >>> checkpoints(100)
    [22, 41, 57, 70, 80, 87, 93, 99]
    """
    at, wait, found = 0, max(int(FIRST * steps), 1), []
    while at + wait <= steps:
        at += wait
        found.append(at)
        wait = max(wait - max(int(NEARER * steps), 1), int(LEAST * steps), 1)
    return found


def _search(
    model: nn.Module,
    images_NCHW: torch.Tensor,
    labels_N: torch.Tensor,
    targets_N: torch.Tensor,
    threat: Threat,
    draw: torch.Generator,
    aim: Aim,
) -> torch.Tensor:
    steps = threat.steps or STEPS
    attacked_NCHW = images_NCHW.clone()
    rows = still_right(model, images_NCHW, labels_N)
    if not len(rows) or not threat.eps:
        return attacked_NCHW
    s = _begin(model, images_NCHW[rows], labels_N[rows], targets_N[rows], rows, threat, draw, aim)
    looks_back, waited = set(checkpoints(steps)), 0
    for done in range(steps + 1):
        if s.seen.wrong_N.any():
            attacked_NCHW[s.rows[s.seen.wrong_N]] = s.at[s.seen.wrong_N]
            s.keep(~s.seen.wrong_N)
        if not len(s.rows):
            return attacked_NCHW
        if done in looks_back:
            _look_back(s, waited)
            waited = 0
        if done < steps:
            _step(s, model, threat, aim, 1.0 if done == 0 else MOMENTUM)
            waited += 1
    attacked_NCHW[s.rows] = s.best
    return attacked_NCHW


def _begin(
    model: nn.Module,
    images_NCHW: torch.Tensor,
    labels_N: torch.Tensor,
    targets_N: torch.Tensor,
    rows: torch.Tensor,
    threat: Threat,
    draw: torch.Generator,
    aim: Aim,
) -> _Search:
    at = random_start(images_NCHW, threat, draw)
    seen = look(model, at, labels_N, lambda logits, labels: aim(logits, labels, targets_N))
    return _Search(
        rows=rows,
        origin=images_NCHW,
        labels=labels_N,
        targets=targets_N,
        at=at,
        before=at,
        seen=seen,
        best=at,
        best_seen=seen,
        step=torch.full((len(rows), 1, 1, 1), 2 * threat.eps, device=at.device),
        rises=torch.zeros(len(rows), device=at.device),
        was_halved=torch.ones(len(rows), dtype=torch.bool, device=at.device),
        checked_value=seen.values_N,
    )


def _step(s: _Search, model: nn.Module, threat: Threat, aim: Aim, share: float) -> None:
    """Go uphill, with `share` of the new direction and the rest of the last move, and look."""
    uphill_NCHW = project(s.at + s.step * uphill(s.seen.gradients_NCHW, threat), s.origin, threat)
    onwards_NCHW = s.at + share * (uphill_NCHW - s.at) + (1 - share) * (s.at - s.before)
    s.before, s.at = s.at, project(onwards_NCHW, s.origin, threat)
    last_N = s.seen.values_N
    s.seen = look(model, s.at, s.labels, lambda logits, labels: aim(logits, labels, s.targets))
    s.rises = s.rises + (s.seen.values_N > last_N)
    is_better_N = s.seen.values_N > s.best_seen.values_N
    s.best = torch.where(is_better_N.view(-1, 1, 1, 1), s.at, s.best)
    s.best_seen = s.seen.where(is_better_N, s.best_seen)


def _look_back(s: _Search, waited: int) -> None:
    """Halve the steps of pictures that rose too rarely or found nothing better, and go on from their best place."""
    rose_rarely_N = s.rises <= ENOUGH_RISES * waited
    found_nothing_N = ~s.was_halved & (s.best_seen.values_N <= s.checked_value)
    s.was_halved = rose_rarely_N | found_nothing_N
    s.checked_value = s.best_seen.values_N
    s.rises = torch.zeros_like(s.rises)
    halved_N111 = s.was_halved.view(-1, 1, 1, 1)
    s.step = torch.where(halved_N111, s.step / 2, s.step)
    s.at = torch.where(halved_N111, s.best, s.at)
    s.seen = s.best_seen.where(s.was_halved, s.seen)


APGD_CE = AttackRow(apgd, "APGD on cross-entropy", norms=("linf", "l2"), needs=(GRADIENTS,))
APGD_DLR = AttackRow(
    partial(apgd, objective=dlr), "APGD on the logits' differences", norms=("linf", "l2"), needs=(GRADIENTS,)
)
APGD_TARGETED = AttackRow(apgd_targeted, "targeted APGD", norms=("linf", "l2"), needs=(GRADIENTS,))
