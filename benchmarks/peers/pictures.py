"""Reading the benchmark's pictures, for the peers: plain NumPy and Pillow, and none of it is ever timed."""

from __future__ import annotations

import gzip
import io
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Arrays = tuple[NDArray[np.uint8], NDArray[np.int64]]


def read_idx(folder: Path, role: str) -> Arrays:
    """Return pictures uint8 NHW and labels N of MNIST or Fashion-MNIST; `role` is "train" or "t10k"."""
    with gzip.open(folder / f"{role}-images-idx3-ubyte.gz") as file:
        images = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 28, 28)
    with gzip.open(folder / f"{role}-labels-idx1-ubyte.gz") as file:
        labels = np.frombuffer(file.read(), np.uint8, offset=8)
    return images, labels.astype(np.int64)


def read_huskies(archive: Path, split: str, size_px: int) -> Arrays:
    """Return pictures uint8 NHWC, squashed, and labels (0 husky, 1 nothusky); `split` is training or validation."""
    images, labels = [], []
    with zipfile.ZipFile(archive) as file:
        for name in sorted(name for name in file.namelist() if f"/{split}/" in name and name.endswith(".jpg")):
            picture = Image.open(io.BytesIO(file.read(name))).convert("RGB")
            images.append(np.asarray(picture.resize((size_px, size_px), Image.Resampling.BILINEAR)))
            labels.append(int("/nothusky/" in name))
    return np.stack(images), np.asarray(labels)


def repeated(images: NDArray[np.uint8], labels: NDArray[np.int64], count: int) -> Arrays:
    """Return exactly `count` pictures and their labels, from the start again where there are fewer."""
    rows = np.arange(count) % len(images)
    return images[rows], labels[rows]
