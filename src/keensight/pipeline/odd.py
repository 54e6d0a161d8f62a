"""When a bundle refuses a picture as none of its classes; measured on its own pictures, nonsense, and other things."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from keensight.bundle.info import Rejector
from keensight.data.nonsense import NONSENSE, nonsense
from keensight.evaluation.conformal import calibrate
from keensight.evaluation.metrics import accuracy_interval
from keensight.evaluation.oddness import MOST_MODELS, as_split, is_small, softened, threshold
from keensight.executor import Threads
from keensight.inference.predictor import Predictor
from keensight.machine import cores
from keensight.values import FloatArray, IntArray, OddnessReport, Refused, Split, Splits

COUNT = 24  # pictures of each kind


def with_limits(
    predictor: Predictor,
    val: Split,
    coverage: float,
    catch_all: str = "",
    crossed_N: FloatArray | None = None,
    answers: tuple[FloatArray, IntArray] | None = None,
) -> Predictor:
    """Return a predictor that knows the oddness above which its bundle refuses, and the rule of its sets of labels.

    Both are calibrated by what the network, as it is shipped, says of validation pictures. Where these are few, there
    may be more: the oddness `crossed_N` of training pictures that stood beside them, and the probabilities NK and
    labels N in `answers`, for pictures that were held out in folds.
    """
    outputs, known, rejector = predictor.outputs_on_split(val), predictor.bundle, None
    if "oddness" in outputs:
        own_N = outputs["oddness"]
        limits = [threshold(own_N if crossed_N is None else np.concatenate([own_N, crossed_N]), coverage)]
        if is_small(val):
            soft = softened(val.thinned(MOST_MODELS))
            limits.append(threshold(predictor.outputs_on_split(soft)["oddness"], coverage))
        rejector = Rejector(max(limits), coverage, catch_all or None)
    known = replace(known, info=replace(known.info, rejector=rejector, label_sets=None))
    probabilities_NK, _ = predictor.deciding_as(known).decided(outputs)
    sets = calibrate(*(answers or (probabilities_NK, val.labels)))
    return predictor.deciding_as(replace(known, info=replace(known.info, label_sets=sets)))


def measure_oddness(predictor: Predictor, splits: Splits, seed: int) -> OddnessReport | None:
    """Return what a bundle refuses: of its validation and test pictures, and of kinds that it was not fitted to.

    Returns None for a bundle that takes every picture for one of its classes.
    """
    if (rejector := predictor.bundle.info.rejector) is None:
        return None
    kinds = [_refused(predictor, name, part, is_own) for name, part, is_own in _parts(splits, seed) if len(part)]
    return OddnessReport(rejector.threshold, rejector.coverage, rejector.catch_all or "", tuple(kinds))


def _parts(splits: Splits, seed: int) -> Iterator[tuple[str, Split, bool]]:
    yield "validation pictures", splits.val, True
    if splits.test is not None:
        yield "test pictures", splits.test, True
    own_NHWC = splits.train.thinned(MOST_MODELS).gather()
    kinds = [kind for kind, row in NONSENSE.items() if row.held_out and not (row.are_digits and _reads_digits(splits))]
    with Threads(cores()) as threads:  # the next kinds are drawn while the network looks at one
        drawn = threads.map(lambda kind: as_split(nonsense(kind, COUNT, own_NHWC, seed)), kinds)
        yield from ((kind, part, False) for kind, part in zip(kinds, drawn, strict=True))


def _reads_digits(splits: Splits) -> bool:
    return any(name.isdigit() for name in splits.class_names)


def _refused(predictor: Predictor, kind: str, part: Split, is_own: bool) -> Refused:
    _, odd_N = predictor.decided(predictor.outputs_on_split(part))
    low, high = accuracy_interval(int(odd_N.sum()), len(part))
    return Refused(kind, len(part), float(np.mean(odd_N)), low, high, is_own)
