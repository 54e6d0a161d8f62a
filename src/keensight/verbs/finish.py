"""`keensight.finish`: a model that `fit`, or a loop of your own, has trained becomes a run: a report and a bundle."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from keensight.data.splits import splits_jsonl
from keensight.files import write_atomically
from keensight.models.classifier import as_classifier
from keensight.pipeline.finish import finish as finish_run
from keensight.pipeline.watch import Watcher
from keensight.training.checkpoint import save_weights
from keensight.training.loop import State
from keensight.training.recipe import to_toml
from keensight.values import Epoch, Pixels, Recipe, Splits
from keensight.verbs.train import Run
from keensight.workspace import RunFolder, claim, write_history


def finish(
    model: nn.Module | State,
    pixels: Pixels,
    splits: Splits,
    recipe: Recipe | None = None,
    *,
    epochs: Sequence[Epoch] = (),
    out: str | Path | None = None,
    watcher: Watcher | None = None,
) -> Run:
    """Calibrate a trained model on validation, measure it, and write its report and bundle into a run folder.

    The bundle holds no Python code: the network is exported to ONNX, whose answers are compared with the model's.

    Args:
        model: What `build` returned, or any network that maps images NCHW in [0, 1] to logits NK; or a `State`.
        pixels: The decoded pictures that `splits` were made of.
        splits: Its training, validation and test pictures. Only here, test pictures are used.
        recipe: What it was trained with, for the report; the default recipe if left out.
        epochs: What `fit` yielded, for the report's curves.
        out: The run folder, new or empty; the first free name under runs/ if left out.
        watcher: Is told of the progress.

    Raises:
        TrainingError: the network does not take such pictures, or answers with other than a logit for each class.
        BundleError: a layer cannot be exported; the message names it.
        GateError: the exported network answers otherwise than the model.
        RunError: the run folder is taken.
    """
    watcher, recipe = watcher or Watcher(), recipe or Recipe()
    if isinstance(model, State):
        state = model
    else:
        known = as_classifier(model, splits.preprocessing, len(splits.class_names))
        state = State(known, torch.optim.SGD([torch.zeros(1)]), list(epochs), sum(each.seconds for each in epochs))
    with claim(None if out is None else Path(out), pixels.dataset.name, resume=False) as folder:
        files = RunFolder(folder)
        write_atomically(files.recipe, to_toml(recipe))
        write_atomically(files.splits, splits_jsonl(pixels, splits))
        write_history(files, state.history)
        report = finish_run(files, state, pixels, splits, recipe, watcher, by_hand=True)
        save_weights(files.best, state.model)
        return Run(folder, files.bundle, report)
