"""Findings, which a person should know about their data or model, and decisions about pictures.

Findings are facts. `pages/findings.py` puts them in words.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

FindingKind = Literal[
    "identical", "near-duplicate", "label", "outlier", "blank", "quality", "leak", "shortcut", "poison", "scaling",
    "metadata",  # of data
    "backdoor", "tampering",  # of a bundle
    "groups", "held-out", "rare",  # about how splits were made
]  # fmt: skip
Action = Literal["keep", "remove", "relabel"]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that a person should know. `samples` are paths as DATA has them, `evidence` holds JSON values.

    `score` in [0, 1] says how certain it is; 1 is a plain fact.
    """

    kind: FindingKind
    samples: tuple[str, ...] = ()
    score: float = 1.0
    evidence: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Decision:
    """A person's decision about the picture with this `sha256`: keep it, remove it, or give it another `label`.

    `why` is the person's reason, in their words.
    """

    sha256: str
    action: Action
    label: str | None = None
    why: str = ""
