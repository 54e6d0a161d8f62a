"""`keensight demo`: all stages in under a minute, on pictures that need no download."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from keensight.data.cache import decode
from keensight.data.sources import open_dataset
from keensight.data.splits import read_splits
from keensight.pipeline.watch import Watcher
from keensight.values import Prediction, Preprocessing
from keensight.verbs.predict import predict
from keensight.verbs.train import Run, train
from keensight.workspace import RunFolder

DATA = "digits"


@dataclass(frozen=True, slots=True)
class Demo:
    """The results of the demo: a run, a picture, and the answer for it."""

    run: Run
    picture: Path
    prediction: Prediction


def demo(watcher: Watcher | None = None) -> Demo:
    """Train on scikit-learn's 8x8 digits, evaluate, attack, write report and bundle, and predict one picture file."""
    run = train(DATA, set=["attack_eps=[0.05, 0.1]"], watcher=watcher)
    picture = _a_test_picture(run)
    (prediction,) = predict(run.bundle, picture)
    return Demo(run, picture, prediction)


def _a_test_picture(run: Run) -> Path:
    """Save the first test picture as a file, enlarged sixteen times, as if it came from elsewhere."""
    first = next(each for each in read_splits(RunFolder(run.folder).splits) if each.split == "test")
    pixels = decode(open_dataset(DATA), Preprocessing(8, 8, 1))
    row = next(i for i, sample in enumerate(pixels.dataset.samples) if sample.path == first.file)
    path = run.folder / f"a-{first.label}.png"
    image = Image.fromarray(pixels.images[row, ..., 0])
    image.resize((image.width * 16, image.height * 16), Image.Resampling.BICUBIC).save(path)
    return path
