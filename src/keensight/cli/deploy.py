"""keensight deploy docker, keensight deploy kubernetes, keensight deploy page."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keensight import verbs
from keensight.cli.options import Json, options_of
from keensight.cli.output import print_json, say
from keensight.deploy.cluster import Cluster
from keensight.deploy.names import image_of
from keensight.deploy.resources import Resources
from keensight.deploy.training import Training
from keensight.errors import counted

if TYPE_CHECKING:
    from keensight.verbs.deploy import Deployment, Page


@options_of("deploy.deploy_docker")
def docker(*, out: Path, json: Json = False, **asked: Any) -> int:
    """Write the folder of an image, and print how to build it."""
    done = verbs.deploy.deploy_docker(out=out, **asked)
    _tell(done, json, f"docker build --tag {done.image} {shlex.quote(str(out))}")
    return 0


@options_of("deploy.deploy_kubernetes")
def kubernetes(
    *, out: Path, cluster: Cluster, resources: Resources, training: Training, json: Json = False, **asked: Any
) -> int:
    """Write manifests, and print how to apply them."""
    if training.train is not None:
        cluster = replace(cluster, resources=resources)
        done = verbs.deploy.deploy_kubernetes(out=out, cluster=cluster, training=training, **asked)
        return _tell_training(done, json)
    done = verbs.deploy.deploy_kubernetes(out=out, cluster=replace(cluster, resources=resources), **asked)
    if cluster.serve is not None:
        place, there = shlex.quote(str(out)), shlex.quote(str(out / "service"))
        _tell(done, json, f"docker build --tag {done.image} {place} && docker push {done.image}")
        if not json:
            say(f"then           kubectl apply -k {there}")
        return 0
    folder = out / ("base" if cluster.gateway is None else "overlays/gateway")
    _tell(done, json, f"kubectl apply -k {shlex.quote(str(folder))}")
    if not json:
        if not image_of(done.image, "").has_registry:
            library = "" if "/" in done.image else "library/"
            say(f"note           the cluster will pull docker.io/{library}{done.image}; --image names a registry")
        if cluster.namespace is not None:
            say(f"note           the namespace has to exist: kubectl create namespace {cluster.namespace}")
    return 0


@options_of("deploy.deploy_page")
def page(*, json: Json = False, **asked: Any) -> int:
    """Write a page that answers in a browser, and say how to open it."""
    done = verbs.deploy.deploy_page(**asked)
    if json:
        said = {"file": str(done.file), "bytes": done.size_bytes, "name": done.name, "version": done.version}
        print_json(said | {"verified_by": done.verified_by, "signed": done.is_signed})
        return 0
    say(f"model          {done.name}@{done.version}, {_checked(done)}")
    say(f"wrote          {done.file}: {done.size_bytes / 1e6:,.1f} MB, with all that it needs")
    say("next           open it in a browser: a double click is enough, and no network is needed")
    return 0


def _tell_training(done: Deployment, json: bool) -> int:
    if json:
        print_json({"folder": str(done.folder), "files": done.files, "image": done.image, "name": done.name})
        return 0
    folder = shlex.quote(str(done.folder))
    say(f"wrote          {done.folder}: {counted(len(done.files), 'file')}")
    say(f"image          {done.image}")
    say(f"next           docker build --tag {done.image} {folder} && docker push {done.image}")
    for folder, operator in (("kubeflow", "Kubeflow Trainer"), ("kuberay", "KubeRay")):
        place = shlex.quote(str(done.folder / "job" / folder))
        say(f"then           kubectl apply -k {place}  # in a cluster with {operator}")
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
                "signed": done.is_signed,
            }
        )
        return
    say(
        f"model          {done.name}@{done.version}, {_checked(done)}{'' if done.verified_by else ', nor at the start'}"
    )
    say(f"wrote          {done.folder}: {counted(len(done.files), 'file')}")
    say(f"image          {done.image}")
    say(f"next           {next_step}")


def _checked(done: Deployment | Page) -> str:
    if done.verified_by:
        return f"signed by the key {done.verified_by[:16]}"
    return "signed, but not checked" if done.is_signed else "carries no signature: anyone could have changed it"
