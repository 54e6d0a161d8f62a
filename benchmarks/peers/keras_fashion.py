"""The Fashion-MNIST article's network in Keras, trained as there: Adam, batches of 128, 20 % validation, 40 epochs.

python keras_fashion.py FOLDER                         seconds and test accuracy after every epoch
python keras_fashion.py FOLDER --steps 100 --epochs 4  images/s, first epoch left out
"""

from __future__ import annotations

import json
from pathlib import Path

from keras_run import accuracies, arguments, clock, jit, keras_on, throughput, versions
from pictures import read_idx, repeated

BATCH = 128


def main() -> None:
    """Train, and print one JSON object."""
    parser = arguments(__doc__)
    parser.add_argument("data", type=Path)
    asked = parser.parse_args()
    keras = keras_on(asked.backend, asked.threads)
    keras.utils.set_random_seed(asked.seed)
    images, labels = read_idx(asked.data, "train")
    test_images, test_labels = read_idx(asked.data, "t10k")
    layers = keras.layers
    model = keras.Sequential(
        [
            layers.Input((28, 28, 1)),
            layers.Conv2D(16, 3, activation="relu"),
            layers.Conv2D(64, 3, activation="relu"),
            layers.MaxPooling2D(3, strides=2),
            layers.Flatten(),
            layers.Dense(64, activation="relu"),
            layers.Dense(32, activation="relu"),
            layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(
        optimizer=keras.optimizers.Adam(0.001),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
        jit_compile=jit(asked.jit),
    )
    if asked.steps:
        images, labels = repeated(images, labels, asked.steps * BATCH)
    watch = clock(keras)
    model.fit(
        images[..., None].astype("float32") / 255,
        labels,
        batch_size=BATCH,
        epochs=asked.epochs or 40,
        validation_split=0 if asked.steps else 0.2,
        callbacks=[watch],
        verbose=0,
    )
    test_images = test_images[..., None].astype("float32") / 255
    loss, _ = model.evaluate(test_images, test_labels, batch_size=1000, verbose=0)
    found = accuracies(model, watch.weights, test_images, test_labels)
    answer = {
        "seconds": watch.seconds,
        "accuracies": found,
        "accuracy": found[-1],
        "loss": loss,
        "training_s": sum(watch.seconds),
        "parameters": model.count_params(),
        "versions": versions(asked.backend),
    }
    if asked.steps:
        answer["images_per_s"] = throughput(watch.seconds, len(images))
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
