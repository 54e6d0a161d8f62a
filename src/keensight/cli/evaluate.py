"""keensight evaluate."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from keensight import verbs
from keensight.cli.options import Json, options_of
from keensight.cli.output import accuracy_line, percent, print_json, say
from keensight.cli.terminal import Terminal


@options_of("evaluate.evaluate")
def evaluate(*, json: Json = False, **asked: Any) -> int:
    """Evaluate, and print the metrics."""
    with Terminal() as terminal:
        result = verbs.evaluate.evaluate(**asked, watcher=terminal)
    if json:
        print_json(
            {
                "bundle": str(result.bundle),
                "data": result.data,
                "split": result.split,
                "metrics": asdict(result.metrics),
                "inverted": result.inverted,
            }
        )
        return 0
    metrics = result.metrics
    say(f"accuracy   {accuracy_line(metrics)}, split: {result.split}")
    common = max(metrics.per_class, key=lambda row: row.n)
    say(f"to beat    {percent(common.n / metrics.n)}, by always answering '{common.name}'")
    say(f"balanced   {percent(metrics.balanced_accuracy)}")
    say(f"loss       {metrics.loss:.4f}")
    if metrics.roc_auc is not None:
        say(f"ROC-AUC    {metrics.roc_auc:.4f}")
    say(f"ECE        {metrics.ece:.4f}")
    width = max(len(row.name) for row in metrics.per_class)
    say(
        f"answered   {percent(metrics.coverage)} of the pictures; not sure {percent(metrics.not_sure)}, none of these "
        f"{percent(metrics.none_of_these)}"
    )
    say()
    say(f"{'class':{width}}  precision  recall      F1       n")
    for row in metrics.per_class:
        say(f"{row.name:{width}}  {row.precision:9.3f}  {row.recall:6.3f}  {row.f1:6.3f}  {row.n:6,}")
    return 0
