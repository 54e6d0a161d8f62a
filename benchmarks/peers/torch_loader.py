"""A folder of JPEGs to batches of tensors with torch's DataLoader: images/s in the first pass, and in later ones."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from pathlib import Path

import torch
from torch.utils.data import DataLoader
from torch_folder import Folder


def main() -> None:
    """Pass over the folder, and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=3, help="passes over the folder")
    parser.add_argument("--steps", type=int, default=0, help="so many batches in a pass; all if 0")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    begin = time.perf_counter()  # listing the folder and starting the workers are part of the first pass
    batches = DataLoader(
        Folder(asked.data, asked.size), batch_size=32, shuffle=True, num_workers=asked.workers, persistent_workers=True
    )
    rates, total = [], 0.0
    for _ in range(asked.epochs):
        seen = 0
        for step, (images, _labels) in enumerate(batches):
            if asked.steps and step == asked.steps:
                break
            seen += len(images)
            total += float(images[0, 0, 0, 0])
        rates.append(seen / (time.perf_counter() - begin))
        begin = time.perf_counter()
    later = statistics.median(rates[1:]) if len(rates) > 1 else rates[0]
    print(
        json.dumps(
            {
                "first_images_per_s": rates[0],
                "later_images_per_s": later,
                "images": seen,
                "versions": {"torch": torch.__version__},
            }
        )
    )


if __name__ == "__main__":
    main()
