"""The second gate of parity: whether a bundle may answer in bfloat16 where another engine is faster in it.

Shape letters: N pictures, K classes.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from keensight.bundle.info import BundleInfo, InBfloat16
from keensight.engines.table import BFLOAT16, DEFAULT, ENGINES, missing
from keensight.evaluation.oddness import FEW
from keensight.inference.choosing import FASTER, QUICK_S, keep, measure
from keensight.inference.predictor import Predictor
from keensight.machine import bfloat16_instructions
from keensight.pipeline.odd import with_limits
from keensight.pipeline.watch import Watcher
from keensight.values import FloatArray, Split

MOST = 512  # pictures that are compared
MEAN = 0.01  # that probabilities may differ by, in the mean over the pictures; float32's, by 0.001 in any
ODD = 0.02  # share of the pictures that may be refused by one and not by the other


def with_bfloat16(shipped: Predictor, held_out: Split, watcher: Watcher) -> BundleInfo:
    """Return what a bundle says of itself, with whether it may answer in bfloat16, by `held_out` pictures.

    It may if no answer that is sure in either precision is another in the other; if the probabilities' largest
    difference is at most `MEAN` in the mean; and if hardly a picture is refused by one alone, with a threshold of its
    own. Nothing is compared where OpenVINO or such instructions are missing, where the network is quick, and with few
    pictures. What is measured of speed is kept for this machine.
    """
    info = shipped.bundle.info
    if missing(BFLOAT16) or len(held_out) < FEW:
        return info
    seconds = measure(ENGINES, shipped.onnx, shipped.bundle.preprocessing)
    keep(shipped.onnx, seconds)
    if seconds[DEFAULT] < QUICK_S or seconds[BFLOAT16] * FASTER > seconds[DEFAULT]:
        return info
    watcher.stage("comparing answers in bfloat16")
    part = held_out.thinned(MOST)
    half = Predictor(shipped.bundle, shipped.onnx, engine=BFLOAT16)
    threshold = None
    if info.rejector is not None:
        own = with_limits(half, part, info.rejector.coverage).bundle.info.rejector
        assert own is not None
        threshold = own.threshold
    ours, theirs = shipped.outputs_on_split(part), half.outputs_on_split(part)
    ours_NK, theirs_NK = ours["probabilities"], theirs["probabilities"]
    said = InBfloat16(len(part), float(np.abs(ours_NK - theirs_NK).max()), bfloat16_instructions(), threshold)
    allowed = replace(info, bfloat16=said)
    (_, ours_odd_N), (_, theirs_odd_N) = (
        shipped.decided(ours),
        half.deciding_as(replace(shipped.bundle, info=allowed.in_bfloat16())).decided(theirs),
    )
    faster = f"{seconds[DEFAULT] / seconds[BFLOAT16]:.1f} times as fast on this machine"
    if reason := unlike(ours_NK, theirs_NK, info.abstain_below, float(np.mean(ours_odd_N != theirs_odd_N))):
        watcher.note(f"In bfloat16, {faster}, {reason} of {len(part):,} held-out pictures, so it will not be used.")
        return info
    watcher.note(
        f"In bfloat16, {faster}, {len(part):,} held-out pictures keep every sure answer, with probabilities that "
        f"differ by {said.difference:.2g} at most. Where OpenVINO is installed, `predict` of many pictures and "
        "`serve` use it."
    )
    return allowed


def unlike(first_NK: FloatArray, second_NK: FloatArray, abstain_below: float, share_odd: float) -> str:
    """Say in what two sets of answers for the same pictures differ; "" where they count as the same.

    An answer below `abstain_below` is "not sure", whatever its label.
    """
    sure_N = np.maximum(first_NK.max(axis=1), second_NK.max(axis=1)) >= abstain_below
    if others := int((sure_N & (first_NK.argmax(axis=1) != second_NK.argmax(axis=1))).sum()):
        return f"the label would be another for {others:,}"
    if (mean := float(np.abs(first_NK - second_NK).max(axis=1).mean())) > MEAN:
        return f"probabilities would differ by {mean:.2g} in the mean"
    if share_odd > ODD:
        return f"whether they are like what was learnt would change for {share_odd:.0%}"
    return ""
