"""The content of bundle.json (docs/bundle.md): the one place that checks, reads and writes it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, TypeAlias

from keensight.data.pixels import DECODER_VERSION
from keensight.data.polarity import Borders
from keensight.errors import RecipeError
from keensight.names import odd_name
from keensight.values import LabelSets, Preprocessing
from keensight.version import __version__

FORMAT = 2  # what is written
FORMATS = (1, 2)  # what is read
NEEDED = {"data": ("sha256", "val_fraction", "test_fraction", "seed"), "recipe": ()}
OF_AN_IMPORT = {"origin": ("kind", "file", "sha256"), "network": (0,)}  # an imported model: no recipe, unknown data

Table: TypeAlias = Mapping[str, Any]


def _how_pictures_are_read() -> Table:
    return {"preprocessing": {"resample": "bilinear", "decoder": DECODER_VERSION}}


@dataclass(frozen=True, slots=True)
class Rejector:
    """Rejects a picture as none of the classes if its oddness is above `threshold`.

    `coverage` is the share of the validation pictures, in (0, 1], that are not above it. With a `catch_all`, one of the
    labels, such a picture gets that label instead.
    """

    threshold: float
    coverage: float
    catch_all: str | None = None


@dataclass(frozen=True, slots=True)
class InBfloat16:
    """That a bundle may answer in bfloat16, on processors with these `instructions`, as it was compared on.

    On `n` held-out pictures no sure answer was another, and probabilities differed from float32's by `difference` at
    most. `threshold` takes the place of the rejector's, if there is one.
    """

    n: int
    difference: float
    instructions: str
    threshold: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleInfo:
    """The content of a bundle.json, in the order in which it is written; None is not written.

    Fields that predicting needs have their own types. Tables are as in the file.
    """

    format: int = FORMAT
    keensight: str = __version__  # the version that wrote it
    files: tuple[str, ...] | None = None  # that belong to the bundle, without its signature; None in older ones
    labels: tuple[str, ...]
    preprocessing: Preprocessing
    borders: Borders
    temperature: float = 1.0
    abstain_below: float
    rejector: Rejector | None = None
    label_sets: LabelSets | None = None
    recipe: Table | None = None
    data: Table | None = None
    origin: Table | None = None  # of an imported model, which has neither recipe nor data
    network: Sequence[Table] | None = None
    parity: Table | None = None
    bfloat16: InBfloat16 | None = None
    created: str | None = None
    model: Table | None = None
    metrics: Table | None = None
    warnings: Sequence[str] | None = None
    versions: Table | None = None
    quantised: Table | None = None
    besides: Table = field(default_factory=_how_pictures_are_read)  # keys without a field, such as a newer release's

    @classmethod
    def from_json(cls, found: Any) -> BundleInfo:
        """Return the content of a bundle.json as BundleInfo; its format must be one of `FORMATS`.

        Raises ValueError, LookupError, TypeError or AttributeError if the content is not valid.
        """
        labels = _labels(found["labels"])
        is_imported = "origin" in found
        for part, keys in (OF_AN_IMPORT if is_imported else NEEDED).items():
            table = found[part]
            for key in keys:
                table[key]
        if not isinstance(found.get("recipe", {}), dict):
            raise ValueError("its recipe is not a table")
        for split, measured in (found.get("metrics") or {}).items():
            if measured and [row["name"] for row in measured["per_class"]] != list(labels):
                raise ValueError(f"its metrics on {ascii(split)[:20]} are those of other labels")
        rejector = found.get("rejector") if found["format"] > 1 else None
        tables = ("recipe", "data", "origin", "network", "parity", "model", "metrics", "versions", "quantised")
        return cls(
            format=found["format"],
            keensight=str(found.get("keensight", "")),
            files=_files(found.get("files")),
            labels=labels,
            preprocessing=_preprocessing(found["preprocessing"]),
            borders=_borders(found["borders"], found["preprocessing"]["channels"]),
            temperature=float(found.get("temperature", 1.0)),
            abstain_below=float(found["abstain_below"]),
            rejector=None if rejector is None else _rejector(rejector, labels),
            label_sets=_label_sets(found["label_sets"]) if found.get("label_sets") is not None else None,
            bfloat16=_bfloat16(found["bfloat16"]) if found.get("bfloat16") is not None else None,
            created=found.get("created"),
            warnings=found.get("warnings"),
            besides=found,
            **{name: found.get(name) for name in tables},
        )

    def to_json(self) -> dict[str, Any]:
        """Return the content of bundle.json, with the unknown keys that were read."""
        said = {each.name: getattr(self, each.name) for each in fields(self) if each.name != "besides"}
        said["labels"] = list(self.labels)
        said["files"] = None if self.files is None else list(self.files)
        for name in ("preprocessing", "borders", "rejector", "label_sets", "bfloat16"):
            if said[name] is not None:
                said[name] = _with_others(asdict(said[name]), self.besides.get(name))
        if self.rejector is not None and self.rejector.catch_all is None:
            said["rejector"].pop("catch_all", None)
        if self.bfloat16 is not None and self.bfloat16.threshold is None:
            said["bfloat16"].pop("threshold", None)
        if self.preprocessing.levels is None:
            said["preprocessing"].pop("levels", None)
        if "inverts" not in self.besides.get("borders", {"inverts": True}):
            del said["borders"]["inverts"]  # as it was read: an older bundle's words are kept
        return {name: value for name, value in _with_others(said, self.besides).items() if value is not None}

    def in_bfloat16(self) -> BundleInfo:
        """Return what holds for answers in bfloat16: their own threshold."""
        if self.rejector is None or self.bfloat16 is None or self.bfloat16.threshold is None:
            return self
        return replace(self, rejector=replace(self.rejector, threshold=self.bfloat16.threshold))

    @property
    def num_parameters(self) -> int | None:
        """The number of the model's parameters, if bundle.json has it."""
        count = self.model.get("parameters") if isinstance(self.model, Mapping) else None
        return count if isinstance(count, int) else None


def _with_others(now: dict[str, Any], before: Any) -> dict[str, Any]:
    """Return a table, with the keys of an older one that it lacks added."""
    return now | {key: value for key, value in (before or {}).items() if key not in now}


def _labels(labels: Any) -> tuple[str, ...]:
    if isinstance(labels, list) and all(isinstance(label, str) and not odd_name(label) for label in labels):
        if len(set(labels)) == len(labels):
            return tuple(labels)
        raise ValueError("its labels have a name twice")
    raise ValueError("its labels are not a list of names in plain text")


def _files(files: Any) -> tuple[str, ...] | None:
    if files is None:
        return None
    if isinstance(files, list) and all(isinstance(name, str) for name in files):
        return tuple(files)
    raise ValueError("its files are not a list of names")


def _preprocessing(found: Any) -> Preprocessing:
    try:
        return Preprocessing(found["height"], found["width"], found["channels"], found["fit"], found.get("levels"))
    except RecipeError:  # its advice is for training
        size = f"{ascii(found['height'])[:20]}x{ascii(found['width'])[:20]}x{ascii(found['channels'])[:20]}"
        raise ValueError(
            f"its pictures are {size} with the fit {ascii(found['fit'])[:20]}; sizes from 1x1 to 4096x4096, 1 or 3 "
            "channels, and squash, letterbox or crop are accepted"
        ) from None


def _borders(found: Any, channels: int) -> Borders:
    # until it was measured, and noted, models of any pictures inverted: those of colour pictures do so no more
    inverts = found.get("inverts", channels == 1)
    if not isinstance(inverts, bool):
        raise ValueError(f"its borders say that it inverts {ascii(inverts)[:20]}; true or false is accepted")
    return Borders(float(found["low"]), float(found["high"]), inverts)


def _label_sets(found: Any) -> LabelSets:
    rule = LabelSets(
        float(found["quantile"]), float(found["coverage"]), float(found["penalty"]), int(found["free_ranks"])
    )
    if not (math.isfinite(rule.quantile) and 0 < rule.coverage < 1 and 0 <= rule.penalty < math.inf):
        raise ValueError(
            f"its label sets have the quantile {rule.quantile:g}, the coverage {rule.coverage:g} and the penalty "
            f"{rule.penalty:g}; finite numbers, a coverage between 0 and 1, and a penalty of 0 or more are accepted"
        )
    return rule


def _bfloat16(found: Any) -> InBfloat16:
    threshold = found.get("threshold")
    allowed = InBfloat16(
        int(found["n"]), float(found["difference"]), str(found["instructions"])[:20],
        None if threshold is None else float(threshold),
    )  # fmt: skip
    if not (math.isfinite(allowed.difference) and math.isfinite(allowed.threshold or 0)):
        raise ValueError("what it says of bfloat16 are no finite numbers")
    return allowed


def _rejector(found: Any, labels: Sequence[str]) -> Rejector:
    rejector = Rejector(float(found["threshold"]), float(found["coverage"]), found.get("catch_all"))
    if rejector.catch_all is not None and rejector.catch_all not in labels:
        raise ValueError(f"its rejector gives the label {ascii(rejector.catch_all)[:40]}, which is none of its labels")
    if not (math.isfinite(rejector.threshold) and 0 < rejector.coverage <= 1):
        raise ValueError(
            f"its rejector has the threshold {rejector.threshold:g} and the coverage {rejector.coverage:g}; a finite "
            "threshold, and a coverage above 0 and at most 1 are accepted"
        )
    return rejector
