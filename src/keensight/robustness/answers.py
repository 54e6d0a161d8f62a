"""A network's answers for pictures, clean or attacked, and the outcomes of attacks.

Shape letters: N pictures, H height, W width, C channels, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from keensight.data.polarity import Borders, match_polarity
from keensight.errors import KeensightError, RecipeError
from keensight.machine import cores, images_at_a_time
from keensight.models.tensors import side_by_side, to_images
from keensight.robustness.attacks.look import is_wrong
from keensight.robustness.attacks.row import AttackRow
from keensight.robustness.attacks.table import ATTACKS
from keensight.robustness.still import held_still
from keensight.values import AttackResult, FloatArray, Norm, Outcome, Split, Threat, Uint8Array

GPU_BATCH = 256
CPU_BATCH = 128  # of small pictures: enough for two cores to share a few hundred
DRAWS = 1_000_003  # seeds are this far apart, so that no two batches of two seeds draw alike
ORDERS: dict[Norm, float] = {"linf": math.inf, "l2": 2.0}


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """Some pictures as the model gets them, before and after an attack, their labels, and the answers after it."""

    images_NCHW: torch.Tensor
    attacked_NCHW: torch.Tensor
    labels_N: torch.Tensor
    logits_NK: torch.Tensor


def as_seen(split: Split, borders: Borders) -> Split:
    """Return a split with pictures as the bundle's model gets them: some may be inverted; see `match_polarity`."""
    images_NHWC, inverted_N = match_polarity(split.gather(), borders)
    if not inverted_N.any():
        return split
    return Split(images_NHWC, np.arange(len(split)), split.labels, split.paths)


def outcome(
    model: nn.Module, split: Split, threat: Threat, attack: str, borders: Borders | None = None, seed: int = 0
) -> Outcome:
    """Return the outcome of the `attack` of this name on a split's pictures.

    `borders` are the bundle's, if the model comes from one. All randomness of the attack comes from `seed`.

    Raises KeensightError for a split without pictures, RecipeError for a threat that the attack cannot handle.
    """
    if not len(split):
        raise KeensightError("There is no picture to attack. Give a split that is not empty.")
    survived, distances = [], []
    for asked in _ask(model, split, borders, threat, attack, seed):
        right_N = ~is_wrong(asked.logits_NK, asked.labels_N)
        distance_N = _distances(asked, threat)
        survived.append(right_N.cpu())
        distances.append(torch.where(right_N, math.inf, distance_N).cpu())
    return Outcome(threat, torch.cat(survived).numpy(), torch.cat(distances).numpy())


def clean_outcome(model: nn.Module, split: Split, borders: Borders | None = None) -> Outcome:
    """Return the outcome of no attack at all: wrong answers lie at a distance of 0.

    Raises KeensightError for a split without pictures.
    """
    if not len(split):
        raise KeensightError("There is no picture to attack. Give a split that is not empty.")
    right_N = torch.cat([~is_wrong(a.logits_NK, a.labels_N).cpu() for a in _ask(model, split, borders, None, "", 0)])
    return Outcome(Threat("linf", 0), right_N.numpy(), torch.where(right_N, math.inf, 0.0).numpy())


def result(attack: str, found: Outcome) -> AttackResult:
    """Return an outcome of the `attack` of this name as a row of a report."""
    return AttackResult(ATTACKS[attack].title, found.threat, found.accuracy, len(found.survived_N))


def logits(
    model: nn.Module, split: Split, borders: Borders, threat: Threat | None = None, attack: str = "fgsm", seed: int = 0
) -> FloatArray:
    """Return the logits float32 NK of a split's pictures, each attacked within `threat` if there is one.

    `borders` are the bundle's, and labels are indices into its classes. The logits are not calibrated.
    """
    parts = [asked.logits_NK.float().cpu() for asked in _ask(model, split, borders, threat, attack, seed)]
    return torch.cat(parts).numpy()


def attacked_pictures(
    model: nn.Module, split: Split, borders: Borders, threat: Threat | None = None, attack: str = "fgsm", seed: int = 0
) -> Uint8Array:
    """Return a split's pictures as the model gets them, attacked if there is a threat, as uint8 NHWC.

    Pixels that an attack moves out of [0, 1] are clipped, as no picture can show them.
    """
    parts = [
        (asked.attacked_NCHW.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu()
        for asked in _ask(model, split, borders, threat, attack, seed)
    ]
    return torch.cat(parts).numpy()


def _ask(
    model: nn.Module, split: Split, borders: Borders | None, threat: Threat | None, attack: str, seed: int
) -> Iterator[Asked]:
    """Attack a few pictures at a time, on each core: backpropagation keeps all activations of the network in memory."""
    row = None if threat is None else ATTACKS[attack]
    if row and threat:
        _check_norm(row, threat)
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    few = images_at_a_time(*split.shape, most=CPU_BATCH, kept=row is not None)

    def ask(batch: slice) -> Asked:
        part = split.take(batch)
        part = part if borders is None else as_seen(part, borders)
        images_NCHW = to_images(part.gather(), device)
        labels_N = torch.from_numpy(part.labels).to(device)
        attacked_NCHW = images_NCHW
        if row and threat:
            draw = torch.Generator().manual_seed(DRAWS * seed + batch.start)
            attacked_NCHW = row.run(model, images_NCHW, labels_N, threat, draw)
        with torch.inference_mode():
            logits_NK = model(attacked_NCHW)
        return Asked(images_NCHW, attacked_NCHW, labels_N, logits_NK)

    with held_still(model):
        if device.type == "cpu":
            with side_by_side(cores()) as threads:
                yield from threads.map(ask, split.batches(few))
        else:
            yield from map(ask, split.batches(min(GPU_BATCH, 8 * few)))


def _distances(asked: Asked, threat: Threat) -> torch.Tensor:
    """Return how far each picture was moved, N; for shifts and rotations, at most how far."""
    if threat.norm not in ORDERS:
        return torch.full(asked.labels_N.shape, threat.eps, device=asked.labels_N.device)
    moved_NX = (asked.attacked_NCHW - asked.images_NCHW).flatten(start_dim=1)
    distance_N: torch.Tensor = torch.linalg.vector_norm(moved_NX, ORDERS[threat.norm], dim=1)
    return distance_N


def _check_norm(row: AttackRow, threat: Threat) -> None:
    if threat.norm not in row.norms:
        raise RecipeError(
            f"A threat in {threat.norm} was asked for, but '{row.title}' is for {' and '.join(row.norms)}. "
            "Ask for such a threat, or choose another attack."
        )
