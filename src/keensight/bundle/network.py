"""Open a bundle's network for looking inside: the torch classifier, for what ONNX Runtime cannot tell."""

from __future__ import annotations

from pathlib import Path

from keensight.bundle.read import Bundle, read_bundle
from keensight.errors import BundleError
from keensight.models.zoo import Classifier, build
from keensight.training.checkpoint import load_weights
from keensight.training.recipe import from_table
from keensight.values import Recipe


def load_network(path: str | Path) -> tuple[Classifier, Bundle]:
    """Return a bundle's classifier, images float NCHW in [0, 1] to logits NK, in evaluation mode; and the bundle.

    Its logits are not calibrated: divide them by ``bundle.info["temperature"]`` for what `load` answers.
    Raises BundleError where the bundle is incomplete, RunError where its weights do not fit its recipe.
    """
    bundle = read_bundle(path)
    weights = bundle.path / "model.safetensors"
    if not weights.is_file():
        raise BundleError(f"{bundle.path} has no model.safetensors, so its network cannot be opened. Train it again.")
    recipe = recipe_of(bundle)
    model = build(recipe.model, recipe.options, bundle.preprocessing, len(bundle.labels), recipe.seed)
    load_weights(weights, model)
    return model.eval(), bundle


def recipe_of(bundle: Bundle) -> Recipe:
    """Return the recipe that a bundle was trained with; keys that are younger than the bundle have their defaults."""
    table = dict(bundle.info["recipe"])
    options = table.pop("options")
    return from_table(table | options)
