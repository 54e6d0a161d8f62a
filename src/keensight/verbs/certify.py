"""`keensight certify`: for how many pictures it is proved that no small change of their pixels changes the answer."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from keensight.bundle.network import network_of, recipe_of
from keensight.bundle.read import Bundle
from keensight.data.in_hand import Data
from keensight.errors import UsageError
from keensight.evaluation.metrics import accuracy_interval
from keensight.evaluation.words import duration
from keensight.inference.predictor import num_inverted, told_inverted
from keensight.models.tensors import device
from keensight.pipeline.beforehand import say_how_long
from keensight.pipeline.epsilons import checked_eps
from keensight.pipeline.part import checked_seed, is_count, open_part
from keensight.pipeline.robust import how_many
from keensight.pipeline.watch import Watcher
from keensight.robustness.bounds.smoothing import widest_radius
from keensight.robustness.certificates import OnPicture, certified, certified_by_noise
from keensight.values import Certificate, Norm, Split

EPS = (1 / 255, 2 / 255, 4 / 255, 8 / 255)
EPS_L2 = (0.1, 0.25, 0.5, 1.0)
LEAST_DRAWS = 20
LONG_S = 30.0


@dataclass(frozen=True, slots=True)
class CertifiedShare:
    """How many of the pictures are certified within `eps`, with the 95 % interval of that share, and by what."""

    eps: float
    certified: float
    certified_low: float
    certified_high: float
    n: int
    methods: dict[str, int]


@dataclass(frozen=True, slots=True)
class CertifiedPicture:
    """A picture: is the answer right, and what is the largest of the epsilons for which that is proved, if any?"""

    file: str
    label: str
    right: bool
    eps: float | None


@dataclass(frozen=True, slots=True)
class Certification:
    """What is proved of a bundle on some labelled pictures; `accuracy` is that of the pictures as they are.

    With `noise` above 0, it is the smoothed classifier's.
    """

    bundle: Path
    data: str
    split: str
    norm: Norm
    noise: float
    n: int
    accuracy: float
    shares: tuple[CertifiedShare, ...]
    pictures: tuple[CertifiedPicture, ...]
    notes: tuple[str, ...] = ()


def certify(
    bundle: str | Path,
    data: Data | Iterable[Data],
    *,
    eps: float | str | Sequence[float | str] | None = None,
    split: str | None = None,
    most: int | None = None,
    branch: float = 0.0,
    smooth: float = 0.0,
    draws: int = 1000,
    seed: int = 0,
    label_pattern: str | None = None,
    key: str | Path | None = None,
    watcher: Watcher | None = None,
) -> Certification:
    """Prove, for as many labelled pictures as possible, that no change of their pixels within eps changes the answer.

    A picture that is not certified need not be wrong anywhere: it is only not proved. See docs/robustness.md.

    Args:
        bundle: The bundle's folder, or the run folder around it.
        data: Labelled pictures, in any form that `train` takes, several of them too.
        eps: How much every pixel may change, as parts of the pixel range from 0 to 1; what the model was trained for,
            or 1, 2, 4 and 8 of 255 levels, if left out. With `smooth`, how far a picture may move in l2.
        split: train, val or test; the test split, or all pictures if there are no splits, if left out.
        most: Certify at most this many pictures, taken evenly; 0: all. 1,000, or 100 if they are larger than 64x64, if
            left out.
        branch: Spend up to this many seconds for each eps on cutting what is nearly proved into cases. How much that
            proves depends on the machine.
        smooth: Certify the answer under noise of this standard deviation, a part of the pixel range: for any network.
        draws: How many noisy copies of each picture are classified for that.
        seed: Of the noise.
        label_pattern: Take labels from file names, such as `'{label}__*'`; `'{label...}_*'` reaches to the last _;
            `'{label}/**'` takes them from folders.
        key: Refuse the bundle unless the owner of this public key signed it.
        watcher: Is told of the progress.

    Raises:
        UsageError: the arguments make no sense, such as an eps on the scale of 0 to 255.
        RecipeError: the network has a layer without bounds; it is named.
        DataError: the data cannot be used, has no labels, or labels that the bundle does not know.
        BundleError: the bundle cannot be used, or has no weights.
        GateError: it was changed after it was signed, or is not what `key` signed.

    Examples:
        >>> import keensight
        >>> keensight.certify("runs/digits", "digits", eps=[0.05]).shares[0].certified  # doctest: +SKIP
        0.94
    """
    watcher = watcher or Watcher()
    norm: Norm = "l2" if smooth else "linf"
    asked = None if eps is None else checked_eps(eps, norm)
    _check(most, branch, smooth, draws)
    checked_seed(seed)
    opened = open_part(bundle, data, split, label_pattern, key, watcher)
    known = opened.bundle
    model = network_of(known)
    epsilons = asked or (EPS_L2 if smooth else _of_training(known) or EPS)
    most = how_many(opened.pictures) if most is None else most
    part = opened.pictures.thinned(most) if most else opened.pictures
    notes = []
    if len(part) < len(opened.pictures):
        notes.append(f"Looking at {len(part):,} of {len(opened.pictures):,} pictures. --most 0 takes all.")
    if said := told_inverted(num_inverted(opened.predictor, part), len(part), "pictures"):
        notes.append(said)
    if smooth and epsilons[-1] > (widest := widest_radius(smooth, draws)):
        notes.append(
            f"{draws:,} draws of this noise can certify {widest:.3g} at most. A larger --draws or --smooth can certify "
            "more."
        )
    for note in notes:
        watcher.note(note)
    notes = [*opened.notes, *notes]

    def prove(pictures: Split, branch_s: float = 0.0, on_picture: OnPicture | None = None) -> list[Certificate]:
        if smooth:
            on = model.to(device())
            return certified_by_noise(on, pictures, epsilons, smooth, draws, known.borders, seed, on_picture)
        return certified(model, pictures, epsilons, known.borders, branch_s, on_picture)

    say_how_long(watcher, part, prove, of=50)
    watcher.stage("certifying")
    began = time.monotonic()
    found = prove(part, branch * len(epsilons), watcher.certified)
    if (took := time.monotonic() - began) > LONG_S:
        watcher.note(f"That took {duration(took)}.")
    right_N = found[0].correct_N
    return Certification(
        bundle=known.path,
        data=opened.data,
        split=opened.split,
        norm=norm,
        noise=smooth,
        n=len(part),
        accuracy=float(right_N.mean()),
        shares=tuple(map(_share, found)),
        pictures=tuple(
            CertifiedPicture(
                path,
                known.labels[label],
                bool(right_N[i]),
                max((each.threat.eps for each in found if each.certified_N[i]), default=None),
            )
            for i, (path, label) in enumerate(zip(part.paths, part.labels.tolist(), strict=True))
        ),
        notes=tuple(notes),
    )


def _check(most: int | None, branch: float, smooth: float, draws: int) -> None:
    if most is not None and not is_count(most, 0):
        raise UsageError(f"--most is {most!r}. Give how many pictures to certify at most, or 0 for all.")
    if not 0 <= branch < float("inf"):
        raise UsageError(f"--branch is {branch:g}. Give seconds, such as --branch 60, or 0 for no cases.")
    if not 0 <= smooth <= 10:
        raise UsageError(
            f"--smooth is {smooth:g}. Give the noise's standard deviation as a part of the pixel range, such as 0.25."
        )
    if branch and smooth:
        raise UsageError("--branch and --smooth are two ways to certify. Give one of them.")
    if draws < LEAST_DRAWS:
        raise UsageError(f"--draws is {draws}, which proves nothing. Give {LEAST_DRAWS} or more, such as 1000.")


def _of_training(bundle: Bundle) -> tuple[float, ...]:
    """Return the epsilons that the recipe trained for, or evaluates; nothing for an imported model."""
    if bundle.info.origin is not None:
        return ()
    recipe = recipe_of(bundle)
    return tuple(sorted({*recipe.evaluate.certify_eps, *([recipe.train.eps] if recipe.train.eps else [])}))


def _share(found: Certificate) -> CertifiedShare:
    n = len(found.certified_N)
    low, high = accuracy_interval(int(found.certified_N.sum()), n)
    methods = Counter(method for method in found.method_N.tolist() if method)
    return CertifiedShare(found.threat.eps, found.accuracy, low, high, n, dict(methods))
