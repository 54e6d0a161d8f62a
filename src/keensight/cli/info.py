"""keensight info."""

from __future__ import annotations

from typing import Annotated, Any

from cyclopts import Parameter

from keensight.cli.output import print_json


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
        return 0
    table = said.pop("layers", None)
    for key, value in said.items():
        _print(key, value)
    if table:
        _print_layers(table)
    return 0


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
