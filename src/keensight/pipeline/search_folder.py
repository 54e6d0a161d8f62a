"""The folder of a search: its plan, its trials, and the best recipe so far, written so that a kill loses nothing."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from keensight.data.cache import fingerprint
from keensight.errors import RunError, counted
from keensight.files import to_json, write_atomically
from keensight.pipeline.prepare import Material
from keensight.training.recipe import changed, from_table, to_toml
from keensight.training.search_space import Dimension, check_can_be_tuned, search_space
from keensight.training.tune import Trial, best_of, trial_of
from keensight.workspace import RECIPE, Kind

TRIALS = 20
PAGE = "tuning.html"
BEST = "best.toml"
TUNING = Kind(
    "search", "Tune", home=Path("tunings"), begun="tuning.json", kept="trials.jsonl",
    finished="",  # it can always be extended by more trials
)  # fmt: skip


def make_plan(
    folder: Path, data: str, material: Material, changes: Sequence[str], keys: Sequence[str],
    trials: int | None, budget_s: float | None, resume: bool, at_once: int = 1,
) -> dict[str, Any]:  # fmt: skip
    """Write the search's plan; when resuming, check that it is unchanged. `at_once` is the size of its batches."""
    kept, digest = _read_plan(folder) if resume else {}, fingerprint(material.pixels.dataset)
    if kept and kept["fingerprint"] != digest:
        raise RunError(
            f"The pictures or labels are not those that the search in {folder} began with, so its trials could not be "
            "compared with new ones. Give the same DATA and --label-pattern, or search into another folder."
        )
    if kept and at_once > (begun := kept.get("at_once", 1)):
        raise RunError(
            f"The search in {folder} tries one recipe after the other, each chosen by all before it. Several workers "
            "would try other ones. Resume without --workers, or search into another folder with --out."
        )
    at_once = begun if kept else at_once
    fixed = [change.partition("=")[0].strip() for change in changes]
    if not kept or fixed or keys:
        check_can_be_tuned(material.model)
        space = [
            json.loads(json.dumps(asdict(dimension)))
            for dimension in search_space(material.recipe, len(material.splits.train), fixed, keys)
        ]
        if kept and space != kept["search"]:
            then, now = (", ".join(each["key"] for each in listed) for listed in (kept["search"], space))
            raise RunError(
                f"The search in {folder} began with the keys {then}, and {now} were asked for. Resume without --set "
                "and --search, or search into another folder with --out."
            )
    else:
        space = kept["search"]
    if trials is None and budget_s is None:
        trials, budget_s = (kept["trials"], kept["budget_s"]) if kept else (TRIALS, None)
    plan = {
        "data": data,
        "fingerprint": digest,
        "num_train": len(material.splits.train),
        "num_val": len(material.splits.val),
        "search": space,
        "trials": trials,
        "budget_s": budget_s,
        "at_once": at_once,
        "recipe": material.recipe.table(),
    }
    write_atomically(folder / TUNING.begun, to_json(plan))
    restore_recipe(folder)
    return plan


def restore_recipe(folder: Path) -> None:
    """Write the recipe that a search begins with, if it is missing: a kill can come between it and the plan."""
    file = folder / RECIPE
    if (folder / TUNING.begun).exists() and not file.exists() and (table := _read_plan(folder).get("recipe")):
        write_atomically(file, to_toml(from_table(table)))


def refuse_finished(folder: Path) -> None:
    """Raise RunError if a folder holds a finished search, and say how to extend it."""
    if (folder / TUNING.begun).exists() and "result" in _read_plan(folder):
        count = len(read_trials(folder))
        raise RunError(
            f"{folder} holds a finished search of {counted(count, 'trial')}. Add to it with --resume --trials "
            f"{count + TRIALS}, which counts them all, or choose another folder with --out."
        )


def space_of(plan: Mapping[str, Any]) -> list[Dimension]:
    """Return a plan's search space."""
    return [Dimension(**{**each, "choices": tuple(each["choices"])}) for each in plan["search"]]


def keep(folder: Path, material: Material, trials: Sequence[Trial]) -> None:
    """Write every trial, and the best recipe so far, so that a kill does not lose them."""
    lines = "".join(json.dumps(asdict(trial)) + "\n" for trial in trials)
    write_atomically(folder / TUNING.kept, lines)
    winner = best_of(trials)
    if winner is not None and winner.number == trials[-1].number:
        write_best(folder, material, trials)


def write_best(folder: Path, material: Material, trials: Sequence[Trial]) -> None:
    """Write the best recipe so far, if there is one."""
    winner = best_of(trials)
    if winner is not None:
        recipe = material.recipe.having(**winner.values)
        about = (
            f"{material.recipe.name}, tuned: validation accuracy {winner.val_accuracy:.4f} in trial {winner.number}, "
            f"where the recipe as it was had {accuracy_of(trials[0])}."
        )
        # the promise holds only for the old settings
        recipe = recipe.having(name=f"{material.recipe.name}-tuned", about=about, promise={})
        keys = {"name", "model", *changed(recipe), *winner.values}  # left out keys have their defaults
        write_atomically(folder / BEST, to_toml(recipe, keys))


def read_trials(folder: Path) -> list[Trial]:
    """Return the stored trials. Raises RunError if their file is damaged."""
    file = folder / TUNING.kept
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    try:
        return [trial_of(json.loads(line)) for line in lines]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise RunError(
            f"{file} is damaged ({error}), so the search cannot continue. Repair or remove its last lines, or search "
            "into another folder with --out."
        ) from None


def accuracy_of(trial: Trial) -> str:
    """Write a trial's accuracy, for one line."""
    return "no result" if trial.val_accuracy is None else f"{trial.val_accuracy:.4f}"


def how_to_go_on(folder: Path, data: str) -> str:
    """Say what an interrupted search has kept, and the command that resumes it."""
    if not (folder / TUNING.kept).exists():
        return "interrupted before the first trial ended; nothing was kept."
    count = len((folder / TUNING.kept).read_text(encoding="utf-8").splitlines())
    words = shlex.join(["keensight", "tune", data, "--out", str(folder), "--resume"])
    verb = "is" if count == 1 else "are"
    page = f", and on its page, {folder / PAGE}" if (folder / PAGE).exists() else ""
    return f"interrupted. {counted(count, 'trial')} that ended {verb} in {folder}{page}; go on with: {words}"


def _read_plan(folder: Path) -> dict[str, Any]:
    file = folder / TUNING.begun
    try:
        plan: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        for key in ("fingerprint", "trials", "budget_s"):
            plan[key]
        space_of(plan)
    except (ValueError, TypeError, KeyError) as error:
        raise RunError(
            f"{file} is damaged ({error!r}), so the search cannot continue. It must be as `keensight tune` wrote it; "
            "search into another folder with --out."
        ) from None
    return plan
