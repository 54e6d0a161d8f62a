"""Opens a Keras file as untrusted data. No code in it is run, nothing unpickled, no link followed, nothing unpacked.

Two formats: HDF5 (``.h5``, of Keras 2 and 3), and ``.keras``, a zip that holds such a file beside the configuration.
"""

from __future__ import annotations

import hashlib
import io
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from keensight.bundle.strict_json import strict_json
from keensight.data.archives import safe_name
from keensight.errors import DataError, ModelFileError
from keensight.values import FloatArray

MAX_FILE_BYTES = 2 * 2**30
MAX_JSON_BYTES = 16 * 2**20
MAX_RATIO = 100  # how many times its own size a zip may unpack to; Keras does not compress
MAX_MEMBERS = 1000
MAX_DIRECTORY_BYTES = 2**20  # a zip's table of contents
MAX_OBJECTS = 20_000  # groups and datasets with weights
MAX_DEPTH = 32
# What a file may hold beside the weights: what training alone needs, and the seeds of random layers.
_OF_TRAINING = re.compile(
    r"(^|/)(optimizer(_weights)?|metrics|_?metrics_tracker|loss|_?loss_tracker|_random_generator|seed_generator[^/]*)(/|$)"
)
_DAMAGE = (
    *(OSError, RuntimeError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, EOFError),
    *(zipfile.BadZipFile, zlib.error, struct.error),
)
FROM_KERAS = "Give a file that Keras saved, as model.save('model.keras') does."
AGAIN = "Open it with the Keras that wrote it, and save it again with model.save('model.keras')."


@dataclass(frozen=True, slots=True)
class KerasFile:
    """An open file: its configuration, as parsed JSON; the version that wrote it, or ""; its hash; its weights."""

    config: Mapping[str, Any]
    version: str
    sha256: str
    weights: Weights
    loss: str  # what it was trained with, such as "binary_crossentropy"; "" if the file does not say


@contextmanager
def open_keras(path: Path) -> Iterator[KerasFile]:
    """Yield the contents of a ``.h5`` or ``.keras`` file; its first bytes say which of the two it is.

    Raises ModelFileError for any other file, and for anything that Keras does not write. Its text continues a sentence
    that begins with the file's name.
    """
    content = _read(path)
    sha256 = hashlib.sha256(content).hexdigest()
    with _explained():
        if content.startswith(b"PK"):
            members = _members(path, content, ("config.json", "metadata.json", "model.weights.h5"))
            config = _table(members["config.json"], "its config.json")
            version = _table(members["metadata.json"], "its metadata.json").get("keras_version", "")
            packed = members["model.weights.h5"]
            with _hdf5(packed) as file:
                loss = _loss(config.get("compile_config"))
                yield KerasFile(config, _version(version), sha256, Numbered(file, len(packed)), loss)
        else:
            with _hdf5(content) as file:
                config = _table(_attribute(file, "model_config"), "its model_config")
                version = _attribute(file, "keras_version", "")
                compiled = _table(_attribute(file, "training_config", "{}"), "its training_config")
                yield KerasFile(config, _version(version), sha256, Named(file, len(content)), _loss(compiled))


def _loss(compiled: Any) -> str:
    """Return the name of a loss, as words with _ between, of what the file says of training."""
    loss = compiled.get("loss") if isinstance(compiled, dict) else None
    while isinstance(loss, list) and len(loss) == 1:
        loss = loss[0]
    if isinstance(loss, dict):
        loss = loss.get("config", {}).get("name") or loss.get("class_name")
    return _snake_case(loss) if isinstance(loss, str) else ""


def _table(content: str | bytes, what: str) -> dict[str, Any]:
    """Return a JSON object. Raises ModelFileError if it is not one, is too large, or has what `strict_json` refuses."""
    if len(content) > MAX_JSON_BYTES:
        raise ModelFileError(f"{what} is larger than {MAX_JSON_BYTES // 2**20} MiB. {AGAIN}")
    try:
        table = strict_json(content if isinstance(content, bytes) else content.encode())
    except ValueError as error:
        raise ModelFileError(f"{what} is not the JSON that Keras writes ({error}). {AGAIN}") from None
    if not isinstance(table, dict):
        raise ModelFileError(f"{what} is not a JSON object. {AGAIN}")
    return table


class Weights:
    """The arrays of a file by path, found without following links, and read only in the shapes of the configuration."""

    def __init__(self, file: h5py.File, budget: int) -> None:
        self._left = budget
        self.groups: set[str] = set()
        self.arrays: dict[str, h5py.Dataset] = {}
        self._read: set[str] = set()
        for name in file.id:
            if name.decode(errors="replace") not in ("optimizer", "optimizer_weights"):
                self._find(file, name, name.decode(errors="replace"), 0)

    def of(self, trail: Sequence[tuple[str, int]], names: Sequence[str], wanted: Mapping[str, Any]) -> list[FloatArray]:
        """Return a layer's arrays, float32, of the shapes `wanted` by name (``a|b`` where versions differ), in order.

        `trail` says where the layer is: (class, which of them in its container that have arrays) for itself and each
        container around it, and
        `names` what they and the layer are called, from the outside in.
        """
        raise NotImplementedError

    def check_all_read(self) -> None:
        """Raise ModelFileError, by name, where the file holds an array of the network that no layer asked for."""
        unread = sorted(path for path in self.arrays if path not in self._read and not _OF_TRAINING.search(path))
        if unread:
            first = ascii("/".join(unread[0].split("/")[-2:]))[1:-1][:80]
            lora = "lora" in unread[0]
            raise ModelFileError(
                f"it holds {len(unread)} arrays that its configuration does not ask for, such as {first} with the "
                f"shape {self.arrays[unread[0]].shape}, so that it would answer otherwise than in Keras. "
                + ("Save it as .keras, which merges LoRA weights into the others." if lora else AGAIN)
            )

    def read(self, key: str, shape: tuple[int, ...], layer: str) -> FloatArray:
        """Return an array as float32, after all checks that are possible before reading it."""
        self._read.add(key)
        dataset, size = self.arrays[key], int(np.prod(shape, dtype=object))
        plan = dataset.id.get_create_plist()
        if dataset.shape != shape:
            raise ModelFileError(
                f"a weight of its layer '{layer}' has the shape {dataset.shape}, where its configuration asks for "
                f"{shape}. {AGAIN}"
            )
        if dataset.dtype.kind not in "fi" or dataset.dtype.itemsize > 8:
            raise ModelFileError(f"a weight of its layer '{layer}' holds {dataset.dtype}, not numbers. {AGAIN}")
        if plan.get_layout() == h5py.h5d.VIRTUAL or plan.get_external_count():
            raise ModelFileError(f"a weight of its layer '{layer}' lies in another file. {AGAIN}")
        stored = dataset.id.get_storage_size()
        if plan.get_nfilters() or stored != size * dataset.dtype.itemsize:
            raise ModelFileError(
                f"a weight of its layer '{layer}' is packed, or not stored in full ({stored:,} bytes for {size:,} "
                f"numbers), which Keras never does. {AGAIN}"
            )
        self._left -= stored
        if self._left < 0:
            raise ModelFileError(f"its weights together are larger than the file, so some must overlap. {AGAIN}")
        array: FloatArray = np.asarray(dataset[()], np.float32)
        if not np.isfinite(array).all():
            raise ModelFileError(
                f"its layer '{layer}' has weights that are not finite numbers: its training went wrong, or the file is "
                "damaged. Finite ones are accepted; train it again, or save it again."
            )
        return array

    def _find(self, parent: h5py.Group, name: bytes, path: str, depth: int) -> None:
        if parent.id.links.get_info(name).type != h5py.h5l.TYPE_HARD:
            raise ModelFileError(f"its '{path}' is a link to somewhere else, which Keras never writes. {AGAIN}")
        found = parent[name]
        if len(self.groups) + len(self.arrays) > MAX_OBJECTS or depth > MAX_DEPTH:
            raise ModelFileError(f"it holds more groups and arrays, or deeper nested ones, than a network has. {AGAIN}")
        if isinstance(found, h5py.Dataset):
            self.arrays[path] = found
        elif isinstance(found, h5py.Group):
            self.groups.add(path)
            if len(found) > MAX_OBJECTS:
                raise ModelFileError(f"its '{path}' holds more than {MAX_OBJECTS:,} things. {AGAIN}")
            for child in found.id:
                self._find(found, child, f"{path}/{child.decode(errors='replace')}", depth + 1)


def holds(file: h5py.File, name: str) -> bool:
    """Say whether a file has an entry of that name; unlike ``name in file``, this follows no link."""
    return bool(file.id.links.exists(name.encode()))


class Named(Weights):
    """The weights of an HDF5 file of Keras 2 or 3: ``model_weights/<layer>/.../kernel``, or ``kernel:0``."""

    def __init__(self, file: h5py.File, budget: int) -> None:
        super().__init__(file, budget)

    def of(self, trail: Sequence[tuple[str, int]], names: Sequence[str], wanted: Mapping[str, Any]) -> list[FloatArray]:
        """Return a layer's arrays; see `Weights`."""
        top, layer = names[0], names[-1]
        own = [path for path in self.arrays if path.startswith(f"model_weights/{top}/")]
        found = []
        for aliases, shape in wanted.items():
            ends = [f"/{name}" if len(names) == 1 else f"/{layer}/{name}" for name in aliases.split("|")]
            paths = [
                path
                for path in own
                if re.sub(r"(?<=/variable)_\d+$", "", re.sub(r":\d+$", "", path)).endswith(tuple(ends))
            ]
            if len(paths) > 1:  # models within models may have layers of one name
                paths = [path for path in paths if _in_order(names, path)]
            if len(paths) != 1:
                raise _no_weight(layer, aliases.split("|")[0], len(paths))
            found.append(self.read(paths[0], shape, layer))
        return found


def _in_order(names: Sequence[str], path: str) -> bool:
    """Say whether all names stand in a path, one behind the other."""
    for name in names:
        _, found, path = path.partition(f"/{name}/")
        if not found:
            return False
        path = f"/{path}"
    return True


class Numbered(Weights):
    """The weights of a ``.keras`` file: ``layers/conv2d_1/vars/0``, the second of its class, its first variable.

    In files of TensorFlow 2.12 to 2.15 the numbers of a class may have gaps, so only their order counts.
    """

    def __init__(self, file: h5py.File, budget: int) -> None:
        self._root = "layers" if holds(file, "layers") else "_layer_checkpoint_dependencies"
        super().__init__(file, budget)

    def of(self, trail: Sequence[tuple[str, int]], names: Sequence[str], wanted: Mapping[str, Any]) -> list[FloatArray]:
        """Return a layer's arrays; see `Weights`."""
        *around, (kind, which) = trail
        path, layer = self._root, names[-1]
        for container, number in around:
            path = f"{self._nth(path, container, number, layer)}/layers"
        group = self._nth(path, kind, which, layer, with_arrays=True)
        held = {key for key in self.arrays if key.startswith(f"{group}/vars/")}
        wheres = [f"{group}/vars/{i}" for i in range(len(wanted))]
        if held != set(wheres):
            raise _no_weight(layer, next(iter(wanted)), len(held))
        return [self.read(key, shape, layer) for key, shape in zip(wheres, wanted.values(), strict=True)]

    def _nth(self, path: str, kind: str, number: int, layer: str, with_arrays: bool = False) -> str:
        named = re.compile(re.escape(f"{path}/{_snake_case(kind)}") + r"(?:_(\d{1,9}))?")
        found = sorted((int(match[1] or 0), match[0]) for match in map(named.fullmatch, self.groups) if match)
        groups = [group for _, group in found if not with_arrays or f"{group}/vars/0" in self.arrays]
        if number >= len(groups):
            raise _no_weight(layer, kind, len(groups))
        return groups[number]


def _snake_case(name: str) -> str:
    """Return a class name as Keras writes it in paths.

    >>> _snake_case("MaxPooling2D"), _snake_case("PReLU")
    ('max_pooling2d', 'p_re_lu')
    """
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


def _no_weight(layer: str, what: str, number: int) -> ModelFileError:
    return ModelFileError(
        f"the weights of its layer '{layer}' are not those that its configuration asks for ({what}: {number} found). "
        f"{AGAIN}"
    )


def _read(path: Path) -> bytes:
    if path.is_dir():
        if (path / "saved_model.pb").exists():
            raise ModelFileError(f"it is a SavedModel folder; a .keras or .h5 file is accepted. {AGAIN}")
        raise ModelFileError(f"it is a folder; a .keras or .h5 file is accepted. {FROM_KERAS}")
    try:
        if not path.is_file():
            raise ModelFileError(
                "it is not a file, or does not exist; a .keras or .h5 file of Keras is accepted. Check the path."
            )
        if (size := path.stat().st_size) > MAX_FILE_BYTES:
            raise ModelFileError(
                f"it has {size:,} bytes; up to {MAX_FILE_BYTES:,} are accepted. Save it without its optimizer: "
                "model.save(..., include_optimizer=False) for .h5."
            )
        return path.read_bytes()
    except OSError as error:
        raise ModelFileError(f"it cannot be read: {str(error.strerror).lower()}. Check the path.") from error


def _members(path: Path, content: bytes, names: Sequence[str]) -> dict[str, bytes]:
    """Return the members `names` of a zip, after checking the sizes that all members declare."""
    end = content.rfind(b"PK\x05\x06")
    if end < 0 or len(content) < end + 22 or content[max(end - 20, 0) : end].startswith(b"PK\x06\x07"):
        raise ModelFileError(f"it is a damaged zip, or one of more than 4 GiB. {AGAIN}")
    if struct.unpack("<L", content[end + 12 : end + 16])[0] > MAX_DIRECTORY_BYTES:
        raise ModelFileError(f"it is a zip with a larger table of contents than a model has. {AGAIN}")
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        infos = archive.infolist()
        listed = [_clean(info.filename, path) for info in infos]
        if len(infos) > MAX_MEMBERS or len(set(listed)) < len(listed):
            raise ModelFileError(f"it is a zip of too many members, or with one of them twice. {AGAIN}")
        if any(stat.S_ISLNK(info.external_attr >> 16) or info.flag_bits & 1 for info in infos):
            raise ModelFileError(f"it is a zip with links, or one that needs a password. {AGAIN}")
        if sum(info.file_size for info in infos) > min(MAX_FILE_BYTES, MAX_RATIO * len(content)):
            raise ModelFileError(f"it is a zip that unpacks to more than a model does (a 'zip bomb'). {AGAIN}")
        if missing := [name for name in names if name not in listed]:
            raise ModelFileError(f"it is a zip without {missing[0]}, so Keras did not write it. {FROM_KERAS}")
        return {name: archive.read(name) for name in names}


def _clean(name: str, path: Path) -> str:
    try:
        return safe_name(name, path)
    except DataError:
        raise ModelFileError(f"it is a zip with the member {name!r}, outside of its own folder. {AGAIN}") from None


def _hdf5(content: bytes) -> h5py.File:
    if not content.startswith(b"\x89HDF\r\n\x1a\n"):
        raise ModelFileError(f"it is neither HDF5 nor a zip; a .keras or .h5 file is accepted. {FROM_KERAS}")
    return h5py.File(io.BytesIO(content), "r")


def _attribute(file: h5py.File, name: str, default: str | None = None) -> str | bytes:
    if name not in file.attrs:
        if default is not None:
            return default
        raise ModelFileError(
            "it holds only weights, not the network's structure; a whole model is accepted. Build the model in "
            "Keras, load these weights into it, and save it with model.save('model.keras')."
        )
    attribute = file.attrs.get_id(name)
    if attribute.shape != () or attribute.get_storage_size() > MAX_JSON_BYTES:
        raise ModelFileError(f"its {name} is not text, or larger than {MAX_JSON_BYTES // 2**20} MiB. {AGAIN}")
    value = file.attrs[name]
    if not isinstance(value, (str, bytes)):
        raise ModelFileError(f"its {name} is not text. {AGAIN}")
    return value


def _version(version: Any) -> str:
    text = version.decode(errors="replace") if isinstance(version, bytes) else version
    return text if isinstance(text, str) and re.fullmatch(r"[\w.+-]{1,40}", text) else ""


@contextmanager
def _explained() -> Iterator[None]:
    """Turn the errors that h5py, zipfile and our own parsing raise for damaged files into a ModelFileError."""
    try:
        yield
    except _DAMAGE as error:
        why = " ".join((str(error) or type(error).__name__).split())[:200]
        raise ModelFileError(f"it is damaged ({why}). {AGAIN}") from error
