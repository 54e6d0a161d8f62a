"""A recipe: all that determines a training run. All facts about a key stand once, in its field's metadata."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeAlias

from keensight.errors import RecipeError


@dataclass(frozen=True, slots=True)
class UpTo:
    """Search from 0 to `most`."""

    most: float


@dataclass(frozen=True, slots=True)
class Around:
    """Search from a `down`-th of the recipe's value to `up` times it; `at_zero` are the values to try where it is 0."""

    down: float
    up: float
    at_zero: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class OneOf:
    """Search some values; all that the key can have, if there are none here."""

    values: tuple[Any, ...] = ()


Search: TypeAlias = UpTo | Around | OneOf


@dataclass(frozen=True, slots=True)
class Key:
    """The facts about one key: its table and name there, its default, and the other arguments of `key`.

    `name` is its unique name in ``--set`` and in messages: that of its field, but ``data`` for `data.source` and
    ``model`` for `model.name`.
    """

    table: str  # "" for the recipe's own
    field: str
    default: Any
    about: str = ""
    low: float | None = None
    high: float | None = None
    example: Any = None
    choices: tuple[Any, ...] = ()
    search: Search | None = None
    also: tuple[str, ...] = ()

    @property
    def path(self) -> str:
        """Its table and its name there, such as ``train.epochs``."""
        return f"{self.table}.{self.field}" if self.table else self.field

    @property
    def name(self) -> str:
        """Its name in ``--set``."""
        return {"data.source": "data", "model.name": "model"}.get(self.path, self.field)


def key(
    default: Any, about: str, *, low: float | None = None, high: float | None = None, example: Any = None,
    choices: tuple[Any, ...] = (), search: Search | None = None, also: tuple[str, ...] = (),
) -> Any:  # fmt: skip
    """Return a field with the facts about its key.

    `about` is for the table in docs/recipes.md. A number lies between `low` and `high`, both included. `example` is for
    messages, if the default turns something off or leaves it open. `choices` are all values, unless these are the rows
    of a table elsewhere. `search` is what `keensight tune` may try, and `also` are its names in other tools.
    """
    known = {
        "about": about, "low": low, "high": high, "example": example, "choices": choices, "search": search, "also": also
    }  # fmt: skip
    return field(default_factory=dict, metadata=known) if default == {} else field(default=default, metadata=known)


@dataclass(frozen=True, slots=True)
class DataSettings:
    """Which pictures it is for, and how they are read and divided."""

    source: str = key("", "the data set that the recipe was written for; its notes and promises apply to no other")
    shape: tuple[int, ...] = key(
        (), "height, width and channels of those pictures, for `keensight info NAME --layers`", example=(28, 28, 1)
    )
    num_classes: int = key(0, "their number of classes, for the same", low=0, high=1_000_000, example=10)
    label_pattern: str = key("", "takes labels from file names, as `--label-pattern`")
    classes: tuple[str, ...] = key((), "learn only these, in this order; none: all", example=("cat", "dog"))
    catch_all: str = key(
        "", 'the label that pictures unlike all others get, such as "other"; none: the answer is "none of these"',
        example="other",
    )  # fmt: skip
    skip_rare: bool = key(
        False, "leave out classes that have too few different pictures, or groups, for every split, and say which"
    )
    damaged: str = key(
        "skip", "of pictures that cannot be read, and damaged row groups of shards: `skip` leaves them out and names "
        "them, `stop` trains nothing", choices=("skip", "stop"),
    )  # fmt: skip
    size: int = key(
        0, "pictures become `size` x `size` pixels; 0: as the pictures are, at most 64", low=0, high=1024, example=64,
        also=("imgsz", "img_size", "image_size", "resolution"),
    )  # fmt: skip
    channels: int = key(0, "1 grey, 3 colour; 0: grey if all are grey", choices=(0, 1, 3))
    fit: str = key("squash", "how a picture is made square", choices=("squash", "letterbox", "crop"))
    val_fraction: float = key(
        0.15, "drawn for validation if the data has no such split", low=0.001, high=0.9,
        also=("validation_split", "val_split", "val_size", "validation_size", "valid_pct"),
    )  # fmt: skip
    test_fraction: float = key(
        0.15, "the same for the test split; 0: none", low=0, high=0.9, also=("test_split", "test_size")
    )
    splits: str = key(
        "", "an earlier run, its bundle or its splits.jsonl: its pictures keep their splits, by content, and only new "
        "ones are drawn; a run keeps the absolute path",
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """Which network it is; `options` are the model's own keys, such as ``filters`` of a cnn."""

    name: str = key(
        "cnn",
        "`keensight info cnn --layers` shows one; its own keys are below",
        also=("arch", "architecture", "network", "net"),
    )
    options: Mapping[str, Any] = field(default_factory=dict)
    weights: str = key(
        "", "start from the parameters in this .safetensors file, as `--weights-only`; a relative path starts at the "
        "working directory, and a run keeps the absolute one", also=("pretrained", "checkpoint"),
    )  # fmt: skip
    normalise: bool = key(
        True, "subtract the training pictures' mean and divide by their spread, inside the model", also=("normalize",)
    )


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """How it learns, and when it stops."""

    loss: str = key(
        "cross-entropy", "the hinges are for two classes; robust-hinge and all after it take `eps`, see "
        "[robustness](robustness.md)",
        also=("criterion", "objective"),
    )  # fmt: skip
    eps: float = key(0.0, "for robust losses: a fraction of the pixel range", low=0, high=1, example=0.1)
    eps_extra: float = key(0.0, "robust losses train at `eps` and this much more", low=0, high=1, example=0.05)
    ramp: float = key(0.4, "the first part of a run, in which the epsilon of a robust loss grows from 0", low=0, high=1)
    kappa: float = key(
        0.5, "losses of intervals: how much the pictures themselves count at the end of the ramp, beside their bounds",
        low=0, high=1,
    )  # fmt: skip
    attack_steps: int = key(7, "of the attack inside trades", low=1, high=1000)
    trades_weight: float = key(6.0, "how much attacked pictures count in trades", low=0, high=1000)
    epochs: int = key(
        0, "passes over the training pictures; 0: about a minute of work", low=0, high=100_000, example=20,
        search=Around(4, 2),  # a quarter of the recipe's may be enough, and twice as many too few
        also=("epoch", "num_epochs", "n_epochs", "max_epochs", "num_train_epochs", "iterations"),
    )  # fmt: skip
    batch_size: int = key(
        128, "pictures in a step; lower it when memory runs out", low=1, high=65_536,
        search=OneOf((32, 64, 128, 256, 512)), also=("bs", "batch"),
    )  # fmt: skip
    pieces: int = key(
        0, "parts that a batch is cut into, to share it among cores and workers: the same number, the same bits on any "
        "number of these; 0: as there are cores, of at least 8 pictures each", low=0, high=65_536, example=4,
    )  # fmt: skip
    optimizer: str = key(
        "adamw", "`momentum` is for sgd", choices=("adamw", "adam", "sgd"), search=OneOf(), also=("opt", "optimiser")
    )
    learning_rate: float = key(
        0.005, "the largest step", low=1e-9, high=100, search=Around(30, 30), also=("lr", "lr0", "base_lr", "lr_max")
    )
    weight_decay: float = key(
        0.01, "how strongly weights are pulled to zero", low=0, high=10,
        search=Around(30, 30, at_zero=(0.0, 1e-4, 1e-3, 1e-2, 1e-1)), also=("wd", "decay"),
    )  # fmt: skip
    momentum: float = key(0.9, "of sgd", low=0, high=0.9999, search=UpTo(0.99))
    schedule: str = key(
        "one-cycle", "how the learning rate changes", search=OneOf(), also=("scheduler", "lr_scheduler", "sched")
    )
    label_smoothing: float = key(
        0.0, "share of each label that is spread over all classes", low=0, high=0.9, example=0.1, search=UpTo(0.2)
    )
    class_weights: str = key(
        "none", "balanced: all classes have the same total weight", choices=("none", "balanced"), search=OneOf(),
        also=("class_weight",),
    )  # fmt: skip
    precision: str = key(
        "auto", "auto: bfloat16 if the hardware has it", choices=("auto", "float32", "bfloat16"),
        also=("amp", "fp16", "half", "dtype", "mixed_precision"),
    )  # fmt: skip
    keep: str = key(
        "best", "keep the weights of the epoch with the best validation accuracy, or the last ones: these suit robust "
        "training, whose clean accuracy falls while robustness rises", choices=("best", "last"),
    )  # fmt: skip
    patience: int = key(
        0, "stop after this many epochs without a better validation accuracy; 0: never", low=0, high=100_000, example=5,
        also=("early_stopping",),
    )  # fmt: skip
    target_accuracy: float = key(0.0, "stop at this validation accuracy; 0: never", low=0, high=1, example=0.95)
    budget_s: float = key(
        0.0, "stop after this many seconds, with the learning rate lowered in time; 0: never",
        low=0, high=31_536_000, example=600, also=("time_limit",),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class AugmentSettings:
    """How training pictures are changed at random; 0 turns a change off."""

    flip: bool = key(False, "mirror half of the pictures left to right", search=OneOf((False, True)), also=("fliplr",))
    rotate: float = key(
        0.0, "degrees", low=0, high=180, example=15, search=UpTo(30.0), also=("degrees", "rotation", "rotation_range")
    )
    shear: float = key(0.0, "radians", low=0, high=1, example=0.2, search=UpTo(0.3), also=("shear_range",))
    zoom: float = key(0.0, "fraction", low=0, high=0.9, example=0.2, search=UpTo(0.3), also=("scale", "zoom_range"))
    shift: float = key(
        0.0, "fraction of the picture", low=0, high=1, example=0.1, search=UpTo(0.2), also=("translate",)
    )
    crop: int = key(0, "pixels: pad by this many and cut a window out at a random place", low=0, high=512, example=4)
    fill: str = key(
        "nearest", "what fills the pixels from outside: the edge repeated, or black", choices=("nearest", "constant")
    )
    cutout: int = key(0, "pixels: hide a square of that side", low=0, high=1024, example=8, also=("erasing",))
    brightness: float = key(0.0, "fraction", low=0, high=1, example=0.2, search=UpTo(0.4))
    contrast: float = key(0.0, "fraction", low=0, high=1, example=0.2, search=UpTo(0.4))
    corrupt: float = key(
        0.0, "the share of pictures that get one of 15 everyday corruptions, mild to middling", low=0, high=1,
        example=0.5,
    )  # fmt: skip

    @property
    def strengths(self) -> dict[str, Any]:
        """The changes that are turned on; `fill` alone changes nothing."""
        return {f.name: value for f in fields(self) if f.name != "fill" and (value := getattr(self, f.name))}


@dataclass(frozen=True, slots=True)
class EvaluateSettings:
    """How the trained model is evaluated."""

    attack: str = key("fgsm", '`"exact"` is for linear models')
    attack_eps: tuple[float, ...] = key(
        (), "attack the held-out pictures at these epsilons, fractions of the pixel range", example=(0.05, 0.1)
    )
    certify_eps: tuple[float, ...] = key(
        (), "prove how many of the held-out pictures stay right within these epsilons (robustness.md)",
        example=(0.05, 0.1),
    )  # fmt: skip
    robustness: str = key(
        "quick", "quick: small pictures under everyday corruptions; full: also attacks, shifts, rotations and "
        "certificates, which takes minutes", choices=("quick", "full", "none"),
    )  # fmt: skip
    abstain_below: float = key(
        0.6, "`predict` is not sure below this calibrated probability", low=0, high=1, also=("threshold", "confidence")
    )
    coverage: float = key(
        0.95, "the share of its own kind of pictures that a model takes for one of the classes: odder ones are none of "
        "these. 1: it takes all pictures", low=0.5, high=1, example=0.99,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Recipe:
    """All that determines a training run. Every key can be set in a recipe file and with ``--set KEY=VALUE``.

    0 and "auto" mean that keensight chooses from the data and says what it chose.
    """

    name: str = key("default", "the recipe's name; by default, that of its file")
    about: str = key("", "what it is, and how long it takes")
    reported: str = key("", "what its source reached")
    caution: str = key("", "a warning for reports on its data")
    promise: Mapping[str, float] = key(
        {}, 'limits that the report on its data should keep: `promise = {"test.accuracy" = 0.9}`'
    )
    seed: int = key(
        0, "of all randomness: splits, initial weights, order, augmentation", low=0, high=2**32 - 1,
        also=("random_state", "random_seed"),
    )  # fmt: skip
    data: DataSettings = field(default_factory=DataSettings)
    model: ModelSettings = field(default_factory=ModelSettings)
    train: TrainSettings = field(default_factory=TrainSettings)
    augment: AugmentSettings = field(default_factory=AugmentSettings)
    evaluate: EvaluateSettings = field(default_factory=EvaluateSettings)

    def having(self, **values: Any) -> Recipe:
        """Return it with other values for some keys, by name; unknown names are the model's own keys.

        >>> Recipe().having(model="dense", hidden=(64,), epochs=5).model.options
        {'hidden': (64,)}
        """
        tables: dict[str, dict[str, Any]] = {}
        options = {name: value for name, value in values.items() if name not in KEYS}
        for name in values.keys() - options.keys():
            tables.setdefault(KEYS[name].table, {})[KEYS[name].field] = values[name]
        if options:
            tables.setdefault("model", {})["options"] = {**self.model.options, **options}
        own = tables.pop("", {})
        return replace(self, **own, **{name: replace(getattr(self, name), **table) for name, table in tables.items()})

    def flat(self) -> dict[str, Any]:
        """Return all values by the keys' names, the model's own last."""
        values = {k.name: getattr(getattr(self, k.table) if k.table else self, k.field) for k in KEYS.values()}
        return values | dict(self.model.options)

    def table(self) -> dict[str, Any]:
        """Return it as in a recipe file and in JSON."""
        return nested(self.flat())

    def is_for(self, dataset: str) -> bool:
        """Whether its notes on its data apply to the data set of this name."""
        return not self.data.source or dataset == Path(self.data.source).stem

    def told_of(self, dataset: str) -> Recipe:
        """Return it without the notes on its own data, for another data set."""
        return self if self.is_for(dataset) else self.having(**{name: KEYS[name].default for name in STORY})


TABLES = {
    "data": DataSettings, "model": ModelSettings, "train": TrainSettings, "augment": AugmentSettings,
    "evaluate": EvaluateSettings,
}  # fmt: skip
STORY = ("about", "reported", "caution", "promise", "data", "shape", "num_classes")  # true only for its own data


def _keys() -> dict[str, Key]:
    found = [
        Key(table, f.name, {} if f.name == "promise" else f.default, **f.metadata)
        for table, settings in {"": Recipe, **TABLES}.items()
        for f in fields(settings)
        if f.metadata
    ]
    return {each.name: each for each in found}


KEYS = _keys()  # by name
_NAMES = {each.field: each.name for each in reversed(KEYS.values())} | {each.path: each.name for each in KEYS.values()}


def name_of(path: str) -> str:
    """Return a key's name, given that or table and name; an unknown name is returned as it is.

    >>> name_of("train.epochs"), name_of("epochs"), name_of("model.name"), name_of("model.filters"), name_of("train.no")
    ('epochs', 'epochs', 'model', 'filters', 'train.no')
    """
    table, _, name = path.rpartition(".")
    return name if table in ("model", "options") and name not in _NAMES else _NAMES.get(path, path)


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values that have their keys' names in tables, as a recipe file and JSON have them."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        known = KEYS.get(name) or Key("model", name, None)
        table = found.setdefault(known.table, {}) if known.table else found
        table[known.field] = list(value) if isinstance(value, tuple) else value
    return found


def flattened(table: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values in a recipe file or JSON, by the keys' names. Flat keys, as until 0.1, are accepted too.

    Raises RecipeError for a key that is given twice.
    """
    found: dict[str, Any] = {}
    for outer, value in table.items():
        is_table = isinstance(value, Mapping) and (outer in TABLES or outer == "options")
        for path, item in (
            {f"{outer}.{inner}": item for inner, item in value.items()}.items() if is_table else [(outer, value)]
        ):
            if (name := name_of(path)) in found:
                raise RecipeError(f"The key '{name}' is given twice; once is accepted. Remove one, such as {path}.")
            found[name] = item
    return found
