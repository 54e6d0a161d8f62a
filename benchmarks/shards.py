"""Shards and answers in parts: pictures a second from shards and from memory, memory, and what a second worker brings.

    python benchmarks/shards.py stream                 training from shards of ten times the memory that it may add
    python benchmarks/shards.py answers BUNDLE DATA    batch prediction by one worker and by two, on idle cores

Both print one JSON object. `stream` takes turns, and its processor seconds hold on a busy machine, too.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

import keensight
from keensight.data.shard_files import Fact, open_shards, to_parquet
from keensight.data.shard_images import Streamed
from keensight.data.shard_index import INDEX, Index, ShardFile
from keensight.data.stores import open_store
from keensight.machine import cores, hardware, share_the_cores
from keensight.pipeline import in_parts
from keensight.pipeline.watch import Watcher
from keensight.pipeline.workers import Processes
from keensight.values import Preprocessing, Split, Splits

SIDE, IN_A_FILE = 64, 4096
GOALS = {"speed": 0.8, "share of memory": 0.1, "second worker": 1.8}


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("stream", "answers"))
    parser.add_argument("given", nargs="*")
    parser.add_argument("--pictures", type=int, default=65_536)
    parser.add_argument("--turns", type=int, default=2)
    asked = parser.parse_args()
    share_the_cores()
    found = stream(asked.pictures, asked.turns) if asked.what == "stream" else answers(*asked.given)
    print(json.dumps({**found, "goals": GOALS, "hardware": hardware(), "cores": cores()}))


def stream(count: int, turns: int) -> dict[str, object]:
    """Train epochs by turns from shards and from memory; return pictures a second, and the memory beyond the start."""
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), count)
        streamed = Streamed(open_shards(folder))
        labels = np.arange(count) % 2
        recipe = keensight.load_recipe("default").having(epochs=1, precision="float32", pieces=2)
        model = keensight.build("cnn", {"filters": 8}, Preprocessing(SIDE, SIDE, 3), 2, 0)
        one_epoch(streamed, labels[:2048], model, recipe)  # torch is warm
        before = anonymous_mb()
        with peak() as highest:
            first = one_epoch(streamed, labels, model, recipe)
        more = highest[0] - before
        whole = streamed[:]
        rounds = [(first, one_epoch(whole, labels, model, recipe))]
        rounds += [
            tuple(one_epoch(images, labels, model, recipe) for images in (streamed, whole)) for _ in range(1, turns)
        ]
    wall, processor = ([theirs[i] / ours[i] for ours, theirs in rounds] for i in (0, 1))
    return {
        "data_mb": round(whole.nbytes / 1e6), "more_memory_mb": round(more),
        "share": round(more * 1e6 / whole.nbytes, 3),
        "pictures_per_s": [round(count / ours[0]) for ours, _ in rounds], "speed": [round(each, 3) for each in wall],
        "speed_by_processor_time": [round(each, 3) for each in processor],
    }  # fmt: skip


def write(folder: Path, count: int) -> None:
    """Write shards of noise, of two classes."""
    store, files, rng = open_store(folder), [], np.random.default_rng(0)
    for first in range(0, count, IN_A_FILE):
        images = rng.integers(0, 256, (min(IN_A_FILE, count - first), SIDE, SIDE, 3), np.uint8)
        facts = [Fact((first + i) % 2, None, f"{first + i:064x}", f"{first + i}.png", None) for i in range(len(images))]
        content = to_parquet([image.tobytes() for image in images], facts, images[0].nbytes)
        name = f"shard-{len(files):06d}.parquet"
        store.write(name, content)
        files.append(ShardFile(name, len(images), len(content), hashlib.sha256(content).hexdigest()))
    store.write(INDEX, Index("noise", ("a", "b"), tuple(files), (SIDE, SIDE, 3)).to_json().encode())


def one_epoch(images: object, labels: np.ndarray, model: object, recipe: keensight.Recipe) -> tuple[float, float]:
    """Return the seconds of an epoch, and the processor seconds."""
    rows = np.arange(len(labels))
    train, val = (Split(images, some, labels[some], ("",) * len(some)) for some in (rows, rows[:64]))
    state = keensight.start(model, Splits(("a", "b"), Preprocessing(SIDE, SIDE, 3), train, val, None), recipe)
    begin, processor = time.perf_counter(), time.process_time()
    list(keensight.fit(state, Splits(("a", "b"), Preprocessing(SIDE, SIDE, 3), train, val, None), recipe))
    return time.perf_counter() - begin, time.process_time() - processor


def anonymous_mb() -> float:
    """Return this process's own memory."""
    (line,) = (each for each in Path("/proc/self/status").read_text().splitlines() if each.startswith("RssAnon"))
    return int(line.split()[1]) / 1e3


@contextmanager
def peak() -> Iterator[list[float]]:
    """Yield a list of one number: the most memory that was seen in the block."""
    highest, done = [anonymous_mb()], threading.Event()

    def watch() -> None:
        while not done.wait(0.02):
            highest[0] = max(highest[0], anonymous_mb())

    thread = threading.Thread(target=watch)
    thread.start()
    yield highest
    done.set()
    thread.join()


class Timed(Watcher):
    """Notes when how many pictures were answered."""

    def __init__(self) -> None:
        self.seen: list[tuple[float, int]] = []

    def pictures(self, done: int, total: int) -> None:
        """Note the time."""
        self.seen.append((time.perf_counter(), done))


def answers(bundle: str, data: str) -> dict[str, object]:
    """Return pictures a second of one worker and of two, by turns, without what starting takes."""
    rates: dict[int, list[float]] = {1: [], 2: []}
    for turn in range(3):
        for workers in (1, 2) if turn % 2 == 0 else (2, 1):
            with tempfile.TemporaryDirectory() as folder:
                timed = Timed()
                in_parts.predict_in_parts(bundle, [data], Path(folder, "out"), workers, None, timed, Processes)
                (begin, first), (end, last) = timed.seen[workers], timed.seen[-1]
                rates[workers].append((last - first) / (end - begin))
    ratio = [two / one for one, two in zip(rates[1], rates[2], strict=True)]
    return {"pictures_per_s": rates, "second worker": ratio}


if __name__ == "__main__":
    main()
