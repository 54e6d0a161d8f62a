"""The features of pictures by a backbone: computed once, and cached.

Shape letters: N images, F features.
"""

from __future__ import annotations

import hashlib
import io
import logging
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from keensight.cached import cached
from keensight.engines.table import DEFAULT, ENGINES
from keensight.errors import TrainingError
from keensight.files import write_atomically
from keensight.machine import cores, images_at_a_time
from keensight.models.classifier import Classifier
from keensight.models.folding import folded
from keensight.models.joined import Mirrored, Resized, SideBySide, WithProbabilities
from keensight.models.oddness import no_features, oddness_steps
from keensight.models.onnx.write import FEATURES, features_to_onnx
from keensight.models.tensors import side_by_side, to_images
from keensight.models.trace import run as run_steps
from keensight.models.transfer import Transfer
from keensight.values import FloatArray, Preprocessing, Split, Uint8Array

VERSION = 2  # of the computation of features: part of their cache's key
GPU_BATCH = 256
OnProgress = Callable[[int, int], None]  # (pictures done, pictures in all)
Run = Callable[[Uint8Array], FloatArray]  # pictures uint8 NHWC to features NF
KEPT = 2  # networks: as many as are asked by turns
_OPENED: dict[str, Run] = {}  # the last networks that were asked, by the digests of their weights
_log = logging.getLogger(__name__)


def features(model: Classifier, split: Split, on_progress: OnProgress | None = None) -> FloatArray:
    """Return the features of a split's pictures by the backbone of a `Transfer` network, float32 NF.

    What a pretrained network computes is cached, with a key from the bits of its weights, its normalisation, and the
    decoded pictures (another size or fit gives other pictures). So backbones that share a network share its work.
    """
    return _of(transfer_of(model).backbone, model, split, False, on_progress)


def last_features(model: Classifier, split: Split, with_statistics: bool = False) -> FloatArray:
    """Return the features float32 NF of a split's pictures: what the network's last linear layer reads.

    `with_statistics`, those of pixels and maps are behind them; `num_statistics` says whether there are any. Raises
    RecipeError if it has no linear layer, or one that reads more than a vector.
    """
    if isinstance(model.network, Transfer):
        return features(model, split)
    steps = oddness_steps(model.network, min(split.shape[:2]) if with_statistics else None)
    device = model.mean.device

    def compute(batch: slice) -> FloatArray:
        with torch.inference_mode():
            images_NCHW = to_images(split.gather(batch), device)
            found: FloatArray = run_steps(steps, (images_NCHW - model.mean) / model.std).float().cpu().numpy()
            return found

    with side_by_side(cores() if device.type == "cpu" else 1) as threads:
        features_NF = np.concatenate(list(threads.map(compute, split.batches(images_at_a_time(*split.shape)))))
    if features_NF.shape[1:] != (features_NF.size // len(split),):
        raise no_features(f"The network's last linear layer reads {features_NF.shape[1:]} of a picture")
    return features_NF


def _of(network: nn.Module, model: Classifier, split: Split, flip: bool, on_progress: OnProgress | None) -> FloatArray:
    """Return the features of the pictures or, with `flip`, of their mirror images."""
    match network:
        case Mirrored():
            as_they_are, flipped = (_of(network.network, model, split, each, on_progress) for each in (False, True))
            return (as_they_are + flipped) / np.float32(2)
        case SideBySide():
            return np.concatenate([_of(each, model, split, flip, on_progress) for each in network.networks], axis=1)
        case WithProbabilities():
            features_NF = torch.from_numpy(_of(network.network, model, split, flip, on_progress))
            with torch.inference_mode():
                return network.beside(features_NF.to(model.mean.device)).cpu().numpy()
    weights = _weights(network, model)
    file = cached("features", f"{_key(weights, split, flip)}.npy")
    try:
        kept: FloatArray = np.load(file, allow_pickle=False)
        return kept
    except (FileNotFoundError, ValueError, EOFError):  # none yet, or a damaged one
        pass
    run = _opened_once(network, model, split.shape, weights)
    computed = _compute(run, model, split, flip, on_progress)
    buffer = io.BytesIO()
    np.save(buffer, computed, allow_pickle=False)
    write_atomically(file, buffer.getvalue())
    return computed


def seconds_per_picture(model: Classifier, size: Preprocessing) -> float:
    """Return about how long the backbone of a `Transfer` network takes for a picture, where many are computed."""
    images = np.zeros((4 * cores(), size.height, size.width, size.channels), np.uint8)
    some = Split(images, np.arange(len(images)), np.zeros(len(images), np.int64), ("",) * len(images))
    run = opened(transfer_of(model).backbone, model, size)
    seconds = []
    for _ in range(2):  # the first pass allocates
        begin = time.perf_counter()
        _compute(run, model, some, False, None)
        seconds.append(time.perf_counter() - begin)
    return min(seconds) / len(images)


def transfer_of(model: Classifier) -> Transfer:
    """Return the network of a classifier that has a backbone. Raises TrainingError for any other."""
    if not isinstance(model.network, Transfer):
        raise TrainingError(
            "The network has no backbone with features for a head. Use a model such as 'transfer', or train it with "
            "fit."
        )
    return model.network


def _compute(run: Run, model: Classifier, split: Split, flip: bool, on_progress: OnProgress | None) -> FloatArray:
    on_cpu = model.mean.device.type == "cpu"
    # an eighth of torch's best size: of 224x224, one by one takes 15 % less of two cores than 8 at a time
    at_a_time = max(1, images_at_a_time(*split.shape) // 8) if on_cpu else GPU_BATCH

    def compute(batch: slice) -> FloatArray:
        images_NHWC = split.gather(batch)
        return run(images_NHWC[:, :, ::-1] if flip else images_NHWC)

    answers: list[FloatArray] = []
    with side_by_side(cores() if on_cpu else 1) as threads:
        for answer in threads.map(compute, split.batches(at_a_time)):
            answers.append(answer)
            if on_progress:
                on_progress(min(len(answers) * at_a_time, len(split)), len(split))
    return np.concatenate(answers)


def _opened_once(network: nn.Module, model: Classifier, shape: tuple[int, int, int], weights: str) -> Run:
    """Return what `opened` does, kept for the next pictures that the same network is asked for."""
    height, width, channels = shape
    size = Preprocessing(height, width, 1 if channels == 1 else 3)
    if model.mean.device.type != "cpu":
        return opened(network, model, size)
    key = f"{weights} {shape}"
    if key not in _OPENED:
        run = opened(network, model, size)
        while len(_OPENED) >= KEPT:
            _OPENED.pop(next(iter(_OPENED)))
        _OPENED[key] = run
    return _OPENED[key]


def opened(network: nn.Module, model: Classifier, size: Preprocessing) -> Run:
    """Return what computes a backbone's features, on one core: ONNX Runtime, which takes half the time of torch.

    On a GPU, and for a network that cannot be written as ONNX or loaded, it is torch.
    """
    if model.mean.device.type == "cpu":
        try:
            engine = ENGINES[DEFAULT](features_to_onnx(network, model, size), 1, False)
        except Exception as error:  # also of ONNX Runtime's own classes, and for a network of 2 GB
            _log.info("A backbone is asked through torch: %s", error)
        else:
            return lambda images_NHWC: engine.run(images_NHWC, [FEATURES])[FEATURES]
    return opened_by_torch(network, model)


def opened_by_torch(network: nn.Module, model: Classifier) -> Run:
    """Return what computes a backbone's features with torch."""
    network = folded(network).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    for module in network.modules():
        if isinstance(module, nn.ReLU6):
            module.inplace = True  # a private copy, whose inputs are not used again

    def run(images_NHWC: Uint8Array) -> FloatArray:
        with torch.inference_mode():
            images_NCHW = to_images(np.ascontiguousarray(images_NHWC), model.mean.device)
            answer: FloatArray = network((images_NCHW - model.mean) / model.std).float().cpu().numpy()
            return answer

    return run


def _weights(network: nn.Module, model: Classifier) -> str:
    """Return a digest of a network, its weights and its normalisation."""
    size = f" at {network.resize.size}" if isinstance(network, Resized) else ""
    digest = hashlib.sha256(size.encode())
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
    digest.update(torch.cat([model.mean, model.std]).cpu().numpy().tobytes())
    return digest.hexdigest()


def _key(weights: str, split: Split, flip: bool) -> str:
    """Return a digest of all that the features depend on."""
    digest = hashlib.sha256(f"{VERSION} {weights} {split.shape} {len(split)}{' mirrored' * flip}".encode())
    for batch in split.batches(64):
        digest.update(split.gather(batch).tobytes())
    return digest.hexdigest()[:32]
