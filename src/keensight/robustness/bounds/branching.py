"""Branch and bound: what linear bounds nearly certify is cut into cases, a ReLU at a time, and each is bounded again.

In a case, some ReLUs are known to pass their input on, or to give 0: their lines are exact, and the sign of the input
is a constraint with a multiplier of its own (beta-CROWN, Wang et al., 2021, arXiv:2103.06624). Slopes and multipliers
are improved by gradient steps; every value of theirs gives a sound bound.

Shape letters: J cases, K classes; a value's other axes are "...".
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from keensight.robustness.bounds.affine import Affine
from keensight.robustness.bounds.known import Known
from keensight.robustness.bounds.linear import at_once, lowest, margin_forms, noise_of_margins
from keensight.robustness.bounds.network import Node

STEPS = 12  # of gradients, for each batch of cases
RATE = 0.25  # of the first step; slopes lie in [0, 1]
CASES_AT_ONCE = 32
COPIES = 16  # of a case's widest value that are in memory at a time
MOST_CASES = 2000  # of one margin: as many numbers as these hold fit in memory


@dataclass(frozen=True, slots=True)
class Case:
    """Signs of some ReLUs' inputs, by value and place: +1 where the input is not below 0, -1 where it is not above."""

    signs: Mapping[tuple[int, int], int]
    bound: float


def proves(nodes: Sequence[Node], values: Sequence[Known], label: int, other: int, until_s: float) -> bool:
    """Say whether one picture's margin between two classes is above 0 everywhere, as far as can be found in time.

    `values` are known of that picture alone. It ends at `until_s`, of `time.monotonic`, or after 2,000 cases, with
    False: not proved. Networks with other bends than ReLU are cut at their ReLUs.
    """
    labels_1 = torch.tensor([label])
    forms, others = margin_forms(labels_1, values[-1].lower.shape[1])
    chosen = int((others[0] == other).nonzero())
    form = forms[:, chosen : chosen + 1]
    noise = float(noise_of_margins(values[-1], labels_1, others)[0, chosen])
    relus = [node.inputs[0] for node in nodes if not isinstance(node.op, Affine) and node.op.is_relu]
    if not relus:
        return bool(lowest(nodes, values, len(nodes), form) > noise)
    waiting, seen = [Case({}, -torch.inf)], 0
    together = min(CASES_AT_ONCE, at_once(values, COPIES))
    while waiting:
        if time.monotonic() > until_s or seen > MOST_CASES:
            return False
        waiting.sort(key=lambda case: case.bound)
        batch, waiting = waiting[:together], waiting[together:]
        seen += len(batch)
        bounds_J, scores = _bounded(nodes, values, relus, form, batch, noise, until_s)
        for i, case in enumerate(batch):
            if bounds_J[i] > noise:
                continue
            place = _cut_at(scores, i)
            if place is None:
                return False  # all signs are known, and it is still not proved
            waiting += [Case({**case.signs, place: sign}, float(bounds_J[i])) for sign in (1, -1)]
    return True


def _bounded(
    nodes: Sequence[Node],
    values: Sequence[Known],
    relus: Sequence[int],
    form: torch.Tensor,
    cases: Sequence[Case],
    enough: float,
    until_s: float,
) -> tuple[torch.Tensor, dict[int, torch.Tensor]]:
    """Return the best bound found for each case, and by value, what each place costs it: below 0 if it is not open."""
    count = len(cases)
    own = [known.taken(torch.arange(len(known.lower)).repeat_interleave(count)) for known in values]
    signs = {number: torch.zeros_like(own[number].lower).flatten(start_dim=1) for number in relus}
    for i, case in enumerate(cases):
        for (number, place), sign in case.signs.items():
            half, at = divmod(place, signs[number].shape[1])  # where a layer has doubled the images
            signs[number][half * count + i, at] = sign
    for number in relus:
        sign_J = signs[number] = signs[number].reshape(own[number].lower.shape)
        known = own[number]
        own[number] = replace(
            known,
            lower=torch.where(sign_J > 0, known.lower.clamp(min=0), known.lower),
            upper=torch.where(sign_J < 0, known.upper.clamp(max=0), known.upper),
        )
    open = {number: (own[number].lower < 0) & (own[number].upper > 0) for number in relus}
    slopes = {number: (own[number].upper > -own[number].lower).double()[:, None].requires_grad_() for number in relus}
    multipliers = {number: torch.zeros_like(signs[number])[:, None].requires_grad_() for number in relus}
    free = [*slopes.values(), *multipliers.values()]
    forms_J = form.expand(count, -1, -1)
    best = torch.full((count,), -torch.inf, dtype=torch.float64)
    means = [torch.zeros_like(each) for each in free]
    squares = [torch.zeros_like(each) for each in free]
    for step in range(1, STEPS + 1):
        with torch.enable_grad():
            tilts = {number: -multipliers[number] * signs[number][:, None] for number in relus}
            bound_J1 = lowest(nodes, own, len(nodes), forms_J, slopes=slopes, tilts=tilts)
            gradients = torch.autograd.grad(bound_J1.sum(), free, allow_unused=True, materialize_grads=True)
        best = torch.maximum(best, bound_J1.detach()[:, 0])
        if step == STEPS or bool((best > enough).all()) or time.monotonic() > until_s:
            break
        with torch.no_grad():  # Adam, upwards, within the limits of each
            for each, gradient, mean, square in zip(free, gradients, means, squares, strict=True):
                mean.mul_(0.8).add_(gradient, alpha=0.2)
                square.mul_(0.9).add_(gradient.square(), alpha=0.1)
                upward = mean / (1 - 0.8**step) / ((square / (1 - 0.9**step)).sqrt() + 1e-12)
                each.add_(upward, alpha=RATE * 0.9**step)
            for each in slopes.values():
                each.clamp_(0, 1)
            for each in multipliers.values():
                each.clamp_(min=0)
    with torch.no_grad():
        # a chord costs the most where its triangle is large and the bound depends on it: its slope shows that
        scores = {
            number: (_cost(own[number]) * (1e-9 + gradient[:, 0].abs())).masked_fill(~open[number], -1.0)
            for number, gradient in zip(relus, gradients, strict=False)
        }
    grouped = {
        number: each.reshape(-1, count, each[0].numel()).transpose(0, 1).flatten(start_dim=1)
        for number, each in scores.items()
    }
    return best, grouped


def _cost(known: Known) -> torch.Tensor:
    return -known.lower * known.upper / (known.upper - known.lower).clamp(min=1e-300)


def _cut_at(scores: Mapping[int, torch.Tensor], case: int) -> tuple[int, int] | None:
    """Return the value and the place of the open ReLU with the highest score, or None if none is open."""
    found = [(float(each[case].max()), number, int(each[case].argmax())) for number, each in scores.items()]
    score, number, place = max(found, default=(-1.0, 0, 0))
    return (number, place) if score >= 0 else None
