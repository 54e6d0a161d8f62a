"""keensight recipes."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from cyclopts import Parameter

from keensight.cli.output import print_json


def recipes(*, json: Annotated[bool, Parameter(negative=())] = False) -> int:
    """List the recipes that come with keensight.

    Parameters
    ----------
    json
        Print one JSON object on stdout, with every key of every recipe.
    """
    from keensight.training.recipe import load_recipe, recipe_names

    found = [load_recipe(name) for name in recipe_names()]
    if json:
        print_json({recipe.name: asdict(recipe) for recipe in found})
        return 0
    for recipe in found:
        print(f"{recipe.name:16} {' '.join(recipe.about.split())}")
    return 0
