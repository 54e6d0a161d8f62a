"""What is known of every value in a network, in float64: its bounds, and how far float32 may round it away.

All of it is sound: rounding can only widen bounds. Shape letters: N images; a value's other axes are "...".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from keensight.robustness.bounds.affine import Affine
from keensight.robustness.bounds.intervals import box
from keensight.robustness.bounds.network import Node

UNIT = 2.0**-24  # float32 rounds a number to within this part of it
FINER = 2.0**-28  # float64's unit is 2**-29 of that; twice as much, for the errors of the errors
ATTACKERS_UNIT = 2.0**-24  # a pixel that an attacker computes in float32 is this much off at most
MORE_TERMS = 8  # roundings beside those of a layer's sum: of folded weights, and of what engines fuse differently


@dataclass(frozen=True, slots=True)
class Known:
    """Bounds N... of a value, and `noise` N...: how far a float32 engine's result can be from the exact one.

    `constant` (1...) is b if the value is W x + b, else None.
    """

    lower: torch.Tensor
    upper: torch.Tensor
    noise: torch.Tensor
    constant: torch.Tensor | None = None

    @property
    def size(self) -> torch.Tensor:
        """The largest magnitude that the value can have."""
        return torch.maximum(self.lower.abs(), self.upper.abs())

    def within(self, lower: torch.Tensor, upper: torch.Tensor) -> Known:
        """Return what is known if these bounds hold too."""
        return replace(self, lower=torch.maximum(self.lower, lower), upper=torch.minimum(self.upper, upper))

    def picked(self, chosen_N: torch.Tensor) -> Known:
        """Return it for the chosen images alone, of a bool N; both halves where a layer has doubled the images."""
        return self.taken(chosen_N.repeat(len(self.lower) // len(chosen_N)))

    def taken(self, members: torch.Tensor) -> Known:
        """Return it for some of its rows."""
        return replace(self, lower=self.lower[members], upper=self.upper[members], noise=self.noise[members])


def pictures(images_NCHW: torch.Tensor, eps: float) -> Known:
    """Return what is known of float32 pictures that an attacker has moved by at most `eps`, within [0, 1]."""
    centre, radius = box(images_NCHW.double(), eps + ATTACKERS_UNIT)
    return Known(centre - radius, centre + radius, torch.zeros_like(centre))


def next_known(node: Node, values: Sequence[Known]) -> Known:
    """Return what interval arithmetic knows of a node's output; `values` are those before it, the pictures first.

    The noise is a running error bound (Higham, 2002, section 3.3): a sum of n products is off by at most
    n u / (1 - n u) of the sum of their magnitudes, in any order, with u the unit of float32. Errors of the inputs pass
    through |W|. Float64's own errors are the same bound with its smaller unit, so a small part of the noise.
    """
    inputs = [values[i] for i in node.inputs]
    if not isinstance(node.op, Affine):
        (one,) = inputs
        noise = node.op.apply(one.noise)
        if node.op.is_relu:  # where the exact and the rounded number are below 0, the errors end
            noise = torch.minimum(noise, node.op.apply(one.upper + one.noise))
        return Known(node.op.apply(one.lower), node.op.apply(one.upper), noise)
    terms = node.op.terms + MORE_TERMS
    share = terms * UNIT / (1 - terms * UNIT)
    nothing = [torch.zeros_like(one.lower[:1]).repeat(2, *[1] * (one.lower.dim() - 1)) for one in inputs]
    constant = node.op.apply(*nothing)[:1]  # of two, as one layer halves the number of images
    centre = node.op.apply(*((one.lower + one.upper) / 2 for one in inputs))
    radius = node.op.absolute(*((one.upper - one.lower) / 2 for one in inputs))
    noise = node.op.absolute(*(one.noise * (1 + share) + share * one.size for one in inputs))
    noise = (noise + share * constant.abs()) * (1 + FINER)
    radius = radius + FINER * noise
    return Known(centre - radius, centre + radius, noise, constant)


def known_of(nodes: Sequence[Node], images_NCHW: torch.Tensor, eps: float) -> list[Known]:
    """Return what interval arithmetic knows of all values, the pictures first, while an attacker has `eps`."""
    values = [pictures(images_NCHW, eps)]
    for node in nodes:
        values.append(next_known(node, values))
    return values
