"""The Python verbs, one file each. `verbs.train` is imported when it is first named: torch takes seconds."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from keensight.verbs import (
        attack,
        audit,
        certify,
        clean,
        compare,
        demo,
        deploy,
        evaluate,
        explain,
        explore,
        export,
        gather,
        import_keras,
        info,
        lr_range,
        predict,
        scan,
        serve,
        shard,
        sign,
        studio,
        train,
        tune,
        verify,
    )

__all__ = [
    "attack", "audit", "certify", "clean", "compare", "demo", "deploy", "evaluate", "explain", "explore",
    "export", "gather", "import_keras", "info", "lr_range", "predict", "scan", "serve", "shard", "sign", "studio",
    "train", "tune", "verify",
]  # fmt: skip


def __getattr__(name: str) -> ModuleType:
    if name not in __all__:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return importlib.import_module(f"{__name__}.{name}")
