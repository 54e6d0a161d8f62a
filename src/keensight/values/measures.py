"""Measurements of a model on labelled pictures: metrics, baselines, mistakes, and the report of all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from keensight.values.choice import Choice
from keensight.values.robustness import RobustnessReport
from keensight.values.threats import AttackResult, CertifiedResult
from keensight.values.training import Epoch


@dataclass(frozen=True, slots=True)
class ClassMetrics:
    """The metrics of one class: precision, recall and F1 in [0, 1]; `n` pictures carry its label."""

    name: str
    precision: float
    recall: float
    f1: float
    n: int


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Predictions whose confidence lies in [`low`, `high`): their mean confidence, their accuracy, their number."""

    low: float
    high: float
    confidence: float
    accuracy: float
    n: int


@dataclass(frozen=True, slots=True)
class Metrics:
    """Metrics of a classifier's probabilities on labelled pictures.

    `accuracy_low` and `accuracy_high` bound a 95 % Wilson interval. `loss` is the mean negative log-likelihood in
    nats. `roc_auc` is None if it is not defined. `ece` is the expected calibration error over 15 equal bins.
    `confusion[i][j]` counts pictures of class i that were called class j. `coverage` is the share of pictures that
    the classifier answers rather than abstaining, and `accuracy_answered` its accuracy on those. `none_of_these` is the
    share that it refuses as unlike all that it has learnt.
    """

    accuracy: float
    accuracy_low: float
    accuracy_high: float
    loss: float
    n: int
    balanced_accuracy: float
    roc_auc: float | None
    ece: float
    brier: float
    coverage: float
    accuracy_answered: float | None
    per_class: tuple[ClassMetrics, ...]
    confusion: tuple[tuple[int, ...], ...]
    reliability: tuple[ReliabilityBin, ...]
    none_of_these: float = 0.0

    @property
    def not_sure(self) -> float:
        """The share of pictures that it neither answers nor refuses as none of its classes."""
        return max(0.0, 1 - self.coverage - self.none_of_these)


@dataclass(frozen=True, slots=True)
class ClassSets:
    """The sets of labels for the pictures of one class: how often they hold its label, and their mean size.

    Both are None without any of its pictures.
    """

    n: int
    coverage: float | None
    size: float | None


@dataclass(frozen=True, slots=True)
class SetsReport:
    """The sets of labels on the headline's pictures: the rule's stated coverage, what they keep of it, their sizes."""

    stated: float
    n: int
    coverage: float
    low: float  # to `high`: a 95 % interval for the coverage
    high: float
    size: float
    per_class: tuple[ClassSets, ...]  # in the order of the class names


@dataclass(frozen=True, slots=True)
class Refused:
    """How many of the `n` pictures of a kind are refused as none of the classes; `low` to `high` is a 95 % interval.

    `is_own` tells the model's own kind of pictures, of which few should be, from others, of which all should be.
    """

    kind: str
    n: int
    share: float
    low: float
    high: float
    is_own: bool


@dataclass(frozen=True, slots=True)
class OddnessReport:
    """What is refused as none of the classes: the threshold, its stated coverage, and measurements of it."""

    threshold: float
    coverage: float
    catch_all: str
    kinds: tuple[Refused, ...]


@dataclass(frozen=True, slots=True)
class CrossValidation:
    """How models trained in the same way do on the `n` training and validation pictures, each while held out."""

    folds: int
    n: int
    accuracy: float
    accuracy_low: float  # a 95 % Wilson interval, as if the answers were independent
    accuracy_high: float


@dataclass(frozen=True, slots=True)
class Floor:
    """A baseline: a trivial classifier's accuracy on the same pictures. A model below it has learnt nothing of use."""

    name: str  # "majority class" or "logistic regression"
    val_accuracy: float
    test_accuracy: float | None


@dataclass(frozen=True, slots=True)
class Mistake:
    """A misclassified picture, the probability of the answer, and that of the label."""

    path: str
    label: str
    predicted: str
    probability: float
    label_probability: float
    row: int  # the picture's row in its split's `images`


@dataclass(frozen=True, slots=True)
class Report:
    """The results of a run, as numbers: the content of `report.json` and `report.html`."""

    run: str
    created: str  # ISO 8601, UTC
    seconds: float  # of training
    data: Mapping[str, Any]  # name, sha256, classes, counts per split and class, notes, skipped
    recipe: Mapping[str, Any]
    preprocessing: Mapping[str, Any]
    model: Mapping[str, Any]  # name, parameters, layers: [{"name", "shape", "parameters"}]
    history: tuple[Epoch, ...]
    temperature: float  # calibrated probabilities are softmax(logits / temperature)
    abstain_below: float
    val: Metrics
    test: Metrics | None
    uncalibrated_ece: float  # on the same split as the headline numbers, at temperature 1
    floors: tuple[Floor, ...]
    mistakes: tuple[Mistake, ...]  # most confident first, on the test split where there is one, else on val
    near_misses: tuple[Mistake, ...]  # other mistakes there, the smallest gap to the label's probability first
    attacks: tuple[AttackResult, ...]
    versions: Mapping[str, str]
    hardware: str
    odd: OddnessReport | None = None
    sets: SetsReport | None = None
    crossed: CrossValidation | None = None  # where few pictures were held out, and training is cheap
    certificates: tuple[CertifiedResult, ...] = ()
    robustness: RobustnessReport | None = None
    choice: Choice | None = None  # None where a recipe was asked for

    @property
    def headline(self) -> Metrics:
        """The metrics to quote: those on test pictures, or on validation pictures where there is no test split."""
        return self.test or self.val

    @property
    def headline_split(self) -> str:
        """What those pictures are called in a sentence: "test" or "validation"."""
        return "test" if self.test else "validation"
