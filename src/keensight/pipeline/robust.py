"""How a model breaks, measured: corruptions through the shipped graph, attacks, shifts, rotations and certificates.

Shape letters: N pictures, H height, W width, C channels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from torch import nn

from keensight.bundle.network import network_of
from keensight.errors import BundleError, KeensightError
from keensight.evaluation.corrupted import under_corruptions
from keensight.inference.predictor import Predictor
from keensight.models.classifier import Classifier
from keensight.models.tensors import device
from keensight.pages.robustness import Fooled
from keensight.pipeline.watch import Watcher
from keensight.robustness.answers import attacked_pictures, logits
from keensight.robustness.attacks.table import ATTACKS
from keensight.robustness.certificates import certified
from keensight.robustness.ensemble import Left, ensemble, fitting, masking
from keensight.robustness.opaque import Opaque
from keensight.values import ClassRobustness, FloatArray, Norm, RobustnessReport, Split, Threat, Uint8Array, Within

EPS: dict[Norm, tuple[float, ...]] = {
    "linf": (1 / 255, 2 / 255, 4 / 255, 8 / 255, 0.1, 0.2, 0.3),
    "l2": (0.25, 0.5, 1.0, 2.0),
    "shift": (1, 2, 3),
    "rotation": (5, 10, 20, 30),
}
SMALL = 64 * 64 * 3  # numbers in a picture
MOST, MOST_LARGE = 1000, 100  # pictures attacked or certified, for small pictures and for larger ones
STEPS = 100  # of each attack
QUICK = 100  # pictures, corrupted with the middle severity
EXAMPLES = 4


def is_small(split: Split) -> bool:
    """Say whether a split's pictures are at most as large as 64x64 in colour."""
    return int(np.prod(split.shape)) <= SMALL


def how_many(split: Split) -> int:
    """Return how many pictures of a split are attacked, or certified, if nobody says how many."""
    return MOST if is_small(split) else MOST_LARGE


def attackable(predictor: Predictor) -> tuple[nn.Module, str]:
    """Return a bundle's network, and "" or why it can only be asked for answers."""
    bundle = predictor.bundle
    try:
        if bundle.info.quantised is None:
            return network_of(bundle).to(device()), ""
        why = f"{bundle.path} is an int8 bundle, which has no gradients."
    except BundleError as error:
        why = str(error)
    return Opaque(lambda images_NHWC: predictor.engine.run(images_NHWC)["probabilities"]), why


def quick_robustness(predictor: Predictor, split: Split, seed: int) -> RobustnessReport | None:
    """Return the accuracy under middling corruptions of a few small pictures; None where pictures are large."""
    if not is_small(split) or not len(split):
        return None
    few = split.thinned(QUICK)
    rows, _ = under_corruptions(_answers(predictor), few, (3,), seed)
    clean_N = _answers(predictor)(few.gather()) == few.labels
    return RobustnessReport(len(few), float(clean_N.mean()), rows)


def full_robustness(
    model: nn.Module,
    predictor: Predictor,
    split: Split,
    seed: int,
    steps: int,
    watcher: Watcher,
    linf: Sequence[Left] = (),
    l2: Sequence[Left] = (),
    asked: Mapping[Norm, Sequence[float]] = MappingProxyType({}),
) -> tuple[RobustnessReport, list[Fooled]]:
    """Measure everything on all pictures of a split, and show some that were fooled.

    `linf` is what attacks within 0 and EPS["linf"] left of the same pictures, where that is known already; `l2`, what
    attacks in l2 left, if they were asked for. `asked` are epsilons to measure beside those of EPS; the classes are
    then measured within one of them.
    """
    names, borders = predictor.bundle.labels, predictor.bundle.borders
    watcher.stage("corrupting pictures")
    rows, often_N = under_corruptions(_answers(predictor), split, seed=seed)

    def left(norm: Norm) -> list[Left]:
        chosen = fitting(model, len(names), norm)
        threats = [Threat(norm, eps, steps) for eps in sorted({0.0, *EPS[norm], *asked.get(norm, ())})]
        return ensemble(model, split, threats, chosen, borders, seed, told(watcher))

    clean, *lefts = linf or left("linf")
    wanted = [each for each in lefts if each.worst.threat.eps in asked.get("linf", ())] or lefts
    middle = min(wanted, key=lambda each: abs(each.worst.accuracy - clean.worst.accuracy / 2))
    watcher.stage("certifying")
    epsilons = [each.worst.threat.eps for each in lefts]
    why_not, proofs, proved_N = "", [], None
    try:
        if not isinstance(model, Classifier):
            raise KeensightError("There are no weights to prove anything about.")
        certificates = certified(model, split, epsilons, borders)
        proofs = [Within(each.threat.eps, float(each.certified_N.mean())) for each in certificates]
        proved_N = certificates[epsilons.index(middle.worst.threat.eps)].certified_N
    except KeensightError as error:
        why_not = str(error)
    report = RobustnessReport(
        n=len(split),
        clean=clean.worst.accuracy,
        corrupted=rows,
        attacked=_within(lefts),
        certified=tuple(proofs),
        why_not_certified=why_not,
        shifted=_within(left("shift")[1:]),
        turned=_within(left("rotation")[1:]),
        l2=_within(l2),
        gradient_masking=masking(model, split, middle, len(names), borders, seed).is_likely,
        eps=middle.worst.threat.eps,
        per_class=_per_class(names, split, clean, often_N, middle, proved_N),
    )
    return report, _examples(model, predictor, split, lefts, seed)


def told(watcher: Watcher) -> Callable[[str, Threat], None]:
    """Return what tells a watcher of each attack."""
    return lambda name, threat: watcher.stage(f"{ATTACKS[name].title}, {threat.norm} {threat.eps:.4g}")


def _answers(predictor: Predictor) -> Callable[[Uint8Array], NDArray[np.int64]]:
    def answer(images_NHWC: Uint8Array) -> NDArray[np.int64]:
        rows = np.arange(len(images_NHWC))
        part = Split(images_NHWC, rows, np.zeros(len(rows), np.int64), ("",) * len(rows))
        found: NDArray[np.int64] = predictor.on_split(part)[0].argmax(axis=1)
        return found

    return answer


def _within(lefts: Sequence[Left]) -> tuple[Within, ...]:
    return tuple(Within(each.worst.threat.eps, each.worst.accuracy) for each in lefts)


def _per_class(
    names: Sequence[str],
    split: Split,
    clean: Left,
    often_N: NDArray[np.float64],
    middle: Left,
    proved_N: NDArray[np.bool_] | None,
) -> tuple[ClassRobustness, ...]:
    def of(k: int, name: str) -> ClassRobustness:
        own_N = split.labels == k
        shares = [
            None if each is None else float(each[own_N].mean())
            for each in (clean.worst.survived_N, often_N, middle.worst.survived_N, proved_N)
        ]
        return ClassRobustness(name, int(own_N.sum()), shares[0] or 0.0, shares[1] or 0.0, shares[2], shares[3])

    return tuple(of(k, name) for k, name in enumerate(names) if (split.labels == k).any())


def _examples(model: nn.Module, predictor: Predictor, split: Split, lefts: Sequence[Left], seed: int) -> list[Fooled]:
    """Return pictures that are right as they are and fooled within the smallest epsilon that fools any, by APGD."""
    names, borders = predictor.bundle.labels, predictor.bundle.borders
    if isinstance(model, Opaque):
        return []
    for left in lefts:
        distance_N = left.worst.distance_N
        fooled = np.flatnonzero(~left.worst.survived_N & (distance_N > 0))
        if len(fooled) < EXAMPLES and left is not lefts[-1]:
            continue
        few = split.take(fooled[:EXAMPLES])
        if not len(few):
            return []
        threat = replace(left.worst.threat, steps=40)
        before = attacked_pictures(model, few, borders)
        after = attacked_pictures(model, few, borders, threat, "apgd-ce", seed)
        called = _answers(predictor)(after)
        shown = Split(after, np.arange(len(few)), few.labels, few.paths)
        logits_2NK = np.stack([logits(model, few, borders), logits(model, shown, borders)])

        def of(both_2: FloatArray) -> tuple[float, float]:
            return float(both_2[0]), float(both_2[1])

        return [
            Fooled(
                before[n],
                after[n],
                threat.eps,
                names[label],
                names[answer],
                for_label=of(logits_2NK[:, n, label]),
                for_called=of(logits_2NK[:, n, answer]),
            )
            for n, (label, answer) in enumerate(zip(few.labels, called, strict=True))
            if answer != label
        ]
    return []
