"""Open a bundle and answer for pictures: NumPy, Pillow and ONNX Runtime, and no torch.

Shape letters: N images, H height, W width, C channels, K classes.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain, islice
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import onnxruntime

from keensight.bundle.folder import SIGNATURE, read_folder
from keensight.bundle.onnx_check import check_onnx
from keensight.bundle.sbom import SBOM, changed_since
from keensight.bundle.statement import changes_since, open_signature, signed_files
from keensight.bundle.strict_json import strict_json
from keensight.bundle.tensors import check_tensors
from keensight.data.folders import MAX_PICTURE_BYTES
from keensight.data.labels import odd_name
from keensight.data.pixels import Borders, decode_picture, match_polarity
from keensight.errors import BundleError, GateError, PictureError, RecipeError
from keensight.machine import cores, images_at_a_time
from keensight.values import FloatArray, Prediction, Preprocessing, Split, Uint8Array

FORMAT = 1
NEEDED = {"data": ("sha256", "val_fraction", "test_fraction", "seed"), "recipe": ("options",)}
OF_AN_IMPORT = {"origin": ("kind", "file", "sha256"), "network": (0,)}  # made elsewhere: no recipe, and unknown data
SINGLE_STEP = 32  # pictures that are given to the model at a time, at most
INVERTED = "was inverted, because it is light where all training pictures are dark, or the other way round"
BLANK = "is blank: all of it has nearly one colour"
BLANK_LEVELS = 8  # of 256: a spread that no picture of something stays under

Answer: TypeAlias = Prediction | PictureError


@dataclass(frozen=True, slots=True)
class Bundle:
    """What `bundle.json` says that predicting needs; `info` is the whole of it.

    `files` are the bytes of all its files, as they were read and, if `verified_by` is the SHA-256 of a public key,
    verified; it is None where no key was given. `signed_by` is the key that the signature names, be it verified or not,
    and `changes` is what was changed since. A bundle that is yet to be written has no files.
    """

    path: Path
    labels: tuple[str, ...]
    preprocessing: Preprocessing
    borders: Borders
    abstain_below: float
    info: Mapping[str, Any]
    files: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    verified_by: str | None = None
    signed_by: str | None = None
    changes: tuple[str, ...] = ()

    @property
    def is_signed(self) -> bool:
        """Whether it has a signature, be it verified or not."""
        return SIGNATURE in self.files

    @property
    def name(self) -> str:
        """What its run is called: the run's folder, or where the bundle has left it, the bundle's own."""
        path = self.path.resolve()
        return path.parent.name if path.name == "bundle" else path.name


class Predictor:
    """A bundle, loaded and ready to answer."""

    def __init__(self, bundle: Bundle, onnx: bytes, options: onnxruntime.SessionOptions | None = None) -> None:
        """Check and load the model `onnx`. By default, all cores work on one batch, and nothing is logged."""
        self.bundle = bundle
        self.onnx = onnx
        try:
            check_onnx(onnx, bundle.preprocessing, len(bundle.labels))
        except ValueError as error:
            raise _damaged(bundle.path / "model.onnx", error) from error
        if options is None:
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = cores()
        self._session = self._loaded(options)

    @cached_property
    def _on_one_core(self) -> onnxruntime.InferenceSession:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        return self._loaded(options)

    def _loaded(self, options: onnxruntime.SessionOptions) -> onnxruntime.InferenceSession:
        options.log_severity_level = 3
        try:
            return onnxruntime.InferenceSession(self.onnx, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime raises a dozen classes of its own
            raise BundleError(
                f"{self.bundle.path}/model.onnx cannot be loaded ({str(error)[:300]}). Train or export it again."
            ) from error

    def probabilities(self, images_NHWC: Uint8Array) -> tuple[FloatArray, FloatArray]:
        """Return calibrated probabilities float32 NK for uint8 NHWC, and a bool N: which pictures were inverted."""
        images_NHWC, inverted = match_polarity(images_NHWC, self.bundle.borders)
        return self.probabilities_as_seen(images_NHWC), inverted

    def probabilities_as_seen(self, images_NHWC: Uint8Array) -> FloatArray:
        """Return calibrated probabilities float32 NK for uint8 NHWC, none of which is inverted first."""
        return _ask(self._session, images_NHWC)

    def on_split(self, split: Split) -> FloatArray:
        """Return calibrated probabilities float32 NK for a whole split."""
        size = self.bundle.preprocessing
        batch = images_at_a_time(size.height, size.width, size.channels)
        starts = range(0, len(split), batch)
        return np.concatenate([self.probabilities(split.images[split.rows[i : i + batch]])[0] for i in starts])

    def predict(self, *files: str | Path) -> list[Prediction]:
        """Return a prediction for each picture file, in order. Raises PictureError where one of them cannot be read."""
        answers = []
        for file, answer in self.on_files(map(Path, files)):
            if isinstance(answer, PictureError):
                raise type(answer)(refusal(file, answer))
            answers.append(answer)
        return answers

    def on_files(self, files: Iterable[Path]) -> Iterator[tuple[Path, Answer]]:
        """Yield each file with its answer, or with the PictureError that says why there is none, in order."""
        for file, _, answer in self.on_pictures(files):
            yield file, answer

    def on_pictures(self, files: Iterable[Path]) -> Iterator[tuple[Path, Uint8Array | None, Answer]]:
        """Yield what `on_files` does, and between the two the picture as the model sees it, uint8 HWC.

        Each core decodes some pictures and asks the model about them by itself, so that both go on side by side.
        """
        size = self.bundle.preprocessing
        at_a_time = max(8, min(SINGLE_STEP, images_at_a_time(size.height, size.width, size.channels) // cores()))
        remaining = iter(files)
        first = list(islice(remaining, at_a_time + 1))
        # two calls that both wanted all cores took 1.35 times the work, most of it waiting in a loop for each other
        session = self._on_one_core if len(first) > at_a_time else self._session
        remaining = chain(first, remaining)
        under_way: deque[Future[list[tuple[Path, Uint8Array | None, Answer]]]] = deque()
        with ThreadPoolExecutor(cores()) as pool:
            try:
                while True:
                    while len(under_way) < 2 * cores() and (some := list(islice(remaining, at_a_time))):
                        under_way.append(pool.submit(self._some, some, session))
                    if not under_way:
                        return
                    yield from under_way.popleft().result()
            finally:
                pool.shutdown(cancel_futures=True)

    def _some(
        self, files: list[Path], session: onnxruntime.InferenceSession
    ) -> list[tuple[Path, Uint8Array | None, Answer]]:
        """Return what `on_pictures` yields, for a few files."""
        decoded = [self._decode(file) for file in files]
        good = [str(file) for file, image in zip(files, decoded, strict=True) if not isinstance(image, PictureError)]
        images = [image for image in decoded if not isinstance(image, PictureError)]
        answers = iter(self._answer(good, np.stack(images), session) if good else ())
        return [
            (file, None, image) if isinstance(image, PictureError) else (file, *next(answers))
            for file, image in zip(files, decoded, strict=True)
        ]

    def on_images(self, images_NHWC: Uint8Array) -> list[Prediction]:
        """Return a prediction for each decoded picture, uint8 NHWC, in order; their `file` is empty."""
        return [prediction for _, prediction in self._answer([""] * len(images_NHWC), images_NHWC, self._session)]

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

    def _answer(
        self, files: list[str], images_NHWC: Uint8Array, session: onnxruntime.InferenceSession
    ) -> Iterator[tuple[Uint8Array, Prediction]]:
        """Yield each picture as the model sees it, uint8 HWC, and what it is."""
        seen_NHWC, inverted_N = match_polarity(images_NHWC, self.bundle.borders)
        probabilities_NK = _ask(session, seen_NHWC)
        # one axis after the other: over both at once, NumPy takes 40 times as long
        spreads_NC = images_NHWC.max(axis=1).max(axis=1) - images_NHWC.min(axis=1).min(axis=1)
        # lists, as asking arrays for one number after another took as long as a small model
        columns = (probabilities_NK.argmax(axis=1), probabilities_NK, inverted_N, spreads_NC.max(axis=1) < BLANK_LEVELS)
        labels, abstain_below = self.bundle.labels, self.bundle.abstain_below
        rows = zip(files, seen_NHWC, *(column.tolist() for column in columns), strict=True)
        for file, seen_HWC, top, probabilities, inverted, blank in rows:
            yield (
                seen_HWC,
                Prediction(
                    file=file,
                    label=labels[top],
                    probability=probabilities[top],
                    probabilities=dict(zip(labels, probabilities, strict=True)),
                    abstained=blank or probabilities[top] < abstain_below,
                    notes=(INVERTED,) * inverted + (BLANK,) * blank,
                ),
            )


def _ask(session: onnxruntime.InferenceSession, images_NHWC: Uint8Array) -> FloatArray:
    (answers,) = session.run(["probabilities"], {"images": np.ascontiguousarray(images_NHWC)})
    return np.asarray(answers)


def load(path: str | Path, key: str | Path | None = None, *, though_changed: bool = False) -> Predictor:
    """Open a bundle, or the bundle of a run folder, for predicting.

    With `key`, a public key's file, the bundle's signature is verified first. `Predictor.bundle` says by which key.
    Without it, a signed bundle must still be what its own signature lists, unless it is read `though_changed`.

    Raises:
        BundleError: it is missing, incomplete, hostile, or of a format that this version does not read.
        GateError: it was changed after it was signed; or there is a `key`, which is not the one that signed it.
        SigningKeyError: the key cannot be used.
    """
    bundle = read_bundle(path, key, though_changed=though_changed)
    return Predictor(bundle, file_of(bundle, "model.onnx"))


def refusal(file: Path, error: PictureError) -> str:
    """Say why there is no answer for a file."""
    return f"{file} cannot be used: {error}. Correct its name, replace it, or leave it out."


def file_of(bundle: Bundle, name: str) -> bytes:
    """Return the bytes of one of a bundle's files. Raises BundleError where it has none of that name."""
    if name not in bundle.files:
        raise BundleError(f"{bundle.path} has no {name}, so it is not a whole bundle. Train or export it again.")
    return bundle.files[name]


def read_bundle(path: str | Path, key: str | Path | None = None, *, though_changed: bool = False) -> Bundle:
    """Read a bundle's files, once; verify their signature if there is a `key`; and check what predicting relies on.

    Raises what `load` does. The ONNX model is checked by `Predictor`, still before ONNX Runtime sees it.
    """
    if key is None:
        folder = _folder_of(Path(path), is_signed=False)
        files, verified_by = read_folder(folder), None
        signed_by, changes = _claimed(files)
    else:
        folder, files, verified_by = _verified(Path(path), key)
        signed_by, changes = verified_by, ()
    if changes and not though_changed:
        raise GateError(
            f"{folder} was changed after it was signed: {'; '.join(changes)}. Get it again from whoever signed it; if "
            f"the change is yours, sign it again with `keensight sign`, or delete its {SIGNATURE}."
        )
    bundle = _described(folder, files)
    _check(folder, files)
    return replace(bundle, files=files, verified_by=verified_by, signed_by=signed_by, changes=changes)


def _claimed(files: Mapping[str, bytes]) -> tuple[str | None, tuple[str, ...]]:
    """Return which key a bundle says that it was signed with, and what was changed since; no key checks either."""
    if SIGNATURE not in files:
        return None, ()
    try:
        signature = open_signature(files[SIGNATURE])
        return signature.key, tuple(changes_since(signed_files(signature.statement), files))
    except ValueError as error:
        return None, (f"{SIGNATURE} is not a signature by model_signing 1.1 with a key ({error})",)


def _check(folder: Path, files: Mapping[str, bytes]) -> None:
    """Check the weights, and the bill of materials where there is one: bundles of keensight 0.1 may have none."""
    file = folder / "model.safetensors"
    try:
        if file.name in files:
            check_tensors(files[file.name])
        file = folder / SBOM
        changed = changed_since(files) if SBOM in files else []
    except ValueError as error:
        raise _damaged(file, error) from error
    if changed:
        raise BundleError(
            f"{folder / changed[0]} is not the file that {SBOM} lists: it was changed, or damaged on its way. Copy the "
            "bundle again from where it was made, or train or export it again."
        )


def _verified(path: Path, key: str | Path) -> tuple[Path, dict[str, bytes], str]:
    from keensight.bundle.keys import fingerprint, load_public  # cryptography takes longer than the rest
    from keensight.bundle.verify import verify_files

    public = load_public(key)
    folder = _folder_of(path, is_signed=True)
    try:
        files = read_folder(folder)
    except BundleError as error:
        raise GateError(f"The signature cannot hold, because {error}") from error
    verify_files(folder, files, public)
    return folder, files, fingerprint(public)


def _folder_of(folder: Path, is_signed: bool) -> Path:
    """Return the bundle's folder, which may be in a run folder. A signed one is found without its bundle.json, too."""
    names = ["bundle.json", SIGNATURE] if is_signed else ["bundle.json"]
    for place in (folder, folder / "bundle"):
        if any(os.path.lexists(place / name) for name in names):
            return place
    if (folder / "recipe.toml").exists():
        raise BundleError(
            f"{folder} is a run that is not finished, so it has no bundle yet. Go on with "
            f"`keensight train DATA --out {folder} --resume`."
        )
    what = "is not a bundle: it has no bundle.json" if folder.exists() else "does not exist"
    raise BundleError(
        f"{folder} {what}. Give the folder that `keensight train` calls its bundle, such as runs/digits/bundle, or "
        "the run folder around it."
    )


def _described(folder: Path, files: Mapping[str, bytes]) -> Bundle:
    """Return what a bundle's bundle.json says."""
    try:
        info = strict_json(files["bundle.json"])
        if info["format"] != FORMAT:
            raise BundleError(
                f"{folder} is a bundle of format {ascii(info['format'])[:20]}; this keensight reads format {FORMAT}. "
                "Use the keensight that wrote it, or a newer one."
            )
        labels = _labels(info["labels"])
        preprocessing = _preprocessing(info["preprocessing"])
        borders = Borders(float(info["borders"]["low"]), float(info["borders"]["high"]))
        for part, keys in (NEEDED if "origin" not in info else OF_AN_IMPORT).items():
            for key in keys:
                info[part][key]
        if not isinstance(info.get("recipe", {"options": {}})["options"], dict):
            raise ValueError("the options of its recipe are no table")
        for split, measured in (info.get("metrics") or {}).items():
            if measured and [row["name"] for row in measured["per_class"]] != list(labels):
                raise ValueError(f"its metrics on {ascii(split)[:20]} are those of other labels")
        return Bundle(folder, labels, preprocessing, borders, float(info["abstain_below"]), info)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise _damaged(folder / "bundle.json", error) from error


def _preprocessing(found: Any) -> Preprocessing:
    try:
        return Preprocessing(found["height"], found["width"], found["channels"], found["fit"])
    except RecipeError:  # whose advice is for training
        size = f"{ascii(found['height'])[:20]}x{ascii(found['width'])[:20]}x{ascii(found['channels'])[:20]}"
        raise ValueError(
            f"its pictures are {size} with the fit {ascii(found['fit'])[:20]}; sizes from 1x1 to 4096x4096, 1 or 3 "
            "channels, and squash, letterbox or crop are accepted"
        ) from None


def _damaged(file: Path, error: Exception) -> BundleError:
    detail = f"has no key {error}" if isinstance(error, KeyError) else f"cannot be read ({error})"
    return BundleError(f"{file} {detail}, so it is not a bundle that can be trusted. Train or export it again.")


def _labels(labels: Any) -> tuple[str, ...]:
    if isinstance(labels, list) and all(isinstance(label, str) and not odd_name(label) for label in labels):
        if len(set(labels)) == len(labels):
            return tuple(labels)
        raise ValueError("its labels have a name twice")
    raise ValueError("its labels are not a list of names in plain text")
