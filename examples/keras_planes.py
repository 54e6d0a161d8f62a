"""Train the PlanesNet article's network in Keras and save it as HDF5: what an engineer may have lying around.

KERAS_BACKEND=torch .venv-keras/bin/python examples/keras_planes.py FOLDER planes.h5
"""

import sys
from pathlib import Path

import keras
import numpy as np
from PIL import Image

files = sorted(Path(sys.argv[1]).glob("*.png"))
images = np.stack([np.asarray(Image.open(file).convert("RGB")) for file in files]) / 255
labels = np.array([int(file.name[0]) for file in files])
keras.utils.set_random_seed(0)
model = keras.Sequential(
    [
        keras.Input((20, 20, 3)),
        keras.layers.Conv2D(32, 3, activation="relu"),
        keras.layers.MaxPooling2D(2),
        keras.layers.Conv2D(64, 3, activation="relu"),
        keras.layers.MaxPooling2D(2),
        keras.layers.Flatten(),
        keras.layers.Dropout(0.5),
        keras.layers.Dense(2, activation="softmax"),
    ]
)
model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
model.fit(images, labels, batch_size=64, epochs=5, verbose=2)
model.save(sys.argv[2])
