"""What a report's numbers rest on, what they suggest is wrong, and what to do next."""

from __future__ import annotations

import math

from keensight.data.cache import TINY_PX
from keensight.errors import counted
from keensight.evaluation.gain import gain
from keensight.evaluation.metrics import accuracy_interval
from keensight.evaluation.words import NARROW, floor_pairs, percent
from keensight.values import Epoch, Metrics, Report, best_epoch

FEW = 50  # pictures: fewer are few, whatever the interval
WIDE = 0.15  # an interval from here on says little
NARROW_ENOUGH = 0.1  # the interval that is worth gathering pictures for
MUCH_BETTER = 0.1  # on training pictures than on validation pictures: from here on, they were learnt by heart
FEW_TO_CALIBRATE = 20  # validation pictures: with fewer, nobody knows how often a "99 %" is wrong
MOSTLY = 0.7  # of the pictures answered: a model that answers fewer is not what one expects
FEW_PER_CLASS = 100  # training pictures: with fewer, a network from scratch learns them by heart
VERY_FEW_PER_CLASS = 20  # with fewer, pictures help more than time
FEW_PX = 16  # on a side: most things cannot be told apart in smaller pictures
TO_DECIDE = {"identical", "near-duplicate", "label", "leak", "shortcut", "metadata", "scaling", "poison"}  # by a person
MANY_TIMES = 5  # as many pictures of another class: more of the rare one help most


def warnings(report: Report) -> list[str]:
    """Return what a reader must not miss: a baseline that is not exceeded, numbers that flatter or say little."""
    shown = report.headline
    found = [
        said for said in (thinness(report), by_heart(report), withheld(report), unchecked_confidence(report)) if said
    ]
    for name, accuracy in floor_pairs(report):
        if shown.accuracy == accuracy == 0:
            found.append(
                f"Neither the model nor the {name} baseline is right on a single {report.headline_split} picture."
            )
        elif _clearly_below(shown, name, accuracy):
            found.append(f"The model is below the {name} baseline of {percent(accuracy)}: do not use it as it is.")
        elif shown.accuracy <= accuracy:
            place = "level with" if shown.accuracy == accuracy else "below"
            moral = "it may have learnt nothing of use" if name == "majority class" else "a simpler model does as well"
            found.append(f"The model is {place} the {name} baseline of {percent(accuracy)}, within the noise: {moral}.")
        elif shown.accuracy_low <= accuracy:
            found.append(
                f"The interval reaches down to the {name} baseline of {percent(accuracy)}: with "
                f"{counted(shown.n, 'picture')}, being above it may be luck."
            )
    if report.test is None:
        found.append(
            "There is no test split. These numbers are on validation pictures, which were also used to choose the "
            "best epoch and the temperature, so they flatter the model."
        )
    return found


def _clearly_below(shown: Metrics, floor: str, accuracy: float) -> bool:
    if floor == "majority class":  # a fixed answer: its share of the pictures is exact
        return shown.accuracy_high < accuracy
    return gain(round(shown.accuracy * shown.n), shown.n, round(accuracy * shown.n), shown.n).high < 0


def is_thin(metrics: Metrics) -> bool:
    """Say whether an accuracy rests on too few pictures to be relied on."""
    return metrics.n < FEW or metrics.accuracy_high - metrics.accuracy_low > WIDE


def enough(metrics: Metrics) -> int:
    """Return about how many pictures would give an interval of 10 points, at an accuracy such as this.

    That accuracy is drawn towards a half by two right and two wrong answers (Agresti and Coull 1998).
    """
    share, n = (metrics.accuracy * metrics.n + 2) / (metrics.n + 4), metrics.n
    while True:
        low, high = accuracy_interval(round(share * n), n)
        if high - low <= NARROW_ENOUGH:
            return n if n < 100 else round(n, -1)
        n += max(1, n // 20)


def thinness(report: Report) -> str:
    """Say how little the headline rests on; "" if that is enough."""
    shown, split = report.headline, report.headline_split
    if not is_thin(shown):
        return ""
    return (
        f"The accuracy rests on {counted(shown.n, f'{split} picture')} only: on many more, it may be "
        f"anything from {percent(shown.accuracy_low)} to {percent(shown.accuracy_high)}, {_width(shown)} points apart."
        f"{crossed(report)}"
    )


def crossed(report: Report) -> str:
    """Say what cross-validation found, if there was any, in a sentence that follows others; else ""."""
    if (found := report.crossed) is None:
        return ""
    interval = f"95{NARROW}% interval {percent(found.accuracy_low)} to {percent(found.accuracy_high)}"
    return (
        f" Cross-validation in {found.folds} folds, on the {found.n:,} training and validation pictures: "
        f"{percent(found.accuracy)} ({interval})."
    )


def by_heart(report: Report) -> str:
    """Say that the model has learnt its training pictures by heart, if it has; else ""."""
    best = best_epoch(report.history)
    if best is None or not _is_by_heart(report, best):
        return ""
    unseen = f"{percent(report.val.accuracy)} of the validation pictures"
    if report.crossed and report.val.n < FEW_TO_CALIBRATE:
        unseen = f"{percent(report.crossed.accuracy)} of pictures held out in cross-validation"
    return (
        f"It is right on {percent(best.train_accuracy)} of the training pictures and on {unseen}: it has learnt the "
        f"training pictures by heart (overfitting){_few(report)}."
    )


def withheld(report: Report) -> str:
    """Say that many pictures get no answer, if so; else ""."""
    shown = report.headline
    if shown.coverage > MOSTLY:
        return ""
    said = f"It gives no answer for {percent(1 - shown.coverage)} of the {report.headline_split} pictures"
    if shown.not_sure < shown.none_of_these:
        return f"{said}, most of which it takes for none of these. More pictures like them help, in training."
    return (
        f"{said}, most of which it is not sure enough of. More labelled pictures help most; with --set abstain_below="
        f"{report.abstain_below / 2:g} it answers more often, and is wrong more often."
    )


def unchecked_confidence(report: Report) -> str:
    """Say that too few pictures tell how far its confidence can be trusted, if so; else ""."""
    if (n := report.val.n) >= FEW_TO_CALIBRATE:
        return ""
    checked = counted(n, "validation picture")
    return f"Its confidence was checked on {checked} only: where it is sure, it may still be wrong."


def to_decide(report: Report, data: str = "DATA") -> list[str]:
    """Return where to decide on what was found in the pictures, if anything was that a person must decide on.

    `data` is DATA as it was given, for commands.
    """
    found = any(finding["kind"] in TO_DECIDE for finding in report.data.get("findings", ()))
    return (
        [f"decide on what was found in the pictures: keensight audit {data}, and then keensight clean"] if found else []
    )


def next_steps(report: Report, data: str = "DATA") -> list[str]:
    """Return what would help a model whose accuracy is not to be relied on, the most helpful first; else nothing.

    `data` is DATA as it was given, for commands.
    """
    shown, split = report.headline, report.headline_split
    learnt_by_heart = bool(by_heart(report))
    near_floor = any(shown.accuracy_low <= accuracy for _, accuracy in floor_pairs(report))
    steps = []
    if shown.accuracy == 0:  # more pictures to measure it on would only confirm that
        steps.append(
            f"check that the {split} pictures show the same things under the same labels as the training pictures; "
            "where they do, gather more training pictures of each class"
        )
    if (learnt_by_heart or near_floor) and _suits_a_backbone(report):
        steps.append(f"begin with a network that knows photographs: keensight train {data} --recipe husky-transfer")
    if shown.accuracy == 0:
        return steps
    size = report.preprocessing
    if near_floor and min(int(size["height"]), int(size["width"])) < FEW_PX:
        steps.append(f"use larger pictures if you have them: {size['height']} x {size['width']} pixels show little")
    rare = _rare(report) if near_floor else ""
    if rare:
        steps.append(rare)
    if learnt_by_heart:
        vary = "; or vary them, as suits them: --set flip=true --set rotate=15 --set zoom=0.1"
        steps.append(f"gather more labelled pictures{'' if report.model['name'] == 'transfer' else vary}")
    elif near_floor and not rare:
        look = "look at the mistakes in the report, for wrong labels; or " if report.mistakes else ""
        if report.model["name"] != "transfer":
            more = f"search for settings: keensight tune {data}"
        elif (report.choice and report.choice.budget_s) or _per_class(report) < VERY_FEW_PER_CLASS:
            more = "gather more labelled pictures"
        else:  # nothing of a fitted head is left to tune
            more = f"give it more time: keensight train {data} --budget 10m"
        steps.append(look + more)
    if is_thin(shown):
        steps.append(
            f"gather more {split} pictures: about {enough(shown):,} give an interval of 10 points"
            + ("" if report.crossed else "; until then, train with --seed 1, 2, 3 where splits are drawn, and compare")
        )
    return steps


def _suits_a_backbone(report: Report) -> bool:
    """Say whether a pretrained backbone is untried and would see enough of these pictures: colour, and not tiny."""
    size = report.preprocessing
    large = min(int(size["height"]), int(size["width"])) >= TINY_PX
    return bool(report.model["name"] != "transfer" and size["channels"] == 3 and large)


def _is_by_heart(report: Report, best: Epoch) -> bool:
    if report.val.n < FEW_TO_CALIBRATE:  # a single mistake of eight would say so
        crossed = report.crossed
        return crossed is not None and best.train_accuracy - crossed.accuracy >= MUCH_BETTER
    gap = best.train_accuracy - report.val.accuracy
    return gap >= MUCH_BETTER and report.val.accuracy_high < best.train_accuracy


def _few(report: Report) -> str:
    counts = report.data["counts"].get("train") or {}
    few = counts and _per_class(report) < FEW_PER_CLASS
    return f". {_per_class(report):.0f} training pictures a class are few" if few else ""


def _per_class(report: Report) -> float:
    """Return the mean number of training pictures of a class, infinite if it is unknown."""
    counts = report.data["counts"].get("train") or {}
    return sum(counts.values()) / len(counts) if counts else math.inf


def _rare(report: Report) -> str:
    """Say of which class there are far too few training pictures beside those of the others, if so; else ""."""
    counts = report.data["counts"].get("train") or {}
    if not counts:
        return ""
    name, fewest = min(counts.items(), key=lambda item: int(item[1]))
    if fewest >= FEW_PER_CLASS or fewest * MANY_TIMES > max(counts.values()):
        return ""
    return (
        f"gather more pictures of '{name}': {fewest:,} in training, of {sum(counts.values()):,}, are too few to learn "
        "from and to measure by"
    )


def _width(metrics: Metrics) -> str:
    return f"{100 * (metrics.accuracy_high - metrics.accuracy_low):.0f}"
