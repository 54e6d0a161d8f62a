"""The articles' networks in plain torch, float32: images/s of training, pictures in memory.

python torch_throughput.py fashion FOLDER --steps 100 --epochs 4
python torch_throughput.py husky huskies.zip --steps 26 --epochs 4
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pictures import read_huskies, read_idx, repeated
from torch import nn


def fashion() -> nn.Sequential:
    """Return the Fashion-MNIST article's network."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Conv2d(16, 64, 3), nn.ReLU(), nn.MaxPool2d(3, 2), nn.Flatten(),
        nn.Linear(64 * 11 * 11, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10),
    )  # fmt: skip


def husky() -> nn.Sequential:
    """Return Husky AI's network for 128x128 pixels; softmax over two cells rather than one sigmoid."""
    layers: list[nn.Module] = []
    for before, after in ((3, 32), (32, 64), (64, 128)):
        layers += [nn.Conv2d(before, after, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.4)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(128 * 14 * 14, 128), nn.ReLU(), nn.Linear(128, 2))


def main() -> None:
    """Train, and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("network", choices=("fashion", "husky"))
    parser.add_argument("data", type=Path)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    torch.manual_seed(asked.seed)
    if asked.network == "fashion":
        model, batch, rate = fashion(), 128, 0.001
        train, test = read_idx(asked.data, "train"), read_idx(asked.data, "t10k")
        train, test = (train[0][..., None], train[1]), (test[0][..., None], test[1])
    else:
        model, batch, rate = husky(), 32, 0.0005
        train, test = (read_huskies(asked.data, part, 128) for part in ("training", "validation"))
    images, labels = repeated(*train, asked.steps * batch)
    pictures, truths = tensor(images), torch.from_numpy(labels)
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    seconds = []
    for _ in range(asked.epochs):
        begin = time.perf_counter()
        for rows in torch.randperm(len(pictures)).split(batch):
            optimizer.zero_grad()
            F.cross_entropy(model(pictures[rows]), truths[rows]).backward()
            optimizer.step()
        seconds.append(time.perf_counter() - begin)
    model.eval()
    with torch.inference_mode():
        logits = torch.cat([model(part) for part in tensor(test[0]).split(100)])
    truths = torch.from_numpy(test[1])
    print(
        json.dumps(
            {
                "images_per_s": len(pictures) / statistics.median(seconds[1:]),
                "loss": F.cross_entropy(logits, truths).item(),
                "accuracy": (logits.argmax(1) == truths).float().mean().item(),
                "parameters": sum(p.numel() for p in model.parameters()),
                "versions": {"torch": torch.__version__},
            }
        )
    )


def tensor(images: NDArray[np.uint8]) -> torch.Tensor:
    """Return float NCHW in [0, 1] for uint8 NHWC."""
    return (torch.as_tensor(images.copy()).permute(0, 3, 1, 2).float() / 255).contiguous()


if __name__ == "__main__":
    main()
