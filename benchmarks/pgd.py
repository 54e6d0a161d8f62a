"""Projected gradient descent of 50 steps on 1,000 MNIST pictures, by us and by others, on the same network.

python benchmarks/pgd.py ours ../shared/data/mnist
python benchmarks/pgd.py torchattacks ../shared/data/mnist
python benchmarks/pgd.py foolbox ../shared/data/mnist
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import keensight
from keensight.machine import cores, keep_memory, share_the_cores

STEPS, PICTURES, EPS = 50, 1000, 0.06
CHANGES = ("filters=[16,32]", "hidden=100", "clip=0", "loss=cross-entropy", "eps=0", "eps_extra=0", "epochs=2")
Attack = Callable[[], float]  # returns the share of answers that it leaves right


def main() -> None:
    """Train the network, whose bits are the same each time, attack it, and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("whose", choices=("ours", "torchattacks", "foolbox"))
    parser.add_argument("data")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=cores())
    asked = parser.parse_args()
    keep_memory()  # as our command line does; for theirs too, which have none
    share_the_cores()
    import torch

    torch.set_num_threads(asked.threads)
    attack = {"ours": ours, "torchattacks": torchattacks, "foolbox": foolbox}[asked.whose](*network(asked.data))
    left, seconds = attack(), []  # the first is a warm-up
    for _ in range(asked.runs):
        began = time.perf_counter()
        attack()
        seconds.append(time.perf_counter() - began)
    median = statistics.median(seconds)
    print(json.dumps({"seconds": median, "images_per_s": PICTURES / median, "left": left}))


def network(data: str) -> tuple[Any, Any]:
    """Return a small network, and the first test pictures as a split."""
    recipe = keensight.load_recipe("digits-certified", CHANGES, 0)
    dataset = keensight.open_dataset(data)
    preprocessing = keensight.choose_preprocessing(dataset, recipe)
    splits = keensight.split(keensight.decode(dataset, preprocessing), val_fraction=0.05, test_fraction=0.0, seed=0)
    model = keensight.build(recipe.model.name, recipe.model.options, preprocessing, 10, 0)
    for _ in keensight.fit(model, splits, recipe):
        pass
    assert splits.test is not None
    return model.eval(), splits.test.take(slice(0, PICTURES))


def ours(model: Any, test: Any) -> Attack:
    """Return our attack, from one random start as theirs."""
    from keensight.robustness.answers import outcome
    from keensight.robustness.attacks.descent import PGD, pgd
    from keensight.robustness.attacks.table import ATTACKS

    ATTACKS["pgd once"] = replace(PGD, run=partial(pgd, restarts=1))
    threat = keensight.Threat("linf", EPS, STEPS)
    return lambda: outcome(model, test, threat, "pgd once").accuracy


def torchattacks(model: Any, test: Any) -> Attack:
    """Return torchattacks' attack, with our step size."""
    from torchattacks import PGD

    images_NCHW, labels_N = tensors(test)
    attack = PGD(model, eps=EPS, alpha=2.5 * EPS / STEPS, steps=STEPS)
    return lambda: right(model, attack(images_NCHW, labels_N), labels_N)


def foolbox(model: Any, test: Any) -> Attack:
    """Return foolbox's attack, whose steps add up to 2.5 eps as well if it is told so."""
    from foolbox import PyTorchModel
    from foolbox.attacks import LinfPGD

    images_NCHW, labels_N = tensors(test)
    wrapped = PyTorchModel(model, bounds=(0, 1), device="cpu")
    attack = LinfPGD(steps=STEPS, rel_stepsize=2.5 / STEPS)
    return lambda: right(model, attack(wrapped, images_NCHW, labels_N, epsilons=EPS)[1], labels_N)


def tensors(test: Any) -> tuple[Any, Any]:
    """Return a split's pictures, float NCHW in [0, 1], and labels N."""
    import torch

    from keensight.models.tensors import to_images

    return to_images(test.gather(slice(None)), "cpu").contiguous(), torch.from_numpy(test.labels)


def right(model: Any, images_NCHW: Any, labels_N: Any) -> float:
    """Return the share of pictures that are answered rightly."""
    import torch

    with torch.no_grad():
        return float((model(images_NCHW).argmax(dim=1) == labels_N).double().mean())


if __name__ == "__main__":
    main()
