"""Open a bundle and answer for pictures: NumPy, Pillow and ONNX Runtime, and no torch.

Shape letters: N images, H height, W width, C channels, K classes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import onnxruntime

from keensight.data.folders import MAX_PICTURE_BYTES
from keensight.data.labels import odd_name
from keensight.data.pixels import Borders, decode_picture, match_polarity
from keensight.errors import BundleError, PictureError, RecipeError
from keensight.machine import cores, images_at_a_time
from keensight.values import FloatArray, Prediction, Preprocessing, Split, Uint8Array

FORMAT = 1
NEEDED = {"data": ("sha256", "val_fraction", "test_fraction", "seed"), "recipe": ("options",)}
MAX_JSON_BYTES = 32 * 2**20
SINGLE_STEP = 32  # pictures decoded ahead of the model
INVERTED = "was inverted, because it is light where all training pictures are dark, or the other way round"
BLANK = "is blank: all of it has nearly one colour"
BLANK_LEVELS = 8  # of 256: a spread that no picture of something stays under

Answer: TypeAlias = Prediction | PictureError


@dataclass(frozen=True, slots=True)
class Bundle:
    """What `bundle.json` says that predicting needs; `info` is the whole of it."""

    path: Path
    labels: tuple[str, ...]
    preprocessing: Preprocessing
    borders: Borders
    abstain_below: float
    info: Mapping[str, Any]

    @property
    def name(self) -> str:
        """What its run is called: the run's folder, or where the bundle has left it, the bundle's own."""
        path = self.path.resolve()
        return path.parent.name if path.name == "bundle" else path.name


class Predictor:
    """A bundle, loaded and ready to answer."""

    def __init__(self, bundle: Bundle, onnx: bytes) -> None:
        self.bundle = bundle
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = cores()
        try:
            self._session = onnxruntime.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime raises a dozen classes of its own
            raise BundleError(
                f"{bundle.path}/model.onnx cannot be loaded ({str(error)[:300]}). Train or export it again."
            ) from error
        shape = self._session.get_inputs()[0].shape[1:], self._session.get_outputs()[0].shape[1:]
        size = bundle.preprocessing
        if shape != ([size.height, size.width, size.channels], [len(bundle.labels)]):
            raise BundleError(
                f"{bundle.path}/model.onnx takes {shape[0]} and gives {shape[1]}, which is not what its bundle.json "
                "says. The two are from different runs: export the bundle again."
            )

    def probabilities(self, images_NHWC: Uint8Array) -> tuple[FloatArray, FloatArray]:
        """Return calibrated probabilities float32 NK for uint8 NHWC, and a bool N: which pictures were inverted."""
        images_NHWC, inverted = match_polarity(images_NHWC, self.bundle.borders)
        return self.probabilities_as_seen(images_NHWC), inverted

    def probabilities_as_seen(self, images_NHWC: Uint8Array) -> FloatArray:
        """Return calibrated probabilities float32 NK for uint8 NHWC, none of which is inverted first."""
        (answers,) = self._session.run(["probabilities"], {"images": np.ascontiguousarray(images_NHWC)})
        return np.asarray(answers)

    def on_split(self, split: Split) -> FloatArray:
        """Return calibrated probabilities float32 NK for a whole split."""
        size = self.bundle.preprocessing
        batch = images_at_a_time(size.height, size.width, size.channels)
        starts = range(0, len(split), batch)
        return np.concatenate([self.probabilities(split.images[split.rows[i : i + batch]])[0] for i in starts])

    def on_files(self, files: Iterable[Path]) -> Iterator[tuple[Path, Answer]]:
        """Yield each file with its answer, or with the PictureError that says why there is none, in order."""
        for file, _, answer in self.on_pictures(files):
            yield file, answer

    def on_pictures(self, files: Iterable[Path]) -> Iterator[tuple[Path, Uint8Array | None, Answer]]:
        """Yield what `on_files` does, and between the two the picture as the model sees it, uint8 HWC."""
        with ThreadPoolExecutor(cores()) as pool:
            remaining = iter(files)
            while batch := list(islice(remaining, SINGLE_STEP)):
                decoded = list(pool.map(self._decode, batch))
                good = [image for image in decoded if not isinstance(image, PictureError)]
                answers = iter(self._answer(np.stack(good)) if good else ())
                for file, image in zip(batch, decoded, strict=True):
                    if isinstance(image, PictureError):
                        yield file, None, image
                    else:
                        seen_HWC, probabilities_K, inverted, blank = next(answers)
                        yield file, seen_HWC, self._prediction(file, probabilities_K, inverted, blank)

    def _decode(self, file: Path) -> Uint8Array | PictureError:
        try:
            if file.stat().st_size > MAX_PICTURE_BYTES:
                return PictureError(f"it is larger than {MAX_PICTURE_BYTES // 2**20} MiB")
            if not file.is_file():
                return PictureError("it is a folder without pictures" if file.is_dir() else "it is not a file")
            return decode_picture(file.read_bytes(), self.bundle.preprocessing)
        except PictureError as error:
            return error
        except OSError as error:
            return PictureError(os.strerror(error.errno or 0).lower())

    def _answer(self, images_NHWC: Uint8Array) -> Iterator[tuple[Uint8Array, FloatArray, bool, bool]]:
        seen_NHWC, inverted_N = match_polarity(images_NHWC, self.bundle.borders)
        probabilities_NK = self.probabilities_as_seen(seen_NHWC)
        spreads_N = (images_NHWC.max(axis=(1, 2)) - images_NHWC.min(axis=(1, 2))).max(axis=1)
        yield from zip(seen_NHWC, probabilities_NK, inverted_N, spreads_N < BLANK_LEVELS, strict=True)

    def _prediction(self, file: Path, probabilities_K: FloatArray, inverted: bool, blank: bool) -> Prediction:
        top = int(probabilities_K.argmax())
        probability = float(probabilities_K[top])
        return Prediction(
            file=str(file),
            label=self.bundle.labels[top],
            probability=probability,
            probabilities={name: float(p) for name, p in zip(self.bundle.labels, probabilities_K, strict=True)},
            abstained=bool(blank or probability < self.bundle.abstain_below),
            notes=(INVERTED,) * bool(inverted) + (BLANK,) * bool(blank),
        )


def load(path: str | Path) -> Predictor:
    """Open a bundle, or the bundle of a run folder, for predicting.

    Raises BundleError where it is missing, incomplete, or of a format that this version does not read.
    """
    bundle = read_bundle(path)
    model = bundle.path / "model.onnx"
    if not model.is_file():
        raise BundleError(f"{bundle.path} has no model.onnx, so it is not a whole bundle. Train or export it again.")
    return Predictor(bundle, model.read_bytes())


def read_bundle(path: str | Path) -> Bundle:
    """Read `bundle.json` and check what predicting relies on. Raises BundleError."""
    folder = Path(path)
    if not (folder / "bundle.json").exists() and (folder / "bundle" / "bundle.json").exists():
        folder = folder / "bundle"
    file = folder / "bundle.json"
    if not file.is_file():
        if (folder / "recipe.toml").exists():
            raise BundleError(
                f"{path} is a run that is not finished, so it has no bundle yet. Go on with "
                f"`keensight train DATA --out {path} --resume`."
            )
        what = "is not a bundle: it has no bundle.json" if folder.exists() else "does not exist"
        raise BundleError(
            f"{path} {what}. Give the folder that `keensight train` calls its bundle, such as runs/digits/bundle, or "
            "the run folder around it."
        )
    if file.stat().st_size > MAX_JSON_BYTES:
        raise BundleError(f"{file} is larger than {MAX_JSON_BYTES // 2**20} MiB, and is not read.")
    try:
        info = json.loads(file.read_text(encoding="utf-8"), parse_constant=_no_number)
        if info["format"] != FORMAT:
            raise BundleError(
                f"{folder} is a bundle of format {info['format']}; this keensight reads format {FORMAT}. Use the "
                "keensight that wrote it, or a newer one."
            )
        labels = _labels(info["labels"])
        size = info["preprocessing"]
        preprocessing = Preprocessing(size["height"], size["width"], size["channels"], size["fit"])
        borders = Borders(float(info["borders"]["low"]), float(info["borders"]["high"]))
        for part, keys in NEEDED.items():
            for key in keys:
                info[part][key]
        if not isinstance(info["recipe"]["options"], dict):
            raise ValueError("the options of its recipe are no table")
        return Bundle(folder, labels, preprocessing, borders, float(info["abstain_below"]), info)
    except (ValueError, KeyError, TypeError, RecursionError, RecipeError) as error:
        detail = f"has no key {error}" if isinstance(error, KeyError) else f"cannot be read ({error})"
        raise BundleError(
            f"{file} {detail}, so it is not a bundle that can be trusted. Train or export it again."
        ) from error


def _labels(labels: Any) -> tuple[str, ...]:
    if isinstance(labels, list) and all(isinstance(label, str) and not odd_name(label) for label in labels):
        if len(set(labels)) == len(labels):
            return tuple(labels)
        raise ValueError("its labels have a name twice")
    raise ValueError("its labels are not a list of names in plain text")


def _no_number(name: str) -> None:
    raise ValueError(f"it holds {name}")
