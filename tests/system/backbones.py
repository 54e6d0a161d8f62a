"""Train on backbones of the real libraries, with random weights as no hub is reachable; print what came out as JSON.

Run by the Python of .venv-backbones: python backbones.py FOLDER NAME...
"""

import functools
import json
import sys
from pathlib import Path

import torch

# torchvision's only build for this torch is the one for CUDA. Its compiled part does not load here, and its Python asks
# for two operators of it, which no network for classification uses.
library = torch.library.Library("torchvision", "DEF")
for operator in ("nms", "qnms"):
    library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

import open_clip  # noqa: E402
import timm  # noqa: E402
import torchvision.models  # noqa: E402

import keensight  # noqa: E402

torch.manual_seed(0)
timm.create_model = functools.partial(
    lambda create, name, **asked: create(name, **{**asked, "pretrained": False}), timm.create_model
)
torchvision.models.get_model = functools.partial(
    lambda get, name, weights: get(name, weights=None), torchvision.models.get_model
)
open_clip.create_model = functools.partial(
    lambda create, name, pretrained: create(name, pretrained=None), open_clip.create_model
)

folder, *names = sys.argv[1:]
for i, name in enumerate(names):
    run = keensight.train(Path(folder) / "data", out=f"{folder}/{i}", set=["model=transfer", f"backbone={name}"])
    parity = json.loads((run.bundle / "bundle.json").read_text())["parity"]
    print(json.dumps({"name": name, "preprocessing": run.report.preprocessing, "parity": parity}), flush=True)
