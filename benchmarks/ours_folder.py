"""Our side of the folder rows: images/s from a folder of JPEGs to batches of tensors, at first and from the cache."""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time

import numpy as np

import keensight
from keensight.machine import cores, keep_memory, share_the_cores, versions


def main() -> None:
    """Pass over the folder in a cache of its own, and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--threads", type=int, default=cores())
    asked = parser.parse_args()
    share_the_cores()  # as the command line does
    keep_memory()
    import torch

    from keensight.data.cache import decode
    from keensight.data.sources import open_dataset
    from keensight.models.tensors import to_images

    torch.set_num_threads(asked.threads)
    preprocessing = keensight.Preprocessing(asked.size, asked.size, 3)
    cpu, rng = torch.device("cpu"), np.random.default_rng(0)

    def batches(pixels: keensight.Pixels) -> int:
        order = rng.permutation(pixels.rows)
        for first in range(0, len(order), 32):
            to_images(pixels.images[order[first : first + 32]], cpu)
        return len(order)

    with tempfile.TemporaryDirectory() as folder:
        os.environ["KEENSIGHT_CACHE"] = folder
        rates = []
        for _ in range(2):  # the second time everything is found in the cache, as by the next run
            begin = time.perf_counter()
            pixels = decode(open_dataset(asked.data), preprocessing)
            count = batches(pixels)
            rates.append(count / (time.perf_counter() - begin))
        begin = time.perf_counter()
        count = batches(pixels)
        epoch = count / (time.perf_counter() - begin)
    print(
        json.dumps(
            {
                "first_images_per_s": rates[0],
                "cached_images_per_s": rates[1],
                "epoch_images_per_s": epoch,
                "images": count,
                "versions": versions(),
            }
        )
    )


if __name__ == "__main__":
    main()
