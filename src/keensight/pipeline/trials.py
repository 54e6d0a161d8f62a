"""Trials of a search by several workers: the same ones for the same seed, however many workers share them.

Trials come in batches of `AT_ONCE`. What a batch tries, and which of its trials are stopped early, follows from the
trials of the batches before it alone: not from who is ready first, and not from how many workers there are.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from keensight.data.cache import fingerprint
from keensight.data.sources import open_dataset
from keensight.errors import RunError
from keensight.pipeline.prepare import Material, prepare
from keensight.pipeline.watch import Watcher
from keensight.pipeline.workers import Json, Recipe, Work, Workers
from keensight.training.loop import start
from keensight.training.recipe import from_table
from keensight.training.search_space import Dimension, values_of
from keensight.training.trainers import fit_any, fresh
from keensight.training.tune import Objective, Point, Trial, propose, run, trial_of

AT_ONCE = 8  # trials in a batch: as many as the sampler draws at random before it learns


def how_to_try(data: str, plan: Mapping[str, Any]) -> Recipe:
    """Return how a worker for the trials of a plan is made; see `trier`."""
    settings = {
        "data": data, "folder": str(Path.cwd()), "recipe": plan["recipe"], "fingerprint": plan["fingerprint"],
    }  # fmt: skip
    return Recipe(__name__, "trier", settings)


def objective_of(material: Material, watcher: Watcher, check: Callable[[], object] = lambda: None) -> Objective:
    """Return what trains with some values. `check` is called between epochs, and may end it all by an exception."""
    splits = material.splits

    def objective(values: Mapping[str, Any]) -> Iterator[Point]:
        recipe = material.recipe.having(**values)
        model = fresh(recipe, splits.preprocessing, splits.class_names)
        state = start(model, splits, recipe)

        def on_step(done: int, total: int) -> None:
            watcher.step(len(state.history) + 1, recipe.train.epochs, done, total)

        for epoch in fit_any(state, splits, recipe, on_step, watcher.features):
            watcher.epoch(epoch, recipe.train.epochs)
            yield Point(epoch.number / recipe.train.epochs, epoch.val_accuracy, epoch.val_loss)
            if not epoch.stopped:  # a finished trial counts, however late it is
                check()

    return objective


def next_trials(
    crew: Workers, space: Sequence[Dimension], material: Material, trials: Sequence[Trial], most: int | None
) -> Iterator[Trial]:
    """Yield the trials that the batch at the end of `trials` lacks, in any order; `most` is their number in all."""
    first = len(trials) // AT_ONCE * AT_ONCE
    before = trials[:first]
    own = values_of(material.recipe, [dimension.key for dimension in space])
    numbers = range(len(trials), min(first + AT_ONCE, most or first + AT_ONCE))
    orders = [
        {
            "number": number, "values": propose(space, own, material.recipe.seed, before, number),
            "done": [asdict(each) for each in before], "of": None,
        }
        for number in numbers
    ]  # fmt: skip
    for answer in crew.map(orders):
        yield trial_of(answer)


def with_seeds(crew: Workers, values: Sequence[Mapping[str, Any]], seeds: Sequence[int]) -> list[list[float | None]]:
    """Return the validation accuracy of each of some settings with each of some seeds; None where training failed."""
    orders = [
        {"number": 0, "of": [i, k], "values": {**each, "seed": seed}, "done": []}
        for i, each in enumerate(values)
        for k, seed in enumerate(seeds)
    ]
    found: list[list[float | None]] = [[None] * len(seeds) for _ in values]
    for answer in crew.map(orders):
        i, k = answer["of"]
        found[i][k] = trial_of(answer).val_accuracy
    return found


def trier(settings: Json) -> Work:
    """Make a worker, which tries values and returns trials. It has one core, so that all have the same bits.

    Raises RunError where it sees other pictures than whoever gives the orders.
    """
    with suppress(OSError):  # on another machine, where only URLs may be needed
        os.chdir(settings["folder"])  # where paths begin; a worker is a process of its own
    torch.set_num_threads(1)
    recipe = from_table(settings["recipe"])
    dataset = open_dataset(settings["data"], label_pattern=recipe.data.label_pattern or None)
    material = prepare(dataset, recipe, Watcher(), choosing=True)
    if fingerprint(material.pixels.dataset) != settings["fingerprint"]:
        raise RunError(
            f"A worker sees other pictures or labels at {settings['data']} than the process that started it. On "
            "several machines, all must see the same DATA: a folder that they share, or a URL."
        )
    return worker_with(objective_of(material, Watcher()))


def worker_with(objective: Objective) -> Work:
    """Return what tries the values of an order."""

    def work(order: Json) -> Json:
        trial = run(objective, order["values"], order["number"], [trial_of(each) for each in order["done"]])
        return {**asdict(trial), "of": order["of"]}

    return work
