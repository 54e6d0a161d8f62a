"""Checkpoints: model, optimiser and history in one safetensors file, written whole or not at all. No pickle."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save

from keensight.errors import RunError, shortlist
from keensight.files import write_atomically
from keensight.models.classifier import Classifier
from keensight.training.loop import Partial, State
from keensight.values import Epoch


def save_state(path: Path, state: State) -> None:
    """Write all that `fit` needs to continue with the same bits."""
    write_atomically(path, bytes_of(state))


def bytes_of(state: State) -> bytes:
    """Return what `save_state` writes."""
    tensors = {f"model.{name}": tensor for name, tensor in state.model.state_dict().items()}
    for i, slots in state.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{i}.{name}": tensor for name, tensor in slots.items() if tensor is not None}
    history = json.dumps([asdict(epoch) for epoch in state.history])
    metadata = {"history": history, "seconds": repr(state.seconds)}
    if partial := state.partial:
        metadata["partial"] = json.dumps({"steps": partial.steps, "seconds": partial.seconds})
        tensors |= {"partial.loss_sum": partial.loss_sum, "partial.correct": partial.correct}
        tensors |= {f"pieces.{i}": buffer for i, buffer in enumerate(partial.buffers)}
    return _serialised(tensors, metadata)


def load_state(path: Path, state: State) -> None:
    """Load what `save_state` wrote into a new `state`. Raises RunError if it does not fit."""
    _restore(state, path, *_read(path))


def load_state_bytes(content: bytes, state: State) -> None:
    """Load what `bytes_of` returned into a new `state`. Raises RunError if it does not fit."""
    (size,) = struct.unpack("<Q", content[:8])  # safetensors: a length, a header in JSON, the tensors
    metadata = json.loads(content[8 : 8 + size]).get("__metadata__", {})
    _restore(state, "of another worker", load(content), metadata)


def _restore(state: State, path: object, tensors: dict[str, torch.Tensor], metadata: Mapping[str, str]) -> None:
    try:
        state.history[:] = [Epoch(**epoch) for epoch in json.loads(metadata["history"])]
        state.seconds = float(metadata["seconds"])
        state.model.load_state_dict(_under("model.", tensors))
        parameters = [p for group in state.optimizer.param_groups for p in group["params"]]
        slots: dict[int, dict[str, torch.Tensor]] = {}
        for name, tensor in _under("optimizer.", tensors).items():
            i, key = name.split(".", 1)
            slots.setdefault(int(i), {})[key] = _like(parameters[int(i)], tensor)
        groups = state.optimizer.state_dict()["param_groups"]
        state.optimizer.load_state_dict({"state": slots, "param_groups": groups})
        state.partial = None
        if "partial" in metadata:
            buffers = _under("pieces.", tensors)
            state.partial = Partial(
                **json.loads(metadata["partial"]),
                loss_sum=tensors["partial.loss_sum"],
                correct=tensors["partial.correct"],
                buffers=[buffers[str(i)] for i in range(len(buffers))],
            )
    except (KeyError, IndexError, TypeError, ValueError, RuntimeError) as error:
        raise RunError(
            f"The checkpoint {path} does not fit this recipe ({str(error).splitlines()[0]}). Resume with the "
            "recipe that the run began with, or train into another folder."
        ) from error


def save_weights(path: Path, model: Classifier) -> None:
    """Write only the model's parameters and buffers."""
    write_atomically(path, weights_of(model))


def weights_of(model: Classifier) -> bytes:
    """Return the model's parameters and buffers as a safetensors file."""
    return _serialised(model.state_dict(), {})


def load_weights(path: Path, model: Classifier) -> None:
    """Load what `save_weights` wrote. Raises RunError if names or shapes differ."""
    _put(_read(path)[0], path, model)


def load_weight_bytes(content: bytes, source: Path, model: Classifier) -> None:
    """Load what `weights_of` returned, from bytes that were read from `source`. Raises what `load_weights` does."""
    try:
        tensors = load(content)
    except SafetensorError as error:
        raise _damaged(source, error) from error
    _put(tensors, source, model)


def _put(tensors: dict[str, torch.Tensor], source: Path, model: Classifier) -> None:
    if differences := list(_differences(tensors, model.state_dict())):
        raise RunError(
            f"The weights in {source} are not this model's: {'; '.join(differences)}. Use the recipe, the picture size "
            "and the number of classes that they were trained with."
        )
    model.load_state_dict(tensors)


def _differences(given: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> Iterator[str]:
    if missing := [name for name in wanted if name not in given]:
        yield f"it lacks {shortlist(missing)}"
    if unknown := [name for name in given if name not in wanted]:
        yield f"the model has no {shortlist(unknown)}"
    for name, tensor in wanted.items():
        if name in given and given[name].shape != tensor.shape:
            yield f"{name} is {_size(given[name])} there and {_size(tensor)} in the model"
            return  # if one shape differs, most do


def _size(tensor: torch.Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a number"


def _serialised(tensors: dict[str, torch.Tensor], metadata: dict[str, str]) -> bytes:
    # contiguous copies on the CPU: channels_last weights are strided, and safetensors stores C order
    return save({name: t.cpu().contiguous() for name, t in tensors.items()}, metadata)


def _read(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    if path.is_dir():
        raise RunError(
            f"{path} is a folder. Give a .safetensors file, as `keensight export --weights-only` writes one."
        )
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except FileNotFoundError:
        raise RunError(f"There is no file {path}. Weights and checkpoints are written after an epoch.") from None
    except (SafetensorError, OSError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> RunError:
    return RunError(
        f"{path} is damaged, or not a safetensors file ({error}). Give one that keensight wrote. If it was a "
        "checkpoint, train again, into another folder."
    )


def _like(parameter: torch.Tensor, tensor: torch.Tensor) -> torch.Tensor:
    # fused optimisers walk raw memory: a slot must have its parameter's strides, not only its shape
    return torch.empty_like(parameter).copy_(tensor) if tensor.shape == parameter.shape else tensor


def _under(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
