"""keensight recipes."""

from __future__ import annotations

from typing import Annotated, Any

from cyclopts import Parameter

from keensight.cli.output import paragraph, print_json, say
from keensight.errors import PAGES
from keensight.evaluation.words import duration

FOR_OWN_PICTURES = ("husky-transfer", "husky-finetune")
MEASURED = {"val.accuracy": "validation", "val.roc_auc": "its AUC", "test.accuracy": "test"}


def recipes(
    *,
    json: Annotated[
        bool,
        Parameter(
            help="Print one JSON object on stdout, with every key of every recipe, and its measurements.",
            show_default=False,
        ),
    ] = False,
) -> int:
    """List the built-in recipes, and their measured results."""
    from keensight.training.recipe import load_recipe, measured, recipe_names

    found, results = [load_recipe(name) for name in recipe_names()], measured()
    if json:
        print_json({recipe.name: {**recipe.table(), "measured": results.get(recipe.name)} for recipe in found})
        return 0
    own = [recipe for recipe in found if not recipe.data.source or recipe.name in FOR_OWN_PICTURES]
    for title, group in (
        ("For your own pictures", own),
        ("The articles' systems, on their own data", [recipe for recipe in found if recipe not in own]),
    ):
        say(f"{title}")
        say()
        for recipe in group:
            say(*paragraph(recipe.about, recipe.name))
            if recipe.name in results:
                say(*paragraph(f"Measured: {_measured(results[recipe.name])}", ""))
        say()
    say(f"One of them in full: keensight info NAME. What the keys mean: {PAGES}recipes.md")
    return 0


def _measured(result: dict[str, Any]) -> str:
    """Return the results of `make promises` in one line."""
    numbers = result["numbers"]
    words = [f"{name} {numbers[key]['mean']:.4f}" for key, name in MEASURED.items() if key in numbers]
    words += [
        f"{key.replace('attack.', 'at epsilon ')} {value['mean']:.3f}"
        for key, value in numbers.items()
        if "attack" in key
    ]
    seconds = result["seconds"]["in_all"]
    seeds = "1 seed" if result["seeds"] == 1 else f"{result['seeds']} seeds"
    took = f"{duration(sum(seconds) / len(seconds))} in all{', ' + result['note'] if result.get('note') else ''}"
    return f"{', '.join(words)}; {took}; {seeds}, {result['hardware']}, {result['date']}."
