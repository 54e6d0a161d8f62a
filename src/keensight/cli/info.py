"""keensight info."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from json import dumps
from pathlib import Path
from typing import Any

from keensight import verbs
from keensight.cli.options import Json, options_of
from keensight.cli.output import command, paragraph, percent, print_json, say, with_interval
from keensight.cli.terminal import Terminal
from keensight.errors import BundleError, counted, shortlist
from keensight.evaluation.words import duration
from keensight.pipeline.watch import account
from keensight.values import Recipe, Skipped
from keensight.values.recipe import STORY, TABLES, flattened, nested

TOLD = ("name", *STORY, "kind", "run", "epochs_done", "best_epoch", "best_val_accuracy", "training_seconds", "stopped",
        "splits")  # fmt: skip
CACHED = {"archives": "unpacked archives", "backbones": "converted weights", "datasets": "downloads",
          "engines": "speeds of engines", "features": "features of backbones", "hashes": "hashes of files",
          "pixels": "decoded pictures", "runtimes": "runtimes for browsers"}  # fmt: skip
COLOURS = {1: "grey", 3: "colour"}


@options_of("info.info")
def info(*, thing: str | None, plot: bool, json: Json = False, **asked: Any) -> int:
    """Describe, for people or as JSON."""
    said = verbs.info.info(thing, plot=plot, **asked)
    for note in said["notes"] if said["kind"] == "data" else ():
        Terminal().note(note)
    if json:
        print_json(said)
    elif said["kind"] == "cache":
        _print_cache(said)
    elif plot:
        say(f"wrote          {said['plot']}")
    elif "engines" in said:
        _print_engines(said)
    elif "layers" in said:
        _print_layers(str(thing), said)
    elif said["kind"] == "recipe":
        _print_recipe(str(thing), said)
    elif said["kind"] == "data":
        _print_data(str(thing), said)
    else:
        for title, text in _told(str(thing), said).items():
            say(*paragraph(text, title))
    return 0


def _print_cache(said: Mapping[str, Any]) -> None:
    if "removed" in said:
        gone = said["removed"]
        say(f"removed        {len(gone):,} entries, {_amount(sum(each['bytes'] for each in gone))}")
        if said["entries"]:
            say(f"kept           {len(said['entries']):,} that a running process uses, or that cannot be removed")
    say(f"cache          {said['path']}: {_amount(said['bytes'])} of at most {_amount(said['limit_bytes'])}")
    for kind in sorted({each["kind"] for each in said["entries"]}):
        some = [each for each in said["entries"] if each["kind"] == kind]
        size, oldest = _amount(sum(each["bytes"] for each in some)), min(each["last_used"] for each in some)
        used = sum(each["in_use"] for each in some)
        say(
            f"{kind:14} {size} in {len(some):,} ({CACHED[kind]}), the oldest last used {oldest[:10]}"
            f"{f'; {used:,} in use' if used else ''}"
        )
    if "removed" not in said:
        say(f"to empty it    {command()} info --clear-cache; KEENSIGHT_CACHE_SIZE=5GB sets another limit")


def _print_engines(said: Mapping[str, Any]) -> None:
    say(f"{'engine':18} {'pictures/s':>11}   of one core, with the model alone")
    for each in said["engines"]:
        rate = each["images_per_s"]
        say(f"{each['name']:18} {'' if rate is None else f'{rate:,.0f}':>11}   {each['why_not']}".rstrip())
    say()
    say(*paragraph(f"{said['engine']}, of 200 pictures or more", "answers"))


def _amount(size: int) -> str:
    """Write a number of bytes as people say it.

    >>> _amount(700), _amount(20_000_000_000), _amount(1_234_567)
    ('700 bytes', '20 GB', '1.2 MB')
    """
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= factor:
            return f"{size / factor:.1f}".removesuffix(".0") + f" {unit}"
    return f"{size:,} bytes"


def _told(thing: str, said: Mapping[str, Any]) -> dict[str, str]:
    """Return the lines about a run or a bundle, by title. Raises BundleError if its bundle.json cannot be described."""
    try:
        lines = {Path(said["run"]).resolve().name if "run" in said else said["name"]: _kind(said)}
        if "labels" in said:
            lines |= _of_bundle(said)
        if "epochs_done" in said:
            lines["trained"] = (
                f"{said['epochs_done']:,} epochs, training time {duration(said['training_seconds'])}, "
                f"{said['best_epoch']} the best, with validation accuracy {percent(said['best_val_accuracy'])}; "
                f"{said['stopped']}"
            )
        if "recipe" in said or "labels" not in said:
            lines["recipe"] = _own_settings(said.get("recipe", said))
    except (TypeError, ValueError, LookupError, AttributeError) as error:
        raise BundleError(
            f"{thing} has a bundle.json that cannot be described ({error!r}). Its --json can; get the bundle again."
        ) from error
    return {title: text for title, text in lines.items() if text} | {
        "every key": f"{command()} info {shlex.quote(thing)} --json"
    }


def _kind(said: Mapping[str, Any]) -> str:
    if "labels" not in said:
        return "a run that has no bundle yet"
    labels = said["labels"]
    model = f"{said['model']['name']}, {said['model']['parameters']:,} parameters" if "model" in said else "a model"
    return f"a {said['kind']}: {model}, which answers with one of {len(labels)} labels: {shortlist(labels, 20)}"


def _of_bundle(said: Mapping[str, Any]) -> dict[str, str]:
    size, measured, parity, signed = (said.get(key) for key in ("preprocessing", "metrics", "parity", "signed"))
    assert size is not None
    lines = {"pictures": f"{size['height']} x {size['width']}, {COLOURS[size['channels']]}, {size['fit']}"}
    for split, title in (("test", "test accuracy"), ("val", "validation")):
        if m := (measured or {}).get(split):
            lines[title] = with_interval(m["accuracy"], m["accuracy_low"], m["accuracy_high"], m["n"])
    if "data" in said:
        counts = ", ".join(f"{n:,} {split}" for split, n in said.get("splits", {}).items())
        lines["data"] = f"{said['data']['name']}{counts and f': {counts} pictures'}"
    if "origin" in said:
        lines["imported from"] = f"{said['origin']['file']}, sha256 {said['origin']['sha256'][:16]}"
    if "quantised" in said:
        lines["int8"] = f"of a model with validation accuracy {percent(said['quantised']['float32_val_accuracy'])}"
    if half := said.get("bfloat16"):
        lines["bfloat16"] = (
            f"gives the same answers on {half['n']:,} pictures, with probabilities to within {half['difference']:.1g}, "
            f"on processors with {half['instructions']}"
        )
    if parity:
        lines["parity"] = (
            f"gives the trained model's answers on {parity['n']:,} pictures, to within {parity['difference']:.1g}"
        )
    lines["signed"] = "no"
    if signed:
        lines["signed"] = f"by the key {signed['key'][:16]}, not checked here" if signed["key"] else "by no known key"
        lines["signed"] += f"; changed since: {'; '.join(signed['changes'])}" if signed["changes"] else ""
    return lines


def _own_settings(recipe: Mapping[str, Any]) -> str:
    """Write a recipe's name, and its values that differ from the defaults."""
    settings = {name: value for name, value in _differing(flattened(recipe)).items() if name not in TOLD}
    return f"{recipe.get('name', '')}: {_settings(settings) or 'all values are the defaults'}"


def _print_recipe(thing: str, said: Mapping[str, Any]) -> None:
    from keensight.models.zoo import options_of
    from keensight.training.recipe import AT_MOST

    promise = [
        f"{name} at {'most' if name in AT_MOST else 'least'} {limit:g}" for name, limit in said["promise"].items()
    ]
    lines = {
        said["name"]: said["about"],
        "caution": said["caution"],
        "source reached": said["reported"],
        "promise": ", ".join(promise),
    }
    values = flattened({table: said[table] for table in TABLES})
    differing = nested(options_of(values["model"]) | _differing(values))
    differing |= {"model": {"name": values["model"], **differing.get("model", {})}}
    for table in TABLES:
        settings = dict(differing.get(table, {}))
        leading = [settings.pop(field) for field in ("source", "name") if field in settings]
        lines[table] = ", ".join([*leading, *([_settings(settings)] if settings else [])])
    lines["seed"] = str(said["seed"] or "")
    for title, text in lines.items():
        if text:
            say(*paragraph(text, title))
    say()
    say("All other values are the defaults.")
    say()
    say(*paragraph(f"{command()} info {shlex.quote(thing)} --json", "every key"))


def _differing(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values by their keys' names, without those that are the default recipe's."""
    defaults = {name: _listed(value) for name, value in Recipe().flat().items()}
    return {name: value for name, value in values.items() if name not in defaults or _listed(value) != defaults[name]}


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _settings(table: Mapping[str, Any]) -> str:
    """Write keys and values in one line, as a recipe file has them."""
    return ", ".join(f"{key} = {dumps(value, ensure_ascii=False)}" for key, value in table.items())


def _print_data(thing: str, said: Mapping[str, Any]) -> None:
    size, left_out, shards = said["default_size"], said["skipped"], said.get("shards")
    same = said["pictures"] - said["different_pictures"]
    lines = {
        said["name"]: f"data of {counted(said['pictures'], 'picture')}: {said['found']}",
        "copies": f"{counted(same, 'picture has', 'pictures have')} the same content as another" if same else "",
        "groups": f"{said['groups']:,}, each of which is kept in one split" if said["groups"] else "",
        "decided": ", ".join(f"{n:,} {action}" for action, n in said.get("decisions", {}).items()),
        "learnt as": f"{size['height']} x {size['width']}, {COLOURS[size['channels']]}, {size['fit']}, if left to "
        "keensight",
        "shards": f"{shards['form']}, {counted(shards['files'], 'file')}, {_amount(shards['bytes'])}" if shards else "",
        "left out": account([Skipped(**each) for each in left_out]) or "nothing",
    }
    for title, text in lines.items():
        if text:
            say(*paragraph(text, title))
    say(*paragraph(f"{command()} info {shlex.quote(thing)} --json", "every key"))


def _print_layers(thing: str, said: Mapping[str, Any]) -> None:
    shown, table = said.get("shown_for") or said["preprocessing"], said["layers"]
    size = " x ".join(str(shown[key]) for key in ("height", "width", "channels"))
    say(f"{thing}, for pictures of {size} and {shown.get('classes') or len(said['labels'])} classes")
    say()
    say(f"{'layer':20} {'output shape':>18} {'parameters':>12}")
    for row in table:
        shape = " x ".join(map(str, row["shape"]))
        say(f"{row['name']:20} {shape:>18} {row['parameters']:>12,}")
    say(f"{'total':20} {'':>18} {sum(row['parameters'] for row in table):>12,}")
