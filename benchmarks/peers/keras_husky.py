"""Husky AI's network in Keras: images/s of training, without and with the article's augmentation as Keras layers.

python keras_husky.py huskies.zip --steps 26 --epochs 4
python keras_husky.py huskies.zip --steps 26 --epochs 4 --augment pipeline     in tf.data, beside the training
python keras_husky.py huskies.zip --steps 26 --epochs 4 --augment model        as the network's first layers
"""

from __future__ import annotations

import json
from pathlib import Path

from keras_run import arguments, clock, jit, keras_on, throughput, versions
from pictures import read_huskies, repeated

BATCH = 32


def main() -> None:
    """Train, and print one JSON object."""
    parser = arguments(__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--augment", choices=("none", "model", "pipeline"), default="none")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--dropout", type=float, default=0.4)
    asked = parser.parse_args()
    keras = keras_on(asked.backend, asked.threads)
    keras.utils.set_random_seed(asked.seed)
    images, labels = repeated(*read_huskies(asked.data, "training", asked.size), (asked.steps or 26) * BATCH)
    val_images, val_labels = read_huskies(asked.data, "validation", asked.size)
    layers = keras.layers
    changes = [
        layers.RandomFlip("horizontal"),
        layers.RandomRotation(30 / 360, fill_mode="nearest"),
        layers.RandomZoom(0.2, 0.2, fill_mode="nearest"),
        layers.RandomShear(0.2, 0.0, fill_mode="nearest"),
    ]
    model = keras.Sequential(
        [layers.Input((asked.size, asked.size, 3)), *(changes if asked.augment == "model" else ())]
    )
    for filters in (32, 64, 128):
        model.add(layers.Conv2D(filters, 3, activation="relu"))
        model.add(layers.MaxPooling2D(2))
        model.add(layers.Dropout(asked.dropout))
    model.add(layers.Flatten())
    model.add(layers.Dense(128, activation="relu"))
    model.add(layers.Dense(1, activation="sigmoid"))
    model.compile(
        optimizer=keras.optimizers.Adam(0.0005),
        loss="binary_crossentropy",
        metrics=["accuracy"],
        jit_compile=jit(asked.jit),
    )
    watch = clock(keras)
    pictures, truths = images.astype("float32") / 255, labels.astype("float32")
    epochs = asked.epochs or 4
    if asked.augment == "pipeline":
        import tensorflow as tf

        augment = keras.Sequential(changes)
        batches = tf.data.Dataset.from_tensor_slices((pictures, truths)).shuffle(len(images)).batch(BATCH)
        batches = batches.map(lambda x, y: (augment(x, training=True), y), num_parallel_calls=tf.data.AUTOTUNE)
        model.fit(batches.prefetch(tf.data.AUTOTUNE), epochs=epochs, callbacks=[watch], verbose=0)
    else:
        model.fit(pictures, truths, batch_size=BATCH, epochs=epochs, callbacks=[watch], verbose=0)
    loss, accuracy = model.evaluate(val_images.astype("float32") / 255, val_labels, verbose=0)
    print(
        json.dumps(
            {
                "images_per_s": throughput(watch.seconds, len(images)),
                "loss": loss,
                "accuracy": accuracy,
                "parameters": model.count_params(),
                "versions": versions(asked.backend),
            }
        )
    )


if __name__ == "__main__":
    main()
