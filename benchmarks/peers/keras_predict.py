"""Pictures to labels with Keras: a saved husky network, a folder, `model.predict`.

python keras_predict.py make model.safetensors model.keras   from a keensight bundle's weights, so that answers agree
python keras_predict.py folder model.keras FOLDER            images/s, decoding included, after a warm-up
python keras_predict.py one model.keras PICTURE              time the whole process
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from keras_run import arguments, keras_on, versions

LABELS = ("husky", "nothusky")
SIZE = 128


def main() -> None:
    """Do one of the three, and print one JSON object."""
    parser = arguments(__doc__)
    parser.add_argument("what", choices=("make", "folder", "one"))
    parser.add_argument("model", type=Path)
    parser.add_argument("path", type=Path)
    asked = parser.parse_args()
    keras = keras_on(asked.backend, asked.threads)
    if asked.what == "make":
        make(keras, asked.model).save(asked.path)
        return
    model = keras.models.load_model(asked.model)
    if asked.what == "one":
        picture = keras.utils.load_img(asked.path, target_size=(SIZE, SIZE), interpolation="bilinear")
        probability = float(model.predict(np.asarray(picture)[None].astype("float32"), verbose=0)[0, 0])
        print(json.dumps({"label": LABELS[int(probability >= 0.5)], "versions": versions(asked.backend)}))
        return
    pictures = keras.utils.image_dataset_from_directory(
        asked.path, labels=None, shuffle=False, image_size=(SIZE, SIZE), batch_size=32, verbose=False
    )
    model.predict(pictures.take(2), verbose=0)
    begin = time.perf_counter()
    probabilities = model.predict(pictures.take(asked.steps) if asked.steps else pictures, verbose=0)[:, 0]
    seconds = time.perf_counter() - begin
    truths = [Path(file).parent.name for file in pictures.file_paths[: len(probabilities)]]
    right = [LABELS[int(p >= 0.5)] == truth for p, truth in zip(probabilities, truths, strict=True)]
    print(
        json.dumps(
            {
                "images_per_s": len(probabilities) / seconds,
                "accuracy": float(np.mean(right)),
                "images": len(right),
                "versions": versions(asked.backend),
            }
        )
    )


def make(keras: Any, weights: Path) -> Any:
    """Return Husky AI's network with the weights of a keensight bundle."""
    from safetensors.numpy import load_file

    layers, tensors = keras.layers, load_file(weights)
    model = keras.Sequential([layers.Input((SIZE, SIZE, 3)), layers.Rescaling(1 / 255)])
    for filters in (32, 64, 128):
        model.add(layers.Conv2D(filters, 3, activation="relu"))
        model.add(layers.MaxPooling2D(2))
        model.add(layers.Dropout(0.4))
    model.add(layers.Flatten())
    model.add(layers.Dense(128, activation="relu"))
    model.add(layers.Dense(1, activation="sigmoid"))
    pairs = [
        (tensors[name], tensors[name.replace("weight", "bias")])
        for name in sorted(tensors, key=number)
        if "weight" in name
    ]
    for layer, (kernel, bias) in zip([layer for layer in model.layers if layer.weights], pairs, strict=True):
        layer.set_weights([as_keras(kernel), bias])
    return model


def as_keras(kernel: Any) -> Any:
    """Return torch's weights in Keras's order of axes: HWIO for a convolution, IO for a dense layer."""
    if kernel.ndim == 4:
        return kernel.transpose(2, 3, 1, 0)
    if kernel.shape[1] > 128:  # the first dense layer: its pictures are CHW there and HWC here
        return kernel.reshape(len(kernel), 128, 14, 14).transpose(2, 3, 1, 0).reshape(-1, len(kernel))
    return kernel.T


def number(name: str) -> int:
    """Return a layer's number: network.13.weight is 13."""
    return int(name.split(".")[1]) if name.count(".") == 2 else -1


if __name__ == "__main__":
    main()
