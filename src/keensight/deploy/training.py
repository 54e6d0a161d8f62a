"""A folder that trains on Kubernetes: what its image is built from, and a job for Kubeflow Trainer or for KubeRay."""

from __future__ import annotations

import hashlib
import json
import math
import shlex
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version

from keensight.data.stores import is_url
from keensight.deploy.cluster import Cluster
from keensight.deploy.names import check_name, image_of
from keensight.deploy.resources import bytes_of, cores_of
from keensight.deploy.templates import fill, templates_in
from keensight.deploy.wheel import own_wheel
from keensight.errors import UsageError
from keensight.machine import versions
from keensight.version import __version__

MOST_WORKERS = 1000
RAY = "2.60.0"  # where none is installed


@dataclass(frozen=True, slots=True)
class Training:
    """The options of a job that trains, as typed. Raises UsageError for those that make no sense."""

    train: str | None = field(
        default=None,
        metadata={
            "help": "Write a job that trains on this DATA instead: a URL of shards, or a path on its volume, such as "
            "/runs/data. BUNDLE may then be a recipe; of a bundle, its recipe is taken."
        },
    )
    workers: int = field(default=2, metadata={"help": "With --train: how many machines train together."})
    storage: str = field(default="10Gi", metadata={"help": "With --train: the volume that runs are written to."})
    credentials: str | None = field(
        default=None,
        metadata={
            "help": "With --train: the Secret with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, for an s3:// URL."
        },
    )

    def __post_init__(self) -> None:
        """Check everything that can be checked without a recipe."""
        if not 1 <= self.workers <= MOST_WORKERS:
            raise UsageError(f"--workers is {self.workers}. From 1 to {MOST_WORKERS:,} machines are accepted.")
        bytes_of(self.storage, "--storage")
        if self.credentials is not None:
            check_name(self.credentials, "--credentials")
        if self.train is not None and not (is_url(self.train) or self.train.startswith("/")):
            raise UsageError(
                f"--train is {self.train[:200]!a}, which pods cannot find. Give a URL, such as s3://bucket/pets "
                "(`keensight shard` writes there), or an absolute path on the job's volume, such as /runs/data."
            )


def training_files(name: str, recipe: str, training: Training, cluster: Cluster) -> tuple[dict[str, bytes], str]:
    """Return the content of every file by its path, and the image's name. `recipe` is TOML."""
    assert training.train is not None
    check_name(name)
    wheel, packed = own_wheel()
    tag = hashlib.sha256(packed + recipe.encode()).hexdigest()[:12]
    image = str(image_of(cluster.image or name, tag))
    args = [training.train, "--out", f"/runs/{name}", "--recipe", "/recipe/recipe.toml", "--checkpoint-every", "10m"]
    cores = max(1, math.floor(cores_of(cluster.resources.cpu_limit, "--cpu-limit")))
    values = {
        "name": name, "data": shlex.quote(training.train), "cores": str(cores), "ray": ray_version(),
        "image": image, "keensight": __version__, "namespace": cluster.namespace or "",
        "workers": str(training.workers), "storage": training.storage, "credentials": training.credentials or "",
        "args": json.dumps(args), "cpu": cluster.resources.cpu_limit,
        "memory": cluster.resources.memory_limit or cluster.resources.memory or "4Gi",
    }  # fmt: skip
    words = [word for word in ("namespace", "credentials") if values[word]]
    found = {path: fill(text, values, words).encode() for path, text in templates_in("training").items()}
    return {
        **found,
        "requirements.txt": _requirements(wheel).encode(),
        "job/base/recipe.toml": recipe.encode(),
        f"wheels/{wheel}": packed,
    }, image


def _requirements(wheel: str) -> str:
    """Return what is installed to train: the versions that are installed here, since bits depend on them."""
    known = {name: version for name, version in versions().items() if name not in ("keensight", "python")}
    pins = [f"{name}=={version.partition('+')[0]}" for name, version in known.items()]
    # KubeRay wants more of Ray than training does: its dashboard, which jobs are submitted to
    return "\n".join([f"./wheels/{wheel}[train,scale]", *pins, f"ray[default]=={ray_version()}"]) + "\n"


def ray_version() -> str:
    """Return the version of Ray that is installed here or, without, the one that the tests have."""
    try:
        return version("ray")
    except PackageNotFoundError:
        return RAY
