"""keensight deploy docker, keensight deploy kubernetes."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from keensight.cli.output import print_json

if TYPE_CHECKING:
    from keensight.verbs.deploy import Deployment


def docker(
    bundle: Path,
    /,
    *,
    out: Path,
    key: Path | None = None,
    unsigned: Annotated[bool, Parameter(negative=())] = False,
    name: str | None = None,
    image: str | None = None,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Write a folder that an image with a bundle is built from.

    Parameters
    ----------
    bundle
        The bundle's folder, or the run folder around it.
    out
        The folder to write, new or empty.
    key
        The signer's public key, which the bundle is verified with now and at each start.
    unsigned
        Deploy without verifying, now and later.
    name
        The model's name; made from the bundle's if left out.
    image
        What the image will be called, as [REGISTRY/]NAME[:TAG]; NAME:VERSION of the model if left out.
    json
        Print one JSON object on stdout.
    """
    from keensight.verbs.deploy import deploy_docker

    done = deploy_docker(bundle, out=out, key=key, unsigned=unsigned, name=name, image=image)
    _tell(done, json, f"docker build --tag {done.image} {shlex.quote(str(out))}")
    return 0


def kubernetes(
    bundle: Path,
    /,
    *,
    out: Path,
    key: Path | None = None,
    unsigned: Annotated[bool, Parameter(negative=())] = False,
    name: str | None = None,
    image: str | None = None,
    namespace: str | None = None,
    replicas: int = 2,
    max_replicas: int = 10,
    cpu: str = "500m",
    cpu_limit: str = "2",
    memory: str = "384Mi",
    memory_limit: str = "1Gi",
    hostname: str | None = None,
    gateway: str | None = None,
    label: Annotated[tuple[str, ...], Parameter(negative=())] = (),
    json: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Write manifests for Kubernetes that run an image with a bundle.

    Parameters
    ----------
    bundle
        The bundle's folder, or the run folder around it.
    out
        The folder to write, new or empty.
    key
        The signer's public key, which the bundle is verified with now and at each start.
    unsigned
        Deploy without verifying, now and later.
    name
        What the Deployment, the Service and the rest are called, and the model in the image; made from the bundle's
        name if left out.
    image
        The image, as [REGISTRY/]NAME[:TAG][@sha256:DIGEST]; NAME:VERSION of the model if left out.
    namespace
        The namespace, which has to exist; kubectl's if left out.
    replicas
        The fewest pods.
    max_replicas
        The most pods.
    cpu
        The processors that a pod asks for; pods are added when they use 70 % of it.
    cpu_limit
        The most processors for a pod, and so its threads.
    memory
        The memory that a pod asks for.
    memory_limit
        The most memory for a pod.
    hostname
        With --gateway: the host name of a route to the model.
    gateway
        With --hostname: the Gateway of that route, as [NAMESPACE/]NAME.
    label
        A label for everything, as KEY=VALUE. Can be repeated.
    json
        Print one JSON object on stdout.
    """
    from keensight.deploy.kubernetes import Cluster
    from keensight.deploy.names import image_of
    from keensight.deploy.resources import Resources
    from keensight.verbs.deploy import deploy_kubernetes

    cluster = Cluster(
        image=image,
        namespace=namespace,
        hostname=hostname,
        gateway=gateway,
        labels=label,
        replicas=replicas,
        max_replicas=max_replicas,
        resources=Resources(cpu, cpu_limit, memory, memory_limit),
    )
    done = deploy_kubernetes(bundle, out=out, key=key, unsigned=unsigned, name=name, cluster=cluster)
    folder = out / ("base" if gateway is None else "overlays/gateway")
    _tell(done, json, f"kubectl apply -k {shlex.quote(str(folder))}")
    if not json:
        if not image_of(done.image, "").has_registry:
            library = "" if "/" in done.image else "library/"
            print(f"note           the cluster will look for docker.io/{library}{done.image}; --image names a registry")
        if namespace is not None:
            print(f"note           the namespace has to exist: kubectl create namespace {namespace}")
    return 0


def _tell(done: Deployment, json: bool, next_step: str) -> None:
    if json:
        print_json(
            {
                "folder": str(done.folder),
                "files": done.files,
                "image": done.image,
                "name": done.name,
                "version": done.version,
                "verified_by": done.verified_by,
            }
        )
        return
    verified = (
        f"by the key {done.verified_by[:16]}" if done.verified_by else "not verified, and not at the start either"
    )
    print(f"model          {done.name}@{done.version}, {verified}")
    print(f"wrote          {done.folder}: {len(done.files)} files")
    print(f"image          {done.image}")
    print(f"next           {next_step}")
