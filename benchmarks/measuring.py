"""Measuring two programs against each other: what to run in which order, and what the numbers then say.

Pure but for `Machine.run`. A command prints one JSON object as its last line; what is asked of it is a key there, with
dots for objects inside objects. Keys that end in ``_per_s`` are better the larger, all others the smaller.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Command = tuple[str, ...]
Answer = Mapping[str, Any]
PROCESS_S = "process_s"  # seconds of the whole process: added to every answer
REACHED_S = "reached_s"  # seconds until the first epoch of the row's target accuracy: added where it can be known


@dataclass(frozen=True, slots=True)
class Measure:
    """One ratio: what it is of, and the keys of its numbers on both sides."""

    name: str
    ours: str
    theirs: str = ""


@dataclass(frozen=True, slots=True)
class Quality:
    """What both sides' results must be worth, or there is no comparison; `None` asks for nothing.

    `least` bounds the mean of ours; `within` how far the two means may lie apart; `behind` how far ours may lie under
    theirs.
    """

    name: str
    ours: str
    theirs: str = ""
    least: float | None = None
    within: float | None = None
    behind: float | None = None

    def complaints(self, ours: Sequence[Answer], theirs: Sequence[Answer]) -> list[str]:
        """Return what is not as it must be, in words."""
        mean = statistics.fmean(value(each, self.ours) for each in ours)
        found = []
        if self.least is not None and mean < self.least:
            found.append(f"ours has {self.name} {mean:.4f}, less than {self.least:g}")
        if theirs and self.theirs:
            other = statistics.fmean(value(each, self.theirs) for each in theirs)
            if self.within is not None and abs(mean - other) > self.within:
                found.append(f"{self.name} {mean:.4f} and {other:.4f} are more than {self.within:g} apart")
            if self.behind is not None and mean < other - self.behind:
                found.append(f"ours has {self.name} {mean:.4f}, theirs {other:.4f}")
        return found


@dataclass(frozen=True, slots=True)
class Row:
    """One comparison. The goal is for the first measure: a ratio to reach, or without a peer a value to stay under.

    Rows of one `group` are measured together: a command that several of them have runs once for each pair.
    """

    name: str
    work: str
    against: str
    ours: Command
    theirs: Command | None
    measures: tuple[Measure, ...]
    goal: float | None
    quality: Quality | None = None
    runs: int = 5
    their_runs: int = 0  # as many as ours if 0
    target: float | None = None  # accuracy, for REACHED_S
    group: str = ""
    needs: tuple[str, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a command: the how-manieth it is."""

    command: Command
    index: int


def schedule(rows: Sequence[Row]) -> Iterator[Run]:
    """Yield every run that the rows need, ours and theirs by turns: A B A B, not A A B B."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.group or row.name, []).append(row)
    for members in groups.values():
        done: set[Run] = set()
        for index in range(max(max(row.runs, row.their_runs) for row in members)):
            for row in members:
                for command, runs in ((row.ours, row.runs), (row.theirs, row.their_runs or row.runs)):
                    run = Run(command, index) if command else None
                    if run and index < runs and run not in done:
                        done.add(run)
                        yield run


def answers(row: Row, found: Mapping[Run, Answer]) -> tuple[list[Answer], list[Answer]]:
    """Return a row's answers, ours and theirs, in the order of the runs."""
    ours = [found[Run(row.ours, index)] for index in range(row.runs)]
    theirs = []
    if row.theirs:
        theirs = [found[Run(row.theirs, index)] for index in range(row.their_runs or row.runs)]
    return [with_reached(each, row.target) for each in ours], [with_reached(each, row.target) for each in theirs]


def with_reached(answer: Answer, target: float | None) -> Answer:
    """Add the seconds until the first epoch whose accuracy is the target's or more; nothing where none is.

    >>> with_reached({"seconds": [2, 3, 4], "accuracies": [0.8, 0.9, 0.7]}, 0.85)["reached_s"]
    5
    """
    if target is None or "accuracies" not in answer:
        return answer
    for number, accuracy in enumerate(answer["accuracies"], 1):
        if accuracy >= target:
            return {**answer, REACHED_S: sum(answer["seconds"][:number])}
    return answer


def value(answer: Answer, key: str) -> Any:
    """Return what an answer has under a dotted key; raises KeyError."""
    for part in key.split("."):
        answer = answer[part]
    return answer


def ratios(measure: Measure, ours: Sequence[Answer], theirs: Sequence[Answer]) -> list[float]:
    """Return for each pair how many times better ours is; nothing if a run of theirs never got there.

    Where theirs ran fewer times, its runs serve again, in turn.
    """
    try:
        pairs = [
            (value(each, measure.ours), value(theirs[i % len(theirs)], measure.theirs)) for i, each in enumerate(ours)
        ]
    except KeyError:
        return []
    return [a / b if measure.ours.endswith("_per_s") else b / a for a, b in pairs]


def summary(row: Row, ours: Sequence[Answer], theirs: Sequence[Answer]) -> dict[str, Any]:
    """Return what is worth keeping of a row's runs; `met` is None where there is no goal, or no comparison."""
    measures = {}
    for measure in row.measures:
        numbers = ratios(measure, ours, theirs) if row.theirs else [value(each, measure.ours) for each in ours]
        measures[measure.name] = {
            "median": statistics.median(numbers) if numbers else None,
            "low": min(numbers, default=None),
            "high": max(numbers, default=None),
            "ours": [value(each, measure.ours) for each in ours],
            "theirs": [find(each, measure.theirs) for each in theirs],
        }
    complaints = row.quality.complaints(ours, theirs) if row.quality else []
    met = is_met(row, measures[row.measures[0].name]["median"], complaints)
    return {
        "work": row.work,
        "against": row.against,
        "goal": row.goal,
        "limit": row.theirs is None,
        "measures": measures,
        "quality": quality(row.quality, ours, theirs) if row.quality else None,
        "complaints": complaints,
        "met": met,
        "n": {"ours": len(ours), "theirs": len(theirs)},
    }


def is_met(row: Row, first: float | None, complaints: Sequence[str]) -> bool | None:
    """Say whether the first measure of a row reaches its goal; None without a goal, or without a comparison."""
    if row.goal is None or first is None or complaints:
        return None
    return first >= row.goal if row.theirs else first <= row.goal


def find(answer: Answer, key: str) -> Any:
    """Return what an answer has under a key, or None."""
    try:
        return value(answer, key)
    except KeyError:
        return None


def quality(asked: Quality, ours: Sequence[Answer], theirs: Sequence[Answer]) -> dict[str, Any]:
    """Return the quality of both sides: every run's."""
    return {
        "name": asked.name,
        "ours": [value(each, asked.ours) for each in ours],
        "theirs": [value(each, asked.theirs) for each in theirs] if asked.theirs else [],
    }


def merged(before: Mapping[str, Any], new: Mapping[str, Any], order: Sequence[str]) -> dict[str, Any]:
    """Return old results with new ones over them, in the table's order; rows that are no more are dropped."""
    both = {**before, **new}
    return {name: both[name] for name in order if name in both}


def shrunk(command: Command, peers: str) -> Command:
    """Return a command that does next to nothing, to see whether it runs at all: two epochs of two steps.

    >>> shrunk(("python", "peers/keras_x.py", "--epochs", "40"), "peers")
    ('python', 'peers/keras_x.py', '--epochs', '2', '--steps', '2')
    """
    words = list(command)
    for option in ("--epochs", "--steps"):
        if option in words:
            words[words.index(option) + 1] = "2"
    if any(word.startswith(peers) for word in words) and "--steps" not in words:
        words += ["--steps", "2"]
    if "train" in words:
        words += ["--set", "epochs=1"]
    if "--p95" in words:
        words[words.index("--p95") + 1] = "100000"
    if "--gigabytes" in words:
        words[words.index("--gigabytes") + 1] = "0.05"
    return tuple(words)


@dataclass(slots=True)
class Machine:
    """Where commands run: so many threads, and the words that stand in braces in them."""

    threads: int
    words: Mapping[str, str]
    cache: Path  # warm, for commands that do not ask for a {fresh} folder

    def run(self, run: Run) -> dict[str, Any]:
        """Run a command to its end and return its answer. Raises CalledProcessError; its stderr is shown by then."""
        fresh = tempfile.mkdtemp(prefix="keensight-bench-")
        cold = any("{fresh}" in word for word in run.command)
        words = {**self.words, "fresh": fresh, "seed": str(run.index), "threads": str(self.threads)}
        command = [word.format_map(words) for word in run.command]
        environment = os.environ | {
            "KEENSIGHT_CACHE": f"{fresh}/cache" if cold else str(self.cache),
            "OMP_NUM_THREADS": str(self.threads),
        }
        allowed = sorted(os.sched_getaffinity(0))
        if self.threads < len(allowed):
            command = ["taskset", "-c", ",".join(map(str, allowed[: self.threads])), *command]
        try:
            begin = time.perf_counter()
            done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
            seconds = time.perf_counter() - begin
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
        return {**last_object(done.stdout), PROCESS_S: seconds}


def last_object(text: str) -> dict[str, Any]:
    """Return the JSON object that a program printed last: its whole output or a line of it; empty if there is none."""
    for part in (text, *reversed(text.splitlines())):
        try:
            answer = json.loads(part)
        except json.JSONDecodeError:
            continue
        if isinstance(answer, dict):
            return answer
    return {}
