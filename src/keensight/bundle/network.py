"""Opens a bundle's network as a torch classifier, to look inside, as ONNX Runtime cannot."""

from __future__ import annotations

from dataclasses import replace

import onnx
import torch
from onnx import numpy_helper

from keensight.bundle.read import Bundle, file_of
from keensight.errors import BundleError
from keensight.models.classifier import Classifier
from keensight.models.external import is_external
from keensight.models.graph import check_sizes, graph
from keensight.models.onnx_network import NORMALISED, SCALE, SHIFT, TEMPERATURE, OnnxNetwork
from keensight.models.zoo import MODELS, build
from keensight.training.checkpoint import load_weight_bytes
from keensight.training.recipe import from_table
from keensight.values import Recipe


def network_of(bundle: Bundle) -> Classifier:
    """Return an opened bundle's classifier, images float NCHW in [0, 1] to logits NK, in evaluation mode.

    Its logits are not calibrated: divide them by ``bundle.info.temperature`` for what `load` answers.
    Raises BundleError if the bundle has no weights, RunError if its weights do not fit its recipe.
    """
    if is_own(bundle) or _has_foreign_backbone(bundle):
        return _own(file_of(bundle, "model.onnx")).eval()
    weights = file_of(bundle, "model.safetensors")
    if bundle.info.origin is not None:
        model = _imported(bundle, len(weights))
    else:
        recipe = recipe_of(bundle)
        model = build(recipe.model.name, recipe.model.options, bundle.preprocessing, len(bundle.labels), recipe.seed)
    load_weight_bytes(weights, bundle.path / "model.safetensors", model)
    return model.eval()


def is_own(bundle: Bundle) -> bool:
    """Say whether its network was somebody's own, whose Python code is not here: its name is none of our models'."""
    table = (bundle.info.recipe or {}).get("model")
    return bundle.info.origin is None and isinstance(table, dict) and table.get("name", "cnn") not in MODELS


def _has_foreign_backbone(bundle: Bundle) -> bool:
    """Say whether the library or file of its backbone, which may not be here, would be needed to build it again."""
    if bundle.info.origin is not None:
        return False
    recipe = recipe_of(bundle)
    return recipe.model.name == "transfer" and is_external(str(recipe.model.options.get("backbone", "")))


def _own(content: bytes) -> Classifier:
    """Read a network from the graph that the bundle answers with, between normalised pixels and calibration."""
    graph = onnx.load_from_string(content).graph
    (last,) = (node for node in graph.node if TEMPERATURE in node.input)
    network = OnnxNetwork(graph, NORMALISED, last.input[0])
    weights = {each.name: each for each in graph.initializer}
    scale, shift = (torch.from_numpy(numpy_helper.to_array(weights[name]).copy()) for name in (SCALE, SHIFT))
    model = Classifier(network, scale.shape[1])
    model.std.copy_(1 / (255 * scale[0]))
    model.mean.copy_(-shift[0] * model.std)
    return model


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
    table = bundle.info.recipe or {}
    if not is_own(bundle):
        return from_table(table)
    recipe = from_table({name: value for name, value in table.items() if name != "model"})
    return replace(recipe, model=replace(recipe.model, name=str(table["model"]["name"]), options={}))
