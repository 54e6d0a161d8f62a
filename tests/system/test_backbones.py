"""Backbones of timm, torchvision and open_clip themselves: trained on, exported, and compared with their export."""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import keensight

pytestmark = pytest.mark.system
ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv-backbones" / "bin" / "python"
NAMES = {  # with the side of the pictures that each was trained on
    "timm/resnet10t": 176,
    "timm/test_vit": 160,
    "torchvision/mobilenet_v3_small": 224,
    "open_clip/RN50": 224,
}


def test_they_are_taken_with_their_preprocessing_and_exported(tmp_path):
    rng = np.random.default_rng(0)
    for k, label in enumerate("ab"):
        (tmp_path / "data" / label).mkdir(parents=True)
        for i in range(8):
            pixels = rng.integers(0, 150, (40, 60, 3), np.uint8)
            pixels[..., k] += 100
            Image.fromarray(pixels).save(tmp_path / "data" / label / f"{i}.png")
    words = [str(PYTHON), str(Path(__file__).with_name("backbones.py")), str(tmp_path), *NAMES]
    environment = {**os.environ, "PYTHONPATH": str(Path(keensight.__file__).parents[1])}
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    found = {row["name"]: row for row in map(json.loads, done.stdout.splitlines())}
    assert {name: row["preprocessing"]["height"] for name, row in found.items()} == NAMES
    assert all(row["preprocessing"]["fit"] == "crop" for row in found.values())
    assert all(row["parity"]["difference"] < 1e-3 and row["parity"]["n"] for row in found.values())
