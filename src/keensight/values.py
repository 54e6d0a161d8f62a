"""The values that flow down the river: frozen, and with no behaviour beyond checking themselves.

Shape letters: N images, H height, W width, C channels, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from keensight.errors import DataError, RecipeError

Uint8Array: TypeAlias = NDArray[np.uint8]
IntArray: TypeAlias = NDArray[np.int64]
FloatArray: TypeAlias = NDArray[np.floating[Any]]

SplitName = Literal["train", "val", "test"]
SPLIT_NAMES: tuple[SplitName, ...] = ("train", "val", "test")
Fit = Literal["squash", "letterbox", "crop"]
DatasetKind = Literal["folder", "zip", "tar", "arrays"]


@dataclass(frozen=True, slots=True)
class Sample:
    """One labelled picture. `where` is a path inside the dataset's root, or a row such as ``test[17]``."""

    where: str
    label: int
    sha256: str
    split: SplitName | None = None
    group: str | None = None


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file that was left out, and why."""

    where: str
    reason: str


@dataclass(frozen=True, slots=True)
class Dataset:
    """Labelled pictures that have been found and hashed, but not decoded.

    `root` is what the reader opens: a folder, an archive, or the file or folder of arrays; `kind` says which.
    Labels are indices into `class_names`, which are in natural order and matched by name everywhere.
    """

    name: str
    root: Path
    kind: DatasetKind
    class_names: tuple[str, ...]
    samples: tuple[Sample, ...]
    skipped: tuple[Skipped, ...] = ()

    def __post_init__(self) -> None:
        if len(set(self.class_names)) != len(self.class_names):
            raise DataError(f"{self.name} names a class twice: {', '.join(self.class_names)}.")


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """How a picture of any size and colour mode becomes `height` x `width` x `channels` bytes."""

    height: int
    width: int
    channels: Literal[1, 3]
    fit: Fit = "squash"

    def __post_init__(self) -> None:
        if not (1 <= self.height <= 4096 and 1 <= self.width <= 4096):
            raise RecipeError(
                f"A picture size of {self.height}x{self.width} was asked for. Sizes from 1x1 to 4096x4096 are "
                "accepted; set size to something a model can learn from, such as 64."
            )
        if self.channels not in (1, 3):
            raise RecipeError(f"channels is {self.channels}; 1 (grey) and 3 (colour) are accepted.")
        if self.fit not in ("squash", "letterbox", "crop"):
            raise RecipeError(f"fit is '{self.fit}'; 'squash', 'letterbox' and 'crop' are accepted.")


@dataclass(frozen=True, slots=True, eq=False)
class Pixels:
    """A dataset's decoded pictures: `images` is uint8 NHWC (often memory-mapped), row i for sample i."""

    dataset: Dataset
    preprocessing: Preprocessing
    images: Uint8Array
    rows: IntArray  # which row of `images` holds sample i; rows of unreadable pictures are left out


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """One split: pictures `images[rows]` (uint8 NHWC) and their labels (int64, one each).

    `images` is shared by all splits and often memory-mapped: gather the rows that you need, when you need them.
    """

    images: Uint8Array
    rows: IntArray
    labels: IntArray
    where: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True, slots=True, eq=False)
class Splits:
    """Train, validation and test pictures of one dataset, all with the same classes and preprocessing."""

    class_names: tuple[str, ...]
    preprocessing: Preprocessing
    train: Split
    val: Split
    test: Split | None
    notes: tuple[str, ...] = ()  # what the reader of the report must know: shared pictures, splits held out


@dataclass(frozen=True, slots=True)
class Recipe:
    """All that determines a training run. Every key can be set in a recipe file and with ``--set KEY=VALUE``.

    `options` are the model's own keys (``filters`` of a cnn, ``hidden`` of a dense network); 0 and "auto" mean that
    keensight chooses from the data and says what it chose. `promise` maps a number of the report, such as
    "test.accuracy", to the least that it should be on `data`; `caution` is what a report on that data must say;
    `reported` is what the recipe's source reached.
    """

    name: str = "default"
    about: str = ""
    data: str = ""
    caution: str = ""
    reported: str = ""
    promise: Mapping[str, float] = field(default_factory=dict)
    model: str = "cnn"
    options: Mapping[str, Any] = field(default_factory=dict)
    weights: str = ""  # start from the parameters in this safetensors file
    seed: int = 0
    # pictures
    label_pattern: str = ""  # takes labels from file names
    classes: tuple[str, ...] = ()  # learn these alone, in this order; all if empty
    normalise: bool = True  # measure mean and spread of the training pictures, and remove them inside the model
    size: int = 0
    channels: int = 0
    fit: str = "squash"
    val_fraction: float = 0.15
    test_fraction: float = 0.15
    # optimisation
    loss: str = "cross-entropy"
    eps: float = 0.0  # for robust losses, as a fraction of the pixel range
    epochs: int = 0
    batch_size: int = 128
    optimizer: str = "adamw"
    learning_rate: float = 0.005
    weight_decay: float = 0.01
    momentum: float = 0.9
    schedule: str = "one-cycle"
    label_smoothing: float = 0.0
    class_weights: str = "none"
    precision: str = "auto"
    # stopping
    keep: str = "best"  # the weights of the epoch of the best (clean) validation accuracy, or of the "last"
    patience: int = 0
    target_accuracy: float = 0.0
    budget_s: float = 0.0
    # augmentation: 0 turns each off
    flip: bool = False
    rotate: float = 0.0
    shear: float = 0.0
    zoom: float = 0.0
    shift: float = 0.0
    crop: int = 0
    fill: str = "nearest"
    cutout: int = 0
    brightness: float = 0.0
    contrast: float = 0.0
    # what is asked of the trained model
    attack: str = "fgsm"
    attack_eps: tuple[float, ...] = ()  # attack the held-out pictures at these epsilons
    abstain_below: float = 0.6

    def is_for(self, dataset: str) -> bool:
        """Whether what it says of its data may be said of the data set of this name."""
        return not self.data or dataset == Path(self.data).stem

    def told_of(self, dataset: str) -> Recipe:
        """Return it without the story of its own data, where it is used on another data set."""
        return self if self.is_for(dataset) else replace(self, about="", data="", caution="", reported="", promise={})


@dataclass(frozen=True, slots=True)
class Epoch:
    """What one pass over the training pictures gave. Accuracies are in [0, 1], losses are mean cross-entropies."""

    number: int  # 1 for the first
    train_loss: float
    train_accuracy: float
    val_loss: float
    val_accuracy: float
    learning_rate: float
    seconds: float
    best: bool  # its weights are kept: the best validation accuracy so far (ties go to the lower loss), or the last
    stopped: str = ""  # why training ends here, if it does


@dataclass(frozen=True, slots=True)
class Prediction:
    """The answer for one picture. `probabilities` are calibrated and sum to 1."""

    file: str
    label: str
    probability: float
    probabilities: Mapping[str, float]
    abstained: bool
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Threat:
    """What an attacker may do: move every pixel by at most `eps`, as a fraction of the range [0, 1]."""

    norm: Literal["linf"]
    eps: float

    def __post_init__(self) -> None:
        if not 0 <= self.eps <= 1:
            raise RecipeError(f"An epsilon of {self.eps} was asked for; pixels lie in [0, 1], and so must epsilon.")


@dataclass(frozen=True, slots=True)
class ClassMetrics:
    """How one class fares: precision, recall and F1 in [0, 1]; `n` pictures carry its label."""

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
    """What a classifier's probabilities are worth on labelled pictures.

    `accuracy_low` and `accuracy_high` bound a 95 % Wilson interval. `loss` is the mean negative log-likelihood in
    nats. `roc_auc` is None where it is not defined. `ece` is the expected calibration error over 15 equal bins.
    `confusion[i][j]` counts pictures of class i that were called class j. `coverage` is the share of pictures that
    the classifier answers rather than abstaining, and `accuracy_answered` its accuracy on those.
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


@dataclass(frozen=True, slots=True)
class Floor:
    """What a trivial classifier reaches on the same pictures: below it, a model has learnt nothing of use."""

    name: str  # "majority class" or "logistic regression"
    val_accuracy: float
    test_accuracy: float | None


@dataclass(frozen=True, slots=True)
class Mistake:
    """A picture that was called something else, how sure the classifier was, and what it gave to the label."""

    where: str
    label: str
    predicted: str
    probability: float
    label_probability: float
    row: int  # the picture's row in its split's `images`


@dataclass(frozen=True, slots=True)
class AttackResult:
    """Accuracy on `n` pictures after an attack within `threat`."""

    attack: str
    threat: Threat
    accuracy: float
    n: int


@dataclass(frozen=True, slots=True)
class Report:
    """All that a run found out, as numbers: what `report.json` holds and `report.html` shows."""

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
