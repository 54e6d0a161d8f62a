"""The smallest change that turns pictures of any class into one class, searched by optimisation.

A backdoor is a change that its maker knows, so it is small. Two kinds are searched for: a spot, a mask with a pattern
(Neural Cleanse: Wang et al., 2019, IEEE S&P, section IV), as small as can be; and a veil, one faint change to all
pixels, for triggers that are blended in (Chen et al., 2017, arXiv:1712.05526).

Shape letters: N images, C channels, H height, W width, K classes, T classes that are searched for at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from keensight.robustness.still import held_still

TriggerKind = Literal["spot", "veil"]
KINDS: tuple[TriggerKind, ...] = ("spot", "veil")
PICTURES = 64  # of other classes, for each class
STEPS = 100
NEED = 0.9  # share of the pictures that it must turn
AT_A_TIME = 640  # pictures in a step
RATE = {"spot": 0.1, "veil": 0.02}
PRICE = {"spot": 0.01, "veil": 0.1}  # of size at the start; it rises while the change works, and falls while it fails


@dataclass(frozen=True, slots=True, eq=False)
class Trigger:
    """The smallest change found that turns pictures into class `target`.

    `size` is the number of pixels that a spot covers, or the length (L2, levels in [0, 1]) of a veil's change. A change
    that was not found has the size of a whole picture. `mask` is float HW in [0, 1], and `pattern` CHW: a spot's
    colours, or a veil's change; for pictures x it gives x + mask (pattern - x), or x + pattern.
    """

    kind: TriggerKind
    target: int
    size: float
    mask: torch.Tensor
    pattern: torch.Tensor

    def on(self, images_NCHW: torch.Tensor) -> torch.Tensor:
        """Return pictures with the trigger, float NCHW in [0, 1]."""
        return _changed(self.kind, images_NCHW, self.mask, self.pattern)


def smallest_triggers(
    model: nn.Module, images_NCHW: torch.Tensor, labels_N: torch.Tensor, num_classes: int, kind: TriggerKind
) -> list[Trigger]:
    """Return the smallest trigger of a `kind` for each class.

    It must make `NEED` of the pictures of other classes as surely that class as half of the class's own pictures are.
    A mere change of the answer would be too little: that takes a few pixels in many clean networks. Deterministic.
    `images_NCHW` are floats in [0, 1], of every class.
    """
    with held_still(model), torch.no_grad():
        margins_NK = margins(model(images_NCHW))
    sure_K = [_sure(margins_NK[labels_N == k, k]) for k in range(num_classes)]
    chosen = [_spread(torch.nonzero(labels_N != k).flatten()) for k in range(num_classes)]
    at_a_time = max(1, AT_A_TIME // PICTURES)
    found: list[Trigger] = []
    for first in range(0, num_classes, at_a_time):
        targets = range(first, min(num_classes, first + at_a_time))
        few = min(len(chosen[k]) for k in targets)
        images_TNCHW = torch.stack([images_NCHW[chosen[k][:few]] for k in targets])
        sure_T = torch.tensor([sure_K[k] for k in targets])
        found += _search(model, images_TNCHW, torch.tensor(list(targets)), sure_T, kind)
    return found


def margins(logits_NK: torch.Tensor) -> torch.Tensor:
    """Return by how much each class's logit is above the highest other one, NK."""
    best = logits_NK.topk(2, dim=1)
    is_best = torch.zeros_like(logits_NK, dtype=torch.bool).scatter_(1, best.indices[:, :1], True)
    return logits_NK - torch.where(is_best, best.values[:, 1:], best.values[:, :1])


def _sure(margins_N: torch.Tensor) -> float:
    """Return how sure a network is of half of a class's own pictures; the least that counts is a small margin."""
    return max(0.1, float(margins_N.median())) if len(margins_N) else 1.0


def _spread(members: torch.Tensor) -> torch.Tensor:
    """Return at most `PICTURES` members in a fixed order that mixes them, whatever order the classes lie in."""
    return members[torch.randperm(len(members), generator=torch.Generator().manual_seed(0))[:PICTURES]]


def _search(
    model: nn.Module, images_TNCHW: torch.Tensor, targets_T: torch.Tensor, sure_T: torch.Tensor, kind: TriggerKind
) -> list[Trigger]:
    """Search for several classes at a time: each has pictures, a change and a price of its own."""
    (t, n, c, h, w), spot = images_TNCHW.shape, kind == "spot"
    masks = torch.full((t, 1, 1, h, w), 0.0, requires_grad=spot)  # logits, so that masks stay in [0, 1]
    patterns = torch.zeros((t, 1, c, h, w), requires_grad=True)
    optimizer = torch.optim.Adam([masks, patterns] if spot else [patterns], lr=RATE[kind], betas=(0.5, 0.9))
    price_T = torch.full((t,), PRICE[kind])
    best_T = torch.full((t,), float(h * w) if spot else float((c * h * w) ** 0.5))
    kept = [torch.ones(t, h, w), torch.zeros(t, c, h, w)]
    column = targets_T.repeat_interleave(n).unsqueeze(1)
    with held_still(model):
        for _ in range(STEPS):
            mask, pattern = (masks.sigmoid(), patterns.sigmoid()) if spot else (torch.ones(()), patterns)
            changed = _changed(kind, images_TNCHW, mask, pattern)
            own_TN = margins(model(changed.flatten(0, 1))).gather(1, column).view(t, n) / sure_T[:, None]
            works_T = (own_TN >= 1).float().mean(dim=1) >= NEED
            # a veil's size is that of the change, which is cut at black and white; its price is that of all it asks for
            length_T = (changed - images_TNCHW).detach().square().sum(dim=(2, 3, 4)).mean(dim=1).sqrt()
            price = mask.sum(dim=(1, 2, 3, 4)) if spot else patterns.square().sum(dim=(1, 2, 3, 4)).add(1e-12).sqrt()
            size_T = price.detach() if spot else length_T
            better_T = works_T & (size_T < best_T)
            best_T = torch.where(better_T, size_T, best_T)
            for b in torch.nonzero(better_T).flatten().tolist():
                kept[0][b] = mask[b, 0, 0].detach() if spot else 1.0
                kept[1][b] = pattern[b, 0].detach()
            loss = ((1.2 - own_TN).relu().mean(dim=1) + price_T * price).sum()
            wanted = [masks, patterns] if spot else [patterns]
            for each, gradient in zip(wanted, torch.autograd.grad(loss, wanted), strict=True):
                each.grad = gradient  # of these alone: the network keeps its own
            optimizer.step()
            price_T = torch.where(works_T, price_T * 1.1, price_T / 1.15)
    return [Trigger(kind, int(targets_T[b]), float(best_T[b]), kept[0][b], kept[1][b]) for b in range(t)]


def _changed(kind: TriggerKind, images: torch.Tensor, mask: torch.Tensor, pattern: torch.Tensor) -> torch.Tensor:
    return images + mask * (pattern - images) if kind == "spot" else (images + pattern).clamp(0, 1)
