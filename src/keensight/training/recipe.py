"""Recipes: found by name or file, read from TOML, changed with KEY=VALUE, and checked before any work is done."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, fields, replace
from importlib import resources
from pathlib import Path
from typing import Any

import tomli_w

from keensight.errors import RecipeError, shortlist, suggestion
from keensight.models.classifier import Classifier
from keensight.models.layers import layers
from keensight.models.zoo import MODELS, options_of
from keensight.training.losses import LOSSES
from keensight.training.schedule import SCHEDULES
from keensight.values import Recipe, Splits, Threat

AT_MOST = ("parameters",)  # promised as a maximum; all others as a minimum
CHOICES: dict[str, tuple[Any, ...]] = {
    "channels": (0, 1, 3),
    "loss": tuple(LOSSES),
    "fit": ("squash", "letterbox", "crop"),
    "optimizer": ("adamw", "adam", "sgd"),
    "schedule": tuple(SCHEDULES),
    "class_weights": ("none", "balanced"),
    "keep": ("best", "last"),
    "precision": ("auto", "float32", "bfloat16"),
    "attack": ("fgsm", "exact"),
    "fill": ("nearest", "constant"),
}
RANGES: dict[str, tuple[float, float]] = {
    "seed": (0, 2**32 - 1),
    "size": (0, 1024),
    "val_fraction": (0.001, 0.9),
    "test_fraction": (0, 0.9),
    "eps": (0, 1),
    "epochs": (0, 100_000),
    "batch_size": (1, 65_536),
    "learning_rate": (1e-9, 100),
    "weight_decay": (0, 10),
    "momentum": (0, 0.9999),
    "label_smoothing": (0, 0.9),
    "patience": (0, 100_000),
    "target_accuracy": (0, 1),
    "budget_s": (0, 31_536_000),
    "rotate": (0, 180),
    "shear": (0, 1),
    "zoom": (0, 0.9),
    "shift": (0, 1),
    "crop": (0, 512),
    "cutout": (0, 1024),
    "brightness": (0, 1),
    "contrast": (0, 1),
    "abstain_below": (0, 1),
}
EXAMPLES: dict[str, Any] = {  # for messages, where the default turns something off or leaves it open
    "classes": ("cat", "dog"),
    "attack_eps": (0.05, 0.1),
    "eps": 0.1,
    "size": 64,
    "epochs": 20,
    "label_smoothing": 0.1,
    "patience": 5,
    "target_accuracy": 0.95,
    "budget_s": 600,
    "rotate": 15,
    "shear": 0.2,
    "zoom": 0.2,
    "shift": 0.1,
    "crop": 4,
    "cutout": 8,
    "brightness": 0.2,
    "contrast": 0.2,
    "dropout": 0.2,
    "backbone_rate": 0.1,
}
WORK = 6e11  # multiplications of a default run, forward passes only: about a minute on two cores


def load_recipe(name: str, changes: Iterable[str] = (), seed: int | None = None) -> Recipe:
    """Return the recipe called `name`, or in the file `name`, with KEY=VALUE `changes` and then `seed` applied.

    Relative `weights` are looked for from the working directory, and returned as an absolute path.

    Raises RecipeError, with the nearest name, for an unknown recipe or key, and for values that make no sense.
    """
    own = _read(name)
    table = dict(own)
    for change in [changes] if isinstance(changes, str) else changes:
        key, separator, value = change.partition("=")
        if not separator or not key.strip():
            raise RecipeError(f"--set {change} has no value. Write --set KEY=VALUE, such as --set epochs=5.")
        table[key.strip()] = _value(value.strip())
    if seed is not None:
        table["seed"] = seed
    try:
        recipe = from_table(table)
    except RecipeError as error:
        if _is_file(name) and _complaint(own) == str(error):
            raise RecipeError(f"In {name}: {error}") from None
        raise
    return replace(recipe, weights=str(Path(recipe.weights).absolute())) if recipe.weights else recipe


def recipe_names() -> list[str]:
    """Return the names of the recipes that come with keensight."""
    folder = resources.files("keensight") / "recipes"
    return sorted(Path(file.name).stem for file in folder.iterdir() if file.name.endswith(".toml"))


def measured() -> dict[str, Any]:
    """Return what `make promises` measured last for each recipe, by name; docs/results.md is the same as a table."""
    file = resources.files("keensight") / "recipes" / "results.json"
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return found


def from_table(table: Mapping[str, Any]) -> Recipe:
    """Return a checked recipe from flat keys; those that are the model's own become its `options`."""
    defaults = {f.name: f.default for f in fields(Recipe) if f.name not in ("options", "promise")}
    model = table.get("model", Recipe().model)
    if not isinstance(model, str):
        raise RecipeError(f"model is {model!r}; it must be a model's name in quotes.")
    options = options_of(model)
    settings: dict[str, Any] = {}
    chosen: dict[str, Any] = {}
    for key, value in table.items():
        if key == "promise":
            settings[key] = _promise(value)
        elif key in defaults:
            settings[key] = _typed(key, value, defaults[key])
        elif key in options:
            chosen[key] = _typed(key, value, options[key])
        elif owners := [other for other in MODELS if key in options_of(other)]:
            raise RecipeError(
                f"The model '{model}' has no key '{key}': it belongs to {', '.join(owners)}. Choose such a model, as "
                f"with model={owners[0]}, or leave it out. Of its own, '{model}' has {', '.join(options) or 'no keys'}."
            )
        else:
            raise RecipeError(
                f"A recipe has no key '{key}'. {suggestion(key, [*defaults, *options])}The keys are "
                f"{', '.join(sorted(defaults))}, and for the model '{model}': {', '.join(options) or 'none'}."
            )
    recipe = Recipe(**settings, options=chosen)
    _check(recipe)
    return recipe


def to_toml(recipe: Recipe, keys: Collection[str] | None = None) -> str:
    """Return the recipe, or some of its keys, as a TOML file that `load_recipe` reads back."""
    table = {key: value for key, value in flat(recipe).items() if keys is None or key in keys}
    return tomli_w.dumps({key: list(value) if isinstance(value, tuple) else value for key, value in table.items()})


def flat(recipe: Recipe) -> dict[str, Any]:
    """Return the recipe as one flat table, the model's own keys last, as `from_table` takes it."""
    table = asdict(recipe)
    options: dict[str, Any] = table.pop("options")
    return table | options


def changed(recipe: Recipe) -> dict[str, Any]:
    """Return the keys of `flat` whose values are not the default ones."""
    defaults = {**flat(Recipe()), **options_of(recipe.model)}
    return {key: value for key, value in flat(recipe).items() if value != defaults[key]}


def with_epochs(recipe: Recipe, model: Classifier, splits: Splits) -> Recipe:
    """Return the recipe with its number of epochs chosen, where it leaves that open, so that the work fits a minute.

    A count of multiplications decides, not a clock: the same data and model always get the same number.
    """
    if recipe.epochs:
        return recipe
    per_picture = sum(layer.multiplications for layer in layers(model, splits.preprocessing))
    epochs = round(WORK / (len(splits.train) * max(per_picture, 100_000)))
    return replace(recipe, epochs=min(60, max(3, epochs)))


def _read(name: str) -> dict[str, Any]:
    if _is_file(name):
        path = Path(name)
        if not path.is_file():
            raise RecipeError(f"There is no recipe file {name}. Check the path, or give a name: {_known()}.")
        source, text = str(path), path.read_bytes()
    else:
        if name not in recipe_names():
            near = suggestion(name, recipe_names())
            raise RecipeError(f"There is no recipe '{name}'. {near}The recipes are {_known()}; a .toml file works too.")
        source, text = name, (resources.files("keensight") / "recipes" / f"{name}.toml").read_bytes()
    try:
        table = tomllib.loads(text.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"The recipe {source} is not TOML: {error}. Mend that line, or start from another.") from None
    return {"name": Path(name).stem, **table}


def _is_file(name: str) -> bool:
    return name.endswith(".toml") or "/" in name


def _complaint(table: Mapping[str, Any]) -> str:
    try:
        from_table(table)
    except RecipeError as error:
        return str(error)
    return ""


def _known() -> str:
    return shortlist(recipe_names(), 30)


def _value(text: str) -> Any:
    """Read a value as TOML, or as plain text where it is not: numbers, true, lists, names."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        pass
    try:
        return float(text)  # .1 is a number to people, and none to TOML
    except ValueError:
        return text


def _typed(key: str, value: Any, default: Any) -> Any:
    """Return `value` as the type of the key's `default`."""
    kind = type(default)
    if key == "classes" and isinstance(value, (list, tuple)):
        return tuple(map(str, value))
    if key == "attack_eps" and isinstance(value, (list, tuple)):
        return tuple(Threat("linf", _typed(key, eps, 0.0)).eps for eps in value)
    if kind is tuple and isinstance(value, (list, tuple)):
        if all(type(item) is int and 1 <= item <= 65_536 for item in value):
            return tuple(value)
        raise RecipeError(f"{key} is {value!r}; whole numbers from 1 to 65,536 are accepted, such as [512, 128].")
    if kind is tuple and type(value) is int:
        return _typed(key, [value], default)
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        words = {int: "a whole number", float: "a number", bool: "true or false", str: "a name", tuple: "a list"}
        raise RecipeError(f"{key} is {value!r}; it must be {words[kind]}{_example(key, default)}.")
    return value


def _promise(value: Any) -> dict[str, float]:
    if isinstance(value, dict) and all(type(least) in (int, float) for least in value.values()):
        return {str(number): float(least) for number, least in value.items()}
    raise RecipeError(f'promise is {value!r}; a table of numbers is accepted, such as {{"test.accuracy" = 0.9}}.')


def _example(key: str, default: Any) -> str:
    if key in CHOICES:
        return f": {' or '.join(str(choice) for choice in CHOICES[key])}"
    value = EXAMPLES.get(key, default)
    return "" if value == "" else f", such as {json.dumps(value, ensure_ascii=False)}"


def _check(recipe: Recipe) -> None:
    for key, choices in CHOICES.items():
        value = getattr(recipe, key)
        if value not in choices:
            near = suggestion(str(value), [str(c) for c in choices])
            raise RecipeError(f"{key} is '{value}'. {near}It can be {shortlist([str(c) for c in choices])}.")
    for key, (low, high) in RANGES.items():
        value = getattr(recipe, key)
        if not low <= value <= high:
            raise RecipeError(f"{key} is {value:g}; it must lie between {low:g} and {high:g}.")
    options = options_of(recipe.model)
    for key, value in recipe.options.items():
        if type(options[key]) is int and not 1 <= value <= 65_536:
            raise RecipeError(f"{key} is {value}; it must lie between 1 and 65,536.")
        if key == "dropout" and not 0 <= value < 1:
            raise RecipeError(f"dropout is {value:g}; it must be 0 or more, and less than 1.")
