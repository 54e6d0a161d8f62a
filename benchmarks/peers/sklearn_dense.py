"""784-512-10 on MNIST with scikit-learn's MLPClassifier: seconds and test accuracy after every epoch."""

from __future__ import annotations

import argparse
import json
import os
import time
from importlib.metadata import version
from pathlib import Path

from pictures import read_idx


def main() -> None:
    """Train, and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--steps", type=int, default=0, help="so many batches of 128 in an epoch; all if 0")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: asked.threads])
    from sklearn.neural_network import MLPClassifier

    images, labels = read_idx(asked.data, "train")
    test_images, test_labels = read_idx(asked.data, "t10k")
    count = asked.steps * 128 or len(images)
    pictures = images[:count].reshape(-1, 784).astype("float32") / 255
    test_pictures = test_images.reshape(-1, 784).astype("float32") / 255
    model = MLPClassifier((512,), alpha=0, batch_size=128, random_state=asked.seed)
    seconds, found = [], []
    for _ in range(asked.epochs):
        begin = time.perf_counter()
        model.partial_fit(pictures, labels[:count], classes=list(range(10)))
        seconds.append(time.perf_counter() - begin)
        found.append(float(model.score(test_pictures, test_labels)))
    print(
        json.dumps(
            {
                "seconds": seconds,
                "accuracies": found,
                "accuracy": found[-1],
                "training_s": sum(seconds),
                "parameters": sum(part.size for part in (*model.coefs_, *model.intercepts_)),
                "versions": {"scikit-learn": version("scikit-learn")},
            }
        )
    )


if __name__ == "__main__":
    main()
