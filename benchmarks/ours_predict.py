"""Our side of the predict row: images/s of `keensight.predict_each` on a folder, decoding included.

A warm-up chooses the engine, as the first large `predict` with a bundle on a machine does.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import keensight
from keensight.data.listing import is_picture
from keensight.machine import cores, keep_memory, versions
from keensight.values import Prediction


def main() -> None:
    """Answer for every picture, and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--threads", type=int, default=cores())
    parser.add_argument("--steps", type=int, default=0, help="so many times 32 pictures; all if 0")
    asked = parser.parse_args()
    if asked.threads != cores():
        raise SystemExit(f"ours takes the {cores()} cores that it is given: run it under taskset for {asked.threads}")
    keep_memory()  # as the command line does
    files = sorted(file for file in asked.folder.rglob("*") if is_picture(file.name))
    files = files[: asked.steps * 32] if asked.steps else files
    list(keensight.predict_each(asked.bundle, files[:256]))
    begin = time.perf_counter()
    answers = list(keensight.predict_each(asked.bundle, files))
    seconds = time.perf_counter() - begin
    right = [isinstance(answer, Prediction) and answer.label == file.parent.name for file, answer in answers]
    print(
        json.dumps(
            {
                "images_per_s": len(right) / seconds,
                "accuracy": sum(right) / len(right),
                "images": len(right),
                "versions": versions(),
            }
        )
    )


if __name__ == "__main__":
    main()
