"""Training from shards of ten times the memory that the process may have, and from memory: pictures a second of both.

    python benchmarks/shards.py streamed      8 GB of shards, written to a temporary folder first; a limit of 0.8 GB
    python benchmarks/shards.py memory        a sixth of these pictures, in an array, without a limit

The limit is RLIMIT_DATA, as `ulimit -d` sets it: it counts all memory that is the process's own, torch's included, used
or only asked for. pyarrow's own allocator asks for 1 GB at once, so the system's is used. Past the limit, training ends
with an error. Pictures are noise of 64x64x3. Each prints one JSON object.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

os.environ["ARROW_DEFAULT_MEMORY_POOL"] = "system"

import keensight
from keensight.data.shard_files import Fact, open_shards, to_parquet
from keensight.data.shard_images import Streamed
from keensight.data.shard_index import INDEX, Index, ShardFile
from keensight.data.stores import open_store
from keensight.machine import cores, keep_memory, share_the_cores, versions
from keensight.values import Preprocessing, Split, Splits

SIDE, IN_A_FILE = 64, 4096
LIMIT_GB = 0.8
IN_MEMORY = 6  # the array has a part of so many
WARM = 2048  # pictures, before any clock runs


def main() -> None:
    """Train an epoch, and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("streamed", "memory"))
    parser.add_argument("--gigabytes", type=float, default=8.0, help="of shards")
    parser.add_argument("--threads", type=int, default=cores())
    asked = parser.parse_args()
    share_the_cores()
    keep_memory()
    import torch

    torch.set_num_threads(asked.threads)
    count = max(2 * WARM, round(asked.gigabytes * 1e9 / (SIDE * SIDE * 3)))
    with tempfile.TemporaryDirectory(prefix="keensight-shards-") as folder:
        if asked.what == "streamed":
            writer = multiprocessing.get_context("spawn").Process(target=write, args=(Path(folder), count))
            writer.start()  # whose memory does not count
            writer.join()
            limit = round(LIMIT_GB * 1e9)
            resource.setrlimit(resource.RLIMIT_DATA, (limit, resource.getrlimit(resource.RLIMIT_DATA)[1]))
            images: Any = Streamed(open_shards(folder))
        else:
            count = max(2 * WARM, count // IN_MEMORY)
            images = np.random.default_rng(0).integers(0, 256, (count, SIDE, SIDE, 3), np.uint8)
        found = epoch_of(images, count)
    sizes = {"images": count, "gigabytes": count * SIDE * SIDE * 3 / 1e9}
    if asked.what == "streamed":
        sizes |= {"times_the_limit": sizes["gigabytes"] / LIMIT_GB}
    print(json.dumps({**found, **sizes, "versions": versions()}))


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


def epoch_of(images: Any, count: int) -> dict[str, float]:
    """Train an epoch, after a short one; return pictures a second, and pictures per second of processor time."""
    labels = np.arange(count) % 2
    recipe = keensight.load_recipe("default").having(epochs=1, precision="float32", pieces=2)
    model = keensight.build("cnn", {"filters": 4}, Preprocessing(SIDE, SIDE, 3), 2, 0)
    for some in (WARM, count):
        train, val = (Split(images, rows, labels[rows], ("",) * len(rows)) for rows in (np.arange(some), np.arange(64)))
        splits = Splits(("a", "b"), Preprocessing(SIDE, SIDE, 3), train, val, None)
        state = keensight.start(model, splits, recipe)
        begin, processor = time.perf_counter(), time.process_time()
        list(keensight.fit(state, splits, recipe))
        wall, spent = time.perf_counter() - begin, time.process_time() - processor
    return {"images_per_s": count / wall, "images_per_processor_s": count / spent}


if __name__ == "__main__":
    main()
