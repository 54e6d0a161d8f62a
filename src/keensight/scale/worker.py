"""One worker of a team that torchrun, or a Kubeflow TrainJob, starts on each machine.

    torchrun --nproc-per-node 2 -m keensight.scale.worker path/to/pictures --out runs/pictures --recipe planes

It does what `keensight train` does, and ends with the same bits. All workers read DATA; only the first one writes, into
its own folder. Where that has an unfinished run, as after a restart, they go on with it.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch

from keensight.data.named import NAMES
from keensight.data.run_list import data_json
from keensight.data.sources import open_dataset
from keensight.data.splits import splits_jsonl
from keensight.errors import KeensightError, RunError, UsageError, shortlist
from keensight.files import to_json, write_atomically
from keensight.machine import keep_memory
from keensight.pipeline.budget import seconds_of
from keensight.pipeline.choose import Chosen
from keensight.pipeline.prepare import prepare
from keensight.pipeline.run import train_run
from keensight.pipeline.watch import Watcher
from keensight.scale.gathered import Gathered, joined
from keensight.training.checkpoint import load_state_bytes
from keensight.training.loop import Pauses, start
from keensight.training.recipe import from_table, load_recipe, to_toml
from keensight.training.trainers import fit_any
from keensight.values import Epoch
from keensight.workspace import RUN, RunFolder, claim, is_finished

GIVEN = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")  # by torchrun


class Lines(Watcher):
    """Prints notes and epochs to stderr, a line each."""

    def note(self, text: str) -> None:
        """Print a note."""
        print(f"note: {text}", file=sys.stderr, flush=True)  # noqa: T201

    def epoch(self, epoch: Epoch, epochs: int) -> None:
        """Print how an epoch went."""
        said = f"epoch {epoch.number} of {epochs}: {epoch.val_accuracy:.1%} on validation, {epoch.seconds:.1f} s"
        print(said, file=sys.stderr, flush=True)  # noqa: T201


def main(words: Sequence[str] | None = None) -> int:
    """Train with the other workers; return the exit status."""
    keep_memory()
    asked = _parser().parse_args(words)
    try:
        with _team(os.environ, asked.reduce == "fast") as team:
            work(team, asked)
    except KeensightError as error:
        print(f"keensight: worker {os.environ.get('RANK', '?')}: {error}", file=sys.stderr)  # noqa: T201
        return error.exit_status
    return 0


def work(team: Gathered, asked: argparse.Namespace) -> None:
    """Train as one of a team, and write the run if this is its first worker."""
    folder = Path(asked.out)
    watcher = Lines() if team.rank == 0 else Watcher()
    dataset = open_dataset(asked.data, label_pattern=asked.label_pattern)
    every_s = None if asked.checkpoint_every is None else seconds_of(asked.checkpoint_every, "A time")
    if team.tell(str(int(is_finished(folder))).encode()) == b"1":
        watcher.note(f"{folder} is finished; there is nothing to do.")
        return
    resume = team.tell(str(int((folder / RUN.begun).exists())).encode()) == b"1"
    with _folder(team, folder, dataset.name, resume) as files:
        if resume and files:
            recipe = load_recipe(str(files.recipe.absolute()))
        else:
            recipe = load_recipe(asked.recipe, asked.set, asked.seed).having(label_pattern=asked.label_pattern or "")
        told = from_table(tomllib.loads(team.tell(to_toml(recipe).encode()).decode()))
        material = prepare(dataset, told, watcher, workers=team.size)
        _check_same_pictures(team, splits_jsonl(material.pixels, material.splits), asked.data)
        content = team.tell(files.last.read_bytes() if files and resume and files.last.exists() else b"")
        fit = partial(fit_any, team=team)
        if files:
            if not resume:
                write_atomically(files.data, to_json(data_json(asked.data, asked.label_pattern or "", NAMES)))
            report = train_run(files, Chosen(material), resume, watcher, fit=fit, every_s=every_s)
            watcher.note(f"{report.headline.accuracy:.1%} on {report.headline_split}; all is in {files.path}.")
            return
        state = start(material.model, material.splits, material.recipe)
        if content:
            load_state_bytes(content, state)
        pauses = None if every_s is None else Pauses(every_s, lambda: None)
        for _ in fit(state, material.splits, material.recipe, pauses=pauses):
            pass


@contextmanager
def _team(environment: Mapping[str, str], fast: bool) -> Iterator[Gathered]:
    """Join the team that torchrun describes. Raises UsageError without torchrun, RunError when a worker is lost."""
    if missing := [name for name in GIVEN if not environment.get(name)]:
        raise UsageError(
            f"{missing[0]} is not set: a worker does not run alone. Start all with `torchrun --nproc-per-node 2 -m "
            "keensight.scale.worker DATA --out DIR`; on one machine alone, `keensight train DATA` does the same."
        )
    if torch.cuda.is_available():
        torch.cuda.set_device(int(environment.get("LOCAL_RANK", "0")))
    try:
        with joined():
            yield Gathered(fast)
    except (RuntimeError, ConnectionError) as error:
        raise RunError(
            f"The team of workers fell apart: {str(error).splitlines()[0]} Look at the other workers' messages. "
            "Started again with the same --out, they go on after the last checkpoint."
        ) from error


@contextmanager
def _folder(team: Gathered, folder: Path, name: str, resume: bool) -> Iterator[RunFolder | None]:
    """Yield the run's files to the first worker, which alone may write, and None to others."""
    if team.rank:
        yield None
        return
    with claim(folder, name, resume) as path:
        yield RunFolder(path)


def _check_same_pictures(team: Gathered, pictures: str, data: Sequence[str]) -> None:
    """Raise RunError if not all workers read the same pictures."""
    own = torch.frombuffer(bytearray(hashlib.sha256(pictures.encode()).digest()), dtype=torch.uint8)
    others = [rank for rank, digest in enumerate(team.gather(own[None])) if not torch.equal(digest, own)]
    if others:
        raise RunError(
            f"Worker {team.rank} and worker {others[0]} read different pictures, labels or splits at "
            f"{shortlist(list(data))}. All need the same DATA: copy it to each machine, or put it where all read it."
        )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="keensight.scale.worker", description=__doc__, allow_abbrev=False)
    parser.add_argument("data", nargs="+", help="labelled pictures, as for keensight train")
    parser.add_argument("--out", required=True, help="the run folder; only the first worker writes to it")
    parser.add_argument("--recipe", default="default", help="a recipe's name or .toml file")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change the recipe")
    parser.add_argument("--seed", type=int, help="the seed of all randomness")
    parser.add_argument("--label-pattern", help="takes labels from file names")
    parser.add_argument("--checkpoint-every", metavar="TIME", help="keep a checkpoint in mid-epoch, such as 10m")
    parser.add_argument("--reduce", choices=("exact", "fast"), default="exact", help="fast: bits depend on the team")
    return parser


if __name__ == "__main__":
    sys.exit(main())
