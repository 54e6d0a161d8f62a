"""PyTorch's stock MNIST example: its network, Adadelta, batches of 64, 14 epochs; seconds and accuracy after each.

As github.com/pytorch/examples/mnist/main.py, but for the pictures: they are read and normalised before the clock
starts, where the example does it anew for every batch. That is in the example's favour.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from pictures import read_idx
from torch import nn, optim
from torch.optim.lr_scheduler import StepLR
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    """The example's network, 1,199,882 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 3, 1)
        self.conv2 = nn.Conv2d(32, 64, 3, 1)
        self.dropout1 = nn.Dropout(0.25)
        self.dropout2 = nn.Dropout(0.5)
        self.fc1 = nn.Linear(9216, 128)
        self.fc2 = nn.Linear(128, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return log-probabilities NK."""
        x = F.relu(self.conv1(x))
        x = F.relu(self.conv2(x))
        x = self.dropout1(F.max_pool2d(x, 2))
        x = F.relu(self.fc1(torch.flatten(x, 1)))
        return F.log_softmax(self.fc2(self.dropout2(x)), dim=1)


def main() -> None:
    """Train, and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--epochs", type=int, default=14)
    parser.add_argument("--steps", type=int, default=0, help="so many steps in an epoch; all if 0")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--until", type=float, default=2.0, help="stop after the first epoch of this test accuracy")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    torch.manual_seed(asked.seed)
    train, test = dataset(asked.data, "train"), dataset(asked.data, "t10k")
    batches = DataLoader(train, batch_size=64, shuffle=True)
    model = Net()
    optimizer = optim.Adadelta(model.parameters(), lr=1.0)
    scheduler = StepLR(optimizer, step_size=1, gamma=0.7)
    seconds: list[float] = []
    found: list[float] = []
    while len(seconds) < asked.epochs and (not found or found[-1] < asked.until):
        begin = time.perf_counter()
        model.train()
        for step, (images, labels) in enumerate(batches):
            if asked.steps and step == asked.steps:
                break
            optimizer.zero_grad()
            F.nll_loss(model(images), labels).backward()
            optimizer.step()
        scheduler.step()
        seconds.append(time.perf_counter() - begin)
        found.append(accuracy(model, test))
    print(
        json.dumps(
            {
                "seconds": seconds,
                "accuracies": found,
                "accuracy": found[-1],
                "training_s": sum(seconds),
                "parameters": sum(p.numel() for p in model.parameters()),
                "versions": {"torch": torch.__version__},
            }
        )
    )


def dataset(folder: Path, role: str) -> TensorDataset:
    """Return normalised pictures N1HW and labels N."""
    images, labels = read_idx(folder, role)
    pictures = (torch.from_numpy(images.copy())[:, None].float() / 255 - 0.1307) / 0.3081
    return TensorDataset(pictures, torch.from_numpy(labels))


def accuracy(model: nn.Module, test: TensorDataset) -> float:
    """Return the accuracy on the test pictures; no clock runs."""
    model.eval()
    with torch.inference_mode():
        right = sum(int((model(x).argmax(1) == y).sum()) for x, y in DataLoader(test, batch_size=1000))
    return right / len(test)


if __name__ == "__main__":
    main()
