"""Resuming a run or a search: its recipe, which the new command must not contradict."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from keensight.errors import RecipeError
from keensight.training.recipe import load_recipe
from keensight.values import Recipe
from keensight.workspace import RECIPE, Kind


def own_recipe(out: str | Path | None, recipe: str | None) -> Recipe:
    """Return the recipe of a run that is to be resumed, as far as it is known before its folder is found."""
    own = Path(out or "") / RECIPE
    return load_recipe(str(own.absolute()) if out and own.exists() else recipe or "default")


def same_recipe(folder: Path, recipe: str | None, changes: Sequence[str], seed: int | None, kind: Kind) -> Recipe:
    """Return the recipe in a folder. Raises RecipeError if the command's options contradict it."""
    own = str((folder / RECIPE).absolute())
    stored = load_recipe(own)
    given, kept = load_recipe(recipe or own, changes, seed).flat(), stored.flat()
    for key in given:
        left_open = key in ("size", "channels", "epochs", "pieces", "label_pattern") and not given[key]
        left_open |= key == "classes" and stored.data.skip_rare and not given[key]  # they are its answer
        left_open |= key == "fit" and not given["size"] and given[key] == Recipe().data.fit  # a backbone's answer
        told = key in ("shape", "num_classes")  # runs until 0.1 did not store these
        if not left_open and not told and given[key] != kept.get(key):
            raise RecipeError(
                f"The {kind.word} in {folder} began with {key} = {kept.get(key)!r}, and {given[key]!r} was asked for. "
                f"Resume without changes to the recipe, or {kind.again.lower()} into another folder with --out."
            )
    return stored
