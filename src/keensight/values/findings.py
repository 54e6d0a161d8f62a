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
    "decided",  # about what people decided
]  # fmt: skip
Action = Literal["keep", "drop", "relabel", "move", "confirm"]


SplitName = Literal["train", "val", "test"]


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
    """Somebody's decision about the picture with this `sha256`.

    keep: it stays as it is. drop: it is left out. relabel: it gets another `label`. move: it belongs to this `split`.
    confirm: its label was looked at, and is right.

    `file` tells which of several pictures with the same content is meant. `who` decided, `when` (ISO 8601), and `why`
    are in people's own words. `moved_to` is where `keensight clean` put the file: such a decision is carried out, and
    only told. It is a path in the data's folder, or one in the quarantine that begins with its folder's name.
    """

    sha256: str
    action: Action
    label: str | None = None
    why: str = ""
    file: str | None = None
    split: SplitName | None = None
    who: str = ""
    when: str = ""
    moved_to: str | None = None
