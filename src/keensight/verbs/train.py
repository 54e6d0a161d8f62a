"""`keensight train`: from DATA to a run folder with a report and a bundle."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from keensight.data.in_hand import Data, places_of
from keensight.data.named import NAMES
from keensight.data.run_list import data_json
from keensight.data.sources import open_dataset
from keensight.data.splits import splits_jsonl
from keensight.errors import PatternError, UsageError
from keensight.evaluation.report import from_dict
from keensight.files import to_json, write_atomically
from keensight.pipeline.budget import Budget, seconds_of
from keensight.pipeline.choose import Chosen, choose, chooses, why_no_choice
from keensight.pipeline.logged import check_log
from keensight.pipeline.onwards import recipe_to_go_on
from keensight.pipeline.prepare import prepare
from keensight.pipeline.resume import own_recipe, same_recipe
from keensight.pipeline.run import Fit, check_same_pictures, train_run
from keensight.pipeline.watch import Watcher
from keensight.scale.on_ray import fit_on_ray
from keensight.training.recipe import changes_of, load_recipe
from keensight.training.trainers import fit_any
from keensight.values import Recipe, Report
from keensight.workspace import RUN, RunFolder, claim, is_finished

MOST_WORKERS = 10_000


@dataclass(frozen=True, slots=True)
class Run:
    """The results of a training run: its folder, its bundle, and its report."""

    folder: Path
    bundle: Path
    report: Report


def train(
    data: Data | Iterable[Data],
    *,
    recipe: str | None = None,
    from_: str | Path | None = None,
    out: str | Path | None = None,
    set: Sequence[str] = (),
    seed: int | None = None,
    resume: bool = False,
    label_pattern: str | None = None,
    weights_only: str | Path | None = None,
    budget: float | str | None = None,
    checkpoint_every: float | str | None = None,
    workers: int | None = None,
    cluster: str | None = None,
    reduce: str = "exact",
    log: str | None = None,
    watcher: Watcher | None = None,
) -> Run:
    """Train a classifier on labelled pictures, evaluate it, and write a report and a bundle into a run folder.

    Args:
        data: A folder, .zip or .tar.* of pictures in class folders; a .csv, .tsv or .jsonl manifest; a folder of IDX
            files; an .npz; a run's splits.jsonl; or digits, mnist, fashion-mnist. Several of these are joined, labels
            by name.
        from_: Go on from this bundle: its recipe, what it learnt, and who was in which split of its run.
        recipe: A recipe's name or .toml file; chosen by what the pictures are like if left out.
        out: The run folder, new or empty; the first free name under runs/ if left out.
        set: Change the recipe, as KEY=VALUE; can be repeated.
        seed: The seed of all randomness.
        resume: Continue an interrupted run; the result has the same bits as without the interruption.
        label_pattern: Take labels from file names, such as `'{label}__*'`; `'{label...}_*'` reaches to the last _;
            `'{label}/**'` takes them from folders.
        weights_only: Start from the parameters in this .safetensors file, which must fit the recipe.
        budget: The time for the whole: seconds, or 90s, 10m or 2h. More of it lets more models be tried, and a recipe
            train for longer; about a minute for a thousand photographs if left out.
        checkpoint_every: Keep a checkpoint in the middle of an epoch whenever this time has gone: seconds, or 90s, 10m
            or 2h. After each epoch one is kept in any case.
        workers: Train with so many processes, on Ray: the bits are those of one. A machine that is lost costs only what
            was learnt since the last checkpoint.
        cluster: The address of a Ray cluster, such as 10.0.0.1:6379; this machine alone if left out.
        reduce: How workers add up: exact, or fast, where the last bits depend on how many there are.
        log: Log the numbers of each epoch, the recipe and the bundle's metrics to tensorboard (in the run folder) or
            mlflow, where that is installed.
        watcher: Is told of the progress.

    Raises:
        KeensightError: says what was given, what is accepted and what to do next.

    Examples:
        >>> import keensight
        >>> run = keensight.train("digits", set=["epochs=3"])  # doctest: +SKIP
        >>> run.report.test.accuracy > 0.9  # doctest: +SKIP
        True
    """
    check_log(log)
    watcher = watcher or Watcher()
    places, set = places_of(data), changes_of(set)
    if weights_only is not None:
        set = [*set, f"weights={json.dumps(str(weights_only))}"]  # JSON's quotes are TOML's
    if resume and from_ is not None:
        raise UsageError(
            "--resume and --from were given. A run that is resumed knows where it began; leave --from out."
        )
    every_s = None if checkpoint_every is None else seconds_of(checkpoint_every, "A time between checkpoints")
    time_given = None if budget is None else Budget(seconds_of(budget))
    fit = _way_to_fit(workers, cluster, reduce, watcher)
    is_free = not resume and from_ is None and workers is None and chooses(recipe, set)
    if time_given and not is_free:
        set = [*set, _time_for(time_given, resume)]
    asked = None if resume else _recipe_asked(from_, recipe, set, seed)
    of_recipe = (asked or own_recipe(out, recipe)).data.label_pattern
    own_pattern, label_pattern = label_pattern, label_pattern or of_recipe
    try:
        dataset = open_dataset(places, label_pattern=label_pattern or None)
    except PatternError as error:
        if own_pattern:
            raise
        raise PatternError(f"{error} This pattern comes from the recipe.") from None
    if not (resume or from_ or recipe or is_free) and (said := why_no_choice(dataset, set)):
        watcher.note(said)
    with claim(Path(out) if out is not None else None, dataset.name, resume) as folder:
        files = RunFolder(folder)
        asked = (asked or same_recipe(folder, recipe, set, seed, RUN)).having(label_pattern=label_pattern)
        if resume and is_finished(folder):
            material = prepare(
                dataset, asked, Watcher(), workers=workers or 1
            )  # everything was reported when the run was trained
            check_same_pictures(files, splits_jsonl(material.pixels, material.splits))
            watcher.note(f"{folder} is finished; there is nothing to resume.")
            return Run(folder, files.bundle, from_dict(json.loads(files.report.read_text(encoding="utf-8"))))
        try:
            if is_free:
                chosen = choose(dataset, set, seed, label_pattern, time_given, watcher)
            else:
                chosen = Chosen(prepare(dataset, asked, watcher, workers=workers or 1))
            if not resume:
                write_atomically(files.data, to_json(data_json(places, label_pattern, NAMES)))
            report = train_run(files, chosen, resume, watcher, fit=fit, every_s=every_s, log=log)
            run = Run(folder, files.bundle, report)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(_how_to_go_on(files, [str(place) for place in places])) from None
    if time_given and time_given.is_exceeded:
        watcher.note(time_given.excess())
    return run


def _way_to_fit(workers: int | None, cluster: str | None, reduce: str, watcher: Watcher) -> Fit:
    """Return how to train: here, or on Ray. Raises UsageError for options that make no sense."""
    if reduce not in ("exact", "fast"):
        raise UsageError(f"--reduce is '{reduce}'; exact and fast are accepted.")
    if workers is None:
        if cluster is not None or reduce != "exact":
            raise UsageError("--cluster and --reduce are for several workers. Give their number: --workers 2.")
        return fit_any
    if not 1 <= workers <= MOST_WORKERS:
        raise UsageError(f"--workers is {workers}; whole numbers from 1 to {MOST_WORKERS:,} are accepted.")
    return partial(fit_on_ray, workers=workers, cluster=cluster, fast=reduce == "fast", note=watcher.note)


def _recipe_asked(bundle: str | Path | None, recipe: str | None, changes: Sequence[str], seed: int | None) -> Recipe:
    if bundle is None:
        return load_recipe(recipe or "default", changes, seed)
    return recipe_to_go_on(bundle, recipe, changes, seed)


def _time_for(budget: Budget, resume: bool) -> str:
    """Return the time to train as a change of the recipe, where that is not chosen."""
    if resume:
        raise UsageError(
            "--budget and --resume were both given. A run that is resumed keeps the recipe and the time that it began "
            "with: leave --budget out, or train into another folder."
        )
    return f"budget_s={budget.seconds:g}"


def _how_to_go_on(files: RunFolder, data: Sequence[str]) -> str:
    if not files.last.exists():
        return "interrupted before the first epoch ended; nothing was kept."
    words = shlex.join(["keensight", "train", *data, "--out", str(files.path), "--resume"])
    return f"interrupted. Everything up to the last checkpoint is in {files.path}; resume with: {words}"
