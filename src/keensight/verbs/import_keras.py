"""`keensight import-keras`: a bundle from a model that Keras saved. Nothing in the file is run."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from keensight.bundle.card import imported_card
from keensight.bundle.folder import FILES
from keensight.bundle.info import BundleInfo
from keensight.bundle.read import Bundle
from keensight.bundle.write import write_files
from keensight.data.polarity import Borders
from keensight.errors import ModelFileError, UsageError, counted, suggestion
from keensight.inference.predictor import Predictor, load
from keensight.interop.keras.model import Imported, read_keras
from keensight.interop.keras.pixels import PIXELS
from keensight.machine import versions
from keensight.models.onnx.write import to_onnx
from keensight.names import clean_label, odd_name
from keensight.pipeline.parity import check_import
from keensight.training.checkpoint import weights_of
from keensight.values import Preprocessing, Recipe
from keensight.workspace import RUN, Kind, RunFolder, claim

IMPORT = Kind("import", "Import", Path("imported"), begun=RUN.finished, kept=RUN.finished, finished=RUN.finished)
MAX_LABELS_BYTES = 2**20
UNKNOWN_BORDERS = Borders(0.0, 1.0)  # those of any picture: none is inverted


@dataclass(frozen=True, slots=True)
class ImportedBundle:
    """An imported model: its bundle, its labels and input, and notes on what was assumed."""

    bundle: Path
    labels: tuple[str, ...]
    preprocessing: Preprocessing
    pixels: str
    parameters: int
    sha256: str
    notes: tuple[str, ...]


def import_keras(
    file: str | Path,
    out: str | Path | None = None,
    *,
    labels: Sequence[str] | None = None,
    pixels: str | None = None,
    size: str | None = None,
    exclusive: bool = False,
) -> ImportedBundle:
    """Turn a Keras model, Sequential or functional, into a bundle with the same answers as Keras.

    The file is data: its configuration is read as JSON, its weights with h5py, and nothing in it is run. A Lambda, a
    custom class or an unknown layer is refused by name; docs/keras.md lists what is accepted.

    Args:
        file: A whole model that Keras 2 or 3 saved, .keras or .h5: Sequential or functional, with one input and output.
        out: The folder around the bundle, OUT/bundle, new or empty; the first free name under imported/ if left out.
        labels: The classes' names, in the order of the model's outputs; of one sigmoid cell, first no, then yes. 0, 1
            and so on if left out.
        pixels: The range of the training's pixels: 0-1, 0-255, -1-1, or preprocess_input's tf, torch or caffe. If left
            out, its first layer shows it, or 0-1.
        size: For a model for pictures of any size: the size that they are resized to, as HEIGHTxWIDTH or one number.
        exclusive: Say that only one label is right, for a model that ends in several sigmoid cells.

    Raises:
        UsageError: the number of labels is not that of the classes, or a label or the range of pixels is not valid.
        ModelFileError: the file is not a Keras model, or cannot be imported.
        GateError: the bundle's answers would differ from the network's.
        RunError: `out` is not empty.

    Examples:
        >>> import keensight
        >>> keensight.import_keras("huskymodel.h5", labels=["nothusky", "husky"]).bundle  # doctest: +SKIP
        PosixPath('imported/huskymodel/bundle')
    """
    if pixels is not None and pixels not in PIXELS:
        raise UsageError(
            f"There is no range of pixels '{pixels}'. {suggestion(pixels, PIXELS)}It can be {', '.join(PIXELS)}."
        )
    given = None if labels is None else _checked(labels)
    file = Path(file)
    imported = read_keras(file, pixels, None if size is None else _height_and_width(size), exclusive)
    names, notes = _named(imported, given)
    preprocessing = imported.preprocessing
    parameters = sum(parameter.numel() for parameter in imported.model.parameters())
    info = BundleInfo(
        labels=names,
        preprocessing=preprocessing,
        borders=UNKNOWN_BORDERS,
        abstain_below=Recipe().evaluate.abstain_below,
        origin={
            "kind": "keras",
            "file": (odd_name(file.name) or file.name),
            "sha256": imported.sha256,
            "keras": imported.keras,
            "pixels": imported.pixels,
        },
        network=imported.network,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        model={"name": "keras", "parameters": parameters},
        versions=versions(),
    )
    onnx = to_onnx(imported.model, preprocessing, len(names), 1.0, names)
    if len(onnx) > FILES["model.onnx"]:
        raise ModelFileError(
            f"{file} cannot be imported: its network has {len(onnx):,} bytes, and a bundle's has at most "
            f"{FILES['model.onnx']:,}. Import a smaller model."
        )
    info = replace(info, parity=asdict(check_import(imported.model, Predictor(Bundle(file, info), onnx))))
    with claim(None if out is None else Path(out), file.stem, resume=False, kind=IMPORT) as folder:
        written: dict[str, bytes | str] = {
            "model.onnx": onnx,
            "model.safetensors": weights_of(imported.model),
            "MODEL_CARD.md": imported_card(folder.name, info, notes),
        }
        write_files(RunFolder(folder).bundle, info, written)
        load(RunFolder(folder).bundle)  # checks it like any bundle
        return ImportedBundle(
            RunFolder(folder).bundle, names, preprocessing, imported.pixels, parameters, imported.sha256, tuple(notes)
        )


def read_labels(file: str | Path) -> list[str]:
    """Return the names in a text file, one per line, or "0 name", "1 other" as Teachable Machine writes them.

    Raises UsageError if it cannot be read.
    """
    try:
        content = Path(file).read_bytes()[:MAX_LABELS_BYTES]
        lines = content.decode("utf-8-sig").rstrip().splitlines()
    except (OSError, ValueError) as error:
        why = str(error.strerror).lower() if isinstance(error, OSError) else "it is not text in UTF-8"
        raise UsageError(
            f"The labels in {file} cannot be read: {why}. Give a text file with one name per line."
        ) from None
    numbers, names = zip(*(line.partition(" ")[::2] for line in lines), strict=True) if lines else ((), ())
    numbered = len(lines) > 1 and numbers == tuple(map(str, range(len(lines)))) and all(names)
    return list(names) if numbered else lines


def _height_and_width(text: str) -> tuple[int, int]:
    height, _, width = str(text).lower().partition("x")
    if not re.fullmatch(r"\d{1,4}(x\d{1,4})?", str(text).lower()) or not min(int(height), int(width or height)) >= 1:
        raise UsageError(f"The size {text!r} was given. HEIGHTxWIDTH, such as 160x224, or one number is accepted.")
    return int(height), int(width or height)


def _named(imported: Imported, given: tuple[str, ...] | None) -> tuple[tuple[str, ...], list[str]]:
    """Return the labels, and the notes of the import."""
    notes, classes = list(imported.notes), imported.num_classes
    if given is None:
        called = "0 and 1" if classes == 2 else f"0 to {classes - 1}"
        notes.append(
            f"The file does not name its {classes} classes, so they are called {called}. Name them in the "
            "order of its outputs with --labels; if Keras took them from folders, that order is alphabetical."
        )
        return tuple(map(str, range(classes))), notes
    if len(given) != classes:
        raise UsageError(
            f"{counted(len(given), 'label was', 'labels were')} given "
            f"({', '.join(given[:5])}{', ...' * (len(given) > 5)}), but the model "
            f"has {classes}. Give one for each, in the order of its outputs."
            + " One sigmoid cell has two: first what its 0 means, then its 1."
            * (classes == 2)
        )
    return given, notes


def _checked(labels: Sequence[str]) -> tuple[str, ...]:
    names = tuple(map(clean_label, labels))
    if odd := [name for name in names if not name or odd_name(name)]:
        raise UsageError(
            f"{odd[0]!r} is not a label. Labels are plain text, separated by commas, or one per line in a file; leave "
            "out empty ones and control characters."
        )
    if twice := [name for name in names if names.count(name) > 1]:
        raise UsageError(f"The label '{twice[0]}' was given twice. Labels must differ; rename one of the two.")
    return names
