"""keensight train."""

from __future__ import annotations

import shlex
import time
from dataclasses import asdict
from typing import Any

from keensight import verbs
from keensight.cli.options import Json, options_of
from keensight.cli.output import accuracy_line, command, percent, print_json, say
from keensight.cli.terminal import Terminal
from keensight.errors import counted
from keensight.evaluation.words import NARROW, duration
from keensight.workspace import RunFolder


@options_of("train.train")
def train(*, json: Json = False, **asked: Any) -> int:
    """Train, and print the headline, the baselines, and what was written."""
    verbs.train  # noqa: B018 - loads torch, before the clock starts
    begin = time.perf_counter()
    with Terminal() as terminal:
        run = verbs.train.train(**asked, watcher=terminal)
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
                "cross_validation": asdict(report.crossed) if report.crossed else None,
                "floors": {
                    floor.name: {"val": floor.val_accuracy, "test": floor.test_accuracy} for floor in report.floors
                },
                "skipped": len(report.data["skipped"]),
                "notes": report.data["notes"],
                "choice": asdict(report.choice) if report.choice else None,
            }
        )
        return 0
    from keensight.evaluation.advice import is_thin, next_steps, to_decide, warnings  # not for `train --help`

    split, headline = report.headline_split, report.headline
    floors = ", ".join(
        f"{floor.name} {percent(floor.val_accuracy if floor.test_accuracy is None else floor.test_accuracy)}"
        for floor in report.floors
    )
    few = f"; only {counted(headline.n, 'picture')}" if is_thin(headline) else ""
    say(f"{split} accuracy  {accuracy_line(headline)}{few}")
    say(f"to beat        {floors}")
    if report.attacks:
        attacked = ", ".join(f"{percent(each.accuracy)} at epsilon {each.threat.eps:g}" for each in report.attacks)
        say(f"under attack   {attacked} ({report.attacks[0].attack})")
    if report.certificates:
        proved = ", ".join(f"{percent(each.accuracy)} at epsilon {each.threat.eps:g}" for each in report.certificates)
        say(f"certified      {proved}")
    epochs = len(report.history)
    times = duration(report.seconds) + (f", {epochs} epochs" if epochs > 1 else "")
    say(f"training time  {times}; {report.history[-1].stopped}; {duration(seconds)} in all")
    for warning in warnings(report):
        say(f"warning        {warning}")
    say(f"report         {RunFolder(run.folder).page}")
    say(f"bundle         {run.bundle}")
    data = shlex.join(asked["data"])
    steps = next_steps(report, data) or [f"{command()} predict {shlex.quote(str(run.bundle))} PICTURE"]
    for step in [*to_decide(report, data), *steps]:
        say(f"next           {step.replace(NARROW, ' ')}")
    return 0
