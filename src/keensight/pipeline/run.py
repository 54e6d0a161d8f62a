"""A training run, from its material to its report: what is written into the folder, and when."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from keensight.data.splits import splits_jsonl
from keensight.errors import RunError, counted
from keensight.files import write_atomically
from keensight.models.features import OnProgress
from keensight.pipeline.choose import Chosen
from keensight.pipeline.finish import finish
from keensight.pipeline.logged import Write, logged, of_epoch, of_report
from keensight.pipeline.watch import Watcher
from keensight.training.checkpoint import load_state, load_weights, save_state, save_weights
from keensight.training.loop import OnStep, Pauses, State, start
from keensight.training.recipe import to_toml
from keensight.training.trainers import fit_any
from keensight.values import Epoch, Recipe, Report, Splits
from keensight.workspace import RunFolder, write_history


class Fit(Protocol):
    """A way to train, here or on many machines: a generator of epochs over a state, as `fit` is."""

    def __call__(
        self,
        state: State,
        splits: Splits,
        recipe: Recipe,
        on_step: OnStep,
        on_progress: OnProgress,
        *,
        pauses: Pauses | None,
    ) -> Iterator[Epoch]:
        """Yield epochs; the state is up to date at each, and whenever `pauses.keep` is called."""


def train_run(
    files: RunFolder,
    chosen: Chosen,
    resume: bool,
    watcher: Watcher,
    *,
    fit: Fit = fit_any,
    every_s: float | None = None,
    log: str | None = None,
) -> Report:
    """Train what was chosen into a run folder, to its report and bundle.

    A checkpoint is kept after each epoch and, with `every_s`, in the middle of one whenever so many seconds have gone.
    `log` is one of `logged.LOGS`, which gets the numbers of each epoch and of the report.
    Raises RunError if the folder's run began with other pictures.
    """
    material = chosen.material
    pixels, splits, recipe = material.pixels, material.splits, material.recipe
    _begin(files, recipe, splits_jsonl(pixels, splits), resume)
    state = chosen.state or start(material.model, splits, recipe)
    if resume and files.last.exists():
        load_state(files.last, state)
    if chosen.state:  # with the weights of its best epoch
        save_weights(files.best, state.model)
        save_state(files.last, state)
    elif state.history or state.partial:
        watcher.note(f"Continuing after {_how_far(state)}.")
    with logged(log, files, recipe, state.history) as write:
        keep_best(files, state, splits, recipe, watcher, fit, every_s, write)
        report = finish(files, state, pixels, splits, recipe, watcher, choice=chosen.choice)
        write(of_report(report), report.history[-1].number)
    return report


def _begin(files: RunFolder, recipe: Recipe, pictures: str, resume: bool) -> None:
    """Write the run's recipe and list of pictures; when resuming, check that they are unchanged."""
    if resume:
        check_same_pictures(files, pictures)
    else:
        write_atomically(files.recipe, to_toml(recipe))
    write_atomically(files.splits, pictures)


def check_same_pictures(files: RunFolder, pictures: str) -> None:
    """Raise RunError if a folder's run began with other pictures, labels or splits."""
    if files.splits.exists() and files.splits.read_text(encoding="utf-8") != pictures:
        raise RunError(
            f"The pictures, labels or splits are not those that the run in {files.path} began with, so resuming would "
            "mix two experiments. Give the same DATA and --label-pattern, or train into another folder."
        )


def keep_best(
    files: RunFolder,
    state: State,
    splits: Splits,
    recipe: Recipe,
    watcher: Watcher,
    fit: Fit = fit_any,
    every_s: float | None = None,
    write: Write | None = None,
) -> None:
    """Train, keeping checkpoints and the history; leave the best epoch's weights in the model."""

    def on_step(done: int, total: int) -> None:
        watcher.step(len(state.history) + 1, recipe.train.epochs, done, total)

    def keep() -> None:
        save_state(files.last, state)

    if state.history:
        write_history(files, state.history)  # a kill may have come between the last checkpoint and its line
    pauses = None if every_s is None else Pauses(every_s, keep)
    for epoch in fit(state, splits, recipe, on_step, watcher.features, pauses=pauses):
        if epoch.best:
            save_weights(files.best, state.model)
        keep()
        write_history(files, state.history)
        watcher.epoch(epoch, recipe.train.epochs)
        if write:
            write(of_epoch(epoch), epoch.number)
        if watcher.is_enough():
            watcher.note(f"Training was ended after epoch {epoch.number}; the best epoch so far is kept.")
            break
    load_weights(files.best, state.model)


def _how_far(state: State) -> str:
    epochs, partial = len(state.history), state.partial
    said = [f"epoch {epochs}"] if epochs else []
    said += [f"{counted(partial.steps, 'step')} of epoch {epochs + 1}"] if partial else []
    return " and ".join(said)
