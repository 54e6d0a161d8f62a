"""Peak memory of training on a cache that is larger than memory ought to be: 20 GB of pictures, made by repetition.

    python benchmarks/ours_memory.py ../shared/data/huskies.zip                  20 GB on disk, removed at the end
    python benchmarks/ours_memory.py ../shared/data/huskies.zip --gigabytes 1    a try
    python benchmarks/ours_memory.py ../shared/data/huskies.zip --sparse         a hole of 20 GB: no disk, all black

What counts is RssAnon, memory that is the process's own. RssFile is reported beside it: pages of the cache file (and
of libraries) that the kernel keeps mapped while nobody else wants the memory, and drops when somebody does.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

import keensight
from keensight.machine import cores, share_the_cores, versions
from keensight.values import Split, Splits, Uint8Array

SPARE_GB = 8  # of disk, which others need
SIZE = 128


def main() -> None:
    """Train for a while, and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data")
    parser.add_argument("--gigabytes", type=float, default=20.0)
    parser.add_argument("--sparse", action="store_true")
    parser.add_argument("--recipe", default="husky")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--threads", type=int, default=cores())
    parser.add_argument("--folder", type=Path, help="where the cache file goes; a temporary folder if left out")
    asked = parser.parse_args()
    share_the_cores()
    import torch

    torch.set_num_threads(asked.threads)
    recipe = keensight.load_recipe(asked.recipe).having(epochs=1, size=SIZE, normalise=True)
    dataset = keensight.open_dataset(asked.data)
    pixels = keensight.decode(dataset, keensight.choose_preprocessing(dataset, recipe))
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        images = repetition(pixels.images, Path(folder, "images.npy"), asked.gigabytes, asked.sparse)
        labels = np.resize(np.asarray([sample.label for sample in dataset.samples]), len(images))
        rows = np.arange(len(images))
        where = ("",) * len(images)
        train, val = (
            Split(images, rows[64:], labels[64:], where[64:]),
            Split(images, rows[:64], labels[:64], where[:64]),
        )
        splits = Splits(dataset.class_names, pixels.preprocessing, train, val, None)
        model = keensight.build(
            recipe.model.name, recipe.model.options, pixels.preprocessing, len(dataset.class_names), 0
        )
        with sampled() as samples:
            state = keensight.start(model, splits, recipe)
            halves = []
            try:
                for _ in keensight.fit(state, splits, recipe, on_step=stop_after(asked.steps, halves)):
                    pass
            except EnoughError:
                pass
        anonymous, files = zip(*samples, strict=True)
        half = halves[0] if halves else time.perf_counter()
        early = [anon for (anon, _), when in zip(samples, samples.times, strict=True) if when <= half]
    print(
        json.dumps(
            {
                "peak_gb": max(anonymous) / 1e9,
                "peak_file_gb": max(files) / 1e9,
                "growth": max(anonymous) / max(early) - 1,
                "cache_gb": images.nbytes / 1e9,
                "steps": asked.steps,
                "sparse": asked.sparse,
                "versions": versions(),
            }
        )
    )


class EnoughError(Exception):
    """So many steps are done."""


class Samples(list[tuple[int, int]]):
    """(RssAnon, RssFile) in bytes, and when each was read."""

    def __init__(self) -> None:
        super().__init__()
        self.times: list[float] = []

    def read(self) -> None:
        """Add what the kernel says now."""
        lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        self.append((kilobytes(lines["RssAnon"]), kilobytes(lines["RssFile"])))
        self.times.append(time.perf_counter())


def kilobytes(text: str) -> int:
    """Return the bytes in what the kernel writes as " 123 kB"."""
    return int(text.split(maxsplit=1)[0]) * 1024


@contextmanager
def sampled(every_s: float = 0.05) -> Iterator[Samples]:
    """Read the memory of this process from a thread."""
    samples, done = Samples(), threading.Event()

    def watch() -> None:
        while not done.wait(every_s):
            samples.read()

    samples.read()
    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield samples
    finally:
        done.set()
        thread.join()
        samples.read()


def stop_after(steps: int, halves: list[float]) -> Callable[[int, int], None]:
    """Return what ends training after so many steps, and notes when half of them are done."""

    def on_step(done: int, _: int) -> None:
        if done == max(1, steps // 2):
            halves.append(time.perf_counter())
        if done >= steps:
            raise EnoughError

    return on_step


def repetition(pictures: Uint8Array, file: Path, gigabytes: float, sparse: bool) -> Uint8Array:
    """Return so many gigabytes of pictures, memory-mapped uint8 NHWC: the same ones again and again, or a hole."""
    count = max(2 * 64, int(gigabytes * 1e9 / pictures[0].nbytes))
    needed, free = gigabytes + SPARE_GB, shutil.disk_usage(file.parent).free / 1e9
    if not sparse and free < needed:
        raise SystemExit(f"{file.parent} has {free:.0f} GB free, and {needed:.0f} are wanted: --sparse, or --gigabytes")
    shape = (count, *pictures.shape[1:])
    with open(file, "wb") as out:
        np.lib.format.write_array_header_1_0(out, {"descr": "|u1", "fortran_order": False, "shape": shape})
        if sparse:
            out.truncate(out.tell() + int(np.prod(shape)))
        for first in range(0, 0 if sparse else count, len(pictures)):
            out.write(np.ascontiguousarray(pictures[: count - first]).tobytes())
    return np.load(file, mmap_mode="r")  # type: ignore[no-any-return]


if __name__ == "__main__":
    main()
