"""The stages of a comparison: bundles are opened, measured on the same pictures, attacked, and examined.

Shape letters: N pictures, K classes, M mistakes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from string import ascii_uppercase
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keensight.bundle.network import network_of, recipe_of
from keensight.bundle.read import Bundle
from keensight.errors import BundleError, UsageError, shortlist
from keensight.evaluation.comparison import decision_values, errors
from keensight.evaluation.metrics import gaps, metrics, mistakes
from keensight.inference.predictor import Predictor, load
from keensight.models.classifier import Classifier
from keensight.models.linear import is_linear, pixel_weights
from keensight.models.tensors import device
from keensight.pages.comparison import CloseCall, Inside, Wrong
from keensight.robustness.answers import attacked_pictures, clean_outcome, logits, outcome
from keensight.training.losses import hinge_eps
from keensight.values import FloatArray, IntArray, Metrics, Outcome, Split, Threat

MOST_BUNDLES = 8
MOST_ATTACKED = 2000
NOT_FACTS = ("about", "promise", "shape", "num_classes")  # of a recipe
NEAREST = 8  # misclassified pictures shown for each bundle


@dataclass(frozen=True, slots=True, eq=False)
class Entrant:
    """A compared bundle; class k of the comparison is its own class `order_K[k]`."""

    letter: str
    predictor: Predictor
    model: Classifier
    order_K: IntArray

    @property
    def bundle(self) -> Bundle:
        """The content of its bundle.json."""
        return self.predictor.bundle

    @property
    def name(self) -> str:
        """Its run's name."""
        return self.bundle.name

    @property
    def kind(self) -> str:
        """The name of its model."""
        return str((self.bundle.info.model or {}).get("name")) if self.origin else recipe_of(self.bundle).model.name

    @property
    def origin(self) -> dict[str, Any]:
        """The origin of an imported model; empty if it was trained here."""
        return dict(self.bundle.info.origin or {})

    @property
    def facts(self) -> dict[str, Any]:
        """The recipe it was trained with; keys that an older bundle lacks have their defaults."""
        if self.origin:
            return {f"imported: {key}": value for key, value in self.origin.items()}
        return {key: value for key, value in recipe_of(self.bundle).flat().items() if key not in NOT_FACTS}

    @property
    def hinge_eps(self) -> float | None:
        """The epsilon that its hinge loss counted on; None if it was trained with another loss, or elsewhere."""
        return None if self.origin else hinge_eps(recipe_of(self.bundle))

    @property
    def class_names(self) -> list[str]:
        """The comparison's classes, in its order."""
        return [self.bundle.labels[k] for k in self.order_K]

    def logits(self, part: Split, threat: Threat | None = None, attack: str = "fgsm") -> FloatArray:
        """Return logits NK with the classes in the comparison's order."""
        return logits(self.model, part, self.bundle.borders, threat, attack)[:, self.order_K]

    def labels(self, part: Split) -> IntArray:
        """Return a split's labels N as indices into the comparison's classes."""
        return np.argsort(self.order_K)[part.labels]


def open_entrants(paths: Sequence[str | Path], key: str | Path | None = None) -> list[Entrant]:
    """Open two to eight different bundles that know the same labels, and that `key`, if there is one, signed.

    Raises UsageError for too few, too many, or the same one twice; BundleError for one that cannot be used, or that
    knows other labels than the first; GateError for one that is not what was signed.
    """
    if not 2 <= len(paths) <= MOST_BUNDLES:
        raise UsageError(
            f"{len(paths)} bundle{'' if len(paths) == 1 else 's'} came before DATA, which is last. Give 2 to "
            f"{MOST_BUNDLES} bundles: keensight compare runs/one/bundle runs/other/bundle DATA."
        )
    predictors = [load(path, key) for path in paths]
    first = predictors[0].bundle
    seen: dict[Path, str | Path] = {}
    entrants = []
    for letter, path, predictor in zip(ascii_uppercase, paths, predictors, strict=False):
        known = predictor.bundle
        if (place := known.path.resolve()) in seen:
            raise UsageError(f"{path} and {seen[place]} are the same bundle. Give two different ones to compare.")
        seen[place] = path
        if set(known.labels) != set(first.labels):
            raise _other_labels(first, known)
        model = network_of(known)
        order_K = np.array([known.labels.index(name) for name in first.labels])
        entrants.append(Entrant(letter, predictor, model.to(device()), order_K))
    return entrants


def _other_labels(first: Bundle, other: Bundle) -> BundleError:
    only_first = [name for name in first.labels if name not in other.labels]
    only_other = [name for name in other.labels if name not in first.labels]
    lacking = [f"{shortlist(names)} only in {bundle.path}" for names, bundle in
               ((only_first, first), (only_other, other)) if names]  # fmt: skip
    return BundleError(
        f"{first.path} and {other.path} do not know the same labels ({'; '.join(lacking)}). Bundles that are compared "
        "must answer with the same labels, in any order. Compare others, or train one of them again with the recipe "
        "key classes, which learns a part of the data's classes."
    )


def measured(each: Entrant, part: Split) -> tuple[Metrics, NDArray[np.bool_]]:
    """Return the metrics of the exported model, and a bool N: which pictures it gets right."""
    labels_N = each.labels(part)
    answers_NK, odd_N = each.predictor.on_split(part)
    probabilities_NK = answers_NK[:, each.order_K]
    found = metrics(probabilities_NK, labels_N, each.class_names, each.bundle.abstain_below, odd_N)
    return found, probabilities_NK.argmax(axis=1) == labels_N


def attacked(each: Entrant, part: Split, epsilons: Sequence[float], attack: str) -> list[Outcome]:
    """Return what an attack leaves within each epsilon, on at most 2,000 pictures; 0 leaves them as they are."""
    few = part.thinned(MOST_ATTACKED)

    def of(threat: Threat) -> Outcome:
        if threat.eps:
            return outcome(each.model, few, threat, attack, each.bundle.borders)
        return clean_outcome(each.model, few, each.bundle.borders)

    return [of(Threat("linf", eps)) for eps in epsilons]


def inside(each: Entrant, part: Split, shown: float | None, attack: str) -> Inside:
    """Return the mistakes on clean and attacked pictures, and the weights of a linear model."""
    few = part.thinned(MOST_ATTACKED)
    wrong = [_wrong(each, part, None, attack)]
    if shown is not None:
        wrong.append(_wrong(each, few, Threat("linf", shown), attack))
    size, weights_KCHW = each.bundle.preprocessing, None
    if is_linear(each.model):
        weights = pixel_weights(each.model).detach().cpu().numpy()[each.order_K]
        weights_KCHW = weights.reshape(-1, size.channels, size.height, size.width)
    seen = f"{size.height} × {size.width}, {'grey' if size.channels == 1 else 'colour'}"
    return Inside(tuple(wrong), weights_KCHW, {"pictures": seen} | each.facts, each.hinge_eps)


def _wrong(each: Entrant, part: Split, threat: Threat | None, attack: str) -> Wrong:
    answers_NK, labels_N = each.logits(part, threat, attack), each.labels(part)
    wrong_M = mistakes(answers_NK, labels_N)
    near = wrong_M[:NEAREST]
    closest = part.take(near)
    pictures = (attacked_pictures(each.model, closest, each.bundle.borders, threat, attack) if threat and len(near)
                else closest.gather())  # fmt: skip
    names = each.class_names
    depths_N, called_N = -gaps(answers_NK, labels_N), answers_NK.argmax(axis=1)
    calls = tuple(
        CloseCall(part.paths[i], names[labels_N[i]], names[called_N[i]], float(depths_N[i]), picture)
        for i, picture in zip(near, pictures, strict=True)
    )
    values_M = decision_values(answers_NK, labels_N)[wrong_M]
    return Wrong(errors(answers_NK, labels_N, threat.eps if threat else 0.0), values_M, labels_N[wrong_M], calls)
