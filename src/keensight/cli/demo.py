"""keensight demo."""

from __future__ import annotations

from keensight import verbs
from keensight.cli.output import Terminal, accuracy_line, command, percent
from keensight.workspace import RunFolder


def demo() -> int:
    """Train, evaluate, attack and predict on built-in digits, in under a minute."""
    print("Training on scikit-learn's 1,797 handwritten digits, 8x8 pixels ...")
    with Terminal() as terminal:
        made = verbs.demo.demo(terminal)
    run, report = made.run, made.run.report
    assert report.test is not None  # the digits have no splits of their own, so one was drawn
    print(f"\nRight on   {accuracy_line(report.test)} that it had not seen")
    for floor in report.floors:
        print(f"           {percent(floor.test_accuracy)} for {floor.name}")
    for attack in report.attacks:
        moved = f"when every pixel may move by {attack.threat.eps:.0%} ({attack.attack})"
        print(f"           {percent(attack.accuracy)} {moved}")
    answer = made.prediction
    print(f"{made.picture} is a {answer.label}, it says, with {percent(answer.probability)} probability\n")
    print(f"Report     {RunFolder(run.folder).page} (open it in a browser)")
    print(f"Bundle     {run.bundle}\n")
    print("Now yours: put pictures into one folder per class, and then")
    print(f"           {command()} train path/to/pictures")
    print(f"           {command()} predict {run.bundle} a-picture.png")
    return 0
