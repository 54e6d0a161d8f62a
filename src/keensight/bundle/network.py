"""Opens a bundle's network as a torch classifier, to look inside, as ONNX Runtime cannot."""

from __future__ import annotations

import torch

from keensight.bundle.read import Bundle, file_of
from keensight.errors import BundleError
from keensight.models.classifier import Classifier
from keensight.models.graph import check_sizes, graph
from keensight.models.zoo import build
from keensight.training.checkpoint import load_weight_bytes
from keensight.training.recipe import from_table
from keensight.values import Recipe


def network_of(bundle: Bundle) -> Classifier:
    """Return an opened bundle's classifier, images float NCHW in [0, 1] to logits NK, in evaluation mode.

    Its logits are not calibrated: divide them by ``bundle.info.temperature`` for what `load` answers.
    Raises BundleError if the bundle has no weights, RunError if its weights do not fit its recipe.
    """
    weights = file_of(bundle, "model.safetensors")
    if bundle.info.origin is not None:
        model = _imported(bundle, len(weights))
    else:
        recipe = recipe_of(bundle)
        model = build(recipe.model.name, recipe.model.options, bundle.preprocessing, len(bundle.labels), recipe.seed)
    load_weight_bytes(weights, bundle.path / "model.safetensors", model)
    return model.eval()


def _imported(bundle: Bundle, num_bytes: int) -> Classifier:
    """Build an imported network, without weights, after checking that the bundle has enough bytes for them."""
    with torch.device("meta"):  # nothing is allocated before its size is known
        network = graph(bundle.info.network or [])
        size = bundle.preprocessing
        model = Classifier(network, size.channels)
    if 4 * sum(each.numel() for each in model.state_dict().values()) > num_bytes + 4096:
        raise BundleError(f"{bundle.path} holds fewer weights than its network has. Import the model again.")
    check_sizes(network, (size.channels, size.height, size.width), len(bundle.labels))
    return model.to_empty(device="cpu")


def recipe_of(bundle: Bundle) -> Recipe:
    """Return the recipe that a bundle was trained with; keys that are newer than the bundle have their defaults."""
    return from_table(bundle.info.recipe or {})
