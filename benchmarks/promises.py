"""Train every recipe on the data that it is for, check what it promises, and rewrite docs/results.md.

    make promises                                    all recipes, one seed each: hours
    make promises RECIPES="planes husky" SEEDS=3     some of them, three seeds each

Every run is a `keensight train` in a process and a cache of its own, so that seconds are from a cold start. Results go
into src/keensight/recipes/results.json after each recipe; those of recipes that are not run again stay. Exit status 3
where a promise is broken.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from keensight.errors import RecipeError, suggestion
from keensight.evaluation.metrics import accuracy_interval
from keensight.evaluation.report import from_dict
from keensight.evaluation.words import duration
from keensight.files import to_json, write_atomically
from keensight.machine import hardware
from keensight.training.recipe import AT_MOST, load_recipe, measured, recipe_names
from keensight.values import Recipe, Report
from keensight.workspace import RunFolder

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "src" / "keensight" / "recipes" / "results.json"
TABLE = ROOT / "docs" / "results.md"
SCANNED = ROOT / "benchmarks" / "scan.json"
METHODS = {"shared": "share their work", "alone": "each alone (a sixth of a scene)"}
METRICS = ("accuracy", "balanced_accuracy", "roc_auc")  # that can be promised of validation and of test pictures
# Recipes that are run a second time with other settings, and what they promise then.
VARIANTS: dict[str, dict[str, dict[str, float]]] = {
    "zero-one-robust": {"eps=0.1": {"test.accuracy": 0.997}, "eps=0.3": {"attack.0.3": 0.83}},
    "digits-certified": {"eps=0.3": {"certified.0.3": 0.885, "attack.0.3": 0.9}},
}

TEXT = """# What the recipes reach

Made by `make promises`; do not edit. Each row is `keensight train DATA --recipe NAME`, from a cold cache: the mean over
seeds 0, 1, ..., ± their standard deviation, and in brackets the 95 % interval of that accuracy given the number of
pictures. *Majority* is what always giving the most frequent answer reaches on the same pictures. The time is of the
whole command, and in brackets of training alone.

| recipe | data | its source | validation | test | AUC (val) | majority | promise | time | epochs | parameters | seeds |
|---|---|---|---|---|---|---|---|---|---|---|---|"""

SCANNING = """`keensight scan` with a bundle of `planes-by-scene`, and its own defaults, on scenes of 2000x1200 pixels
composed of real PlanesNet chips at known places, as benchmarks/scan.py says. In brackets is the 95 % interval. A plane
is found if a box overlaps its chip by half or more."""


def main() -> int:
    """Run what was asked for, write down what came of it, and say which promises are broken."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipes", nargs="*", help="all that name their data if none is given")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--note", default="", help="what a reader of the times must know: what else was running")
    asked = parser.parse_args()
    recipes = [load_recipe(name) for name in asked.recipes or recipe_names()]
    recipes = [recipe for recipe in recipes if recipe.data.source]
    for recipe in recipes:
        check_promise(recipe)
    unkept = []
    for recipe in recipes:
        for change, promise in ({"": dict(recipe.promise)} | VARIANTS.get(recipe.name, {})).items():
            name = f"{recipe.name} {change}".strip()
            result, complaints = run(recipe, change, promise, asked.seeds, asked.data)
            results = measured() | {name: result | {"note": asked.note}}
            write_atomically(RESULTS, to_json(dict(sorted(results.items()))))
            write_atomically(TABLE, table(results))
            print(f"{name}: {'; '.join(complaints) or 'kept'}", flush=True)
            unkept += complaints
    return 3 if unkept else 0


def run(
    recipe: Recipe, change: str, promise: dict[str, float], seeds: int, data: Path
) -> tuple[dict[str, Any], list[str]]:
    """Train `seeds` times; return what is worth keeping, and the promises that are broken."""
    source = data / recipe.data.source if (data / recipe.data.source).exists() else recipe.data.source
    reports, seconds = [], []
    for seed in range(seeds):
        with tempfile.TemporaryDirectory() as folder:
            words = ["train", str(source), "--recipe", recipe.name, "--seed", str(seed), "--out", f"{folder}/run"]
            words += ["--set", change] if change else []
            done = subprocess.run(
                [sys.executable, "-m", "keensight", *words, "--json"],
                env=os.environ | {"KEENSIGHT_CACHE": f"{folder}/cache"}, stdout=subprocess.PIPE, check=True,
            )  # fmt: skip
            seconds.append(json.loads(done.stdout)["seconds"])
            reports.append(from_dict(json.loads(RunFolder(Path(folder, "run")).report.read_text(encoding="utf-8"))))
        print(f"  seed {seed}: {seconds[-1]:.0f} s, {numbers(reports[-1])}", file=sys.stderr, flush=True)
    values = [numbers(report) for report in reports]
    complaints = broken(promise, reports)
    return {
        "data": recipe.data.source,
        "reported": recipe.reported,
        "promise": promise,
        "kept": not complaints,
        "seeds": seeds,
        "n": {"val": reports[0].val.n, "test": reports[0].test.n if reports[0].test else None},
        "numbers": {
            name: {"mean": statistics.fmean(each[name] for each in values), "each": [each[name] for each in values]}
            for name in values[0]
        },
        "floors": {floor.name: {"val": floor.val_accuracy, "test": floor.test_accuracy} for floor in reports[0].floors},
        "epochs": [len(report.history) for report in reports],
        "seconds": {"training": [report.seconds for report in reports], "in_all": seconds},
        "hardware": hardware(),
        "date": datetime.now(UTC).date().isoformat(),
    }, complaints


def numbers(report: Report) -> dict[str, float]:
    """Return the numbers that can be promised, such as "test.accuracy", "val.roc_auc", "attack.0.2", "parameters".

    "attack.0.2" is the accuracy in [0, 1] under the recipe's attack with an epsilon of 0.2, and "certified.0.2" the
    share of held-out pictures that are certified for it.
    """
    found: dict[str, float] = {"parameters": report.model["parameters"]}
    for split, metrics in (("val", report.val), ("test", report.test)):
        for name in METRICS:
            if metrics is not None and (value := getattr(metrics, name)) is not None:
                found[f"{split}.{name}"] = value
    found |= {f"attack.{each.threat.eps:g}": each.accuracy for each in report.attacks}
    return found | {f"certified.{each.threat.eps:g}": each.accuracy for each in report.certificates}


def broken(promise: Mapping[str, float], reports: Sequence[Report]) -> list[str]:
    """Return a sentence for each promise that the mean over `reports` does not keep.

    Raises RecipeError for a promise about something that is not measured.
    """
    measured = [numbers(report) for report in reports]
    found = []
    for name, limit in promise.items():
        if any(name not in each for each in measured):
            raise RecipeError(
                f"The promise '{name}' is not among the numbers that this run measures. {suggestion(name, measured[0])}"
                f"They are {', '.join(measured[0])}; mend the recipe."
            )
        mean = statistics.fmean(each[name] for each in measured)
        if mean > limit if name in AT_MOST else mean < limit:
            word = "at most" if name in AT_MOST else "at least"
            found.append(f"{name} is {mean:.4g} (mean of {len(reports)}), and {word} {limit:g} was promised")
    return found


def check_promise(recipe: Recipe) -> None:
    """Raise RecipeError for a promise about something that is never measured, before hours of training."""
    splits = [f"{split}.{name}" for split in ("val", "test") for name in METRICS]
    known = [*splits, *AT_MOST, *(f"attack.{eps:g}" for eps in recipe.evaluate.attack_eps)]
    known += [f"certified.{eps:g}" for eps in recipe.evaluate.certify_eps]
    if unknown := [name for name in recipe.promise if name not in known]:
        raise RecipeError(
            f"The promise '{unknown[0]}' of {recipe.name} is not among the numbers that are measured. "
            f"{suggestion(unknown[0], known)}They are {', '.join(known)}; mend the recipe."
        )


def table(results: dict[str, Any]) -> str:
    """Return docs/results.md."""
    lines = [TEXT]
    lines += [row(name, result) for name, result in sorted(results.items())]
    lines += _by_epsilon(
        results,
        "attack",
        "Under attack",
        "Accuracy on the test pictures when every pixel is moved by epsilon, in the direction that hurts the most.",
    )
    lines += _by_epsilon(
        results,
        "certified",
        "Certified",
        "The share of the test pictures that are right, and proved to stay right whatever changes by epsilon "
        "(docs/robustness.md).",
    )
    lines += ["", "## Where and when", ""]
    machines: dict[str, list[str]] = {}
    for name, result in sorted(results.items()):
        note = f", {result['note']}" if result.get("note") else ""
        machines.setdefault(f"{result['date']}, {result['hardware']}{note}", []).append(f"`{name}`")
    lines += [f"- {machine}: {', '.join(names)}" for machine, names in sorted(machines.items())]
    return "\n".join(lines + scanned()) + "\n"


def scanned() -> list[str]:
    """Return the lines about what `keensight scan` finds, as benchmarks/scan.py measured it."""
    if not SCANNED.exists():
        return []
    told = json.loads(SCANNED.read_text(encoding="utf-8"))
    lines = ["", "## Things found in large pictures", "", SCANNING, ""]
    lines += ["| chips of | neighbours | planes | found | recall | precision | places a second, naive loop = 1 |"]
    lines += ["|---|---|---|---|---|---|---|"]
    for name, each in told["found"].items():
        split, method = name.split()
        shares = [f"{value:.3f} ({low:.3f} to {high:.3f})" for value, low, high in (each["recall"], each["precision"])]
        counts = (f"{each['planes']:,}", f"{each['detections']:,}", *shares)
        ratio = f"{told['ratio'][method]:.0f}"
        lines.append(f"| {split} | {METHODS[method]} | {' | '.join(counts)} | {ratio} |")
    note = f", {told['note']}" if told["note"] else ""
    return [*lines, "", f"{told['date']}, {told['hardware']}{note}; one training, seed 0."]


def _by_epsilon(results: dict[str, Any], kind: str, title: str, about: str) -> list[str]:
    """Return the lines of a table of all numbers such as "attack.0.2", or none if nothing of that kind is measured."""
    having = {name: each for name, each in results.items() if any(kind in key for key in each["numbers"])}
    columns = sorted({key for each in having.values() for key in each["numbers"] if kind in key})
    if not having:
        return []
    lines = ["", f"## {title}", "", about, ""]
    lines += ["| recipe | clean | " + " | ".join(key.removeprefix(f"{kind}.") for key in columns) + " |"]
    lines += ["|---|---|" + "---|" * len(columns)]
    for name, result in sorted(having.items()):
        cells = [spread(result["numbers"][key]) if key in result["numbers"] else "–" for key in columns]
        lines.append(f"| `{name}` | {spread(result['numbers']['test.accuracy'])} | {' | '.join(cells)} |")
    return lines


def row(name: str, result: dict[str, Any]) -> str:
    """Return a recipe's line of the table."""
    found, floor = result["numbers"], result["floors"]["majority class"]
    auc, signs = found.get("val.roc_auc"), {"parameters": "≤"}
    promises = [f"{key} {signs.get(key, '≥')} {limit:g}" for key, limit in result["promise"].items()]
    seconds = [duration(statistics.fmean(result["seconds"][key])) for key in ("in_all", "training")]
    cells = [
        f"`{name}`",
        result["data"],
        result["reported"] or "–",
        accuracy(result, "val"),
        accuracy(result, "test"),
        f"{auc['mean']:.3f}" if auc else "–",
        f"{floor['val' if floor['test'] is None else 'test']:.3f}",
        (", ".join(promises) or "–") + " **broken**" * (not result["kept"]),
        f"{seconds[0]} ({seconds[1]})",
        f"{statistics.fmean(result['epochs']):g}",
        f"{found['parameters']['mean']:,.0f}",
        str(result["seeds"]),
    ]
    return f"| {' | '.join(cells)} |"


def accuracy(result: dict[str, Any], split: str) -> str:
    """Return mean, spread and interval of an accuracy."""
    value, n = result["numbers"].get(f"{split}.accuracy"), result["n"][split]
    if value is None:
        return "–"
    low, high = accuracy_interval(round(value["mean"] * n), n)
    return f"{spread(value)} ({low:.3f} to {high:.3f})"


def spread(value: dict[str, Any]) -> str:
    """Return a mean with its standard deviation, where there is more than one."""
    deviation = f" ± {statistics.stdev(value['each']):.4f}" if len(value["each"]) > 1 else ""
    return f"{value['mean']:.4f}{deviation}"


if __name__ == "__main__":
    sys.exit(main())
