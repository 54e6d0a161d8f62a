"""keensight compare."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from keensight.cli.output import Terminal, print_json

if TYPE_CHECKING:
    from keensight.evaluation.comparison import Comparison


def compare(
    *bundles_data: Annotated[str, Parameter(required=True, name="BUNDLE BUNDLE... DATA")],
    split: str | None = None,
    label_pattern: str | None = None,
    attack: str | None = None,
    eps: Annotated[tuple[float, ...] | None, Parameter(negative=(), consume_multiple=True)] = None,
    out: Path | None = None,
    key: Path | None = None,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Set bundles beside each other on the same labelled pictures.

    Parameters
    ----------
    bundles_data
        Two to eight bundles' folders, or the run folders around them, and last of all DATA: labelled pictures, in any
        form that train takes.
    split
        train, val or test; the test split, or all pictures where there are no splits, if left out.
    label_pattern
        Take labels from file names, such as '{label}__*'.
    attack
        fgsm or exact; exact where every model is linear with two classes, else fgsm, if left out.
    eps
        What the attacker may move every pixel by, from 0 to 1; 0 to 0.3 in six steps if left out.
    out
        The folder for the page, new or empty; the first free name under comparisons/ if left out.
    key
        Refuse every bundle that the owner of this public key has not signed.
    json
        Print one JSON object on stdout.
    """
    from keensight.verbs.compare import compare as verb

    *bundles, data = bundles_data
    with Terminal() as terminal:
        result = verb(
            bundles, data, split=split, label_pattern=label_pattern, attack=attack, eps=eps, out=out, key=key,
            watcher=terminal,
        )  # fmt: skip
    if json:
        print_json(_plain(result))
    else:
        _print(result)
    return 0


def _plain(result: Comparison) -> dict[str, object]:
    content = asdict(result)
    content["page"] = str(result.page)
    for each in content["bundles"]:
        each["bundle"] = str(each["bundle"])
    return content


def _print(result: Comparison) -> None:
    from keensight.pages.comparison import fixed_answers, luck

    width = max(len(each.name) for each in result.bundles) + 2
    print(f"{result.n:,} pictures of {result.data}, split: {result.split}\n")
    print(f"{'':{width}}  accuracy   95 % interval  balanced  ROC-AUC    loss     ECE  parameters")
    for each in result.bundles:
        m = each.metrics
        interval = f"{100 * m.accuracy_low:.1f} to {100 * m.accuracy_high:.1f}"
        auc = "-" if m.roc_auc is None else f"{m.roc_auc:.4f}"
        print(
            f"{each.letter + ' ' + each.name:{width}}  {m.accuracy:8.2%}  {interval:>14}  {m.balanced_accuracy:8.2%}  "
            f"{auc:>7}  {m.loss:6.4f}  {m.ece:6.4f}  {each.parameters:10,}"
        )
    for sentence in fixed_answers(result.bundles):
        print(sentence)
    print("\nright where the other is wrong, and McNemar's exact test")
    for pair in result.pairs:
        print(
            f"{pair.first} {pair.only_first:,}, {pair.second} {pair.only_second:,}: "
            f"p = {pair.p_value:.2g}, {luck(pair)}"
        )
    if results := result.bundles[0].attacks:
        print(f"\naccuracy under attack ({results[0].attack}), {results[0].n:,} pictures")
        print(f"{'epsilon':{width}}" + "".join(f"{each.threat.eps:8g}" for each in results))
        for each in result.bundles:
            print(f"{each.letter + ' ' + each.name:{width}}" + "".join(f"{one.accuracy:8.1%}" for one in each.attacks))
    print(f"\npage  {result.page}")
