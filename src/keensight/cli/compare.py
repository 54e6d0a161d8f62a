"""keensight compare."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from keensight import verbs
from keensight.cli.options import Json, options_of
from keensight.cli.output import percent, print_json, say
from keensight.cli.terminal import Terminal
from keensight.errors import counted

if TYPE_CHECKING:
    from keensight.evaluation.comparison import Comparison


@options_of("compare.compare", without=["data"])
def compare(
    *,
    bundles: Annotated[tuple[str, ...], Parameter(name="BUNDLE BUNDLE... DATA")],
    json: Json = False,
    **asked: Any,
) -> int:
    """Compare, and print the differences.

    Args:
        bundles: Two to eight bundles' folders, or the run folders around them, and last of all DATA: labelled pictures,
            in any form that `train` takes.
    """
    *folders, data = bundles
    with Terminal() as terminal:
        result = verbs.compare.compare(folders, data, **asked, watcher=terminal)
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
    say(f"{counted(result.n, 'picture')} of {result.data}, split: {result.split}")
    say()
    say(f"{'':{width}}  accuracy   95 % interval  balanced  ROC-AUC    loss     ECE  parameters")
    for each in result.bundles:
        m = each.metrics
        interval = f"{100 * m.accuracy_low:.1f} to {100 * m.accuracy_high:.1f}"
        auc = "-" if m.roc_auc is None else f"{m.roc_auc:.4f}"
        accuracy, balanced = percent(m.accuracy), percent(m.balanced_accuracy)
        say(
            f"{each.letter + ' ' + each.name:{width}}  {accuracy:>8}  {interval:>14}  {balanced:>8}  {auc:>7}  "
            f"{m.loss:6.4f}  {m.ece:6.4f}  {each.parameters:10,}"
        )
    for sentence in fixed_answers(result.bundles):
        say(sentence)
    say()
    say("right where the other is wrong, and McNemar's exact test")
    for pair in (*result.pairs, *result.attacked_pairs):
        within = f", attacked within {pair.eps:g}" if pair.eps else ""
        say(
            f"{pair.first} {pair.only_first:,}, {pair.second} {pair.only_second:,}{within}: "
            f"p = {pair.p_value:.2g}, {luck(pair)}"
        )
    if results := result.bundles[0].attacks:
        say()
        say(f"accuracy under attack ({results[0].attack}), {counted(results[0].n, 'picture')}")
        say(f"{'epsilon':{width}}" + "".join(f"{each.threat.eps:8g}" for each in results))
        for each in result.bundles:
            accuracies = "".join(f"{percent(one.accuracy):>8}" for one in each.attacks)
            say(f"{each.letter + ' ' + each.name:{width}}{accuracies}")
    say()
    say(f"page  {result.page}")
