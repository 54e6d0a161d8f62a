"""Models and their versions: read, verify, load, warm up, and only then swap."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from keensight.bundle.folder import version_of
from keensight.bundle.read import Bundle, file_of, read_bundle
from keensight.engines.table import BFLOAT16, DEFAULT
from keensight.errors import BundleError, suggestion
from keensight.inference.choosing import as_answered_by, fastest
from keensight.inference.predictor import Predictor
from keensight.machine import cores, images_at_a_time
from keensight.serving.batching import Batcher
from keensight.serving.limits import Batching, RefusalError
from keensight.values import Uint8Array
from keensight.workspace import bundle_in

TEXTS = ("MODEL_CARD.md", "report.html")
SMALL = 64 * 64 * 3  # bytes of an image
QUICK_S = 0.001  # for a batch: 784-512-10 takes 0.4 ms for 32 pictures, a small `cnn` 4
DIGITS = tuple("0123456789")

Stamp = tuple[tuple[str, int, int, int], ...]
Log = Callable[..., None]


@dataclass(frozen=True, slots=True)
class Source:
    """A folder that a model is loaded from. `name` is the model's, where the folder in it is a version."""

    path: Path
    name: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """A version of a model, loaded and warm. `texts` are the bytes of its card and its report.

    `is_small` if its images are: then a tiny file is decoded in microseconds.
    """

    name: str
    version: str
    created: str
    is_signed: bool
    is_verified: bool
    predictor: Predictor
    batcher: Batcher
    texts: Mapping[str, bytes]
    is_small: bool = False

    @property
    def bundle(self) -> Bundle:
        """What its bundle.json says."""
        return self.predictor.bundle

    def described(self, is_default: bool) -> dict[str, Any]:
        """Return what ``/v1/models`` says about it."""
        size = self.bundle.preprocessing
        return {
            "name": self.name,
            "version": self.version,
            "labels": list(self.bundle.labels),
            "height": size.height,
            "width": size.width,
            "channels": size.channels,
            "fit": size.fit,
            "abstain_below": self.bundle.abstain_below,
            "signed": self.is_signed,
            "verified": self.is_verified,
            "signed_by": self.bundle.verified_by,
            "default": is_default,
            "drawing": size.channels == 1 and tuple(sorted(self.bundle.labels)) == DIGITS,
            "parameters": self.bundle.info.num_parameters,
            "accuracy": accuracy_of(self.bundle.info.metrics),
            "warnings": warnings_of(self.bundle.info.warnings),
        }


class Registry:
    """The models that are served. A swap is one step of the event loop, so no request sees half of it."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._models: dict[Source, Model] = {}
        self.on_change: Callable[[], None] = lambda: None

    def __iter__(self) -> Iterator[Model]:
        return iter(self._models.values())

    def __len__(self) -> int:
        return len(self._models)

    def find(self, name: str | None = None, version: str | None = None) -> Model:
        """Return a model in that version, else in its newest; without a name, the default one.

        The default is the first bundle given; with only a watched folder, the newest version of its first name.
        Raises RefusalError: 404 for one that is not served, 503 if there is none yet.
        """
        if not self._models:
            raise RefusalError(503, "no_model", "No model is loaded yet. Try again in a moment.", {"Retry-After": "1"})
        if name is None:
            source, first = next(iter(self._models.items()))
            if source.name is None:
                return first
            name = first.name
        versions = [model for model in self if model.name == name and version in (None, model.version)]
        if versions:
            return max(versions, key=lambda model: model.created)
        names = sorted({model.name for model in self})
        asked = ascii(name if version is None else f"{name}@{version}")[1:-1][:100]
        raise RefusalError(
            404, "unknown_model", f"There is no model {asked}. {suggestion(asked, names)}See /v1/models for all."
        )

    def named(self, text: str | None) -> Model:
        """Return the model that ``NAME`` or ``NAME@VERSION`` means; None or an empty text is the default one."""
        if not text or any(model.name == text for model in self):
            return self.find(text or None)
        name, at, version = text.rpartition("@")
        return self.find(name, version) if at else self.find(text)

    def described(self) -> list[dict[str, Any]]:
        """Return what ``/v1/models`` lists."""
        default = self.find() if self._models else None
        return [model.described(model is default) for model in self]

    def put(self, source: Source, model: Model) -> None:
        """Serve a model in place of the earlier one from the same source."""
        before = self._models.get(source)
        if before is not None and before.version == model.version:
            return
        beside = sorted(
            other.version for of, other in self._models.items() if other.name == model.name and of != source
        )
        self._models[source] = model
        replaces = before.version if before else None
        self._log("loaded", model=model.name, version=model.version, replaces=replaces, beside=beside)
        self.on_change()

    def drop_all_but(self, sources: list[Source]) -> None:
        """Stop serving models from other sources, unless none would be left."""
        kept = {source: model for source, model in self._models.items() if source in sources}
        if kept and len(kept) < len(self._models):
            for source in set(self._models) - set(kept):
                self._log("dropped", model=self._models[source].name, version=self._models[source].version)
            self._models = kept
            self.on_change()

    def refused(self, source: Source, error: Exception) -> None:
        """Log that a bundle cannot be served; an earlier one from there keeps answering."""
        name = self._models[source].name if source in self._models else source.name
        goes_on = self.find(name).version if any(model.name == name for model in self) else None
        self._log(
            "refused", level="error", bundle=str(source.path), reason=" ".join(str(error).split()), serving=goes_on
        )


def load_model(
    source: Source,
    key: Path | None,
    batching: Batching,
    observe: Callable[[str, int], None] = lambda name, size: None,
    num_cores: int | None = None,
) -> Model:
    """Read, verify, load and warm up a bundle. `observe` is called with the model's name and the size of each batch.

    It works on `num_cores`, all of this process if None. Raises BundleError, GateError and SigningKeyError, as
    `keensight.load` does.
    """
    bundle = read_bundle(source.path, key)
    num_cores = num_cores or cores()
    size, files = bundle.preprocessing, bundle.files
    is_small = size.height * size.width * size.channels <= SMALL
    # the cores share the last cache, so each gets its part of what fits: more was no faster, and took twice the memory
    fitting = images_at_a_time(size.height, size.width, size.channels) // (1 if is_small else num_cores)
    most = min(batching.size, max(8, fitting))
    images = np.zeros((most, size.height, size.width, size.channels), np.uint8)
    onnx = file_of(bundle, "model.onnx")
    engine = DEFAULT if is_small else fastest(bundle.info, onnx)
    bundle = as_answered_by(engine, bundle)
    narrow = _warm(bundle, images, engine, num_threads=1)
    # a small model is no faster on more cores: 28x28 pictures took 0.14 ms on one busy core, 0.33 ms on two; and in
    # bfloat16, one core is about as fast as two in float32, for half of the memory
    on_one = is_small or num_cores == 1 or engine == BFLOAT16
    wide = narrow if on_one else _warm(bundle, images, engine, num_threads=num_cores)
    name = source.name or bundle.name
    is_quick = is_small and _is_quick(narrow, images)
    batcher = Batcher(
        narrow.on_images,
        most,
        batching.wait_us / 1e6,
        lambda n: observe(name, n),
        is_quick=is_quick,
        lanes=1 if is_quick else num_cores,
        run_alone=None if wide is narrow else wide.on_images,
    )
    return Model(
        name=name,
        version=version_of(files),
        created=str(bundle.info.created or ""),
        is_signed=bundle.is_signed,
        is_verified=bundle.verified_by is not None,
        predictor=wide,
        batcher=batcher,
        texts={text: files[text] for text in TEXTS if text in files},
        is_small=is_small,
    )


def _warm(bundle: Bundle, images: Uint8Array, engine: str, num_threads: int) -> Predictor:
    """Load a bundle's model, and run it once on one image and once on all `images`.

    Without spinning: threads that busy-waited for each other doubled the processor time.
    """
    predictor = Predictor(bundle, threads=num_threads, spins=False, engine=engine)
    # the weights and the model's bytes would stay in memory, though they are not needed again
    predictor.bundle = replace(bundle, files={})
    predictor.onnx = b""
    for n in {1, len(images)}:
        try:
            predictor.on_images(images[:n])
        except Exception as error:  # an engine raises classes of its own
            raise BundleError(f"{bundle.path} cannot answer ({str(error)[:300]}). Train or export it again.") from error
    return predictor


def _is_quick(predictor: Predictor, images: Uint8Array) -> bool:
    """Say whether the largest batch takes less time than handing it to a thread.

    Measured in this thread's processor time, so that other load on the machine does not count.
    """

    def seconds() -> float:
        begin = time.thread_time()
        predictor.on_images(images)
        return time.thread_time() - begin

    return min(seconds() for _ in range(3)) < QUICK_S


def sources_in(folder: Path) -> list[Source]:
    """Return the bundles in a watched folder: NAME, or NAME/VERSION, each a bundle or a run folder with one.

    Raises BundleError where the folder cannot be listed.
    """
    found = []
    try:
        for child in sorted(folder.iterdir()):
            if child.name.startswith(".") or not child.is_dir():
                continue
            if bundle_in(child):
                found.append(Source(child, child.name))
            else:
                versions = sorted(path for path in child.iterdir() if path.is_dir() and not path.name.startswith("."))
                found += [Source(version, child.name) for version in versions if bundle_in(version)]
    except OSError as error:
        raise BundleError(
            f"{folder} cannot be listed ({str(error.strerror).lower()}). Give a folder of bundles to --watch."
        ) from error
    return found


def stamp_of(source: Source) -> Stamp:
    """Return a fingerprint of a bundle's files: their names, sizes, times and inodes."""
    try:
        home = bundle_in(source.path)
        stats = [(file.name, file.stat()) for file in sorted(home.iterdir())] if home else []
    except OSError:
        return ()
    return tuple((name, found.st_size, found.st_mtime_ns, found.st_ino) for name, found in stats)


def warnings_of(found: Any) -> list[str]:
    """Return the warnings that a user must not miss, as sentences."""
    return [text for text in found if isinstance(text, str)] if isinstance(found, list) else []


def accuracy_of(measured: Any) -> dict[str, Any] | None:
    """Return the accuracy on the test pictures, else on the validation pictures, else None."""
    for split in ("test", "val"):
        try:
            found = measured[split]
            value, low, high = (float(found[key]) for key in ("accuracy", "accuracy_low", "accuracy_high"))
            return {"split": split, "value": value, "low": low, "high": high, "n": int(found["n"])}
        except (LookupError, TypeError, ValueError):
            continue
    return None
