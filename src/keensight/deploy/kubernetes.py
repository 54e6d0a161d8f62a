"""Manifests for Kubernetes: a Kustomize base, and overlays for a canary, a Gateway and KServe."""

from __future__ import annotations

import hashlib
import json
import math
from textwrap import indent

from keensight.deploy.cluster import Cluster
from keensight.deploy.memory import limit_for, measured, request_for
from keensight.deploy.names import gateway_of, image_of, labels_of
from keensight.deploy.release import Release
from keensight.deploy.resources import Resources, bytes_of, cores_of
from keensight.deploy.templates import fill, templates_in


def kubernetes_files(release: Release, cluster: Cluster) -> dict[str, bytes]:
    """Return the content of every manifest by its path."""
    image = image_of(cluster.image or release.name, release.version)
    labels = labels_of(cluster.labels)
    gateway_namespace, gateway = gateway_of(cluster.gateway) if cluster.gateway else ("", "")
    memory, memory_limit = memory_of(release, cluster.resources)
    pem = release.public_key or b""
    fingerprint = hashlib.sha256(pem).hexdigest()
    values = {
        "name": release.name,
        "version": release.version,
        "options": json.dumps(release.options),
        "repository": image.repository,
        "tag": image.tag,
        "digest": image.digest,
        "namespace": cluster.namespace or "",
        "labels": json.dumps(labels),
        "replicas": str(cluster.replicas),
        "max_replicas": str(cluster.max_replicas),
        "cpu": cluster.resources.cpu,
        "cpu_limit": cluster.resources.cpu_limit,
        "memory": memory,
        "memory_limit": memory_limit,
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


def memory_of(release: Release, resources: Resources) -> tuple[str, str]:
    """Return a pod's request for memory and its limit; what was not given is measured on the bundle."""
    if resources.memory is not None and resources.memory_limit is not None:
        return resources.memory, resources.memory_limit
    lanes = math.ceil(cores_of(resources.cpu_limit, "--cpu-limit"))
    peak = measured(release.bundle.path, release.version, lanes, release.explains)
    memory, limit = resources.memory or request_for(peak), resources.memory_limit or limit_for(peak)
    if bytes_of(memory, "--memory") > bytes_of(limit, "--memory-limit"):  # the one that was given counts
        return (limit, limit) if resources.memory is None else (memory, memory)
    return memory, limit
