"""`keensight attack`: how a bundle bears attacks, the worst of several for each picture."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from torch import nn

from keensight.data.in_hand import Data
from keensight.data.polarity import Borders
from keensight.errors import UsageError, counted, suggestion
from keensight.evaluation.metrics import accuracy_interval
from keensight.files import to_json, write_atomically
from keensight.pages.robustness import render_html
from keensight.pipeline.beforehand import say_how_long
from keensight.pipeline.epsilons import checked_eps
from keensight.pipeline.part import checked_count, checked_seed, open_part
from keensight.pipeline.robust import EPS, attackable, full_robustness, how_many, told
from keensight.pipeline.watch import Watcher
from keensight.robustness.attacks.table import ATTACKS, within
from keensight.robustness.ensemble import Left, Masking, ensemble, fitting, masking
from keensight.robustness.needs import are_met, in_words
from keensight.values import Norm, Split, Threat
from keensight.workspace import Kind, claim

TRIED_STEPS = 10  # so many times fewer steps are made to see how long an attack takes
PAGE, FACTS = "robustness.html", "robustness.json"
ROBUSTNESS = Kind("robustness", "Attack", home=Path("attacks"), begun=PAGE, kept=PAGE, finished=PAGE)


@dataclass(frozen=True, slots=True)
class Survival:
    """How many of `n` pictures are still right after the worst of all attacks within `eps`, with a 95 % interval.

    `after` has the accuracy after each attack and all those before it. `median_distance` is how far the pictures that
    were fooled had to move, in the threat's norm; None if none was. For shifts and rotations, no nearest picture is
    looked for: it counts the smallest epsilon asked for that fooled each.
    """

    eps: float
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    n: int
    after: dict[str, float]
    median_distance: float | None


@dataclass(frozen=True, slots=True)
class Attacked:
    """A bundle under attack on `n` pictures of one split of some data; eps 0 in `survivals` is no attack.

    `page` is the page of all that was measured, if one was asked for.
    """

    bundle: Path
    data: str
    split: str
    n: int
    norm: str
    survivals: tuple[Survival, ...]
    gradient_masking: bool
    notes: tuple[str, ...]
    page: Path | None = None


def attack(
    bundle: str | Path,
    data: Data | Iterable[Data],
    *,
    norm: str = "linf",
    eps: float | str | Sequence[float | str] | None = None,
    attacks: Sequence[str] = (),
    steps: int = 100,
    most: int | None = None,
    split: str | None = None,
    label_pattern: str | None = None,
    key: str | Path | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    watcher: Watcher | None = None,
) -> Attacked:
    """Attack a bundle on labelled pictures with several attacks; a picture counts as right if it survives all of them.

    Epsilon is in pixels, which lie in [0, 1], whatever the model's normalisation is: 4 of 255 levels are 0.0157.

    Args:
        bundle: The bundle's folder, or the run folder around it.
        data: Labelled pictures, in any form that `train` takes, several of them too.
        norm: linf bounds every pixel's change, l2 the root of the sum of their squares; shift moves the picture by
            whole pixels, rotation turns it by degrees.
        eps: How much an attacker may change a picture, in the norm's unit; for linf from 0 to 1. Several values, small
            and large, if left out.
        attacks: Only these: fgsm, exact, pgd, apgd-ce, apgd-dlr, apgd-t, minimal, square, shifts, rotations; all that
            fit the model if left out.
        steps: How many gradients each attack may compute for a picture; the square attack asks ten times as often.
        most: How many pictures are attacked, taken evenly from all; 1,000, or 100 if they are larger than 64x64, if
            left out.
        split: train, val or test; the test split, or all pictures if the data has no splits, if left out.
        label_pattern: Take labels from file names, such as `'{label}__*'`; `'{label...}_*'` reaches to the last _;
            `'{label}/**'` takes them from folders.
        key: Refuse the bundle unless the owner of this public key signed it.
        seed: Of the attacks' random starts.
        out: A new or empty folder for robustness.html, a page with everything: 15 everyday corruptions, these attacks
            in linf, shifts, rotations, certificates where there are bounds, and pictures before and after. It takes
            several times as long.
        watcher: Is told of the progress.

    Raises:
        UsageError: the arguments make no sense, or an attack does not fit the model.
        DataError: the data cannot be used, or has labels that the bundle does not know.
        BundleError: the bundle cannot be used.
        GateError: it was changed after it was signed, or is not what `key` signed.
        RunError: `out` is taken.

    Examples:
        >>> import keensight
        >>> keensight.attack("runs/mine", "path/to/folder", eps=[4 / 255]).survivals[-1].accuracy  # doctest: +SKIP
        0.31
    """
    watcher = watcher or Watcher()
    known_norm = _known(norm)
    epsilons = checked_eps(EPS[known_norm] if eps is None else eps, known_norm)
    checked_seed(seed)
    checked_count("--steps", steps)
    if most is not None:
        checked_count("--most", most)
    opened = open_part(bundle, data, split, label_pattern, key, watcher)
    pictures = opened.pictures.thinned(most or how_many(opened.pictures))
    _check_shift(known_norm, epsilons, pictures)
    notes = []
    model, why_opaque = attackable(opened.predictor)
    if why_opaque:
        notes.append(f"{why_opaque} So only attacks that need no gradients were used: figures may flatter the model.")
    num_classes = len(opened.bundle.labels)
    names = _checked(attacks, known_norm, model, num_classes)
    if len(pictures) < len(opened.pictures):
        notes.append(f"Attacking {len(pictures):,} of {len(opened.pictures):,} pictures; --most sets how many.")
    if not all(epsilons):
        notes.append("Epsilon 0 is no attack: the clean accuracy is that of the pictures as they are.")
    for note in notes:
        watcher.note(note)
    notes = [*opened.notes, *notes]
    threats = [Threat(known_norm, each, steps) for each in epsilons if each]

    borders = opened.bundle.borders
    with claim(Path(out), opened.bundle.name, resume=False, kind=ROBUSTNESS) if out else nullcontext() as folder:
        every = [Threat(known_norm, 0, steps), *threats]
        tried = max(1, steps // TRIED_STEPS) if known_norm in ("linf", "l2") else steps
        briefly = [replace(each, steps=tried) for each in every]
        say_how_long(
            watcher,
            pictures,
            lambda few: ensemble(model, few, briefly, names, borders, seed),
            of=16,
            share=tried / steps,
        )
        watcher.stage("attacking")
        clean, *lefts = ensemble(model, pictures, every, names, borders, seed, told(watcher))
        signs = _signs(model, pictures, lefts, num_classes, borders, seed) if len(names) > 1 else None
        if signs:
            notes.append(_told(signs))
            watcher.note(notes[-1])
        if folder:
            is_all = known_norm == "linf" and eps is None and not attacks
            linf = [clean, *lefts] if is_all else []
            report, fooled = full_robustness(
                model,
                opened.predictor,
                pictures,
                seed,
                steps,
                watcher,
                linf,
                lefts if known_norm == "l2" else (),
                {} if eps is None else {known_norm: epsilons},
            )
            title = f"{opened.bundle.name} on {opened.data}"
            write_atomically(folder / FACTS, to_json(asdict(report) | {"notes": notes}))
            write_atomically(folder / PAGE, render_html(report, fooled, title, notes))
    return Attacked(
        opened.bundle.path,
        opened.data,
        opened.split,
        len(pictures),
        norm,
        tuple(map(_survival, [clean, *lefts])),
        signs is not None,
        tuple(notes),
        folder / PAGE if folder else None,
    )


def _known(norm: str) -> Norm:
    for known in EPS:
        if known == norm:
            return known
    raise UsageError(f"There is no norm '{norm}'. {suggestion(norm, EPS)}The norms are {', '.join(EPS)}.")


def _check_shift(norm: Norm, epsilons: Sequence[float], pictures: Split) -> None:
    height, width = pictures.shape[:2]
    if norm == "shift" and (eps := max(epsilons)) >= min(height, width) and min(height, width) > 1:
        raise UsageError(
            f"A shift by {eps:g} pixels was asked for, and the model sees pictures of {width}x{height}, of which that "
            f"leaves nothing. Give less than {min(height, width)}, such as --eps 1 2."
        )


def _checked(asked: Sequence[str], norm: Norm, model: nn.Module, num_classes: int) -> list[str]:
    names = fitting(model, num_classes, norm)
    if not asked:
        if not names:
            raise UsageError(
                f"No attack in {norm} fits this model. Models without gradients can be attacked in linf, and by shift "
                "and rotation."
            )
        return names
    for name in asked:
        if name not in ATTACKS:
            raise UsageError(
                f"There is no attack '{name}'. {suggestion(name, ATTACKS)}The attacks are {', '.join(ATTACKS)}."
            )
        row = ATTACKS[name]
        if name not in within(norm):
            raise UsageError(
                f"'{name}' attacks within {' and '.join(row.norms)}, not within {norm}. Give --norm {row.norms[0]}, or "
                f"with --norm {norm} one of {', '.join(names)}."
            )
        if not are_met(row.needs, model, num_classes):
            raise UsageError(
                f"The {row.title} needs {in_words(row.needs)}, and this model is none. Choose from {', '.join(names)}."
            )
    return list(dict.fromkeys(asked))


def _signs(
    model: nn.Module, pictures: Split, lefts: Sequence[Left], num_classes: int, borders: Borders, seed: int
) -> Masking | None:
    """Look for masked gradients within the threat that leaves nearest to half of the pictures."""
    if not lefts:
        return None
    middle = min(lefts, key=lambda left: abs(left.worst.accuracy - 0.5))
    signs = masking(model, pictures, middle, num_classes, borders, seed)
    return signs if signs.is_likely else None


def _told(signs: Masking) -> str:
    return (
        f"Gradients seem to be masked: within {signs.threat.norm} {signs.threat.eps:.4g}, an attack without gradients "
        f"fools {signs.only_square:,} of {counted(signs.n, 'picture')} that those with gradients do not; "
        f"of {signs.looked_at:,}, one step leaves {signs.one_step:,} right and twenty {signs.many_steps:,}. The true "
        "accuracy may be lower."
    )


def _survival(left: Left) -> Survival:
    right, n = int(left.worst.survived_N.sum()), len(left.worst.survived_N)
    low, high = accuracy_interval(right, n)
    moved = left.worst.distance_N[np.isfinite(left.worst.distance_N) & (left.worst.distance_N > 0)]
    after = {ATTACKS[name].title: count / n for name, count in left.after}
    return Survival(
        left.worst.threat.eps, right / n, low, high, n, after, float(np.median(moved)) if len(moved) else None
    )
