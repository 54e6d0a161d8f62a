"""A server as tutorials write it: FastAPI, uvicorn, torch, one picture of a form a request.

python torch_server.py dense model.safetensors --port 8000
python torch_server.py husky model.safetensors --port 8000
"""

from __future__ import annotations

import argparse
import io
import os
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import uvicorn
from fastapi import FastAPI, File
from PIL import Image
from safetensors.torch import load_file
from torch import nn
from torch_predict import LABELS, husky


def dense(tensors: dict[str, torch.Tensor]) -> nn.Sequential:
    """Return 784-512-10, its layers numbered as in a keensight bundle."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 10))
    network.load_state_dict({name.removeprefix("network."): t for name, t in tensors.items() if "." in name})
    return network


def main() -> None:
    """Serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("network", choices=("dense", "husky"))
    parser.add_argument("model", type=Path)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    tensors = load_file(asked.model)
    if asked.network == "dense":
        model, mode, size, labels = dense(tensors), "L", 28, tuple("0123456789")
    else:
        model, mode, size, labels = husky(tensors), "RGB", 128, LABELS
    mean, std = (tensors.get(name, torch.tensor(default)) for name, default in (("mean", 0.0), ("std", 1.0)))
    model.eval()
    app = FastAPI()

    @app.post("/predict")
    def predict(file: Annotated[bytes, File()]) -> dict[str, Any]:
        picture = Image.open(io.BytesIO(file)).convert(mode).resize((size, size), Image.Resampling.BILINEAR)
        image_HWC = np.asarray(picture, np.float32).reshape(size, size, -1) / 255
        image_NCHW = torch.from_numpy(image_HWC).permute(2, 0, 1)[None]
        with torch.inference_mode():
            logits = model((image_NCHW - mean) / std)[0]
        if len(logits) == 1:
            probabilities = torch.stack((1 - logits[0].sigmoid(), logits[0].sigmoid())).tolist()
        else:
            probabilities = logits.softmax(0).tolist()
        label = labels[int(np.argmax(probabilities))]
        return {"label": label, "probabilities": dict(zip(labels, probabilities, strict=True))}

    uvicorn.run(app, host="127.0.0.1", port=asked.port, access_log=False)


if __name__ == "__main__":
    main()
