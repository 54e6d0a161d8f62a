"""keensight demo."""

from __future__ import annotations

from keensight.cli.output import Terminal, accuracy_line, command
from keensight.workspace import RunFolder


def demo() -> int:
    """Train, evaluate, attack and predict on built-in digits, in under a minute."""
    from keensight.verbs.demo import demo as verb

    print("Training on scikit-learn's 1,797 handwritten digits, 8x8 pixels ...")
    with Terminal() as terminal:
        made = verb(terminal)
    run, report = made.run, made.run.report
    assert report.test is not None  # the digits have no splits of their own, so one was drawn
    print(f"\nRight on   {accuracy_line(report.test)} that it had not seen")
    for floor in report.floors:
        print(f"           {floor.test_accuracy:.1%} for {floor.name}")
    for attack in report.attacks:
        print(
            f"           {attack.accuracy:.1%} when every pixel may move by {attack.threat.eps:.0%} ({attack.attack})"
        )
    answer = made.prediction
    print(f"{made.picture} is a {answer.label}, it says, with {answer.probability:.1%} probability\n")
    print(f"Report     {RunFolder(run.folder).page} (open it in a browser)")
    print(f"Bundle     {run.bundle}\n")
    print("Now yours: put pictures into one folder per class, and then")
    print(f"           {command()} train path/to/pictures")
    print(f"           {command()} predict {run.bundle} a-picture.png")
    return 0
