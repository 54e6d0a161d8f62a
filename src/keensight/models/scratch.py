"""A network that learns to read digits, by hand: every line of the arithmetic in NumPy, and no framework.

Read it from top to bottom: what a network knows, how it answers, how wrong that is (the loss), which way each weight
should move (backpropagation), how we can be sure of it (the gradient check), and the loop that moves the weights. Many
introductions to deep learning use this network: 784 pixels, 512 hidden cells, 10 digits.

Shape letters: N images, D pixels of an image (C, H, W in a row), H hidden cells, K classes. `hidden_NH` has a row for
each image and a column for each hidden cell, so that the names show which products make sense: ND @ DH gives NH.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from keensight.errors import DataError, RecipeError, TrainingError
from keensight.values import FloatArray

Labels: TypeAlias = NDArray[np.integer[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class Parameters:
    """All that the network knows: two layers of weights, and a threshold (bias) for each cell that they lead to.

    Hidden cell h reads pixel d with the weight ``weights_DH[d, h]``. A loss has one derivative for each of these
    numbers, so gradients are `Parameters` too. Raises DataError where the shapes do not fit together.
    """

    weights_DH: FloatArray
    biases_H: FloatArray
    weights_HK: FloatArray
    biases_K: FloatArray

    def __post_init__(self) -> None:
        shapes = [np.shape(array) for array in arrays(self)]
        sizes = np.shape(self.weights_DH)[:1] + np.shape(self.biases_H) + np.shape(self.biases_K)
        if 0 in sizes or len(sizes) != 3 or shapes != [sizes[:2], sizes[1:2], sizes[1:], sizes[2:]]:
            raise DataError(
                f"Weights and biases of the shapes {', '.join(map(str, shapes))} were given. DH, H, HK, K are "
                "accepted, such as (784, 512), (512,), (512, 10), (10,); check their order, or begin with initialise()."
            )


def arrays(parameters: Parameters) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Return the four arrays in the order in which a picture meets them."""
    return parameters.weights_DH, parameters.biases_H, parameters.weights_HK, parameters.biases_K


def initialise(pixels: int = 784, hidden: int = 512, classes: int = 10, seed: int = 0) -> Parameters:
    """Draw random float32 weights, as He et al. do (2015, arXiv:1502.01852, equation 10); thresholds start at 0.

    If all weights were equal, all hidden cells would get the same gradient and stay equal: randomness makes them
    differ. With the spread sqrt(2 / cells read), a cell's sum is about as large as what it reads, however wide the
    layer; the 2 makes up for ReLU, which silences half of the cells. Raises RecipeError for a size below 1.

    >>> initialise(pixels=4, hidden=3, classes=2).weights_DH.shape
    (4, 3)
    """
    if min(pixels, hidden, classes) < 1:
        raise RecipeError(
            f"A network of {pixels}-{hidden}-{classes} cells was asked for. Sizes of 1 or more are accepted, such as "
            "784-512-10 for MNIST, or 64-32-10 for scikit-learn's digits."
        )
    rng = np.random.default_rng(seed)
    return Parameters(
        weights_DH=(rng.standard_normal((pixels, hidden)) * math.sqrt(2 / pixels)).astype(np.float32),
        biases_H=np.zeros(hidden, np.float32),
        weights_HK=(rng.standard_normal((hidden, classes)) * math.sqrt(2 / hidden)).astype(np.float32),
        biases_K=np.zeros(classes, np.float32),
    )


def forward(parameters: Parameters, images_ND: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Make a forward pass: return the hidden cells' values (NH) and the logits (NK), whose largest is the answer.

    A cell adds up all that it reads, each value times its weight, and its threshold. ReLU, the larger of that sum and
    0, lets hidden cells be silent; without it two layers could do no more than one, as the product of two matrices is a
    matrix. Raises DataError for images that are not finite floats of the network's size.
    """
    images_ND = _checked_images(parameters, images_ND)
    hidden_NH = np.maximum(images_ND @ parameters.weights_DH + parameters.biases_H, 0)
    return hidden_NH, hidden_NH @ parameters.weights_HK + parameters.biases_K


def accuracy(parameters: Parameters, images_ND: FloatArray, labels_N: Labels) -> float:
    """Return the share of images, in [0, 1], whose largest logit is the label's."""
    _, logits_NK = forward(parameters, images_ND)
    labels_N = _checked_labels(parameters, len(logits_NK), labels_N)
    return float((logits_NK.argmax(axis=1) == labels_N).mean())


def log_softmax(logits_NK: FloatArray) -> FloatArray:
    """Turn logits into logarithms of probabilities: e to the logit, as a share of their sum over the classes.

    Adding the same number to all logits changes nothing, so the largest is made 0: no exponential can overflow.
    """
    shifted_NK = logits_NK - logits_NK.max(axis=1, keepdims=True)
    logs_NK: FloatArray = shifted_NK - np.log(np.exp(shifted_NK).sum(axis=1, keepdims=True))
    return logs_NK


# A loss returns how wrong the logits NK are for the labels N, a number, and its derivative by each logit, NK.
Loss: TypeAlias = Callable[[FloatArray, Labels], tuple[float, FloatArray]]


def cross_entropy(logits_NK: FloatArray, labels_N: Labels) -> tuple[float, FloatArray]:
    """Return the mean over images of -log p[label], p being the softmax probabilities; and its gradient NK.

    The logarithm undoes softmax's exponential, and almost all of the derivative cancels. What is left for each logit is
    (p - y) / N: the probability given, less the right one (y is 1 for the label, else 0).
    """
    logs_NK = log_softmax(logits_NK)
    right_NK = np.eye(logits_NK.shape[1], dtype=logits_NK.dtype)[labels_N]
    return float(-(logs_NK * right_NK).sum(axis=1).mean()), (np.exp(logs_NK) - right_NK) / len(labels_N)


def squared_error(logits_NK: FloatArray, labels_N: Labels) -> tuple[float, FloatArray]:
    """Return the mean over images of the sum over classes of (p - y)², p and y as above; and its gradient NK.

    So an image's loss is between 0 and 2. (Keras's "mse" takes the mean over classes too: K times less.) The slope by
    each probability is 2 (p - y) / N. Raising one logit takes probability from all other classes, so by the chain rule
    the slope by a logit is its p, times the difference between its own slope and the mean slope weighted by p. Where
    the network is sure but wrong, p is near 0 or 1 and this vanishes: it hardly learns from its worst mistakes, and at
    too high a rate it gets stuck. With cross-entropy it learns most from them.
    """
    p_NK = np.exp(log_softmax(logits_NK))
    errors_NK = p_NK - np.eye(logits_NK.shape[1], dtype=logits_NK.dtype)[labels_N]
    slopes_NK = 2 * errors_NK / len(labels_N)
    gradient_NK = p_NK * (slopes_NK - (p_NK * slopes_NK).sum(axis=1, keepdims=True))
    return float((errors_NK**2).sum(axis=1).mean()), gradient_NK


LOSSES: dict[str, Loss] = {"cross-entropy": cross_entropy, "squared-error": squared_error}


def backpropagate(
    parameters: Parameters, images_ND: FloatArray, labels_N: Labels, loss: Loss = cross_entropy
) -> tuple[float, Parameters]:
    """Return the loss and its derivative by every single weight, from one pass forward and one pass backward.

    This is the chain rule, applied from the answers back to the pixels. Call the slope of the loss by a cell's sum the
    cell's *blame*; the loss itself gives the blame of the logits. Layer by layer, the blame gives

    - a weight's derivative: what it carried (the value that it reads) times the blame of the cell it leads to;
    - a threshold's derivative: the blame, as a threshold is a weight that always reads 1;
    - the blame in the layer before: the sum over the cells that read a cell of their blame times the weight between;
      it is 0 for a cell that ReLU silenced, as a small change of its sum changes nothing.

    Raises DataError for images that are not finite floats of the network's size, and for labels that do not fit.
    """
    images_ND = _checked_images(parameters, images_ND)
    labels_N = _checked_labels(parameters, len(images_ND), labels_N)
    hidden_NH, logits_NK = forward(parameters, images_ND)
    value, blame_NK = loss(logits_NK, labels_N)
    blame_NH = (blame_NK @ parameters.weights_HK.T) * (hidden_NH > 0)
    return value, Parameters(  # each product adds up over the images
        weights_DH=images_ND.T @ blame_NH,
        biases_H=blame_NH.sum(axis=0),
        weights_HK=hidden_NH.T @ blame_NK,
        biases_K=blame_NK.sum(axis=0),
    )


Gradient: TypeAlias = Callable[[Parameters, FloatArray, Labels, Loss], tuple[float, Parameters]]


def check_gradients(
    parameters: Parameters,
    images_ND: FloatArray,
    labels_N: Labels,
    loss: Loss = cross_entropy,
    eps: float = 1e-5,
    sample: int | None = None,
    gradient: Gradient = backpropagate,
) -> float:
    """Compare derivatives with finite differences, two forward passes per weight; return the largest relative error.

    Add `eps` to one weight and make a forward pass, subtract `eps` from it and make another: the difference of the
    losses over 2 eps is the derivative, up to an error of the order of eps². It needs no calculus, and is very slow:
    the 407,050 weights of 784-512-10 take 814,100 passes, and backpropagation takes two. So give it a few images, and
    let `sample` pick that many weights of each array instead of all.

    All is computed in float64. Errors are relative to the array's largest derivative, as one near 0 is mostly rounding.
    Below 1e-6 the gradients are right. Wrong ones are far above, and so is a ReLU that changes sign between the two
    passes: then try a smaller `eps`. A derivative that is not a number counts as infinite.

    Raises RecipeError for an invalid `eps` or `sample`, and DataError for what `backpropagate` refuses.

    >>> rng = np.random.default_rng(0)
    >>> check_gradients(initialise(5, 4, 3), rng.random((6, 5)), rng.integers(0, 3, 6)) < 1e-6
    True
    """
    if not 0 < eps <= 0.1 or (sample is not None and sample < 1):
        raise RecipeError(
            f"A gradient check with eps={eps} and sample={sample} was asked for. An eps above 0 and up to 0.1, and a "
            "sample of 1 or more are accepted; leave them out for 1e-5 and all weights."
        )
    exact = Parameters(*(np.array(array, np.float64, order="C") for array in arrays(parameters)))  # a copy, to change
    _, claimed = gradient(exact, images_ND, labels_N, loss)
    rng = np.random.default_rng(0)
    worst = 0.0
    for array, claims in zip(arrays(exact), arrays(claimed), strict=True):
        weights = array.reshape(-1)  # a view
        chosen = rng.permutation(weights.size)[:sample]
        slopes = np.empty(len(chosen))
        for i, weight in enumerate(chosen):
            before = weights[weight]
            weights[weight] = before + eps
            above = loss(forward(exact, images_ND)[1], labels_N)[0]
            weights[weight] = before - eps
            below = loss(forward(exact, images_ND)[1], labels_N)[0]
            weights[weight] = before
            slopes[i] = (above - below) / (2 * eps)
        largest = max(np.abs(claims).max(), np.abs(slopes).max()) or 1.0
        error = float(np.abs(slopes - claims.reshape(-1)[chosen]).max() / largest)
        worst = max(worst, error if math.isfinite(error) else math.inf)
    return worst


def descend(parameters: Parameters, gradient: Parameters, rate: float) -> Parameters:
    """Take one step downhill: every weight moves against its derivative, `rate` times as far."""
    pairs = zip(arrays(parameters), arrays(gradient), strict=True)
    return Parameters(*(weights - rate * slopes for weights, slopes in pairs))


@dataclass(frozen=True, slots=True, eq=False)
class Lesson:
    """The result of one pass over the images: the new parameters, and the mean loss of batches before their steps."""

    number: int  # 1 for the first
    parameters: Parameters
    loss: float
    learning_rate: float  # of the last step


def train(
    parameters: Parameters,
    images_ND: FloatArray,
    labels_N: Labels,
    loss: Loss = cross_entropy,
    *,
    epochs: int = 10,
    batch_size: int = 32,
    learning_rate: float = 0.5,
    seed: int = 0,
    done: int = 0,
) -> Iterator[Lesson]:
    """Learn by mini-batch gradient descent, and yield a `Lesson` after each pass over the images.

    Shuffle; take a few images; find which way every weight should move for a smaller loss on them; move it that way by
    the rate times its derivative. A few images give only a rough direction, but a thousand rough steps lead further
    than one exact one. The rate falls linearly to 0, so that the last steps are small.

    An epoch's shuffle depends only on the seed and its number, and plain descent has no state but its weights. So
    ``train(lesson.parameters, ..., done=lesson.number)`` continues where a lesson ended, to the same bits.

    Raises RecipeError for invalid settings, DataError for images or labels that do not fit the network, and
    TrainingError when the loss is no longer a number.
    """
    if min(epochs, batch_size) < 1 or not 0 < learning_rate < math.inf or done < 0:
        raise RecipeError(
            f"epochs={epochs}, batch_size={batch_size}, learning_rate={learning_rate} and done={done} were given. "
            "Epochs and batches from 1, a finite rate above 0 and done from 0 are accepted; the defaults suit MNIST."
        )
    images_ND = _checked_images(parameters, images_ND)
    labels_N = _checked_labels(parameters, len(images_ND), labels_N)
    for number in range(done + 1, epochs + 1):
        shuffled = np.random.default_rng([seed, number]).permutation(len(labels_N))
        batches = np.array_split(shuffled, math.ceil(len(shuffled) / batch_size))
        loss_sum, rate = 0.0, learning_rate
        for step, batch in enumerate(batches):
            rate = learning_rate * (1 - (number - 1 + step / len(batches)) / epochs)
            with np.errstate(over="ignore", invalid="ignore"):  # the result is checked below
                value, gradient = backpropagate(parameters, images_ND[batch], labels_N[batch], loss)
                parameters = descend(parameters, gradient, rate)
            loss_sum += value * len(batch)
            if not math.isfinite(loss_sum):
                raise TrainingError(
                    f"The loss is no longer a number in epoch {number}, at a learning rate of {rate:.2g}: the steps "
                    f"are too large. A loss that stays finite is needed; try learning_rate={learning_rate / 10:g}."
                )
        yield Lesson(number, parameters, loss_sum / len(shuffled), rate)


def _checked_images(parameters: Parameters, images_ND: FloatArray) -> FloatArray:
    """Return the images in the precision of the weights. Raises DataError if they do not fit."""
    pixels, given = len(parameters.weights_DH), np.asarray(images_ND)
    wanted = f"Floats of the shape (N, {pixels}), N of 1 or more and all finite, are accepted"
    if given.dtype.kind != "f":
        raise DataError(f"The images are {given.dtype}. {wanted}; bytes become floats in [0, 1] as images / 255.")
    if given.ndim != 2 or given.shape[1] != pixels or len(given) == 0:
        raise DataError(f"The images have the shape {given.shape}. {wanted}; try images.reshape(-1, {pixels}).")
    if not np.isfinite(given).all():
        row = int(np.flatnonzero(~np.isfinite(given).all(axis=1))[0])
        raise DataError(f"Image {row} has a value that is not a finite number. {wanted}; repair it or leave it out.")
    return given.astype(parameters.weights_DH.dtype, copy=False)


def _checked_labels(parameters: Parameters, num_images: int, labels_N: Labels) -> Labels:
    """Return the labels. Raises DataError if they do not fit."""
    classes, given = len(parameters.biases_K), np.asarray(labels_N)
    wanted = f"A whole number from 0 to {classes - 1} for each of the {num_images:,} images is accepted"
    if given.dtype.kind not in "iu" or given.shape != (num_images,):
        raise DataError(f"The labels are {given.dtype} of the shape {given.shape}. {wanted}; check how they were read.")
    if given.min() < 0 or given.max() >= classes:
        raise DataError(
            f"The labels run from {given.min()} to {given.max()}. {wanted}; number the classes from 0, or build a "
            "network with more of them."
        )
    return given
