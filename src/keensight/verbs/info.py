"""`keensight info`: describe a run, a bundle, a recipe, a model or data."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from keensight.bundle.read import read_bundle
from keensight.cached import Entry, entries, limit, trim
from keensight.data.shard_files import open_shards
from keensight.data.shard_index import described, is_shards
from keensight.data.sources import open_dataset
from keensight.data.splits import read_splits
from keensight.errors import DataError, KeensightError, RunError, UsageError, shortlist, suggestion
from keensight.files import cache_root, write_atomically
from keensight.pipeline.look import first_size
from keensight.pipeline.watch import cut_notes, holdings, name_notes
from keensight.values import Preprocessing, Recipe, best_epoch
from keensight.workspace import RunFolder, bundle_in, is_run, read_history

EXAMPLE = (64, 64, 3)  # the picture for a recipe's layers, if the recipe has none
EXAMPLE_CLASSES = 10


def info(
    thing: str | Path | None = None,
    *,
    layers: bool = False,
    engines: bool = False,
    plot: bool = False,
    label_pattern: str | None = None,
    cache: bool = False,
    clear_cache: bool = False,
) -> dict[str, Any]:
    """Describe a run folder, a bundle, a recipe (name or .toml file), a model's name, DATA, or the cache.

    Args:
        thing: The folder of a run or a bundle; a recipe's name or file; a model's name; or DATA as `train` takes it.
        layers: Show the layers of a bundle, recipe or model, with output shapes and parameters. A recipe without
            a shape of its data is shown for a colour picture of 64x64 and ten classes.
        engines: Measure how many pictures a second a bundle answers for on one core, with every engine that may answer
            for it on this machine.
        plot: Draw the curves of a run's history, finished or not, into its history.svg.
        label_pattern: Take labels from file names, such as `'{label}__*'`; `'{label...}_*'` reaches to the last _.
        cache: Say where the cache is, how large, and what is in it.
        clear_cache: Empty it, but for what a running process uses.

    Raises:
        KeensightError: it is none of these, or there is no history to plot.
        UsageError: there is nothing to describe, or a thing besides the cache, or engines of what is no bundle.
    """
    if (thing is None) != (cache or clear_cache):
        raise UsageError(
            "`info` describes one thing, or the cache. Give a run, bundle, recipe, model or DATA; or `cache` or "
            "`clear_cache` alone."
        )
    if thing is None:
        return _cache(clear_cache)
    if not isinstance(thing, str | os.PathLike):
        raise UsageError(
            f"The thing given is of the type {type(thing).__name__}. Give the path of a run, a bundle, a recipe or "
            "DATA, or the name of a recipe, a model or DATA, as text."
        )
    if is_shards(thing):
        return _data(thing, label_pattern)
    path = Path(thing)
    if engines and not bundle_in(path):
        raise UsageError(
            f"`engines` measures how fast a bundle answers, and {thing} is none. Give the folder of a bundle, such as "
            "runs/digits/bundle, or of its run."
        )
    if is_run(path):
        return _run(RunFolder(path), layers, plot, engines)
    if plot:
        _refuse_runs(path)
        raise RunError(
            f"{thing} has no history.jsonl, so there are no curves to plot. Give a run folder with a finished epoch, "
            "such as runs/digits."
        )
    if bundle_in(path):
        return _bundle(path, layers, engines)
    if path.exists() and path.suffix != ".toml":
        try:
            return _data(path, label_pattern)
        except DataError:
            _refuse_runs(path)
            raise
    # from here on torch is needed: models are built to be described
    from keensight.data.named import NAMES
    from keensight.models.zoo import MODELS
    from keensight.training.recipe import from_table, load_recipe, recipe_names

    name = str(thing)
    if name in recipe_names() or path.suffix == ".toml":
        return _recipe(load_recipe(name), layers)
    if name in MODELS:
        return _recipe(from_table({"name": name, "model": name}), layers)
    if name in NAMES:
        return _data(name, label_pattern)
    near = "" if len(path.parts) > 1 else suggestion(name, [*recipe_names(), *MODELS, *NAMES])
    raise KeensightError(
        f"There is no file or folder {name[:200]}, and no recipe, model or data of that name. {near}Give the folder "
        "of a run or bundle, a recipe (`keensight recipes` lists them), a model "
        f"({shortlist(list(MODELS), 3)}), or DATA as `keensight train` takes it."
    )


def _cache(clear: bool) -> dict[str, Any]:
    removed, found = trim(0) if clear else [], entries()
    return {
        "kind": "cache",
        "path": str(cache_root()),
        "bytes": sum(each.size_bytes for each in found),
        "limit_bytes": limit(),
        "entries": [_entry(each) for each in found],
        **({"removed": [_entry(each) for each in removed]} if clear else {}),
    }


def _entry(entry: Entry) -> dict[str, Any]:
    used = datetime.fromtimestamp(entry.last_used, UTC).isoformat(timespec="seconds")
    return {
        "kind": entry.kind, "name": entry.path.name, "bytes": entry.size_bytes, "last_used": used,
        "in_use": entry.in_use,
    }  # fmt: skip


def _refuse_runs(folder: Path) -> None:
    """Raise RunError for a folder of runs, and name them."""
    if runs := sorted(child for child in folder.glob("*") if is_run(child)):
        raise RunError(
            f"{folder} is a folder of runs: {shortlist([run.name for run in runs])}. Give one of them, such as "
            f"{runs[0]}."
        )


def _run(run: RunFolder, with_layers: bool, plot: bool, with_engines: bool) -> dict[str, Any]:
    history = read_history(run)
    best = best_epoch(history)
    assert best is not None  # as `read_history` sees to
    if bundle_in(run.path):
        said = _bundle(run.path, with_layers, with_engines)
    else:
        from keensight.training.recipe import load_recipe

        said = _recipe(load_recipe(str(run.recipe.absolute())), with_layers)
    said |= {
        "kind": "run",
        "run": str(run.path),
        "epochs_done": len(history),
        "best_epoch": best.number,
        "best_val_accuracy": best.val_accuracy,
        "training_seconds": round(sum(epoch.seconds for epoch in history), 3),
        "stopped": history[-1].stopped or f"not yet: go on with keensight train DATA --out {run.path} --resume",
    }
    if run.splits.is_file():
        said["splits"] = dict(Counter(each.split for each in read_splits(run.splits)))
    if plot:
        from keensight.pages.figures import curves

        write_atomically(run.curves, curves(history))
        said["plot"] = str(run.curves)
    return said


def _bundle(path: Path, with_layers: bool, with_engines: bool) -> dict[str, Any]:
    bundle = read_bundle(path, though_changed=True)
    signed = {"key": bundle.signed_by, "changes": list(bundle.changes)} if bundle.is_signed else None
    said = {"kind": "bundle", "name": bundle.name, "path": str(bundle.path), **bundle.info.to_json(), "signed": signed}
    if with_layers:
        from keensight.bundle.network import network_of
        from keensight.models.layers import layer_table

        said["layers"] = layer_table(network_of(bundle), bundle.preprocessing)
    if with_engines:
        from keensight.inference.choosing import compare
        from keensight.inference.predictor import Predictor

        onnx = Predictor(bundle).onnx  # which has checked it
        found, said["engine"] = compare(bundle.info, onnx)
        said["engines"] = [asdict(each) for each in found]
    return said


def _recipe(recipe: Recipe, with_layers: bool) -> dict[str, Any]:
    said: dict[str, Any] = {"kind": "recipe", **recipe.table()}
    if with_layers:
        from keensight.models.layers import layer_table
        from keensight.models.zoo import build

        height, width, channels = recipe.data.shape or EXAMPLE
        size = recipe.data.size
        shown = Preprocessing(size or height, size or width, 1 if (recipe.data.channels or channels) == 1 else 3)
        num_classes = len(recipe.data.classes) or recipe.data.num_classes or EXAMPLE_CLASSES
        model = build(recipe.model.name, recipe.model.options, shown, num_classes, recipe.seed)
        said["shown_for"] = {**_size(shown), "classes": num_classes}
        said["layers"] = layer_table(model, shown)
    return said


def _size(preprocessing: Preprocessing) -> dict[str, Any]:
    return {key: value for key, value in asdict(preprocessing).items() if value is not None}


def _data(data: str | Path, label_pattern: str | None) -> dict[str, Any]:
    dataset = open_dataset(data, label_pattern=label_pattern)
    counts: dict[str, dict[str, int]] = {}
    for (split, label), n in sorted(Counter((s.split or "all", s.label) for s in dataset.samples).items()):
        counts.setdefault(split, {})[dataset.class_names[label]] = n
    shards = is_shards(dataset.root) and not dataset.parts
    decided = Counter(each.action for each in dataset.decisions)
    return {
        "kind": "data",
        "name": dataset.name,
        "found": holdings(dataset),
        "pictures": len(dataset.samples),
        "different_pictures": len({sample.sha256 for sample in dataset.samples}),
        "groups": len({sample.group for sample in dataset.samples} - {None}),
        "class_names": list(dataset.class_names),
        "counts": counts,
        **({"decisions": dict(decided)} if decided else {}),
        "default_size": _size(first_size(dataset)),
        **({"shards": described(open_shards(dataset.root).index)} if shards else {}),
        "notes": [*cut_notes(dataset, label_pattern or ""), *name_notes(dataset.class_names)],
        "skipped": [asdict(skipped) for skipped in dataset.skipped],
    }
