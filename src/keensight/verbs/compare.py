"""`keensight compare`: several bundles on the same labelled pictures."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from keensight.errors import UsageError, suggestion
from keensight.evaluation.comparison import Compared, Comparison, Pair, mcnemar, telling_eps
from keensight.evaluation.words import duration
from keensight.files import write_atomically
from keensight.inference.predictor import inverted_of
from keensight.models.linear import is_linear
from keensight.pages.comparison import Inside, render_html
from keensight.pipeline.compared import MOST_ATTACKED, Entrant, attacked, inside, measured, open_entrants
from keensight.pipeline.epsilons import Epsilons, checked_eps
from keensight.pipeline.labelled import open_for, split_asked
from keensight.pipeline.same_pictures import same_pictures
from keensight.pipeline.watch import Watcher
from keensight.robustness.answers import result
from keensight.robustness.attacks.table import ATTACKS, quickest, within
from keensight.robustness.needs import are_met, in_words
from keensight.values import AttackResult, Metrics
from keensight.workspace import Kind, bundle_in, claim

PASSES = 4  # an attack answers forwards, backwards, and again, by torch: some four times what an answer takes
EPS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3)
PAGE = "comparison.html"
COMPARISON = Kind("comparison", "Compare", home=Path("comparisons"), begun=PAGE, kept=PAGE, finished=PAGE)


def compare(
    bundles: Sequence[str | Path],
    data: str | Path,
    *,
    split: str | None = None,
    label_pattern: str | None = None,
    attack: str | None = None,
    eps: float | str | Sequence[float | str] | None = None,
    out: str | Path | None = None,
    key: str | Path | None = None,
    watcher: Watcher | None = None,
) -> Comparison:
    """Measure two to eight bundles on the same labelled pictures, and write a page that compares them.

    Labels are matched by name: all bundles must know the same ones, in any order. Without `split`, the test split is
    used if the data, or a bundle that was trained on it, has one, else all pictures. If bundles drew different test
    splits of the data (with other seeds or fractions), only the pictures that all of them held out are used.

    Args:
        bundles: Two to eight bundles' folders, or the run folders around them; each is compared with the first.
        data: Labelled pictures, in any form that `train` takes.
        split: train, val or test; the test split, or all pictures if there are no splits, if left out.
        label_pattern: Take labels from file names, such as `'{label}__*'`; `'{label...}_*'` reaches to the last _;
            `'{label}/**'` takes them from folders.
        attack: fgsm, exact, pgd, apgd-ce, apgd-dlr, apgd-t, minimal or square; exact if every model is linear with two
            classes, else fgsm, if left out. Only linear models, which take no time, are attacked without --attack or
            --eps.
        eps: How much an attacker may change every pixel, from 0 to 1; 0 to 0.3 in six steps if left out. At most 2,000
            pictures are attacked, taken evenly from all.
        out: The folder for the page, new or empty; the first free name under comparisons/ if left out.
        key: Refuse every bundle that the owner of this public key has not signed.
        watcher: Is told of the progress.

    Raises:
        UsageError: the arguments make no sense.
        BundleError: a bundle cannot be used, or does not know the same labels.
        GateError: a bundle was changed after it was signed, or is not what `key` signed.
        DataError: the data cannot be used, or holds no picture that all bundles held out.
        RunError: `out` is taken.
    """
    watcher = watcher or Watcher()
    wanted = split_asked(split)
    epsilons = None if eps is None else _checked_eps(eps)
    if bundle_in(Path(data)):
        raise UsageError(f"DATA comes last, and {data} is a bundle. Name labelled pictures after the bundles.")
    watcher.stage("opening bundles")
    entrants = open_entrants(bundles, key)
    for each in entrants:
        watcher.opened(each.bundle)
    is_asked = attack is not None or eps is not None
    attack = _checked_attack(attack, entrants)
    is_cheap = all(is_linear(each.model) for each in entrants)
    if epsilons is None:
        epsilons = EPS if is_asked or is_cheap else ()
    dataset = open_for(data, [each.bundle for each in entrants], label_pattern)
    with claim(None if out is None else Path(out), dataset.name, resume=False, kind=COMPARISON) as folder:
        chosen, parts, notes = same_pictures(dataset, [each.bundle for each in entrants], wanted, watcher)
        pairs = list(zip(entrants, parts, strict=True))
        said = ((each, inverted_of(each.predictor, part, "pictures")) for each, part in pairs)
        notes = [*notes, *(f"{each.letter}, {each.name}: {inverted}" for each, inverted in said if inverted)]
        for note in notes:
            watcher.note(note)
        watcher.stage("measuring")
        began = time.monotonic()
        found, rights = zip(*(measured(*pair) for pair in pairs), strict=True)
        if not (is_asked or is_cheap):
            took = (time.monotonic() - began) * min(1.0, MOST_ATTACKED / len(parts[0]))
            watcher.note(
                "How the models do under attack, with each pixel changed a little to fool them, was not measured. "
                f"--attack {attack} measures it, in about {duration(len(EPS) * PASSES * took)}."
            )
        watcher.stage("attacking")
        outcomes = [attacked(*pair, epsilons, attack) for pair in pairs]
        attacks = [tuple(result(attack, outcome) for outcome in each) for each in outcomes]
        watcher.stage("looking inside")
        insides = [inside(*pair, telling_eps(attacks), attack) for pair in pairs]
        compared = tuple(map(_compared, entrants, found, attacks, insides))
        tests = _pairs(entrants, rights)
        under_attack = [
            pair
            for eps, found in zip(epsilons, zip(*outcomes, strict=True), strict=True)
            for pair in _pairs(entrants, [each.survived_N for each in found], eps)
            if eps
        ]
        page = folder / PAGE
        comparison = Comparison(
            str(data), chosen, len(parts[0]), compared, tests, tuple(notes), page, tuple(under_attack)
        )
        write_atomically(page, render_html(comparison, insides, entrants[0].class_names, ATTACKS[attack]))
        return comparison


def _checked_eps(asked: Epsilons) -> tuple[float, ...]:
    """Return the epsilons, none for an empty list and for 0 alone: an attack by 0 is none."""
    epsilons = () if isinstance(asked, Sequence) and not asked else checked_eps(asked)
    return epsilons if any(epsilons) else ()


def _pairs(entrants: Sequence[Entrant], rights: Sequence[NDArray[np.bool_]], eps: float = 0.0) -> tuple[Pair, ...]:
    """Compare the first bundle with each other one, by which pictures each gets right."""
    return tuple(
        Pair(entrants[0].letter, each.letter, *mcnemar(rights[0], right), eps)
        for each, right in zip(entrants[1:], rights[1:], strict=True)
    )


def _compared(each: Entrant, found: Metrics, attacks: tuple[AttackResult, ...], looked: Inside) -> Compared:
    return Compared(
        letter=each.letter,
        name=each.name,
        bundle=each.bundle.path,
        model=each.kind,
        parameters=sum(parameter.numel() for parameter in each.model.parameters()),
        metrics=found,
        attacks=attacks,
        errors=tuple(wrong.errors for wrong in looked.wrong),
    )


def _checked_attack(attack: str | None, entrants: Sequence[Entrant]) -> str:
    num_classes = len(entrants[0].order_K)
    fitting = quickest([each.model for each in entrants], num_classes)
    if attack is None:
        return fitting
    if attack not in (known := within("linf")):
        raise UsageError(
            f"There is no attack '{attack}'. {suggestion(attack, known)}The attacks are {', '.join(known)}."
        )
    row = ATTACKS[attack]
    if unfit := [each for each in entrants if not are_met(row.needs, each.model, num_classes)]:
        raise UsageError(
            f"The {row.title} was asked for, but it needs {in_words(row.needs)}, and {unfit[0].bundle.path} is a "
            f"'{unfit[0].kind}' model of {num_classes} classes. Use --attack {fitting}."
        )
    return attack
