"""keensight: from pictures to a classifier you can trust.

    import keensight

    run = keensight.train("path/to/pictures")
    print(run.report.test.accuracy)
    print(keensight.predict(run.bundle, "a-picture.jpg")[0].label)

Every name here is loaded when it is first used: `import keensight` loads no torch and no ONNX Runtime.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

from keensight.version import __version__

# ONNX Runtime 1.29 and newer keeps a device's number in ~/.cache/Microsoft and reports to Microsoft, unless told not to
# before it is loaded. 0 allows it.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

if TYPE_CHECKING:
    from keensight.bundle.keys import new_key
    from keensight.data.cache import choose_preprocessing, decode
    from keensight.data.sources import open_dataset
    from keensight.data.splits import split
    from keensight.errors import KeensightError
    from keensight.inference.predictor import Predictor, load
    from keensight.models.zoo import build
    from keensight.robustness.attacks.gradient_sign import fgsm
    from keensight.training.loop import fit, start
    from keensight.training.recipe import load_recipe
    from keensight.values import (
        Dataset,
        Epoch,
        Metrics,
        Pixels,
        Prediction,
        Preprocessing,
        Recipe,
        Report,
        Splits,
        Threat,
    )
    from keensight.verbs.attack import attack
    from keensight.verbs.audit import audit
    from keensight.verbs.certify import certify
    from keensight.verbs.clean import clean
    from keensight.verbs.compare import compare
    from keensight.verbs.deploy import deploy_docker, deploy_kubernetes, deploy_page
    from keensight.verbs.evaluate import evaluate
    from keensight.verbs.explain import explain
    from keensight.verbs.explore import explore
    from keensight.verbs.export import export
    from keensight.verbs.finish import finish
    from keensight.verbs.gather import gather
    from keensight.verbs.import_keras import import_keras
    from keensight.verbs.info import info
    from keensight.verbs.lr_range import lr_range
    from keensight.verbs.predict import predict, predict_each, predict_in_parts
    from keensight.verbs.scan import scan
    from keensight.verbs.serve import serve
    from keensight.verbs.shard import shard
    from keensight.verbs.sign import sign
    from keensight.verbs.studio import studio
    from keensight.verbs.train import train
    from keensight.verbs.tune import tune
    from keensight.verbs.verify import verify

_HOME = {
    "attack": "keensight.verbs.attack",
    "audit": "keensight.verbs.audit",
    "build": "keensight.models.zoo",
    "certify": "keensight.verbs.certify",
    "choose_preprocessing": "keensight.data.cache",
    "clean": "keensight.verbs.clean",
    "compare": "keensight.verbs.compare",
    "decode": "keensight.data.cache",
    "deploy_docker": "keensight.verbs.deploy",
    "deploy_kubernetes": "keensight.verbs.deploy",
    "deploy_page": "keensight.verbs.deploy",
    "evaluate": "keensight.verbs.evaluate",
    "explain": "keensight.verbs.explain",
    "explore": "keensight.verbs.explore",
    "export": "keensight.verbs.export",
    "finish": "keensight.verbs.finish",
    "fgsm": "keensight.robustness.attacks.gradient_sign",
    "fit": "keensight.training.loop",
    "gather": "keensight.verbs.gather",
    "import_keras": "keensight.verbs.import_keras",
    "info": "keensight.verbs.info",
    "load": "keensight.inference.predictor",
    "load_recipe": "keensight.training.recipe",
    "lr_range": "keensight.verbs.lr_range",
    "new_key": "keensight.bundle.keys",
    "open_dataset": "keensight.data.sources",
    "Predictor": "keensight.inference.predictor",
    "predict": "keensight.verbs.predict",
    "predict_each": "keensight.verbs.predict",
    "predict_in_parts": "keensight.verbs.predict",
    "scan": "keensight.verbs.scan",
    "serve": "keensight.verbs.serve",
    "shard": "keensight.verbs.shard",
    "sign": "keensight.verbs.sign",
    "split": "keensight.data.splits",
    "start": "keensight.training.loop",
    "studio": "keensight.verbs.studio",
    "train": "keensight.verbs.train",
    "tune": "keensight.verbs.tune",
    "verify": "keensight.verbs.verify",
    "KeensightError": "keensight.errors",
    **dict.fromkeys(
        (
            "Dataset",
            "Epoch",
            "Metrics",
            "Pixels",
            "Prediction",
            "Preprocessing",
            "Recipe",
            "Report",
            "Splits",
            "Threat",
        ),
        "keensight.values",
    ),
}

__all__ = [
    "Dataset",
    "Epoch",
    "KeensightError",
    "Metrics",
    "Pixels",
    "Prediction",
    "Predictor",
    "Preprocessing",
    "Recipe",
    "Report",
    "Splits",
    "Threat",
    "__version__",
    "attack",
    "audit",
    "build",
    "certify",
    "choose_preprocessing",
    "clean",
    "compare",
    "decode",
    "deploy_docker",
    "deploy_kubernetes",
    "deploy_page",
    "evaluate",
    "explain",
    "explore",
    "export",
    "fgsm",
    "finish",
    "fit",
    "gather",
    "import_keras",
    "info",
    "load",
    "load_recipe",
    "lr_range",
    "new_key",
    "open_dataset",
    "predict",
    "predict_each",
    "predict_in_parts",
    "scan",
    "serve",
    "shard",
    "sign",
    "split",
    "start",
    "studio",
    "train",
    "tune",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'keensight' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return __all__
