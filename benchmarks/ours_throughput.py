"""Our side of the throughput rows: images/s of `keensight.fit` on an article's network, through public functions alone.

python benchmarks/ours_throughput.py husky ../shared/data/huskies.zip --steps 26 --epochs 4
python benchmarks/ours_throughput.py husky ../shared/data/huskies.zip --steps 26 --epochs 4 --augment
python benchmarks/ours_throughput.py fashion fashion-mnist --steps 100 --epochs 4
"""

from __future__ import annotations

import argparse
import json
import statistics
from dataclasses import replace

import numpy as np

import keensight
from keensight.machine import cores, keep_memory, share_the_cores, versions
from keensight.values.recipe import AugmentSettings

BATCHES = {"fashion": 128, "husky": 32}  # as the peers have them


def main() -> None:
    """Train, and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe", choices=("husky", "fashion"))
    parser.add_argument("data")
    parser.add_argument("--epochs", type=int, default=4, help="the first is a warm-up")
    parser.add_argument("--steps", type=int, default=26)
    parser.add_argument("--threads", type=int, default=cores())
    parser.add_argument("--augment", action="store_true")
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    share_the_cores()  # as the command line does, before torch is loaded
    keep_memory()
    import torch

    torch.set_num_threads(asked.threads)
    changes = [f"precision={asked.precision}", f"batch_size={BATCHES[asked.recipe]}"]
    recipe = keensight.load_recipe(asked.recipe, changes, asked.seed)
    recipe = recipe.having(epochs=asked.epochs, target_accuracy=0.0, test_fraction=0.0)
    if not asked.augment:
        recipe = replace(recipe, augment=AugmentSettings())
    dataset = keensight.open_dataset(asked.data)
    preprocessing = keensight.choose_preprocessing(dataset, recipe)
    pixels = keensight.decode(dataset, preprocessing)
    splits = keensight.split(
        pixels, val_fraction=recipe.data.val_fraction, test_fraction=recipe.data.test_fraction, seed=0
    )
    held_out = splits.held_out  # what the peers measure on: the test pictures, or the validation folder
    members = np.arange(asked.steps * recipe.train.batch_size) % len(splits.train)
    # one picture to validate on: an epoch's seconds are then its steps
    splits = replace(splits, train=splits.train.take(members), val=splits.val.take(members[:1]))
    model = keensight.build(
        recipe.model.name, recipe.model.options, preprocessing, len(dataset.class_names), recipe.seed
    )
    state = keensight.start(model, splits, recipe)
    seconds = [epoch.seconds for epoch in keensight.fit(state, splits, recipe)]
    from keensight.training.loop import evaluate

    loss, accuracy = evaluate(state.model, held_out, recipe)
    print(
        json.dumps(
            {
                "images_per_s": len(members) / statistics.median(seconds[1:]),
                "loss": loss,
                "accuracy": accuracy,
                "parameters": sum(p.numel() for p in model.parameters()),
                "versions": versions(),
            }
        )
    )


if __name__ == "__main__":
    main()
