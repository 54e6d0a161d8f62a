"""The parity gate: from encoded pictures to probabilities, the exported model must answer as the trained one.

Shape letters: N pictures, K classes.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
import torch

from keensight.data.given import as_image
from keensight.data.in_time import InTime
from keensight.data.polarity import Borders
from keensight.data.sources import reader
from keensight.errors import GateError
from keensight.evaluation.calibration import softmax
from keensight.inference.predictor import Predictor
from keensight.models.classifier import Classifier
from keensight.models.features import features, transfer_of
from keensight.models.transfer import Transfer
from keensight.robustness.answers import logits
from keensight.values import FloatArray, IntArray, Pixels, Preprocessing, Split, Uint8Array

TOLERANCE = 1e-3  # of a probability, for float32
MOST = 512  # pictures that are decoded again
FEW = 8  # of them are asked of torch, where a backbone was asked through ONNX Runtime
SHOWN = 10  # pictures with different answers that are shown


@dataclass(frozen=True, slots=True)
class Parity:
    """The largest `difference` of a probability between a bundle's and the trainer's answers on `n` pictures."""

    n: int
    difference: float


def check_parity(model: Classifier, predictor: Predictor, pixels: Pixels, held_out: Split) -> Parity:
    """Compare the trainer's answers with the bundle's on at most `MOST` pictures of a split.

    The trainer's are `model`'s for the decoded pictures that it was measured on; the bundle's are for the encoded
    files, read and decoded again. Pictures that came as arrays are encoded as PNG first.

    Raises GateError, with a table of the pictures that differ, unless the most likely class is the same for all and no
    probability differs by more than `TOLERANCE`.
    """
    part, bundle = held_out.thinned(MOST), predictor.bundle
    logits_NK = trained_logits(model, part, bundle.borders)
    if is_by_features(model, bundle.borders):  # which ONNX Runtime may have computed; the gate is between it and torch
        few = part.thinned(FEW)
        logits_NK[np.isin(part.rows, few.rows)] = logits(model, few, bundle.borders)
    trained_NK = softmax(logits_NK / bundle.info.temperature)
    shipped_NK = _from_files(predictor, pixels, held_out, part)
    difference_N = np.abs(trained_NK - shipped_NK).max(axis=1)
    wrong_N = ~(difference_N <= TOLERANCE) | (trained_NK.argmax(axis=1) != shipped_NK.argmax(axis=1))
    if wrong_N.any():
        rows = np.flatnonzero(wrong_N)[np.argsort(-difference_N[wrong_N])]
        raise GateError(_complaint(part, rows, trained_NK, shipped_NK, bundle.labels))
    return Parity(len(part), float(difference_N.max()))


def trained_logits(model: Classifier, part: Split, borders: Borders) -> FloatArray:
    """Return the trainer's logits NK. A frozen backbone's features are those that the head was fitted to."""
    if not is_by_features(model, borders):
        return logits(model, part, borders)
    with torch.inference_mode():
        logits_NK = transfer_of(model).head(torch.from_numpy(features(model, part)).to(model.mean.device))
    answers: FloatArray = logits_NK.cpu().numpy()
    return answers


def is_by_features(model: Classifier, borders: Borders) -> bool:
    """Whether the trainer's answers are those of a head on features that were computed once."""
    return isinstance(model.network, Transfer) and model.network.is_frozen and not borders.inverts


def check_import(model: Classifier, predictor: Predictor) -> Parity:
    """Compare an imported network's answers with the bundle's, on drawn pictures: noise, ramps, stripes and plain ones.

    Raises GateError if a probability differs by more than `TOLERANCE`, or is not a number.
    """
    pictures = drawn(predictor.bundle.preprocessing)
    difference = 0.0
    for picture in pictures:  # one at a time: an imported network may be large
        with torch.no_grad():
            logits_1K = model(torch.from_numpy(picture[None]).permute(0, 3, 1, 2).float() / 255)
        network_1K = torch.softmax(logits_1K.double(), 1).numpy()
        far = np.abs(network_1K - predictor.probabilities_as_seen(picture[None])).max()
        if not far <= TOLERANCE:
            raise GateError(
                f"A probability of the bundle would differ by {far:.3g} from the imported network's, and at most "
                f"{TOLERANCE:g} is accepted; so it is not written. Check the network's weights; if they are sound, "
                "this is a fault in keensight: report it with the model."
            )
        difference = max(difference, float(far))
    return Parity(len(pictures), difference)


def drawn(size: Preprocessing) -> list[Uint8Array]:
    """Return pictures HWC that meet every pixel, borders and corners otherwise."""
    rng = np.random.default_rng(0)
    shape = size.height, size.width, size.channels
    rows, columns = (np.linspace(0, 255, n).astype(np.uint8) for n in shape[:2])
    stripes = (np.arange(shape[1]) // 2 % 2 * 255).astype(np.uint8)
    drawn = [rows[:, None, None], columns[None, :, None], stripes[None, :, None]]
    drawn += [np.full(1, level, np.uint8) for level in (0, 255)]
    noise = [rng.integers(0, 256, shape, np.uint8) for _ in range(3)]
    return noise + [np.ascontiguousarray(np.broadcast_to(each, shape)) for each in drawn]


def _from_files(predictor: Predictor, pixels: Pixels, held_out: Split, part: Split) -> FloatArray:
    """Return the bundle's answers NK for the files of `part`, of which all pictures are in `held_out`.

    Files that are decoded to the same pixels again have the answers that the bundle has given for these.
    """
    members = np.searchsorted(pixels.rows, part.rows)
    with reader(pixels.dataset) as read, InTime() as in_time:
        encoded = (_encoded(read(pixels.dataset.samples[i])) for i in members)
        images = np.stack([in_time.decode(picture, predictor.bundle.preprocessing) for picture in encoded])
    if np.array_equal(images, part.gather()):
        answers: FloatArray = predictor.outputs_on_split(held_out)["probabilities"][np.isin(held_out.rows, part.rows)]
        return answers
    again = Split(images, np.arange(len(part)), part.labels, part.paths)
    return predictor.outputs_on_split(again)["probabilities"]


def _encoded(picture: bytes | Uint8Array) -> bytes:
    if isinstance(picture, bytes):
        return picture
    file = io.BytesIO()
    as_image(picture).save(file, "PNG")
    return file.getvalue()


def _complaint(
    part: Split, rows: IntArray, trained_NK: FloatArray, shipped_NK: FloatArray, labels: tuple[str, ...]
) -> str:
    def told(probabilities_K: FloatArray) -> str:
        top = int(probabilities_K.argmax())
        return f"{labels[top]} {probabilities_K[top]:.4f}"

    lines = [f"  {part.paths[i]}\t{told(trained_NK[i])}\t{told(shipped_NK[i])}" for i in rows[:SHOWN]]
    return (
        f"The bundle's answers differ from the trained model's for {len(rows):,} of {len(part):,} held-out pictures, "
        f"by more than {TOLERANCE:g} of a probability or in the class, so it is not written. Both must give the same "
        "class and probability. The weights are kept; the exported model or the decoding of the pictures differs. "
        "Were the pictures changed since training began? If not, this is a fault in keensight: report it with "
        "this table.\n" + "\n".join(["  picture\ttrained\tbundle", *lines])
    ).expandtabs(28)
