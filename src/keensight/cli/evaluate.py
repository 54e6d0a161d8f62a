"""keensight evaluate."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from keensight.cli.output import Terminal, accuracy_line, print_json


def evaluate(
    bundle: Path,
    data: str,
    /,
    *,
    split: str | None = None,
    label_pattern: str | None = None,
    key: Path | None = None,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Measure a bundle on labelled pictures.

    Parameters
    ----------
    bundle
        The bundle's folder, or the run folder around it.
    data
        Labelled pictures, in any form that train takes.
    split
        train, val or test; the test split, or all pictures where the data has no splits, if left out.
    label_pattern
        Take labels from file names, such as '{label}__*'.
    key
        Refuse the bundle unless the owner of this public key signed it.
    json
        Print one JSON object on stdout.
    """
    from keensight.verbs.evaluate import evaluate as verb

    with Terminal() as terminal:
        result = verb(bundle, data, split=split, label_pattern=label_pattern, key=key, watcher=terminal)
    if json:
        print_json(
            {
                "bundle": str(result.bundle),
                "data": result.data,
                "split": result.split,
                "metrics": asdict(result.metrics),
            }
        )
        return 0
    metrics = result.metrics
    print(f"accuracy   {accuracy_line(metrics)}, split: {result.split}")
    common = max(metrics.per_class, key=lambda row: row.n)
    print(f"to beat    {common.n / metrics.n:.1%}, by always answering '{common.name}'")
    print(f"balanced   {metrics.balanced_accuracy:.1%}")
    print(f"loss       {metrics.loss:.4f}")
    if metrics.roc_auc is not None:
        print(f"ROC-AUC    {metrics.roc_auc:.4f}")
    print(f"ECE        {metrics.ece:.4f}")
    width = max(len(row.name) for row in metrics.per_class)
    print(f"answered   {metrics.coverage:.1%} of the pictures, the others are not sure")
    print(f"\n{'class':{width}}  precision  recall      F1       n")
    for row in metrics.per_class:
        print(f"{row.name:{width}}  {row.precision:9.3f}  {row.recall:6.3f}  {row.f1:6.3f}  {row.n:6,}")
    return 0
