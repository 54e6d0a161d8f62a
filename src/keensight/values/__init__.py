"""The values that flow down the river: frozen, checked when they are made, with few methods.

Shape letters: N images, H height, W width, C channels, K classes.

Each name is loaded when it is first used: a server needs none of a report's dozen classes, which take longer to make
than a bundle takes to read.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from keensight.values.answers import NONE_OF_THESE, LabelSets, Prediction
    from keensight.values.choice import Attempt, Choice
    from keensight.values.data import (
        SPLIT_NAMES,
        Dataset,
        DatasetKind,
        Fit,
        FloatArray,
        Images,
        IntArray,
        Part,
        Pixels,
        Preprocessing,
        Sample,
        Skipped,
        Split,
        Splits,
        Uint8Array,
    )
    from keensight.values.findings import Action, Decision, Finding, FindingKind, SplitName
    from keensight.values.measures import (
        ClassMetrics,
        ClassSets,
        CrossValidation,
        Floor,
        Metrics,
        Mistake,
        OddnessReport,
        Refused,
        ReliabilityBin,
        Report,
        SetsReport,
    )
    from keensight.values.recipe import Recipe
    from keensight.values.robustness import ClassRobustness, Corrupted, RobustnessReport, Within
    from keensight.values.threats import AttackResult, Certificate, CertifiedResult, Norm, Outcome, Threat, worst
    from keensight.values.training import Epoch, best_epoch

_HOME = {
    name: home
    for home, names in {
        "answers": "NONE_OF_THESE LabelSets Prediction",
        "choice": "Attempt Choice",
        "data": "SPLIT_NAMES Dataset DatasetKind Fit FloatArray Images IntArray Part Pixels Preprocessing Sample "
        "Skipped Split Splits Uint8Array",
        "findings": "Action Decision Finding FindingKind SplitName",
        "measures": "ClassMetrics ClassSets CrossValidation Floor Metrics Mistake OddnessReport Refused ReliabilityBin "
        "Report SetsReport",
        "recipe": "Recipe",
        "robustness": "ClassRobustness Corrupted RobustnessReport Within",
        "threats": "AttackResult Certificate CertifiedResult Norm Outcome Threat worst",
        "training": "Epoch best_epoch",
    }.items()
    for name in names.split()
}

__all__ = [
    "NONE_OF_THESE",
    "SPLIT_NAMES",
    "Action",
    "AttackResult",
    "Attempt",
    "Certificate",
    "CertifiedResult",
    "Choice",
    "ClassMetrics",
    "ClassRobustness",
    "ClassSets",
    "Corrupted",
    "CrossValidation",
    "Dataset",
    "DatasetKind",
    "Decision",
    "Epoch",
    "Finding",
    "FindingKind",
    "Fit",
    "FloatArray",
    "Floor",
    "Images",
    "IntArray",
    "LabelSets",
    "Metrics",
    "Mistake",
    "Norm",
    "OddnessReport",
    "Outcome",
    "Part",
    "Pixels",
    "Prediction",
    "Preprocessing",
    "Recipe",
    "Refused",
    "ReliabilityBin",
    "Report",
    "RobustnessReport",
    "Sample",
    "SetsReport",
    "Skipped",
    "Split",
    "SplitName",
    "Splits",
    "Threat",
    "Uint8Array",
    "Within",
    "best_epoch",
    "worst",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'keensight.values' has no attribute '{name}'")
    found = globals()[name] = getattr(importlib.import_module(f"keensight.values.{_HOME[name]}"), name)
    return found


def __dir__() -> list[str]:
    return __all__
