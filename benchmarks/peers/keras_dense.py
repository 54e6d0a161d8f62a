"""784-512-10 on MNIST in Keras, as on TensorFlow's page for beginners: seconds and test accuracy after each epoch."""

from __future__ import annotations

import json
from pathlib import Path

from keras_run import accuracies, arguments, clock, jit, keras_on, throughput, versions
from pictures import read_idx, repeated


def main() -> None:
    """Train, and print one JSON object."""
    parser = arguments(__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--dropout", type=float, default=0.2)
    asked = parser.parse_args()
    keras = keras_on(asked.backend, asked.threads)
    keras.utils.set_random_seed(asked.seed)
    images, labels = read_idx(asked.data, "train")
    test_images, test_labels = read_idx(asked.data, "t10k")
    if asked.steps:
        images, labels = repeated(images, labels, asked.steps * asked.batch_size)
    layers = keras.layers
    model = keras.Sequential(
        [
            layers.Input((28, 28)),
            layers.Flatten(),
            layers.Dense(512, activation="relu"),
            layers.Dropout(asked.dropout),
            layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(
        optimizer="adam",
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
        jit_compile=jit(asked.jit),
    )
    watch = clock(keras)
    pictures = images.astype("float32") / 255
    model.fit(pictures, labels, batch_size=asked.batch_size, epochs=asked.epochs or 10, callbacks=[watch], verbose=0)
    found = accuracies(model, watch.weights, test_images.astype("float32") / 255, test_labels)
    answer = {
        "seconds": watch.seconds,
        "accuracies": found,
        "accuracy": found[-1],
        "training_s": sum(watch.seconds),
        "parameters": model.count_params(),
        "versions": versions(asked.backend),
    }
    if len(watch.seconds) > 1:
        answer["images_per_s"] = throughput(watch.seconds, len(images))
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
