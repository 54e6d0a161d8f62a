"""What the Keras peers share: Keras on a backend, with so many threads; and a clock that looks on."""

from __future__ import annotations

import argparse
import os
import statistics
import time
from importlib.metadata import version
from typing import Any


def arguments(text: str | None) -> argparse.ArgumentParser:
    """Return a parser of what every Keras peer is told."""
    parser = argparse.ArgumentParser(description=text)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--steps", type=int, default=0, help="measure throughput: so many steps in an epoch")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--backend", choices=("tensorflow", "jax"), default="tensorflow")
    parser.add_argument("--jit", choices=("auto", "on", "off"), default="auto", help="XLA; Keras decides if auto")
    parser.add_argument("--seed", type=int, default=0)
    return parser


def keras_on(backend: str, threads: int) -> Any:
    """Import Keras on a backend with so many threads, and return it."""
    os.environ |= {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])  # JAX has no other switch
    if backend == "tensorflow":
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
    import keras

    return keras


def jit(word: str) -> str | bool:
    """Return what Keras calls jit_compile."""
    return {"auto": "auto", "on": True, "off": False}[word]


def clock(keras: Any) -> Any:
    """Return a callback that notes the seconds of every epoch, validation included, and keeps its weights."""

    class Clock(keras.callbacks.Callback):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.seconds: list[float] = []
            self.weights: list[Any] = []

        def on_train_begin(self, logs: Any = None) -> None:
            self.begin = time.perf_counter()

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            self.seconds.append(time.perf_counter() - self.begin)
            self.weights.append(self.model.get_weights())
            self.begin = time.perf_counter()  # keeping weights is not training

    return Clock()


def accuracies(model: Any, weights: list[Any], images: Any, labels: Any) -> list[float]:
    """Return the accuracy that every epoch's weights had: measured afterwards, so that no clock runs."""
    found = []
    for each in weights:
        model.set_weights(each)
        found.append(float(model.evaluate(images, labels, batch_size=1000, verbose=0)[1]))
    return found


def throughput(seconds: list[float], images: int) -> float:
    """Return images per second: the median over the epochs but the first, which compiles."""
    return images / statistics.median(seconds[1:])


def versions(backend: str) -> dict[str, str]:
    """Return the versions that decide the speed."""
    packages = ("keras", "tensorflow_cpu") if backend == "tensorflow" else ("keras", "jax", "jaxlib")
    return {package: version(package) for package in packages}
