"""Our side of the row about bounds: how many forward passes interval bounds of all margins cost, in one type of number.

python benchmarks/ours_bounds.py float32    as in training
python benchmarks/ours_bounds.py float64    as in a certificate, with rounding errors counted
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

from keensight.machine import cores, keep_memory, share_the_cores
from keensight.values import Preprocessing

SIZE, PICTURES = Preprocessing(28, 28, 1), 256
NETWORKS = ("strided", "cnn", "resnet", "fashion")


def main() -> None:
    """Measure each network by turns with its forward pass, and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("precision", choices=("float32", "float64"))
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--threads", type=int, default=cores())
    asked = parser.parse_args()
    keep_memory()  # as the command line does
    share_the_cores()
    import torch

    from keensight.models.zoo import build
    from keensight.robustness.bounds.intervals import box, margins
    from keensight.robustness.bounds.network import nodes_of
    from keensight.robustness.bounds.quick import quick_margins

    torch.set_num_threads(asked.threads)
    images = torch.rand(PICTURES, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(PICTURES) % 10
    ratios = {}
    for name in NETWORKS:
        model = build(name, {}, SIZE, 10, 0).eval().requires_grad_(False)
        model = model.double() if asked.precision == "float64" else model
        nodes, seen = nodes_of(model), images.double() if asked.precision == "float64" else images

        def bounds() -> object:
            if asked.precision == "float64":
                return quick_margins(nodes, images, 0.1, labels)  # noqa: B023
            return margins(nodes, *box(images, 0.1), labels)  # noqa: B023

        def forward() -> object:
            return model(seen)  # noqa: B023

        with torch.no_grad():
            pairs = [(seconds(bounds), seconds(forward)) for _ in range(asked.runs + 2)][2:]
        ratios[name] = statistics.median(ours / plain for ours, plain in pairs)
    print(json.dumps({"ratio": max(ratios.values()), "ratios": ratios}))


def seconds(work: Callable[[], object]) -> float:
    """Return how much processor time it takes, which others on the machine change little."""
    began = time.process_time()
    work()
    return time.process_time() - began


if __name__ == "__main__":
    main()
