"""The end of a Keras model: its last activation is taken off, so that logits are left."""

from __future__ import annotations

from dataclasses import replace

from keensight.errors import ModelFileError
from keensight.interop.keras.building import Building
from keensight.models.graph import INPUT

_LOGITS = ("Linear", "Conv2d", "LogSoftmax")  # what is taken for logits, and so are sums and means of those
_MEANS = ("Average", "AdaptiveAvgPool2d", "Flatten")  # of probabilities, these are probabilities
_SUMS = (*_MEANS, "AdaptiveMaxPool2d", "BatchNorm1d", "BatchNorm2d", "Add", "Subtract", "Concatenate")
_ONE_LABEL = ("categorical_crossentropy", "sparse_categorical_crossentropy")


def end(building: Building, loss: str, exclusive: bool) -> list[str]:
    """Leave logits NK, and return what was assumed, as notes.

    `loss` is the name of the one that the model was trained with, or ""; `exclusive` says that of several sigmoid cells
    one is right. Raises ModelFileError where the answers are neither probabilities nor logits of classes.
    """
    if len(building.shape) != 1 or building.flat_from is not None:
        raise ModelFileError(
            f"it answers with {'x'.join(map(str, building.shape))} numbers for a picture, not with one for each "
            "class. Import a classifier, such as one that ends in Dense(classes, activation='softmax')."
        )
    (cells,) = building.shape
    steps, last = building.steps, len(building.steps) - 1
    if building.value.name != (str(last) if steps else INPUT):
        raise ModelFileError("it has layers whose answers nothing reads. Save it again with Keras.")
    while last >= 0 and steps[last]["layer"] == "Flatten" and "inputs" not in steps[last]:
        last -= 1
    kind = steps[last]["layer"] if last >= 0 else "no layer"
    if kind == "Softmax" and cells == 1:
        raise ModelFileError(
            "it ends in a softmax over one cell, which always answers 1. Train it with a sigmoid, or with two cells."
        )
    if kind == "Sigmoid" and cells > 1:
        return _several_sigmoids(building, last, cells, loss, exclusive)
    is_end = kind in ("Softmax", "Sigmoid") and "inputs" not in steps[last]
    if is_end:
        del steps[last]  # behind it there are only Flattens, so no weight changes its number
        building.value = replace(building.value, name=str(len(steps) - 1) if steps else INPUT)
    else:
        sources, joints = _sources(building)
        if sources == {"Softmax"} and joints <= set(_MEANS) and cells > 1:
            building.add("Log")
            is_end = True
        elif sources & {"Softmax", "Sigmoid"} or kind not in (*_LOGITS, *_SUMS):
            raise ModelFileError(
                f"its last layer is a {kind}, so its answers are neither probabilities nor logits. A last layer with "
                "softmax, sigmoid (one cell) or no activation is accepted, and the average of several with softmax."
            )
    if cells == 1:
        building.add("TwoLogits")
        building.become(2)
    if is_end or kind == "LogSoftmax":
        return []
    return [
        "Its last layer has no activation: its answers are taken to be logits, "
        + ("of the second class, as of a loss with from_logits=True." if cells == 1 else "as of from_logits=True.")
    ]


def _sources(building: Building) -> tuple[set[str], set[str]]:
    """Return the kinds of steps whose answers the network's is a sum or mean of, and of the sums and means between."""
    sources, joints, waiting, seen = set(), set(), [building.value.name], set()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        step = building.steps[int(name)] if name != INPUT else {"layer": "picture"}
        if step["layer"] in _SUMS:
            joints.add(step["layer"])
            waiting += step.get("inputs", [str(int(name) - 1) if name != "0" else INPUT])
        else:
            sources.add(step["layer"])
    return sources, joints


def _several_sigmoids(building: Building, last: int, cells: int, loss: str, exclusive: bool) -> list[str]:
    """Take cells that each say yes or no as classes of which one is right, where that is known."""
    if not exclusive and loss not in _ONE_LABEL:
        why = f", and its loss was {loss}" if loss else ""
        raise ModelFileError(
            f"it ends in {cells} sigmoid cells, so a picture may have several labels{why}. Only one label per "
            "picture is accepted: train it with a softmax, or with one sigmoid cell. If only one label is right for "
            "each picture, import it with --exclusive."
        )
    building.steps[last]["layer"] = "LogSigmoid"
    why = "as was said" if exclusive else f"as its loss, {loss}, takes them"
    return [
        f"It ends in {cells} sigmoid cells, taken as labels of which one is right, {why}: each probability is Keras' "
        "divided by the sum of all, and the most likely label is the same."
    ]
