"""Two workers, measured: each command prints one JSON object, of which the rows scale-... of `make bench` make ratios.

    python benchmarks/scale.py ray husky ../shared/data/huskies.zip         two workers of `keensight train --workers 2`
    python benchmarks/scale.py torchrun husky ../shared/data/huskies.zip    two workers that torchrun starts
    python benchmarks/scale.py nodes 2 husky ../shared/data/huskies.zip     two nodes of one core each; or 1
    python benchmarks/scale.py faults                                       what is lost, and how soon the run goes on
    python benchmarks/scale.py answers 2 BUNDLE DATA                        `predict --workers 2 --out`; or 1

Training is that of the commands themselves, from the end of the first epoch on: validation and checkpoints are in it,
and starting is not. A node is a process that may use one core; two of them talk by the machine's own loopback, so what
a real network adds is not in it. Each side cuts its batches as it would by itself.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from keensight.machine import versions

ROOT = Path(__file__).parents[1]
LOOK_S = 0.02  # between two looks at a run's history
LIMIT_S = 900.0  # for a run, which else hangs
FASHION = 12_000  # of its pictures: an epoch takes seconds
Command = Sequence[str]


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    whats = parser.add_subparsers(dest="what", required=True)
    for what in ("ray", "torchrun", "nodes"):
        each = whats.add_parser(what)
        if what == "nodes":
            each.add_argument("nodes", type=int, choices=(1, 2))
        each.add_argument("recipe", choices=("husky", "fashion"))
        each.add_argument("data")
        each.add_argument("--batch", type=int, default=32)
        each.add_argument("--epochs", type=int, default=4, help="after the first one")
    whats.add_parser("faults")
    each = whats.add_parser("answers")
    each.add_argument("workers", type=int)
    each.add_argument("bundle")
    each.add_argument("data")
    each.add_argument("--times", type=int, default=3, help="answer for the data so many times")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="keensight-scale-") as folder:
        if asked.what == "faults":
            found = faults(Path(folder))
        elif asked.what == "answers":
            found = answers(asked.bundle, [asked.data] * asked.times, asked.workers, Path(folder))
        else:
            found = training(asked, Path(folder))
    print(json.dumps({**found, "versions": versions()}))


def training(asked: argparse.Namespace, folder: Path) -> dict[str, float]:
    """Return pictures a second of training, by two processes or one."""
    data = subset(asked.data, folder / "fashion.npz") if asked.recipe == "fashion" else asked.data
    run = folder / "run"
    words = [data, "--recipe", asked.recipe, "--out", str(run), "--set", f"batch_size={asked.batch}"]
    words += ["--set", f"epochs={asked.epochs + 2}", "--set", "target_accuracy=0"]
    train = [sys.executable, "-m", "keensight", "train", *words]
    worker = ["-m", "keensight.scale.worker", *words]
    first, second, *_ = [*sorted(os.sched_getaffinity(0)), None]
    if asked.what == "ray":
        commands = [[*train, "--workers", "2"]]
    elif asked.what == "torchrun":
        launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
        commands = [[*launch, *worker]]
    elif asked.nodes == 1:
        commands = [on_core(first, train)]
    elif second is None:
        raise SystemExit("Two nodes of one core each need two cores, and this process may use one.")
    else:
        commands = [on_core(core, [sys.executable, *worker]) for core in (first, second)]
    seconds, spent = epochs_of(commands, run, asked.epochs)
    count = sum(json.loads(line)["split"] == "train" for line in (run / "splits.jsonl").read_text().splitlines())
    seen = asked.epochs * count
    return {"images_per_s": seen / seconds, "images_per_processor_s": seen / spent, "images": seen, "seconds": seconds}


def on_core(core: int | None, command: Command) -> list[str]:
    """Return a command that may use one core."""
    return ["taskset", "-c", str(core), *command]


def subset(data: str, file: Path) -> str:
    """Write some of Fashion-MNIST's pictures, and return the file."""
    import keensight

    dataset = keensight.open_dataset(data)
    pixels = keensight.decode(dataset, keensight.choose_preprocessing(dataset, keensight.load_recipe("fashion")))
    np.savez(file, images=pixels.images[:FASHION], labels=[each.label for each in dataset.samples[:FASHION]])
    return str(file)


def epochs_of(commands: Sequence[Command], run: Path, count: int) -> tuple[float, float]:
    """Start a run's processes; return the seconds of `count` epochs after the first, and the processor's; stop them.

    Several commands are the workers of one team, as torchrun would start them.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        team = {
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(probe.getsockname()[1]),
            "WORLD_SIZE": str(len(commands)),
        }
    history = run / "history.jsonl"
    log = run.with_suffix(".log")
    running = []
    try:
        for rank, command in enumerate(commands):
            own = {**team, "RANK": str(rank)} if len(commands) > 1 else {}
            with log.open("ab") as file:
                environment = {**os.environ, "OMP_NUM_THREADS": "1", **own}
                running.append(subprocess.Popen(command, env=environment, stdout=file, stderr=file))
        begin, first = time.perf_counter(), (0.0, 0.0)
        while (done := len(history.read_text().splitlines()) if history.exists() else 0) < 1 + count:
            now = time.perf_counter()
            if done and not first[0]:
                first = now, processor_s([each.pid for each in running])
            if any(each.poll() is not None for each in running) or now - begin > LIMIT_S:
                raise SystemExit(f"{commands[0]} did not train:\n{log.read_text()[-2000:]}")
            time.sleep(LOOK_S)
        return time.perf_counter() - first[0], processor_s([each.pid for each in running]) - first[1]
    finally:
        for each in running:
            each.send_signal(signal.SIGINT)
        for each in running:
            try:
                each.wait(60)
            except subprocess.TimeoutExpired:
                each.kill()
                each.wait()


def processor_s(roots: Sequence[int]) -> float:
    """Return the processor time of some processes and all that they started, as far as it still runs."""
    known = {}
    for file in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = file.read_text().rpartition(")")[2].split()  # from the third on; see proc(5)
            known[int(file.parent.name)] = int(fields[1]), int(fields[11]) + int(fields[12])
    found = set(roots)
    while more := {pid for pid, (parent, _) in known.items() if parent in found} - found:
        found |= more
    return sum(known[pid][1] for pid in found if pid in known) / os.sysconf("SC_CLK_TCK")


def faults(folder: Path) -> dict[str, float]:
    """Return the seconds until a run on two nodes has learnt an epoch more, after each thing that it loses."""
    sys.path.insert(0, str(ROOT / "tests" / "scale"))
    from faults import all_faults
    from nodes import QUICK, Nodes, why_not

    if why_not():
        raise SystemExit(f"There can be no two nodes here: {why_not()}.")
    changes = ["--set", "model=cnn", "--set", "filters=40", "--set", "batch_size=64", "--set", "pieces=2"]
    with Nodes(folder, QUICK) as nodes:
        _, took = all_faults(nodes, folder / "run", "--recipe", "default", *changes, "--checkpoint-every", "2s")
    return took


def answers(bundle: str, data: Sequence[str], workers: int, folder: Path) -> dict[str, float]:
    """Return pictures a second of some workers with a core each, without what starting takes."""
    from keensight.pipeline.in_parts import predict_in_parts
    from keensight.pipeline.watch import Watcher

    seen: list[tuple[float, int]] = []

    class Timed(Watcher):
        def pictures(self, done: int, total: int) -> None:
            seen.append((time.perf_counter(), done))

    predict_in_parts(bundle, data, folder / "out", workers, None, Timed())
    if len(seen) < 3 * workers:
        raise SystemExit(f"{len(seen)} parts of 256 pictures are too few for {workers} workers: raise --times.")
    (begin, first), (end, last) = seen[workers - 1], seen[-1]
    return {"images_per_s": (last - first) / (end - begin), "images": last - first}


if __name__ == "__main__":
    main()
