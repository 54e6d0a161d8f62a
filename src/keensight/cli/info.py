"""keensight info."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import asdict
from json import dumps
from typing import Annotated, Any

from cyclopts import Parameter

from keensight.cli.output import command, paragraph, print_json
from keensight.values import Recipe

GROUPS = {
    "pictures": ("label_pattern", "classes", "normalise", "size", "channels", "fit", "val_fraction", "test_fraction"),
    "training": (
        "weights", "seed", "loss", "eps", "epochs", "batch_size", "optimizer", "learning_rate", "weight_decay",
        "momentum", "schedule", "label_smoothing", "class_weights", "precision",
    ),
    "stopping": ("keep", "patience", "target_accuracy", "budget_s"),
    "augmentation": (
        "flip", "rotate", "shear", "zoom", "shift", "crop", "fill", "cutout", "brightness", "contrast",
    ),
    "afterwards": ("attack", "attack_eps", "abstain_below"),
}  # fmt: skip


def info(
    thing: str,
    /,
    *,
    layers: Annotated[bool, Parameter(negative=())] = False,
    plot: Annotated[bool, Parameter(negative=())] = False,
    label_pattern: str | None = None,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Describe a run, a bundle, a recipe, a model, or data.

    Parameters
    ----------
    thing
        The folder of a run or a bundle; a recipe's name or file; a model's name; or DATA as train takes it.
    layers
        Show layer, output shape and parameters (bundles, recipes and models).
    plot
        Draw the curves of a run's history into its history.svg.
    label_pattern
        Take labels from file names, such as '{label}__*' (data).
    json
        Print one JSON object on stdout.
    """
    from keensight.verbs.info import info as verb

    said = verb(thing, with_layers=layers, plot=plot, label_pattern=label_pattern)
    if json:
        print_json(said)
    elif plot:
        print(f"wrote          {said['plot']}")
    else:
        table = said.pop("layers", None)
        if said["kind"] == "recipe":
            _print_recipe(thing, said)
        else:
            if "recipe" in said:
                said["recipe"] = _differing(said["recipe"])
            elif said["kind"] == "run":
                said = _differing(said)
            for key, value in said.items():
                _print(key, value)
        if table:
            _print_layers(table)
    return 0


def _print_recipe(thing: str, said: Mapping[str, Any]) -> None:
    from keensight.evaluation.promises import AT_MOST
    from keensight.models.zoo import options_of

    promise = [
        f"{name} at {'most' if name in AT_MOST else 'least'} {limit:g}" for name, limit in said["promise"].items()
    ]
    options = {key: said.get(key, default) for key, default in options_of(said["model"]).items()}
    lines = {
        said["name"]: said["about"],
        "data": said["data"],
        "caution": said["caution"],
        "source reached": said["reported"],
        "promise": ", ".join(promise),
        "model": f"{said['model']}, {_settings(options)}" if options else said["model"],
    }
    for title, text in lines.items():
        if text:
            print(paragraph(text, title))
    differing = _differing(said)
    groups = {title: {key: differing[key] for key in keys if key in differing} for title, keys in GROUPS.items()}
    print("\nOther than the default recipe:\n" if any(groups.values()) else "\nAll else is as by default.\n")
    for title, settings in groups.items():
        if settings:
            print(paragraph(_settings(settings), title))
    if shown := said.get("shown_for"):
        size = " x ".join(str(shown[key]) for key in ("height", "width", "channels"))
        print(paragraph(f"for pictures of {size} and {shown['classes']} classes, as follows", "layers"))
    print(paragraph(f"{command()} info {shlex.quote(thing)} --json", "every key"))


def _differing(table: Mapping[str, Any]) -> dict[str, Any]:
    """Return a table without the keys of a recipe that say what the default recipe does."""
    defaults = {key: _listed(value) for key, value in asdict(Recipe()).items()}
    return {key: value for key, value in table.items() if key not in defaults or _listed(value) != defaults[key]}


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _settings(table: Mapping[str, Any]) -> str:
    """Write keys and values in one line, as a recipe file has them."""
    return ", ".join(f"{key} = {dumps(value, ensure_ascii=False)}" for key, value in table.items())


def _print(key: str, value: Any, indent: str = "") -> None:
    if isinstance(value, dict):
        print(f"{indent}{key}")
        for inner, item in value.items():
            _print(inner, item, indent + "  ")
    elif isinstance(value, list) and value and isinstance(value[0], (dict, list)):
        print(f"{indent}{key}: {len(value)} entries (see --json)")
    else:
        text = ", ".join(map(str, value)) if isinstance(value, list) else str(value).strip().replace("\n", " ")
        print(f"{indent}{key}: {text}")


def _print_layers(table: list[dict[str, Any]]) -> None:
    print(f"\n{'layer':20} {'output shape':>18} {'parameters':>12}")
    for row in table:
        shape = " x ".join(map(str, row["shape"]))
        print(f"{row['name']:20} {shape:>18} {row['parameters']:>12,}")
    print(f"{'total':20} {'':>18} {sum(row['parameters'] for row in table):>12,}")
