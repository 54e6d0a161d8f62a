"""A run's report as JSON, and back."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from keensight.errors import RunError
from keensight.values import (
    AttackResult,
    Attempt,
    CertifiedResult,
    Choice,
    ClassMetrics,
    ClassRobustness,
    ClassSets,
    Corrupted,
    CrossValidation,
    Epoch,
    Floor,
    Metrics,
    Mistake,
    OddnessReport,
    Refused,
    ReliabilityBin,
    Report,
    RobustnessReport,
    SetsReport,
    Threat,
    Within,
)


def to_dict(report: Report) -> dict[str, Any]:
    """Return `report` as JSON values: dicts, lists, text, finite numbers; other numbers become None."""
    plain = {item.name: getattr(report, item.name) for item in dataclasses.fields(report)}
    return {name: _jsonable(value) for name, value in plain.items()}


def from_dict(content: Mapping[str, Any]) -> Report:
    """Return the report that `to_dict` made `content` from. Raises RunError if it is not one."""
    try:
        return Report(
            **{
                **content,
                "history": tuple(Epoch(**_numbers(epoch)) for epoch in content["history"]),
                "val": _metrics(content["val"]),
                "test": None if content["test"] is None else _metrics(content["test"]),
                "crossed": CrossValidation(**content["crossed"]) if content.get("crossed") else None,
                "floors": tuple(Floor(**floor) for floor in content["floors"]),
                "mistakes": _mistakes(content["mistakes"]),
                "near_misses": _mistakes(content["near_misses"]),
                "choice": _choice(content.get("choice")),
                "attacks": tuple(
                    AttackResult(**{**attack, "threat": Threat(**attack["threat"])}) for attack in content["attacks"]
                ),
                "certificates": tuple(
                    CertifiedResult(**{**each, "threat": Threat(**each["threat"])})
                    for each in content.get("certificates", ())
                ),
                "odd": _odd(content.get("odd")),
                "robustness": _robustness(content.get("robustness")),
                "sets": _sets(content.get("sets")),
            }
        )
    except (KeyError, TypeError) as error:
        raise RunError(
            f"This is not a report that this keensight can read ({error}). It reads the report.json that a run writes; "
            "train again, or use the keensight version that wrote it."
        ) from error


def _jsonable(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {item.name: _jsonable(getattr(value, item.name)) for item in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {_jsonable(str(key)): _jsonable(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_jsonable(each) for each in value]
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()  # a file name need not be valid text
    if hasattr(value, "item"):  # a NumPy number
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _numbers(epoch: Mapping[str, Any]) -> dict[str, Any]:
    return {key: math.nan if value is None else value for key, value in epoch.items()}


def _mistakes(rows: Sequence[Mapping[str, Any]]) -> tuple[Mistake, ...]:
    # `path` was called `where` until 0.1
    return tuple(Mistake(**{"path" if key == "where" else key: value for key, value in row.items()}) for row in rows)


def _odd(content: Mapping[str, Any] | None) -> OddnessReport | None:
    return (
        None
        if content is None
        else OddnessReport(**{**content, "kinds": tuple(Refused(**each) for each in content["kinds"])})
    )


def _robustness(content: Mapping[str, Any] | None) -> RobustnessReport | None:
    if content is None:
        return None
    names = ("attacked", "certified", "shifted", "turned", "l2")
    curves = {name: tuple(Within(**each) for each in content.get(name, ())) for name in names}
    rows = tuple(
        Corrupted(**{**each, "severities": tuple(each["severities"]), "accuracies": tuple(each["accuracies"])})
        for each in content["corrupted"]
    )
    per_class = tuple(ClassRobustness(**each) for each in content["per_class"])
    return RobustnessReport(**{**content, **curves, "corrupted": rows, "per_class": per_class})


def _sets(content: Mapping[str, Any] | None) -> SetsReport | None:
    return (
        None
        if content is None
        else SetsReport(**{**content, "per_class": tuple(ClassSets(**each) for each in content["per_class"])})
    )


def _choice(content: Mapping[str, Any] | None) -> Choice | None:
    return (
        None
        if content is None
        else Choice(**{**content, "attempts": tuple(Attempt(**each) for each in content["attempts"])})
    )


def _metrics(content: Mapping[str, Any]) -> Metrics:
    return Metrics(
        **{
            **content,
            "per_class": tuple(ClassMetrics(**each) for each in content["per_class"]),
            "confusion": tuple(tuple(row) for row in content["confusion"]),
            "reliability": tuple(ReliabilityBin(**each) for each in content["reliability"]),
        }
    )
