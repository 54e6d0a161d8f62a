"""Linear bounds: a form in a network's values is followed back to the pixels, where its smallest value is exact.

Backward CROWN (Zhang et al., 2018, arXiv:1811.00866): at each bend, lines replace the layer. For a network without
bends nothing is lost. Shape letters: N images, M linear forms of each, K classes; a value's other axes are "...".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from keensight.robustness.bounds.affine import Affine
from keensight.robustness.bounds.bends import Bend, Lines, relu_lines
from keensight.robustness.bounds.known import FINER, Known, next_known, pictures
from keensight.robustness.bounds.network import Node

NUMBERS_AT_ONCE = 2**24  # coefficients of the widest value, 128 MB of them
MOST_WORK = 3e9  # multiplications to tighten a value of a picture: about a second
LEAST_TERMS = 8  # known.MORE_TERMS: noise counts at least as many
FLOAT64_UNIT = 2.0**-52  # twice the unit, for errors of errors


def lowest(
    nodes: Sequence[Node],
    values: Sequence[Known],
    start: int,
    forms_NM: torch.Tensor,
    *,
    until: int = 0,
    slopes: Mapping[int, torch.Tensor] | None = None,
    tilts: Mapping[int, torch.Tensor] | None = None,
) -> torch.Tensor:
    """Return lower bounds NM of linear forms in value number `start`, float64; rounding errors are taken off.

    Args:
        nodes: The network; node i makes value i + 1.
        values: What is known of the values before `start`, at least.
        start: The number of a value; 0 are the pictures.
        forms_NM: Its coefficients, float64 NM....
        until: Do not follow them beyond this value, but use the bounds that are known of it; 0: to the pictures.
        slopes: Of lower lines of ReLUs, in [0, 1], NM... by the number of the ReLU's input; CROWN's if left out.
        tilts: Forms NM... to be added at values, by number: the multipliers of constraints.
    """
    count, num_forms = len(values[0].lower), forms_NM.shape[1]
    waiting = {start: forms_NM}
    total = forms_NM.new_zeros(count, num_forms)
    lost = torch.zeros_like(total)

    def summed(terms: torch.Tensor) -> torch.Tensor:
        """Return NM: sums over a value's axes, and over both halves where a layer has doubled the images."""
        return terms.flatten(start_dim=2).sum(dim=2).reshape(-1, count, num_forms).sum(dim=0)

    for number in range(start, until, -1):
        if number not in waiting:
            continue
        node, forms = nodes[number - 1], waiting.pop(number)
        if tilts and number in tilts:
            forms = forms + tilts[number]
        known = values[number]
        lost = lost + summed(forms.abs() * _slack(known)[:, None])
        if isinstance(node.op, Affine):
            assert known.constant is not None
            total = total + summed(forms * known.constant[:, None])
            inputs = [values[i] for i in node.inputs]
            shapes = [(len(one.lower) * num_forms, *one.lower.shape[1:]) for one in inputs]
            before = node.op.backward(forms.flatten(end_dim=1), shapes)
            found = [each.reshape(-1, num_forms, *each.shape[1:]) for each in before]
        else:
            (source,) = node.inputs
            at, constants = _lines(node.op, values[source], (slopes or {}).get(source)).through(forms)
            total = total + constants.reshape(-1, count, num_forms).sum(dim=0)
            found = [at]
        for source, each in zip(node.inputs, found, strict=True):
            waiting[source] = waiting[source] + each if source in waiting else each
    for number, forms in waiting.items():
        known = values[number]
        lower, upper = known.lower[:, None], known.upper[:, None]
        total = total + summed(forms.clamp(min=0) * lower + forms.clamp(max=0) * upper)
        lost = lost + summed(forms.abs() * _slack(known)[:, None])
    return total - lost


def _slack(known: Known) -> torch.Tensor:
    """Return how far rounding in float64 can shift a form, per unit of its coefficients of this value.

    Noise is at least float32's unit times the magnitudes that went into the value, so with float64's unit it bounds the
    rounding of coefficients and constants; sums over the value's axes have as many terms as the value has numbers.
    """
    terms = known.lower[0].numel()
    return FINER * (16 + terms / LEAST_TERMS) * known.noise + terms * FLOAT64_UNIT * known.size


def _lines(op: Bend, known: Known, below: torch.Tensor | None) -> Lines:
    return op.lines(known.lower, known.upper) if below is None else relu_lines(known.lower, known.upper, below)


def tightened(nodes: Sequence[Node], images_NCHW: torch.Tensor, eps: float) -> list[Known]:
    """Return what is known of all values, the pictures first, with linear bounds of all inputs of bends.

    Only inputs whose lines would gain from it are bounded so: each is a form to be followed back to the pixels. Where
    that is more work than `MOST_WORK`, in large networks, intervals must do.
    """
    readers = {node.inputs[0]: node.op for node in nodes if isinstance(node.op, Bend)}
    values = [pictures(images_NCHW, eps)]
    bent = {0: False}  # does a bend lie before the value? If not, intervals of one layer are exact, of two nearly
    for number, node in enumerate(nodes, start=1):
        values.append(next_known(node, values))
        bent[number] = isinstance(node.op, Bend) or any(bent[i] for i in node.inputs)
        if number in readers and bent[number]:
            known = values[number]
            values[number] = _tighter(nodes, values, number, readers[number].open(known.lower, known.upper))
    return values


def _tighter(nodes: Sequence[Node], values: Sequence[Known], number: int, open: torch.Tensor) -> Known:
    known, count = values[number], len(values[0].lower)
    shape, halves = known.lower.shape[1:], len(known.lower) // count
    places_P2 = open.reshape(halves, count, -1).any(dim=1).nonzero()
    layers = zip(nodes[:number], values[1:], strict=False)
    a_form = sum(node.op.terms * each.lower[0].numel() for node, each in layers if isinstance(node.op, Affine))
    if not len(places_P2) or 2 * len(places_P2) * a_form > MOST_WORK:
        return known
    lower, upper = (each.clone().reshape(halves, count, -1) for each in (known.lower, known.upper))
    for some_P2 in torch.split(places_P2, at_once(values, 2 * count)):
        half_P, place_P = some_P2.unbind(dim=1)
        forms = torch.zeros(halves, count, len(some_P2), shape.numel(), dtype=lower.dtype, device=lower.device)
        forms[half_P, :, torch.arange(len(some_P2)), place_P] = 1
        forms = forms.reshape(halves * count, len(some_P2), *shape)
        both_NM = lowest(nodes, values, number, torch.cat([forms, -forms], dim=1))
        low_NP, high_NP = both_NM.chunk(2, dim=1)
        lower[half_P, :, place_P], upper[half_P, :, place_P] = low_NP.T, -high_NP.T
    return known.within(lower.reshape(known.lower.shape), upper.reshape(known.upper.shape))


def at_once(values: Sequence[Known], count: int) -> int:
    """Return how many forms of each of `count` images fit in memory."""
    widest = max(known.lower[0].numel() for known in values)
    return max(1, NUMBERS_AT_ONCE // (widest * count))


def margin_forms(labels_N: torch.Tensor, num_classes: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the forms of all differences between the label's logit and another, N, K - 1, K, and these others.

    >>> margin_forms(torch.tensor([1]), 3)[0].int().tolist()
    [[[-1, 1, 0], [0, 1, -1]]]
    """
    each = torch.arange(num_classes, device=labels_N.device).expand(len(labels_N), -1)
    others_NM = each[each != labels_N[:, None]].reshape(len(labels_N), -1)
    identity = torch.eye(num_classes, dtype=torch.float64, device=labels_N.device)
    return identity[labels_N][:, None] - identity[others_NM], others_NM


def lowest_margins(
    nodes: Sequence[Node], values: Sequence[Known], labels_N: torch.Tensor, through: bool = True
) -> torch.Tensor:
    """Return lower bounds N, K - 1 of the margins that a float32 engine finds between the label's logit and others.

    Above 0, no picture within the bounds gets another answer. With `through`, forms are followed to the pixels; else
    to the last bend alone: interval bounds, with the last layers taken together.
    """
    forms, others_NM = margin_forms(labels_N, values[-1].lower.shape[1])
    bends = [number for number, node in enumerate(nodes, start=1) if isinstance(node.op, Bend)]
    until = 0 if through or not bends else bends[-1]
    some = torch.split(forms, at_once(values, len(labels_N)), dim=1)
    bounds = torch.cat([lowest(nodes, values, len(nodes), each, until=until) for each in some], dim=1)
    return bounds - noise_of_margins(values[-1], labels_N, others_NM)


def noise_of_margins(logits: Known, labels_N: torch.Tensor, others_NM: torch.Tensor) -> torch.Tensor:
    """Return how much rounding in float32 can take off each margin: N, K - 1."""
    return logits.noise.gather(1, labels_N[:, None]) + logits.noise.gather(1, others_NM)
