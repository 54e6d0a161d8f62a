"""keensight train."""

from __future__ import annotations

import shlex
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from keensight.cli.numbers import Whole
from keensight.cli.output import Terminal, accuracy_line, command, percent, print_json
from keensight.workspace import RunFolder


def train(
    data: str,
    /,
    *,
    recipe: str | None = None,
    out: Path | None = None,
    set: Annotated[tuple[str, ...], Parameter(negative=())] = (),
    seed: Whole | None = None,
    label_pattern: str | None = None,
    weights_only: Path | None = None,
    resume: Annotated[bool, Parameter(negative=())] = False,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Train on labelled pictures; write a report and a bundle.

    Parameters
    ----------
    data
        A folder, .zip or .tar.* of pictures in class folders; a .csv or .jsonl manifest; a folder of IDX files; an
        .npz; or digits, mnist, fashion-mnist.
    recipe
        A recipe's name or .toml file.
    out
        The run folder, new or empty; the first free name under runs/ if left out.
    set
        Change the recipe, as KEY=VALUE; can be repeated.
    seed
        The seed of all randomness.
    label_pattern
        Take labels from file names, such as '{label}__*'.
    weights_only
        Start from just the parameters in this .safetensors file, which must fit the recipe.
    resume
        Go on with an interrupted run.
    json
        Print one JSON object on stdout.
    """
    from keensight.evaluation.words import warnings
    from keensight.verbs.train import train as verb

    begin = time.perf_counter()
    with Terminal() as terminal:
        run = verb(
            data, recipe=recipe, out=out, set=set, seed=seed, resume=resume, label_pattern=label_pattern,
            weights_only=weights_only, watcher=terminal,
        )  # fmt: skip
    report = run.report
    seconds = round(time.perf_counter() - begin, 3)
    metrics = {"val": asdict(report.val), "test": asdict(report.test) if report.test else None}
    if json:
        print_json(
            {
                "run": str(run.folder),
                "bundle": str(run.bundle),
                "seconds": seconds,
                "training_seconds": report.seconds,
                "epochs": len(report.history),
                "stopped": report.history[-1].stopped,
                "parameters": report.model["parameters"],
                "metrics": metrics,
                "floors": {
                    floor.name: {"val": floor.val_accuracy, "test": floor.test_accuracy} for floor in report.floors
                },
                "skipped": len(report.data["skipped"]),
                "notes": report.data["notes"],
            }
        )
        return 0
    split, headline = ("test", report.test) if report.test else ("validation", report.val)
    floors = ", ".join(
        f"{floor.name} {percent(floor.val_accuracy if floor.test_accuracy is None else floor.test_accuracy)}"
        for floor in report.floors
    )
    print(f"{split} accuracy  {accuracy_line(headline)}")
    print(f"to beat        {floors}")
    if report.attacks:
        attacked = ", ".join(f"{percent(each.accuracy)} at epsilon {each.threat.eps:g}" for each in report.attacks)
        print(f"under attack   {attacked} ({report.attacks[0].attack})")
    epochs = len(report.history)
    print(f"took           {seconds:.0f} s, {epochs} epoch{'s' * (epochs != 1)}; {report.history[-1].stopped}")
    for warning in warnings(report):
        print(f"warning        {warning}")
    print(f"report         {RunFolder(run.folder).page}")
    print(f"bundle         {run.bundle}")
    print(f"next           {command()} predict {shlex.quote(str(run.bundle))} PICTURE")
    return 0
