"""Manifests for Kubernetes: a Kustomize base, and overlays for a canary, a Gateway and KServe."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from textwrap import indent

from keensight.deploy.names import check_hostname, check_namespace, gateway_of, image_of, labels_of
from keensight.deploy.release import Release
from keensight.deploy.resources import Resources
from keensight.deploy.templates import fill, templates_in
from keensight.errors import UsageError

MOST_REPLICAS = 1000


@dataclass(frozen=True, slots=True)
class Cluster:
    """The options that depend on a cluster, as typed. Raises UsageError for those that make no sense there."""

    image: str | None = None
    namespace: str | None = None
    hostname: str | None = None
    gateway: str | None = None
    labels: Sequence[str] = ()
    replicas: int = 2
    max_replicas: int = 10
    resources: Resources = field(default_factory=Resources)

    def __post_init__(self) -> None:
        """Check everything that can be checked without a bundle."""
        if not 1 <= self.replicas <= self.max_replicas <= MOST_REPLICAS:
            raise UsageError(
                f"--replicas is {self.replicas} and --max-replicas {self.max_replicas}. Both must be from 1 to "
                f"{MOST_REPLICAS:,}, and --max-replicas not below --replicas; 2 and 10 are usual."
            )
        if (self.hostname is None) != (self.gateway is None):
            raise UsageError(
                "Only one of --hostname and --gateway was given. A route needs the host name that clients use and the "
                "Gateway that lets them in. Give both, or neither."
            )
        if self.hostname is not None and self.gateway is not None:
            check_hostname(self.hostname)
            gateway_of(self.gateway)
        if self.namespace is not None:
            check_namespace(self.namespace)
        labels_of(self.labels)
        image = image_of(self.image if self.image is not None else "model", "tag")
        if image.tag == "latest" and not image.digest:
            raise UsageError(
                f"--image is {self.image!a}. A node that has a `latest` never pulls a newer one, so pods would differ. "
                "Leave the tag out to use the bundle's version, or give another tag, or a digest."
            )


def kubernetes_files(release: Release, cluster: Cluster) -> dict[str, bytes]:
    """Return the content of every manifest by its path."""
    image = image_of(cluster.image or release.name, release.version)
    labels = labels_of(cluster.labels)
    gateway_namespace, gateway = gateway_of(cluster.gateway) if cluster.gateway else ("", "")
    pem = release.public_key or b""
    fingerprint = hashlib.sha256(pem).hexdigest()
    values = {
        "name": release.name,
        "version": release.version,
        "repository": image.repository,
        "tag": image.tag,
        "digest": image.digest,
        "namespace": cluster.namespace or "",
        "labels": json.dumps(labels),
        "replicas": str(cluster.replicas),
        "max_replicas": str(cluster.max_replicas),
        "cpu": cluster.resources.cpu,
        "cpu_limit": cluster.resources.cpu_limit,
        "memory": cluster.resources.memory,
        "memory_limit": cluster.resources.memory_limit,
        "hostname": cluster.hostname or "",
        "gateway": gateway,
        "gateway_namespace": gateway_namespace,
        "fingerprint": fingerprint,
        "key_name": f"{release.name}-{fingerprint[:8]}",
        "public_key": indent(pem.decode(), "    ").rstrip("\n"),
    }
    words = {
        "signed": release.public_key is not None,
        "namespace": cluster.namespace is not None,
        "labels": bool(labels),
        "tag": not image.digest,
        "digest": bool(image.digest),
        "elsewhere": bool(gateway_namespace),
    }
    left_out = []
    if release.public_key is None:
        left_out.append("base/key.yaml")
    if cluster.gateway is None:
        left_out.append("overlays/gateway/")
    return {
        path: fill(text, values, [word for word, given in words.items() if given]).encode()
        for path, text in templates_in("kubernetes").items()
        if not path.startswith(tuple(left_out))
    }
