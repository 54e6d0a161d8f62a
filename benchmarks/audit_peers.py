"""Ask CleanVision, imagededup and cleanlab what `make audit-bench` asks keensight. Prints JSON Lines.

    python -m venv /tmp/peers && /tmp/peers/bin/pip install --no-deps cleanvision==0.3.7 cleanlab==2.9.0 \
        imagededup==0.3.3.post2 imagehash==4.3.2 PyWavelets pandas tabulate termcolor tqdm fsspec
    PYTHONPATH=src:benchmarks:.venv/lib/python3.11/site-packages /tmp/peers/bin/python benchmarks/audit_peers.py

imagededup's hashes alone are asked: its networks take torchvision and weights from the internet. The pictures are
huskies.zip's, and copies of 100 of them for each change, as in audit.py, saved as PNG or as the change has them.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import sys
import tempfile
import zipfile
from pathlib import Path
from unittest.mock import MagicMock

import numpy as np
from PIL import Image

from audit import CHANGES, COPIES_OF_EACH

ABSENT = ("torchvision", "torchvision.transforms", "torchvision.models", "torchvision.models.vision_transformer")


def cleanvision(folder: Path) -> dict[str, object]:
    """Return how many pictures CleanVision names for each of its issues, and which, if few."""
    from cleanvision import Imagelab

    lab = Imagelab(data_path=str(folder))
    lab.find_issues(n_jobs=1)
    issues = lab.issues[[name for name in lab.issues.columns if name.startswith("is_")]]
    named = {name[3:-6]: [Path(each).name for each in issues.index[issues[name]]] for name in issues.columns}
    return {"what": "CleanVision", "named": {k: [len(v), v[:6]] for k, v in named.items()}}


def imagededup(folder: Path, source: dict[str, str], change_of: dict[str, str], hasher: str) -> dict[str, object]:
    """Return recall for each change and precision, of pairs that share a picture, as audit.py counts them."""
    for name in ABSENT:
        sys.modules.setdefault(name, MagicMock())
    from imagededup import methods

    found = getattr(methods, hasher)(verbose=False).find_duplicates(image_dir=str(folder), recursive=True)
    pairs = {tuple(sorted((one, other))) for one, others in found.items() for other in others}
    right = [pair for pair in pairs if source[pair[0]] == source[pair[1]]]
    hit = {name for pair in right for name in pair if name in change_of}
    recall = {c: sum(change_of[name] == c for name in hit) / COPIES_OF_EACH for c in CHANGES}
    return {"what": f"imagededup {hasher}", "recall": recall, "right": len(right), "pairs": len(pairs)}


def main() -> None:
    """Ask each, and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        with zipfile.ZipFile(asked.data / "huskies.zip") as archive:
            archive.extractall(folder)
        with contextlib.redirect_stdout(sys.stderr):
            line = cleanvision(folder)
        print(json.dumps(line), flush=True)
        files = sorted(each for each in folder.rglob("*") if each.is_file())
        source = {str(each.relative_to(folder)): str(each.relative_to(folder)) for each in files}
        change_of: dict[str, str] = {}
        draw = np.random.default_rng(0)
        order = draw.permutation(len(files))
        for c, (name, change) in enumerate(CHANGES.items()):
            for i in order[c * COPIES_OF_EACH : (c + 1) * COPIES_OF_EACH].tolist():
                changed = change(Image.open(io.BytesIO(files[i].read_bytes())).convert("RGB"), draw)
                changed.convert("RGB").save(folder / f"{c}-{i}.png")
                source[f"{c}-{i}.png"], change_of[f"{c}-{i}.png"] = str(files[i].relative_to(folder)), name
        for hasher in ("PHash", "DHash"):
            with contextlib.redirect_stdout(sys.stderr):
                line = imagededup(folder, source, change_of, hasher)
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
