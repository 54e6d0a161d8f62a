"""keensight demo."""

from __future__ import annotations

from keensight import verbs
from keensight.cli.output import accuracy_line, command, percent, say
from keensight.cli.terminal import Terminal
from keensight.workspace import RunFolder


def demo() -> int:
    """Train, evaluate, attack and predict on built-in digits, in under a minute."""
    say("Training on scikit-learn's 1,797 handwritten digits, 8x8 pixels ...")
    with Terminal() as terminal:
        made = verbs.demo.demo(terminal)
    run, report = made.run, made.run.report
    assert report.test is not None  # the digits have no splits of their own, so one was drawn
    say()
    say(f"Right on   {accuracy_line(report.test)} that it had not seen")
    for floor in report.floors:
        say(f"           {percent(floor.test_accuracy)} for {floor.name}")
    for attack in report.attacks:
        moved = f"when every pixel may move by {attack.threat.eps:.0%} ({attack.attack})"
        say(f"           {percent(attack.accuracy)} {moved}")
    answer = made.prediction
    say(f"{made.picture} is a {answer.label}, it says, with {percent(answer.probability)} probability")
    say()
    say(f"Report     {RunFolder(run.folder).page} (open it in a browser)")
    say(f"Bundle     {run.bundle}")
    say()
    say("Now yours: put pictures into one folder per class, and then")
    say(f"           {command()} train path/to/pictures")
    say(f"           {command()} predict {run.bundle} a-picture.png")
    return 0
