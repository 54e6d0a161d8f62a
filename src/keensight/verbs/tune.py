"""`keensight tune`: from DATA to a better recipe, using only validation pictures."""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from keensight.data.sources import open_dataset
from keensight.errors import TrainingError, UsageError, counted
from keensight.evaluation.gain import Gain, gain
from keensight.files import to_json, write_atomically
from keensight.pages.tuning import render_tuning
from keensight.pipeline.budget import seconds_of
from keensight.pipeline.prepare import Material, prepare
from keensight.pipeline.resume import own_recipe, same_recipe
from keensight.pipeline.search_folder import (
    BEST,
    PAGE,
    TUNING,
    accuracy_of,
    how_to_go_on,
    keep,
    make_plan,
    read_trials,
    refuse_finished,
    restore_recipe,
    space_of,
    write_best,
)
from keensight.pipeline.trials import AT_ONCE, how_to_try, next_trials, objective_of, with_seeds
from keensight.pipeline.watch import Watcher
from keensight.pipeline.workers import Hire, Processes, Workers
from keensight.scale.cluster import SAME_TO_TRY
from keensight.scale.hired import hire_on
from keensight.training.recipe import load_recipe
from keensight.training.search_space import values_of
from keensight.training.tune import Spread, Trial, best_of, importances, propose, run
from keensight.workspace import RECIPE, claim


@dataclass(frozen=True, slots=True)
class Tuning:
    """The results of a search: its folder, the recipe file `best`, and all trials in order.

    `gain` compares the best trial with `trials[0]`, the recipe as it was, on `num_val` pictures; it is None if that
    failed. `importances` is each key's share of the accuracy's variance, empty if too few trials finished.
    """

    folder: Path
    best: Path
    page: Path
    trials: tuple[Trial, ...]
    winner: Trial
    gain: Gain | None
    importances: Mapping[str, float]
    num_val: int
    seconds: float  # of all trials
    spread: Spread | None = None  # with other seeds, where asked for

    @property
    def advised(self) -> Path:
        """The recipe to train with: the best, or the search's first one if that is as good."""
        return self.folder / RECIPE if self.gain and self.gain.is_noise else self.best


class _BudgetUsed(Exception):  # noqa: N818 - it is not an error
    """The time ran out in the middle of a trial."""


def tune(
    data: str | Path,
    *,
    recipe: str | None = None,
    trials: int | None = None,
    budget: float | str | None = None,
    set: Sequence[str] = (),
    search: Sequence[str] = (),
    out: str | Path | None = None,
    resume: bool = False,
    seed: int | None = None,
    label_pattern: str | None = None,
    workers: int | None = None,
    cluster: str | None = None,
    seeds: int = 0,
    watcher: Watcher | None = None,
) -> Tuning:
    """Search for a better learning rate, batch size, number of epochs and so on, by validation accuracy.

    The test split is set aside as `train` draws it and never used. The first trial is the recipe as it is; all trials
    share one seed. The results are a recipe file for `train`, a page, and the trials as JSON lines.

    Args:
        data: Labelled pictures, in any form that `train` takes.
        recipe: A recipe's name or .toml file; `default` if left out.
        trials: How many trials in all; 20 if neither this nor `budget` is given.
        budget: The time for all trials: seconds, or 90s, 10m or 2h. The first trial always finishes.
        set: Change the recipe, as KEY=VALUE, and do not search that key; can be repeated.
        search: Search these keys instead of the standard ones, such as learning_rate and flip.
        out: The folder to write, new or empty; the first free name under tunings/ if left out.
        resume: Continue an interrupted search with the trials that it would have had, or add trials to one.
        seed: The seed of all randomness, including the search's.
        label_pattern: Take labels from file names, such as `'{label}__*'`; `'{label...}_*'` reaches to the last _;
            `'{label}/**'` takes them from folders.
        workers: Try so many recipes at once, each on a core of its own. The trials are the same for any number, and
            others than without: they are chosen eight at a time.
        cluster: With `workers`: the address of a Ray cluster, such as 10.0.0.1:6379, whose machines all see the same
            DATA. This machine alone if left out.
        seeds: Train the best recipe and the one as it was with so many other seeds, too: is the gain more than luck?
        watcher: Is told of the progress.

    Raises:
        KeensightError: says what was given, what is accepted and what to do next.

    Examples:
        >>> import keensight
        >>> found = keensight.tune("digits", recipe="dense", trials=20)  # doctest: +SKIP
        >>> run = keensight.train("digits", recipe=str(found.best))  # doctest: +SKIP
    """
    watcher = watcher or Watcher()
    if trials is not None and trials < 1:
        raise UsageError(f"{trials} trials were asked for. It takes at least 1; the first is the recipe as it is.")
    if seeds < 0:
        raise UsageError(f"{seeds} seeds were asked for; give 0 or more, such as 3.")
    hire = _way_to_hire(workers, cluster, watcher)
    budget_s = None if budget is None else seconds_of(budget)
    out = None if out is None else Path(out)
    if out and resume:
        restore_recipe(out)
    elif out:
        refuse_finished(out)
    asked = None if resume else load_recipe(recipe or "default", set, seed)
    label_pattern = label_pattern or (asked or own_recipe(out, recipe)).data.label_pattern
    dataset = open_dataset(data, label_pattern=label_pattern or None)
    with claim(out, dataset.name, resume, TUNING) as folder:
        if resume:
            restore_recipe(folder)
        asked = (asked or same_recipe(folder, recipe, set, seed, TUNING)).having(label_pattern=label_pattern)
        try:
            material = prepare(dataset, asked, watcher, choosing=True)
            at_once = 1 if workers is None else AT_ONCE
            plan = make_plan(folder, str(data), material, set, search, trials, budget_s, resume, at_once)
            return _tune(folder, plan, material, watcher, seeds, workers or 1, hire)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(how_to_go_on(folder, str(data))) from None


def _way_to_hire(workers: int | None, cluster: str | None, watcher: Watcher) -> Hire:
    """Return how to get workers: here, or on Ray. Raises UsageError for options that make no sense."""
    if workers is None and cluster is not None:
        raise UsageError("--cluster is for several workers. Give their number: --workers 2.")
    if workers is not None and workers < 1:
        raise UsageError(f"--workers is {workers}; give 1 or more, such as the number of cores.")
    return Processes if cluster is None else hire_on(cluster, SAME_TO_TRY, watcher.note)


def _tune(
    folder: Path, plan: Mapping[str, Any], material: Material, watcher: Watcher, seeds: int, workers: int, hire: Hire
) -> Tuning:
    trials = read_trials(folder)
    if trials:
        write_best(folder, material, trials)  # a kill may have come between the last line and its recipe
        watcher.note(_resumed(plan, trials))
    together = plan["at_once"] > 1
    try:
        if not together:
            _search(folder, plan, material, trials, watcher)
        elif not _is_done(plan, trials, workers):
            with hire(min(workers, AT_ONCE), how_to_try(plan["data"], plan)) as crew:
                _search_together(crew, folder, plan, material, trials, watcher, workers)
    except KeyboardInterrupt:
        if best_of(kept := read_trials(folder)):
            watcher.stage("interrupted, writing the page")
            _sum_up(folder, plan, material, kept, is_over=False)
        raise
    if best_of(trials) is None:
        raise TrainingError(
            f"None of the {counted(len(trials), 'trial')} has a result. The first failed with: {trials[0].reason} "
            f"All are in {folder / TUNING.kept}."
        )
    spread = None
    if seeds:
        watcher.stage("other seeds")
        with hire(workers, how_to_try(plan["data"], plan)) as crew:
            spread = _spread(crew, material, trials, seeds)
    watcher.stage("what mattered")
    tuning = _sum_up(folder, plan, material, trials, is_over=True, spread=spread)
    result = {
        "best": tuning.winner.number,
        "values": dict(tuning.winner.values),
        "val_accuracy": tuning.winner.val_accuracy,
        "gain": asdict(tuning.gain) if tuning.gain else None,
        "importances": dict(tuning.importances),
        "seconds": tuning.seconds,
        "seeds": asdict(spread) if spread else None,
    }
    write_atomically(folder / TUNING.begun, to_json({**plan, "result": result}))
    return tuning


def _search(
    folder: Path, plan: Mapping[str, Any], material: Material, trials: list[Trial], watcher: Watcher
) -> None:  # fmt: skip
    """Add trials to the existing ones, and keep each, until there are enough or the time is over."""
    space = space_of(plan)
    own = values_of(material.recipe, [dimension.key for dimension in space])
    begin = time.perf_counter()
    used = sum(trial.seconds for trial in trials)

    def check_budget() -> None:
        if trials and _is_used_up(plan, used + time.perf_counter() - begin):
            raise _BudgetUsed

    objective = objective_of(material, watcher, check_budget)
    with suppress(_BudgetUsed):
        while not _is_enough(plan, trials):
            check_budget()
            watcher.trial(len(trials), plan["trials"], _score(trials))
            values = propose(space, own, material.recipe.seed, trials)
            trials.append(run(objective, values, len(trials), trials))
            keep(folder, material, trials)


def _search_together(
    crew: Workers, folder: Path, plan: Mapping[str, Any], material: Material, trials: list[Trial], watcher: Watcher,
    workers: int,
) -> None:  # fmt: skip
    """Add trials by several workers, batch by batch, and keep each once all before it have ended."""
    begin = time.perf_counter()
    used = sum(trial.seconds for trial in trials) / workers
    watcher.trial(len(trials), plan["trials"], _score(trials))
    while not _is_enough(plan, trials):
        ended: dict[int, Trial] = {}
        for trial in next_trials(crew, space_of(plan), material, trials, plan["trials"]):
            ended[trial.number] = trial
            while len(trials) in ended:
                trials.append(ended.pop(len(trials)))
                keep(folder, material, trials)
            watcher.trial(len(trials), plan["trials"], _score(trials))
            if trials and _is_used_up(plan, used + time.perf_counter() - begin):
                return


def _spread(crew: Workers, material: Material, trials: Sequence[Trial], seeds: int) -> Spread | None:
    """Train the best settings, and those of the recipe as it was, with `seeds` other seeds."""
    winner, own = best_of(trials), trials[0]
    assert winner is not None
    tried = [own] if winner is own else [own, winner]
    others = range(material.recipe.seed + 1, material.recipe.seed + 1 + seeds)
    found = with_seeds(crew, [trial.values for trial in tried], others)
    return Spread(tuple(others), *(tuple(each) for each in (found[0], found[-1])))


def _is_done(plan: Mapping[str, Any], trials: Sequence[Trial], workers: int) -> bool:
    return _is_enough(plan, trials) or _is_used_up(plan, sum(trial.seconds for trial in trials) / workers)


def _is_enough(plan: Mapping[str, Any], trials: Sequence[Trial]) -> bool:
    return plan["trials"] is not None and len(trials) >= plan["trials"]


def _is_used_up(plan: Mapping[str, Any], seconds: float) -> bool:
    return plan["budget_s"] is not None and seconds >= plan["budget_s"]


def _resumed(plan: Mapping[str, Any], trials: Sequence[Trial]) -> str:
    """Say where a search continues, or that it is finished."""
    if _is_enough(plan, trials):
        return f"The search is finished, with {counted(len(trials), 'trial')}. Ask for more with --trials."
    if _is_used_up(plan, sum(trial.seconds for trial in trials)):
        return (
            f"The search is finished: its {plan['budget_s']:g} s are used up, after {counted(len(trials), 'trial')}. "
            "Ask for more with --trials or --budget."
        )
    return f"Continuing after {counted(len(trials), 'trial')}."


def _sum_up(
    folder: Path, plan: Mapping[str, Any], material: Material, trials: Sequence[Trial], is_over: bool,
    spread: Spread | None = None,
) -> Tuning:  # fmt: skip
    """Compare the best trial, which must exist, with the recipe as it was, and write the page."""
    winner, own = best_of(trials), trials[0]
    assert winner is not None
    assert winner.val_accuracy is not None
    space, num_val = space_of(plan), len(material.splits.val)
    found = None
    if own.val_accuracy is not None:
        found = gain(round(winner.val_accuracy * num_val), num_val, round(own.val_accuracy * num_val), num_val)
    tuning = Tuning(
        folder=folder,
        best=folder / BEST,
        page=folder / PAGE,
        trials=tuple(trials),
        winner=winner,
        gain=found,
        importances=importances(space, trials, material.recipe.seed),
        num_val=num_val,
        seconds=round(sum(trial.seconds for trial in trials), 3),
        spread=spread,
    )
    command = shlex.join(["keensight", "train", plan["data"], "--recipe", str(tuning.advised)])
    page = render_tuning(
        name=folder.resolve().name, recipe=material.recipe, space=space, trials=trials, winner=winner, found=found,
        shares=tuning.importances, num_val=num_val, seconds=tuning.seconds, command=command, is_over=is_over,
        spread=spread,
    )  # fmt: skip
    write_atomically(tuning.page, page)
    return tuning


def _score(trials: Sequence[Trial]) -> str:
    winner = best_of(trials)
    return f"best so far {accuracy_of(winner)}, trial {winner.number}" if winner else ""
