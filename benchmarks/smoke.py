"""Guard what makes keensight fast, in under five minutes, in a way that noise cannot break.

    make bench-smoke

Every guard has a fast way, ours, and the naive way that it replaces. They run by turns, in one process, and the median
of the pairs' ratios must stay over a bound that lies far under what is usual. A guard that fails is measured a second
time, more patiently, before it counts. Exit status 1 where one still fails.
"""

from __future__ import annotations

import hashlib
import io
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

import keensight
from keensight.machine import cores, share_the_cores

Act = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Guard:
    """A fast way against a slow one, and the ratio that must remain."""

    name: str
    make: Callable[[Path], tuple[Act, Act]]  # from a folder to write into, to (fast, slow)
    least: float
    cores: int = 1  # that it takes


def main() -> int:
    """Measure every guard, and say which do not hold."""
    share_the_cores()
    failed = 0
    for guard in GUARDS:
        if cores() < guard.cores:
            print(f"{guard.name}: skipped, it takes {guard.cores} cores")
            continue
        with tempfile.TemporaryDirectory() as folder:
            fast, slow = guard.make(Path(folder))
            found = ratios(fast, slow, 5)
            if statistics.median(found) < guard.least:
                found = ratios(fast, slow, 15)
        holds = statistics.median(found) >= guard.least
        failed += not holds
        print(
            f"{guard.name}: {statistics.median(found):.2f}× ({min(found):.2f} to {max(found):.2f}), "
            f"at least {guard.least:g}{'' if holds else ': FAILED'}",
            flush=True,
        )
    return 1 if failed else 0


def ratios(fast: Act, slow: Act, pairs: int, clock: Callable[[], float] = time.perf_counter) -> list[float]:
    """Return how many times longer `slow` takes, for each of so many pairs run by turns, after a warm-up."""
    fast(), slow()
    found = []
    for _ in range(pairs):
        seconds = []
        for act in (fast, slow):
            begin = clock()
            act()
            seconds.append(clock() - begin)
        found.append(seconds[1] / seconds[0])
    return found


def jpegs(folder: Path, count: int, size_px: int) -> None:
    """Write photographs of nothing in particular into two class folders."""
    rng = np.random.default_rng(0)
    for i in range(count):
        place = folder / f"class-{i % 2}"
        place.mkdir(parents=True, exist_ok=True)
        small = rng.integers(0, 256, (16, 16, 3), np.uint8)
        Image.fromarray(small).resize((size_px, size_px)).save(place / f"{i}.jpg", quality=90)


def cached(folder: Path) -> tuple[Act, Act]:
    """Pictures from the cache, against decoding them anew."""
    jpegs(folder / "pictures", 300, 320)
    dataset = keensight.open_dataset(folder / "pictures")
    preprocessing = keensight.Preprocessing(64, 64, 3)

    def decode() -> None:
        os.environ["KEENSIGHT_CACHE"] = str(folder / "cache")
        np.asarray(keensight.decode(dataset, preprocessing).images).sum()

    def anew() -> None:
        shutil.rmtree(folder / "cache", ignore_errors=True)
        decode()

    # both leave a cache behind, so that the fast way finds one
    return decode, anew


def hashed(folder: Path) -> tuple[Act, Act]:
    """Rows of an array hashed where they lie, against each as a file of its own."""
    from keensight.data.hashing import hash_rows

    images = np.zeros((10_000, 28, 28, 1), np.uint8)

    def as_files() -> None:
        for image in images:
            file = io.BytesIO()
            np.save(file, image)
            hashlib.sha256(file.getvalue()).hexdigest()

    return lambda: hash_rows(images), as_files


def hostile(folder: Path) -> tuple[Act, Act]:
    """A file name that fits a label pattern nowhere, and almost everywhere, against one that fits at once."""
    from keensight.data.patterns import label_pattern

    fields = label_pattern("*_{label}_*_*_*_*_*_*_*_x")
    return lambda: fields("_" * 28 + "y.png"), lambda: fields("a_cat_a_a_a_a_a_a_a_a_a_a_x.png")


def reduced(folder: Path) -> tuple[Act, Act]:
    """A large JPEG decoded at a fraction of its size, against whole."""
    from keensight.data.pixels import decode_picture

    jpegs(folder, 1, 2400)
    content = (folder / "class-0" / "0.jpg").read_bytes()
    preprocessing = keensight.Preprocessing(128, 128, 3)

    def whole() -> None:
        np.asarray(Image.open(io.BytesIO(content)).convert("RGB").resize((128, 128), Image.Resampling.BILINEAR))

    return lambda: decode_picture(content, preprocessing), whole


def gathered(folder: Path) -> tuple[Act, Act]:
    """A batch gathered as bytes and scaled once, against picture by picture."""
    import torch

    from keensight.models.tensors import to_images

    images = np.random.default_rng(0).integers(0, 256, (2048, 32, 32, 3), np.uint8)
    rows, cpu = np.random.default_rng(1).permutation(2048), torch.device("cpu")

    def one_by_one() -> None:
        torch.stack([torch.from_numpy(images[row]).permute(2, 0, 1).float() / 255 for row in rows])

    return lambda: to_images(images[rows], cpu), one_by_one


def augmented(folder: Path) -> tuple[Act, Act]:
    """One affine grid for a batch, against one for each picture."""
    import torch

    from keensight.training.augment import augment
    from keensight.training.draws import Draws

    recipe = keensight.load_recipe("husky")
    images, rows = torch.rand(128, 3, 32, 32), np.arange(128)

    def one_by_one() -> None:
        torch.cat([augment(images[i : i + 1], recipe.augment, Draws(0, rows[i : i + 1])) for i in rows])

    return lambda: augment(images, recipe.augment, Draws(0, rows)), one_by_one


def fitted(folder: Path) -> tuple[Act, Act]:
    """Our loop on the default network, against the plain loop of a tutorial: NCHW, whole batches, sums every step."""
    import torch
    import torch.nn.functional as F
    from torch import nn

    from keensight.models.dropout import Dropout
    from keensight.models.zoo import build
    from keensight.training.loop import fit, start
    from keensight.values import Split, Splits

    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (1024, 28, 28, 1), np.uint8)
    labels = rng.integers(0, 10, 1024)
    preprocessing = keensight.Preprocessing(28, 28, 1)
    rows = np.arange(1024)
    train, val = Split(images, rows, labels, ("",) * 1024), Split(images, rows[:1], labels[:1], ("",))
    splits = Splits(tuple("0123456789"), preprocessing, train, val, None)
    recipe = keensight.load_recipe("default", ["epochs=1", "precision=float32"])

    def as_torch_has_it(layer: nn.Module) -> nn.Module:
        if isinstance(layer, Dropout):
            return nn.Dropout(layer.p)
        return nn.MaxPool2d(layer.kernel_size) if isinstance(layer, nn.MaxPool2d) else layer

    def ours() -> None:
        list(fit(start(build("cnn", {}, preprocessing, 10, 0), splits, recipe), splits, recipe))

    def plain() -> None:
        model = build("cnn", {}, preprocessing, 10, 0)
        model.network = nn.Sequential(*map(as_torch_has_it, model.network))
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.005)
        for part in np.array_split(rng.permutation(1024), math.ceil(1024 / recipe.train.batch_size)):
            pictures = torch.stack([torch.from_numpy(images[row]).permute(2, 0, 1).float() / 255 for row in part])
            loss = F.cross_entropy(model(pictures), torch.from_numpy(labels[part]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss.item()

    return ours, plain


def side_by_side(folder: Path) -> tuple[Act, Act]:
    """A batch in two pieces on a core each, against every layer on both cores."""
    import torch
    import torch.nn.functional as F
    from torch import nn

    from keensight.models.zoo import build
    from keensight.training.pieces import Pieces
    from keensight.values import IntArray

    torch.set_num_threads(cores())
    model = build("cnn", {}, keensight.Preprocessing(28, 28, 1), 10, 0).to(memory_format=torch.channels_last)
    images = torch.rand(1024, 1, 28, 28)
    labels = torch.arange(1024) % 10

    def learn(_: int, network: nn.Module, rows: IntArray) -> tuple[torch.Tensor, torch.Tensor]:
        logits = network(images[rows])
        return F.cross_entropy(logits, labels[rows]), (logits.argmax(1) == labels[rows]).sum()

    def steps(count: int) -> None:
        with Pieces(model, count, 0) as pieces:
            for step, rows in enumerate(np.array_split(np.arange(1024), 8)):
                pieces.backward(learn, rows, step)

    return lambda: steps(2), lambda: steps(1)


def one_pass(folder: Path) -> tuple[Act, Act]:
    """Pooling, ReLU and dropout in one pass over memory, against one after the other."""
    import torch
    from torch import nn

    from keensight.models.chain import Chain
    from keensight.models.dropout import Dropout, seed_dropout
    from keensight.models.pooling import MaxPool2d

    torch.set_num_threads(1)
    maps = torch.rand(16, 32, 126, 126).sub(0.5).to(memory_format=torch.channels_last).requires_grad_()
    layers = MaxPool2d(2), nn.ReLU(), Dropout(0.4)

    def passes(network: nn.Module) -> Act:
        seed_dropout(network, 0)
        return lambda: torch.autograd.grad(network(maps).sum(), maps)

    return passes(Chain(*layers).train()), passes(nn.Sequential(*layers).train())


def features(folder: Path) -> tuple[Act, Act]:
    """A frozen backbone asked through ONNX Runtime, against through torch."""
    from keensight.models.features import opened, opened_by_torch, transfer_of
    from keensight.models.zoo import build

    size = keensight.Preprocessing(160, 160, 3)
    model = build("transfer", {}, size, 2, 0).eval()
    images = np.random.default_rng(0).integers(0, 256, (8, 160, 160, 3), np.uint8)
    network = transfer_of(model).backbone
    through_onnx, through_torch = opened(network, model, size), opened_by_torch(network, model)
    return lambda: through_onnx(images), lambda: through_torch(images)


def light(folder: Path) -> tuple[Act, Act]:
    """`import keensight` and `keensight --help`, against the import of torch that they wait with."""

    def run(*words: str) -> None:
        subprocess.run([sys.executable, *words], stdout=subprocess.DEVNULL, check=True)

    return lambda: run("-m", "keensight", "--help"), lambda: run("-c", "import torch")


GUARDS: Sequence[Guard] = (
    Guard("pictures from the cache, not decoded", cached, 10),
    Guard("rows hashed where they lie", hashed, 4),
    Guard("hostile file names", hostile, 0.02),
    Guard("large JPEGs decoded at reduced size", reduced, 3),
    Guard("batches gathered at once", gathered, 2),
    Guard("one affine grid for a batch", augmented, 5),
    Guard("our loop, not the plain one", fitted, 1.2),
    Guard("pieces of a batch side by side", side_by_side, 0.9, cores=2),
    Guard("pooling, ReLU and dropout in one pass", one_pass, 1.1),
    Guard("a frozen backbone through ONNX Runtime", features, 1.2),
    Guard("no torch for --help", light, 3),
)

if __name__ == "__main__":
    sys.exit(main())
