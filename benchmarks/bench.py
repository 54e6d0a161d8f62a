"""Measure keensight against what a user would pick instead, side by side; rewrite the tables in docs/ made of it.

    make bench                                       every row: hours, on a machine with nothing else to do
    make bench ROWS="husky-throughput import"        some of them
    python benchmarks/bench.py --try                 see that every row runs at all; nothing is written

Both sides run on this machine, with the same threads, by turns; what is reported is the median of the pairs' ratios,
with their range. Results go into benchmarks/results.json after each group of rows; those of rows that are not run again
stay. Exit status 1 where a command failed, 3 where the quality of the two sides does not allow a comparison.
"""

from __future__ import annotations

import argparse
import compileall
import gzip
import io
import itertools
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from PIL import Image

import capacity
import keensight
from comparisons import ROWS
from keensight.errors import suggestion
from keensight.files import to_json, write_atomically
from keensight.machine import cores, hardware, versions
from keensight.training.recipe import recipe_names
from measuring import Answer, Machine, Row, Run, answers, is_met, merged, schedule, shrunk, summary

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results.json"
TABLE = ROOT / "docs" / "benchmarks.md"
LARGE = 40  # photographs of 12 megapixels
COPIES = 4  # of the huskies in the folder that is decoded and predicted: a second's work at least

TEXT = """# Measured against what you would pick instead

Made by `make bench`; do not edit. Both sides run on one machine with the same threads, by turns: ours, theirs, ours,
theirs. A ratio says how many times better keensight is: the median of the pairs, and in brackets their range. Where the
results are not worth the same, there is no comparison. A goal is for the first ratio of its row, and stays here when it
is missed. *Whole command* is `keensight train` from a cold cache, its start and its report included; theirs is then the
training alone, with validation after every epoch where the article has it. What was tried is in
[the log](../benchmarks/LOG.md).

| row | work | against | ratio | goal | met | quality: ours, theirs | runs |
|---|---|---|---|---|---|---|---|"""


def main() -> int:
    """Run what was asked for, write down what came of it, and say what failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rows", nargs="*", help="all if none is given")
    parser.add_argument("--threads", type=int, default=cores())
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--fashion", type=Path, default=Path("/usr/share/datasets/fashion-mnist"))
    parser.add_argument("--peer", type=Path, default=ROOT / ".venv-bench" / "bin" / "python")
    parser.add_argument("--runs", type=int, help="so many pairs, whatever the row says")
    parser.add_argument("--try", dest="trial", action="store_true", help="tiny sizes, one run, nothing written")
    parser.add_argument("--table", action="store_true", help="only rewrite docs/benchmarks.md")
    asked = parser.parse_args()
    if asked.table:
        write_tables()
        return 0
    rows = [chosen(row, asked.runs, asked.trial) for row in named(asked.rows)]
    status = 0
    for row in [row for row in rows if missing_recipe(row)]:
        print(f"{row.name}: not measured: there is no recipe '{missing_recipe(row)}'", file=sys.stderr, flush=True)
        rows.remove(row)
        status = 1
    with tempfile.TemporaryDirectory(prefix="keensight-bench-") as folder:
        machine = prepare(Path(folder), rows, asked)
        for _, group in itertools.groupby(rows, key=lambda row: row.group or row.name):
            members = list(group)
            try:
                found = {run: told(machine, run) for run in schedule(members)}
            except subprocess.CalledProcessError as error:
                print(f"{', '.join(row.name for row in members)}: failed: {error}", file=sys.stderr, flush=True)
                status = 1
                continue
            new = {row.name: dated(row, found, asked.threads) for row in members}
            for name, result in new.items():
                print(f"{name}: {line(result)}", flush=True)
                if result["complaints"] and not asked.trial:
                    status = status or 3
            if not asked.trial:
                write_atomically(RESULTS, to_json(merged(results(), new, [row.name for row in ROWS])))
                write_tables()
    return status


def write_tables() -> None:
    """Rewrite docs/benchmarks.md, and what docs/scale.md makes of the figures."""
    write_atomically(TABLE, table(ROWS, results()))
    capacity.main()


def named(names: Sequence[str]) -> list[Row]:
    """Return the rows of these names, in the table's order; all if there are no names."""
    known = {row.name: row for row in ROWS}
    for name in names:
        if name not in known:
            raise SystemExit(f"There is no row '{name}'. {suggestion(name, known)}The rows are {', '.join(known)}.")
    return [row for row in ROWS if not names or row.name in names]


def missing_recipe(row: Row) -> str:
    """Return the recipe that a row trains with, if there is none of that name."""
    name = row.ours[row.ours.index("--recipe") + 1] if "--recipe" in row.ours else ""
    return "" if name in recipe_names() else name


def chosen(row: Row, runs: int | None, trial: bool) -> Row:
    """Return a row with as many runs as were asked for, or made tiny."""
    if trial:
        peers = "benchmarks/peers"
        theirs = shrunk(row.theirs, peers) if row.theirs else None
        return replace(row, ours=shrunk(row.ours, peers), theirs=theirs, runs=1, their_runs=0)
    return replace(row, runs=runs, their_runs=0) if runs else row


def prepare(work: Path, rows: Sequence[Row], asked: argparse.Namespace) -> Machine:
    """Make what the rows need, no clock running, and return the machine to run them on."""
    # as pip does with the peers: under PYTHONDONTWRITEBYTECODE, an editable install compiles its source in each process
    compileall.compile_dir(Path(keensight.__file__).parent, quiet=1)
    scripts, needs = Path(sys.executable).parent, {need for row in rows for need in row.needs}
    words = {
        "python": sys.executable,
        "keensight": str(scripts / "keensight"),
        "peer": str(asked.peer.absolute()),
        "data": str(asked.data.absolute()),
        "fashion": str(asked.fashion.absolute()),
        "work": str(work),
        "picture": "",
        "digit": "",
    }
    asks_peers = any(row.theirs and "{peer}" in row.theirs for row in rows)
    if (asks_peers or "bundle" in needs) and not asked.peer.exists():
        raise SystemExit(f"{asked.peer} does not exist. Make it with scripts/make-bench-venv, or give --peer PYTHON.")
    machine = Machine(asked.threads, words, work / "cache")
    if "folder" in needs:
        words["picture"] = str(unpack(asked.data / "huskies.zip", work / "folder", 1 if asked.trial else COPIES))
    if "bundle" in needs:
        change = ("--set", "epochs=1" if asked.trial else "epochs=6", "--set", "flip=false", "--set", "rotate=0")
        out = ("--out", "{work}/run")
        machine.run(Run(("{keensight}", "train", "{data}/huskies.zip", "--recipe", "husky", *change, *out), 0))
        script = str(ROOT / "benchmarks" / "peers" / "keras_predict.py")
        files = ("{work}/run/bundle/model.safetensors", "{work}/model.keras")
        machine.run(Run(("{peer}", script, "make", *files), 0))
    if "transfer" in needs:
        out = ("--recipe", "husky-transfer", "--out", "{work}/transfer")
        machine.run(Run(("{keensight}", "train", "{data}/huskies.zip", *out), 0))
    if "large" in needs:
        enlarge(asked.data / "huskies.zip", work / "large", 2 if asked.trial else LARGE)
    if "served" in needs:
        words["digit"] = str(first_digit(asked.data / "mnist", work / "digit.png"))
        out = ("--recipe", "dense", "--set", "epochs=1", "--out", "{work}/dense")
        machine.run(Run(("{keensight}", "train", "{data}/mnist", *out), 0))
    os.chdir(ROOT)
    return machine


def first_digit(mnist: Path, picture: Path) -> Path:
    """Write MNIST's first test picture as a PNG, and return its file."""
    with gzip.open(mnist / "t10k-images-idx3-ubyte.gz") as file:
        header, pixels = file.read(16), file.read(28 * 28)
    assert header[8:] == bytes((0, 0, 0, 28, 0, 0, 0, 28))
    Image.frombytes("L", (28, 28), pixels).save(picture)
    return picture


def unpack(archive: Path, folder: Path, copies: int) -> Path:
    """Write an archive's pictures into class folders, several times over; return one of them."""
    with zipfile.ZipFile(archive) as file:
        for name in (name for name in file.namelist() if name.endswith(".jpg")):
            picture = Path(name)
            place = folder / picture.parent.name
            place.mkdir(parents=True, exist_ok=True)
            first = place / f"0-{picture.name}"
            first.write_bytes(file.read(name))
            for copy in range(1, copies):
                shutil.copyfile(first, place / f"{copy}-{picture.name}")
    return first


def enlarge(archive: Path, folder: Path, count: int) -> None:
    """Write `count` pictures of each of the archive's classes as a phone's camera would: 4,000 x 3,000, as JPEG."""
    with zipfile.ZipFile(archive) as file:
        for label in ("husky", "nothusky"):
            (folder / label).mkdir(parents=True)
            names = [name for name in file.namelist() if f"/{label}/" in name and name.endswith(".jpg")]
            for number, name in enumerate(sorted(names)[:count]):
                picture = Image.open(io.BytesIO(file.read(name))).convert("RGB")
                large = picture.resize((4000, 3000), Image.Resampling.BICUBIC)
                large.save(folder / label / f"{number}.jpg", quality=90)


def told(machine: Machine, run: Run) -> dict[str, Any]:
    """Run, and say so."""
    answer = machine.run(run)
    kept = {key: part for key, part in answer.items() if isinstance(part, (int, float))}
    print(f"  {' '.join(run.command)} [{run.index}]: {kept}", file=sys.stderr, flush=True)
    return answer


def dated(row: Row, found: Mapping[Run, Answer], threads: int) -> dict[str, Any]:
    """Return a row's summary with where, when and of what versions it is."""
    ours, theirs = answers(row, found)
    peers = theirs[0].get("versions", {}) if theirs else {}
    return summary(row, ours, theirs) | {
        "threads": threads,
        "hardware": hardware(),
        "date": datetime.now(UTC).date().isoformat(),
        "versions": {"ours": versions(), "theirs": peers},
    }


def results() -> dict[str, Any]:
    """Return what was measured last."""
    found: dict[str, Any] = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    return found


def table(rows: Sequence[Row], found: Mapping[str, Any]) -> str:
    """Return docs/benchmarks.md."""
    lines = [TEXT]
    for row in rows:
        goal = "–" if row.goal is None else f"≤ {row.goal:g}" if row.theirs is None else f"≥ {row.goal:g}×"
        cells = [f"`{row.name}`", row.work, row.against]
        if result := found.get(row.name):
            runs = f"{result['n']['ours']}" + (f", {result['n']['theirs']}" if result["n"]["theirs"] else "")
            first = next(iter(result["measures"].values()))["median"]
            now = {**result, "met": is_met(row, first, result["complaints"])}  # a goal may be newer than its figures
            cells += [line(result), goal, verdict(now), worth(result), runs]
        else:
            cells += ["not measured yet", goal, "–", "–", "–"]
        lines.append(f"| {' | '.join(cells)} |")
    if found:
        lines += ["", "## Where and when", ""]
        places = {name: (each["date"], each["hardware"], each["threads"]) for name, each in found.items()}
        for place in sorted(set(places.values())):
            date, machine, threads = place
            names = ", ".join(f"`{name}`" for name in found if places[name] == place)
            lines.append(f"- {date}, {machine}, {threads} thread{'s' if threads > 1 else ''}: {names}")
        lines += ["", "Versions of the peers: " + ", ".join(peers(found)) + "."]
    return "\n".join(lines) + "\n"


def line(result: Mapping[str, Any]) -> str:
    """Return a row's ratios, or its values where there is no peer."""
    parts = []
    for name, each in result["measures"].items():
        if each["median"] is None:
            parts.append(f"{name}: they never got there")
            continue
        sign, digits = ("", ".3f") if result["limit"] else ("×", ".3g")
        spread = f" ({each['low']:{digits}} to {each['high']:{digits}})" if each["low"] != each["high"] else ""
        number = f"{each['median']:{digits}}{sign}{spread}"
        parts.append(number if len(result["measures"]) == 1 and not result["limit"] else f"{name}: {number}")
    return "; ".join(parts)


def verdict(result: Mapping[str, Any]) -> str:
    """Say whether a goal is met."""
    if result["complaints"]:
        return f"**no comparison**: {'; '.join(result['complaints'])}"
    return {True: "yes", False: "**no**", None: "–"}[result["met"]]


def worth(result: Mapping[str, Any]) -> str:
    """Return the quality of both sides: means, with a standard deviation where there are several runs."""
    if not result["quality"]:
        return "–"
    sides = []
    for side in ("ours", "theirs"):
        if numbers := result["quality"][side]:
            deviation = f" ± {statistics.stdev(numbers):.4f}" if len(numbers) > 1 else ""
            sides.append(f"{statistics.fmean(numbers):.4f}{deviation}")
    return f"{result['quality']['name']} {', '.join(sides)}"


def peers(found: Mapping[str, Any]) -> list[str]:
    """Return the peers' names and versions."""
    return sorted(
        {f"{name} {version}" for each in found.values() for name, version in each["versions"]["theirs"].items()}
    )


if __name__ == "__main__":
    sys.exit(main())
