"""`keensight tune DATA --lr-range`: which learning rates work for this network on these pictures."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from keensight.data.sources import open_dataset
from keensight.files import to_json, write_atomically
from keensight.models.transfer import Transfer
from keensight.pages.tuning import render_lr_range
from keensight.pipeline.prepare import prepare
from keensight.pipeline.watch import Watcher
from keensight.training.head import fit_head
from keensight.training.loop import start
from keensight.training.lr_range import LrRange, lr_range_test
from keensight.training.recipe import load_recipe
from keensight.training.search_space import check_can_be_tuned
from keensight.workspace import Kind, claim

PAGE = "lr-range.html"
LR_RANGE = Kind("range test", "Test", home=Path("tunings"), begun=PAGE, kept=PAGE, finished=PAGE)


@dataclass(frozen=True, slots=True)
class RangeTest:
    """The results of a range test: its folder, its page, its rates, and the recipe's rate."""

    folder: Path
    page: Path
    found: LrRange
    recipe_rate: float
    batch_size: int
    next_command: str


def lr_range(
    data: str | Path,
    *,
    recipe: str | None = None,
    set: Sequence[str] = (),
    out: str | Path | None = None,
    seed: int | None = None,
    label_pattern: str | None = None,
    watcher: Watcher | None = None,
) -> RangeTest:
    """Find the range of useful learning rates in a few hundred steps of training (Smith 2015, arXiv:1506.01186).

    Only training pictures are used. A network with a backbone has its head fitted first, as in training.

    Args:
        data: Labelled pictures, in any form that `train` takes.
        recipe: A recipe's name or .toml file; `default` if left out.
        set: Change the recipe, as KEY=VALUE; can be repeated.
        out: The folder for the page and the numbers, new or empty; the first free name under tunings/ if left out.
        seed: The seed of all randomness.
        label_pattern: Take labels from file names, such as `'{label}__*'`; `'{label...}_*'` reaches to the last _;
            `'{label}/**'` takes them from folders.
        watcher: Is told of the progress.

    Raises:
        KeensightError: says what was given, what is accepted and what to do next.
    """
    watcher = watcher or Watcher()
    asked = load_recipe(recipe or "default", set, seed)
    dataset = open_dataset(data, label_pattern=(label_pattern or asked.data.label_pattern) or None)
    with claim(None if out is None else Path(out), f"{dataset.name}-lr-range", resume=False, kind=LR_RANGE) as folder:
        material = prepare(dataset, asked, watcher, choosing=True)
        splits, used, model = material.splits, material.recipe, material.model
        check_can_be_tuned(model)
        state = start(model, splits, used)
        if isinstance(model.network, Transfer):
            fit_head(model, splits, used, watcher.features)
        found = lr_range_test(state, splits, used, lambda done, total: watcher.step(1, 1, done, total))
        words = ["keensight", "train", str(data), *(["--recipe", recipe] if recipe else [])]
        words += [] if seed is None else ["--seed", str(seed)]
        words += ["--label-pattern", label_pattern] if label_pattern else []
        for change in (*set, f"learning_rate={found.suggested:g}"):
            words += ["--set", change]
        write_atomically(
            folder / "lr-range.json",
            to_json({"data": str(data), "recipe": used.name, "batch_size": used.train.batch_size, **asdict(found)}),
        )
        page = folder / PAGE
        write_atomically(page, render_lr_range(folder.resolve().name, used, found, shlex.join(words)))
        return RangeTest(folder, page, found, used.train.learning_rate, used.train.batch_size, shlex.join(words))
