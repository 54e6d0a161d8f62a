"""What determines a training run, and what each pass of it gave."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any


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
