"""Going on from a bundle: its recipe, its pictures' splits, and what its network learnt, label by label."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import torch
from safetensors.torch import load

from keensight.bundle.network import is_own, recipe_of
from keensight.bundle.read import Bundle, file_of, read_bundle
from keensight.data.kept import list_of
from keensight.errors import BundleError, RecipeError, UsageError, shortlist
from keensight.models.classifier import Classifier
from keensight.models.transfer import Transfer
from keensight.models.zoo import build
from keensight.training.recipe import load_recipe
from keensight.values import Preprocessing, Recipe
from keensight.values.recipe import STORY
from keensight.workspace import BUNDLE_FILE

WEIGHTS = "model.safetensors"


def recipe_to_go_on(path: str | Path, recipe: str | None, changes: Sequence[str], seed: int | None) -> Recipe:
    """Return the recipe with which to go on from the bundle at `path`: its own, with its weights and its run's splits.

    A `recipe` asked for, and `changes`, come before the bundle's. Raises BundleError for a bundle without a recipe, and
    UsageError where another network is asked for.
    """
    bundle = read_bundle(path)
    if bundle.info.origin is not None or is_own(bundle):
        raise BundleError(
            f"{path} holds a network that no recipe of keensight builds, so training cannot go on from it. Give a "
            "bundle that `keensight train` wrote."
        )
    known, size = recipe_of(bundle), bundle.preprocessing
    values = {
        "weights": str((bundle.path / WEIGHTS).absolute()), "splits": "", "classes": (), "fit": size.fit,
        "channels": size.channels, "size": size.height if size.height == size.width else 0,
    }  # fmt: skip
    listed = list_of(bundle.path.absolute())
    values["splits"] = str(listed) if listed.is_file() else ""
    if recipe is not None:
        base = load_recipe(recipe)
        if (base.model.name, base.model.options) != (known.model.name, known.model.options):
            raise UsageError(
                f"The bundle {path} holds a '{known.model.name}', and the recipe {recipe} builds a "
                f"'{base.model.name}' or one of other sizes. Leave --recipe out, or give one with the same model."
            )
    else:
        base = known.having(**{name: default for name, default in Recipe().flat().items() if name in STORY})
    return load_recipe(recipe or "", changes, seed, base=base.having(**values))


def bundle_behind(recipe: Recipe) -> Bundle | None:
    """Return the bundle whose weights a recipe starts from, or None where it starts from none, or from a mere file."""
    file = Path(recipe.model.weights)
    is_one = recipe.model.weights and file.name == WEIGHTS and (file.parent / BUNDLE_FILE).is_file()
    return read_bundle(file.parent) if is_one else None


def preprocessing_of(bundle: Bundle, chosen: Preprocessing) -> Preprocessing:
    """Return the bundle's preprocessing, unless the recipe chose another size, channels or fit."""
    own = bundle.preprocessing
    same = (own.height, own.width, own.channels, own.fit) == (chosen.height, chosen.width, chosen.channels, chosen.fit)
    return own if same or own.height != own.width else chosen


def take_over(model: Classifier, bundle: Bundle, recipe: Recipe, size: Preprocessing, labels: Sequence[str]) -> str:
    """Give a fresh model what the bundle's learnt: all of it, or for other labels the rows of those that it knew.

    Rows of new labels begin at zero. Returns a sentence about it. Raises BundleError where the networks differ.
    """
    old, wanted = load(file_of(bundle, WEIGHTS)), model.state_dict()
    known, num_labels = list(bundle.labels), len(labels)
    with_rows: set[str] = set()  # the tensors that have a row for each label
    if known != list(labels):
        with suppress(RecipeError):  # it takes no other number of labels
            larger = build(recipe.model.name, recipe.model.options, size, num_labels + 1, recipe.seed).state_dict()
            with_rows = {name for name, tensor in wanted.items() if larger[name].shape != tensor.shape}
        if not with_rows or any(
            wanted[name].shape[:1] != (num_labels,) or old[name].shape[0] != len(known) for name in with_rows
        ):
            raise BundleError(
                f"{bundle.path} knows {shortlist(known)}, and a '{recipe.model.name}' cannot go on with other labels: "
                "it has no row for each. Give pictures of the same labels, or train again."
            )
    kept = [label for label in labels if label in known]
    for name, tensor in wanted.items():
        if name in with_rows:
            rows = torch.zeros_like(tensor)
            for label in kept:
                rows[list(labels).index(label)] = old[name][known.index(label)]
            wanted[name] = rows
        elif name not in old or old[name].shape != tensor.shape:
            raise BundleError(
                f"The weights of {bundle.path} are not this model's ({name} differs). Go on with the recipe, the "
                "picture size and the model that it was trained with."
            )
        else:
            wanted[name] = old[name]
    model.load_state_dict(wanted)
    if isinstance(model.network, Transfer):
        model.network.goes_on = True
    new, gone = ([each for each in some if each not in others] for some, others in ((labels, known), (known, labels)))
    said = f"Going on from {bundle.path}, which knows {len(kept):,} of the {num_labels:,} labels"
    said += f"; new: {shortlist(new)}" if new else ""
    said += f"; no longer asked for: {shortlist(gone)}." if gone else "."
    if recipe.data.splits:
        return said
    return (
        f"{said} Its run's list of pictures is not beside it: unless these are the very same pictures, some that it "
        "has learnt from may be held out now, and be judged too well. If you have the list, give it: --set "
        "splits=RUN/splits.jsonl."
    )
