"""Recipes: found by name or file, read from TOML, changed with KEY=VALUE, and checked before any work is done."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import tomli_w

from keensight.data.kept import list_of
from keensight.errors import PAGES, RecipeError, UsageError, shortlist, suggestion
from keensight.models.classifier import Classifier
from keensight.models.external import with_absolute_file
from keensight.models.layers import layers
from keensight.models.zoo import MODELS, options_of
from keensight.robustness.attacks.table import ATTACKS, within
from keensight.training.losses import LOSSES
from keensight.training.schedule import SCHEDULES
from keensight.values import Recipe, Splits
from keensight.values.recipe import KEYS, TABLES, Around, Key, UpTo, flattened, name_of, nested
from keensight.values.threats import fraction, levels

AT_MOST = ("parameters",)  # promised as a maximum; all others as a minimum
ROWS: dict[str, Mapping[str, Any]] = {  # keys that name a row
    "loss": LOSSES,
    "schedule": SCHEDULES,
    "attack": {name: ATTACKS[name] for name in within("linf")},
}
OWN = {  # the models' own keys that have a range
    each.name: each
    for each in (
        Key("model", "dropout", 0.0, low=0, high=0.999, example=0.2, search=UpTo(0.5)),
        Key("model", "l2", 0.0, low=0, high=1000, example=0.1),
        Key("model", "clip", 0.0, low=0, high=0.49, example=0.1),
        Key("model", "backbone_rate", 0.0, low=0, high=1, example=0.1, search=Around(30, 30)),
    )
}
EPSILONS = ("eps", "eps_extra", "attack_eps", "certify_eps")  # keys in parts of the pixel range
WORK = 6e11  # multiplications of a default run, forward passes only: about a minute on two cores


def load_recipe(
    name: str, changes: Iterable[str] = (), seed: int | None = None, *, base: Recipe | None = None
) -> Recipe:
    """Return the recipe called `name`, or in the file `name`, with KEY=VALUE `changes` and then `seed` applied.

    Given a recipe as `base`, it is changed, and nothing is read.

    Relative paths of `weights` and `splits` start at the working directory, and are returned as absolute ones.

    Raises RecipeError, with the nearest name, for an unknown recipe or key, and for values that make no sense; and
    UsageError for what is no recipe's name and no list of changes, and for two seeds.
    """
    if not isinstance(name, str | os.PathLike):
        raise UsageError(f"recipe is {name!r}. Give a recipe's name or .toml file as text, such as recipe='husky'.")
    name = str(name)
    asked: set[str] = set()
    own = _read(name) if base is None else base.table()
    values = flattened(own)
    for change in changes_of(changes):
        key, separator, value = change.partition("=")
        if not separator or not key.strip():
            lacks = "has no value" if key.strip() else "has no key"
            raise RecipeError(f"--set {change} {lacks}. Write --set KEY=VALUE, such as --set epochs=5.")
        values |= {name_of(key.strip()): _value(value.strip())}
        asked.add(name_of(key.strip()))
    if seed is not None:
        if "seed" in asked and values["seed"] != seed:
            raise UsageError(f"--set seed={values['seed']} and --seed {seed} were given. Leave one of them out.")
        values["seed"] = seed
    try:
        recipe = from_table(values)
    except RecipeError as error:
        if base is None and _is_file(name) and _complaint(own) == str(error):
            raise RecipeError(f"In {name}: {error}") from None
        raise
    _check_eps(recipe, "eps" in asked)
    weights, splits = recipe.model.weights, recipe.data.splits
    recipe = recipe.having(weights=str(Path(weights).absolute())) if weights else recipe
    if backbone := recipe.model.options.get("backbone"):
        recipe = recipe.having(backbone=with_absolute_file(str(backbone)))
    return recipe.having(splits=str(list_of(Path(splits).absolute()))) if splits else recipe


def changes_of(changes: Iterable[str]) -> list[str]:
    """Return changes of a recipe, KEY=VALUE, as a list; a text is one. Raises UsageError for anything else.

    >>> changes_of("epochs=5")
    ['epochs=5']
    """
    if isinstance(changes, str):
        return [changes]
    listed: list[Any] = [None]
    if isinstance(changes, Iterable) and not isinstance(changes, Mapping):
        listed = list(changes)
    if not all(isinstance(each, str) for each in listed):
        raise UsageError(f"set is {str(changes)[:200]}. Give a list of texts KEY=VALUE, such as set=['epochs=5'].")
    return listed


def recipe_names() -> list[str]:
    """Return the names of the built-in recipes."""
    folder = resources.files("keensight") / "recipes"
    return sorted(Path(file.name).stem for file in folder.iterdir() if file.name.endswith(".toml"))


def measured() -> dict[str, Any]:
    """Return the last measurement of `make promises` for each recipe, by name; docs/results.md has it as a table."""
    file = resources.files("keensight") / "recipes" / "results.json"
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return found


def keys_of(model: str) -> dict[str, Key]:
    """Return the keys of recipes with this model, its own last, by name. Raises RecipeError for an unknown model."""
    own = {
        name: OWN.get(name) or Key("model", name, default, low=1, high=65_536)
        for name, default in options_of(model).items()
    }
    return KEYS | {name: replace(known, default=options_of(model)[name]) for name, known in own.items()}


def choices_of(key: Key) -> tuple[Any, ...]:
    """Return all values that a key can have, or nothing if they cannot be listed."""
    return key.choices or tuple(ROWS.get(key.name, ()))


def from_table(table: Mapping[str, Any]) -> Recipe:
    """Return a checked recipe from tables, or from flat keys, as until 0.1."""
    values = flattened(table)
    model = values.get("model", Recipe().model.name)
    if not isinstance(model, str):
        raise RecipeError(f"model is {model!r}; it must be a model's name in quotes.")
    keys = keys_of(model)
    for name in values:
        if name not in keys:
            raise _unknown(name, model, keys)
    return Recipe().having(**{name: _checked(keys[name], value) for name, value in values.items()})


def to_toml(recipe: Recipe, names: Collection[str] | None = None) -> str:
    """Return the recipe, or some of its keys, as a TOML file that `load_recipe` reads back."""
    return tomli_w.dumps(
        nested({name: value for name, value in recipe.flat().items() if names is None or name in names})
    )


def changed(recipe: Recipe) -> dict[str, Any]:
    """Return the keys, by name, whose values differ from the defaults."""
    keys = keys_of(recipe.model.name)
    return {name: value for name, value in recipe.flat().items() if value != keys[name].default}


def with_epochs(recipe: Recipe, model: Classifier, splits: Splits) -> Recipe:
    """Return the recipe with its number of epochs, chosen to fit a minute of work if it is open.

    Multiplications are counted, not seconds: the same data and model always get the same number.
    """
    if recipe.train.epochs:
        return recipe
    per_picture = sum(layer.multiplications for layer in layers(model, splits.preprocessing))
    epochs = round(WORK / (len(splits.train) * max(per_picture, 100_000)))
    return recipe.having(epochs=min(60, max(3, epochs)))


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
        raise RecipeError(f"The recipe {source} is not TOML: {error}. Correct it, or start from another.") from None
    return {"name": Path(name).stem, **table}


def _is_file(name: str) -> bool:
    return name.endswith(".toml") or "/" in name


def _check_eps(recipe: Recipe, is_asked: bool) -> None:
    """Raise RecipeError for a robust loss that has nothing to be robust against, and an `eps` that no loss heeds."""
    loss, takes_eps = recipe.train.loss, [name for name, row in LOSSES.items() if row.takes_eps]
    if loss in takes_eps and not (recipe.train.eps or recipe.train.eps_extra):
        raise RecipeError(
            f"The loss '{loss}' makes a model robust within eps, which is 0 here, so it would do nothing. Set eps, "
            "such as --set eps=0.1, or use the loss 'cross-entropy'."
        )
    if is_asked and recipe.train.eps and loss not in takes_eps:
        raise RecipeError(
            f"eps is {recipe.train.eps:g}, and the loss '{loss}' takes no notice of it. Leave eps out, or set a loss "
            f"that uses it: {', '.join(takes_eps)}. To attack the finished model, set attack_eps."
        )


def _complaint(table: Mapping[str, Any]) -> str:
    try:
        from_table(table)
    except RecipeError as error:
        return str(error)
    return ""


def _known() -> str:
    return shortlist(recipe_names(), 30)


def _value(text: str) -> Any:
    """Read a value as TOML (numbers, true, lists), or as plain text if it is not TOML."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        pass
    try:
        return float(text)  # .1 is a number for people, but not in TOML
    except ValueError:
        return text


def _unknown(name: str, model: str, keys: Mapping[str, Key]) -> RecipeError:
    """Return the error for a key that a recipe with this model does not have."""
    if owners := [other for other in MODELS if name in options_of(other)]:
        return RecipeError(
            f"The model '{model}' has no key '{name}': it belongs to {', '.join(owners)}. Choose such a model, with "
            f"model={owners[0]}, or leave the key out. '{model}' has {_own(model)}."
        )
    last = name.rpartition(".")[2].replace("-", "_").lower()
    if last in ("device", "devices", "gpu", "gpus", "cuda", "mps", "cpu", "accelerator"):
        return RecipeError(
            f"A recipe has no key '{name}': keensight trains on a GPU by itself if torch finds one, by CUDA or "
            "Apple's MPS. Leave it out; CUDA_VISIBLE_DEVICES= (empty) in front keeps it off a GPU."
        )
    if last in ("num_workers", "workers", "threads", "num_threads"):
        return RecipeError(
            f"A recipe has no key '{name}': keensight uses all cores that it may. Leave it out; `taskset -c 0` or a "
            "container's limit in front gives it fewer, and --workers 8 more than one machine has."
        )
    if last.startswith("aug") and (changes := [known.name for known in keys.values() if known.table == "augment"]):
        return RecipeError(
            f"A recipe has no key '{name}': each change of the pictures has its own, such as {changes[0]}=true or "
            f"{changes[1]}=15. There are {', '.join(changes)}; {PAGES}recipes.md says what they "
            "do."
        )
    meant = {alias: known.name for known in keys.values() for alias in (*known.also, known.field)}
    near = f"Did you mean '{meant[last]}'? " if last in meant else suggestion(last, keys)
    return RecipeError(
        f"A recipe has no key '{name}'. {near}Its keys are in {', '.join(f'[{table}]' for table in TABLES)}: "
        f"`keensight info default --json` shows them, and {PAGES}recipes.md says what they do. In addition, the model "
        f"'{model}' has {_own(model)}."
    )


def _own(model: str) -> str:
    return ", ".join(options_of(model)) or "no keys"


def _checked(key: Key, value: Any) -> Any:
    """Return `value` as the type of the key's default. Raises RecipeError if it is another, or out of range."""
    if key.name == "promise":
        return _promise(value)
    if type(key.default) is tuple:
        return _items(key, [value] if type(value) is int else value)
    if type(key.default) is float:
        value = _decimal(value)
    if type(value) is not type(key.default):
        words = {int: "a whole number", float: "a number", bool: "true or false", str: "a name"}
        raise RecipeError(f"{key.name} is {value!r}; it must be {words[type(key.default)]}{_such_as(key)}.")
    if (choices := choices_of(key)) and value not in choices:
        near = suggestion(str(value), map(str, choices))
        raise RecipeError(f"{key.name} is '{value}'. {near}It can be {shortlist([str(c) for c in choices], 30)}.")
    if (
        type(value) in (int, float)
        and key.low is not None
        and key.high is not None
        and not key.low <= value <= key.high
    ):
        meant = levels(value) if key.name in EPSILONS else ""
        raise RecipeError(f"{key.name} is {value:g}; it must lie between {key.low:g} and {key.high:g}.{meant}")
    return value


def _items(key: Key, value: Any) -> tuple[Any, ...]:
    kind = type((key.example or key.default)[0])
    if kind is float and isinstance(value, str) and value[:1] + value[-1:] == "[]":  # fractions are not TOML
        value = [_number(each.strip()) for each in value[1:-1].split(",")]
    if not isinstance(value, (list, tuple)):
        raise RecipeError(f"{key.name} is {value!r}; it must be a list{_such_as(key)}.")
    if kind is str:
        return tuple(map(str, value))
    if kind is float:
        each = replace(key, default=0.0, example=0.1, low=0, high=1)
        return tuple(_checked(each, item) for item in value)
    if not all(type(item) is int and 1 <= item <= 65_536 for item in value) or (
        key.name == "shape" and len(value) not in (0, 3)
    ):
        raise RecipeError(f"{key.name} is {value!r}; whole numbers from 1 to 65,536 are accepted{_such_as(key)}.")
    return tuple(value)


def _decimal(value: Any) -> Any:
    """Return a whole number, or a fraction such as 8/255, as a float; anything else as it is."""
    if isinstance(value, str) and "/" in value:
        return _number(value)
    return float(value) if type(value) is int else value


def _number(text: str) -> float | str:
    try:
        return fraction(text)
    except ValueError:
        return text


def _promise(value: Any) -> dict[str, float]:
    if isinstance(value, dict) and all(type(least) in (int, float) for least in value.values()):
        return {str(number): float(least) for number, least in value.items()}
    raise RecipeError(f'promise is {value!r}; a table of numbers is accepted, such as {{"test.accuracy" = 0.9}}.')


def _such_as(key: Key) -> str:
    if choices := choices_of(key):
        return f": {' or '.join(str(choice) for choice in choices)}"
    value = key.default if key.example is None else key.example
    return "" if value == "" else f", such as {json.dumps(value, ensure_ascii=False)}"
