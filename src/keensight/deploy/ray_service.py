"""A folder that serves a bundle on a Ray cluster of KubeRay's: what its image is built from, and a RayService."""

from __future__ import annotations

import hashlib
import math
from textwrap import indent

from keensight.deploy.cluster import Cluster
from keensight.deploy.kubernetes import memory_of
from keensight.deploy.names import image_of
from keensight.deploy.release import Release
from keensight.deploy.resources import cores_of
from keensight.deploy.templates import fill, templates_in
from keensight.deploy.training import ray_version
from keensight.deploy.wheel import own_wheel
from keensight.errors import UsageError
from keensight.machine import versions
from keensight.version import __version__

ANSWERING = ("numpy", "pillow", "onnxruntime", "openvino")  # packages on which answers depend


def ray_service_files(release: Release, cluster: Cluster) -> dict[str, bytes]:
    """Return the content of every file by its path. Raises UsageError for options that a RayService does not have."""
    if cluster.gateway is not None or cluster.labels:
        raise UsageError(
            "--serve ray was given with --gateway or --label, which the RayService does not have: leave them out, and "
            "route to its Service NAME-serve-svc, or deploy without --serve."
        )
    wheel, packed = own_wheel()
    image = str(image_of(cluster.image or release.name, release.version))
    memory, memory_limit = memory_of(release, cluster.resources)
    pem = release.public_key or b""
    values = {
        "name": release.name, "version": release.version, "image": image, "keensight": __version__,
        "namespace": cluster.namespace or "", "replicas": str(cluster.replicas),
        "max_replicas": str(cluster.max_replicas), "ray": ray_version(), "explain": str(release.explains).lower(),
        "cores": str(max(1, math.floor(cores_of(cluster.resources.cpu_limit, "--cpu-limit")))),
        "cpu": cluster.resources.cpu, "cpu_limit": cluster.resources.cpu_limit, "memory": memory,
        "memory_limit": memory_limit, "key_name": f"{release.name}-{hashlib.sha256(pem).hexdigest()[:8]}",
        "public_key": indent(pem.decode(), "    ").rstrip("\n"),
    }  # fmt: skip
    words = {"signed": bool(pem), "namespace": cluster.namespace is not None}
    found = {
        path: fill(text, values, [word for word, given in words.items() if given]).encode()
        for path, text in templates_in("ray").items()
        if pem or path != "service/key.yaml"
    }
    pins = [f"{name}=={version}" for name, version in versions().items() if name in ANSWERING]
    lines = [f"./wheels/{wheel}", *pins, f"ray[default,serve]=={ray_version()}"]
    return {
        **found,
        **({"key.pub": pem} if pem else {}),
        "requirements.txt": ("\n".join(lines) + "\n").encode(),
        f"wheels/{wheel}": packed,
        **{f"models/{release.name}/{name}": content for name, content in release.bundle.files.items()},
    }
