"""`keensight deploy`: write what runs a bundle in a container, on Kubernetes, or in a browser. Nothing is built."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from keensight.bundle.read import read_bundle
from keensight.deploy.cluster import Cluster
from keensight.deploy.docker import docker_files
from keensight.deploy.kubernetes import kubernetes_files
from keensight.deploy.names import check_name, image_of, made_valid
from keensight.deploy.ray_service import ray_service_files
from keensight.deploy.release import Release, release_of
from keensight.deploy.training import Training, training_files
from keensight.errors import UsageError
from keensight.files import write_folder
from keensight.workspace import bundle_in, run_name


@dataclass(frozen=True, slots=True)
class Deployment:
    """What was written: the folder, its files, the image's name with its tag, and what was verified (a key or None)."""

    folder: Path
    files: tuple[str, ...]
    image: str
    name: str
    version: str
    verified_by: str | None
    is_signed: bool


@dataclass(frozen=True, slots=True)
class Page:
    """A page that was written: its file and size, the model's name and version, and who signed it (a key or None)."""

    file: Path
    size_bytes: int
    name: str
    version: str
    verified_by: str | None
    is_signed: bool


def deploy_docker(
    bundle: str | Path,
    *,
    out: str | Path,
    key: str | Path | None = None,
    unsigned: bool = False,
    name: str | None = None,
    no_explain: bool = False,
    image: str | None = None,
) -> Deployment:
    """Write a folder with a Dockerfile, from which an image is built, into `out`, which must be new or empty.

    Args:
        bundle: The bundle's folder, or the run folder around it.
        out: The folder to write, new or empty.
        key: The signer's public key, which the bundle is verified with now and at each start.
        unsigned: Deploy without verifying, now and later.
        name: The model's name; made from the bundle's if left out.
        no_explain: Let servers explain no answers, as `keensight serve --no-explain`.
        image: The image's name, as [REGISTRY/]NAME[:TAG]; NAME:VERSION of the model if left out.

    Raises:
        BundleError: there is no bundle, or it cannot be loaded.
        GateError: it is not signed, or not by `key`.
        SigningKeyError: the key cannot be used.
        UsageError: `out` is not empty, or a name is not valid, or there is neither `key` nor `unsigned`.
        KeensightError: `out` cannot be written.
    """
    if image is not None and image_of(image, "tag").digest:
        raise UsageError(
            f"--image is {image[:120]!a}, and an image's digest is known only after it is built. Give [REGISTRY/]NAME "
            "or [REGISTRY/]NAME:TAG here, and the digest to `keensight deploy kubernetes` after the image is pushed."
        )
    release = _release(bundle, out, key, unsigned, name, no_explain)
    called = image_of(release.name if image is None else image, release.version)
    return _written(Path(out), docker_files(release, called), str(called), release)


def deploy_page(
    bundle: str | Path,
    *,
    out: str | Path,
    key: str | Path | None = None,
    unsigned: bool = False,
    name: str | None = None,
    runtime: str | Path | None = None,
) -> Page:
    """Write one HTML file that answers in a browser, without a server or a network, into `out`.

    It may be opened by a double click, sent by mail, or served by anything. The network that it runs is the bundle's;
    ONNX Runtime for browsers is downloaded from the npm registry the first time, and checked.

    Args:
        bundle: The bundle's folder, or the run folder around it.
        out: The folder to write, new or empty.
        key: The signer's public key, which the bundle is verified with now.
        unsigned: Write it without verifying the bundle.
        name: The model's name; made from the bundle's if left out.
        runtime: The npm package of ONNX Runtime for browsers as a file, for machines without a network.

    Raises:
        BundleError: there is no bundle, or it cannot be loaded.
        GateError: it is not signed, or not by `key`.
        SigningKeyError: the key cannot be used.
        UsageError: `out` is not empty, a name or the runtime is not valid, or there is neither `key` nor `unsigned`.
        KeensightError: the runtime cannot be downloaded, or `out` cannot be written.
    """
    from keensight.deploy.one_page import FILE, one_page
    from keensight.deploy.web_runtime import web_runtime

    release = _release(bundle, out, key, unsigned, name, no_explain=False)
    files = one_page(release, web_runtime(None if runtime is None else Path(runtime)))
    write_folder(Path(out), files)
    held = release.bundle
    return Page(Path(out) / FILE, len(files[FILE]), release.name, release.version, held.verified_by, held.is_signed)


def deploy_kubernetes(
    bundle: str | Path,
    *,
    out: str | Path,
    key: str | Path | None = None,
    unsigned: bool = False,
    name: str | None = None,
    no_explain: bool = False,
    cluster: Cluster | None = None,
    training: Training | None = None,
) -> Deployment:
    """Write manifests for Kubernetes into `out`, which must be new or empty: a Kustomize base and overlays.

    They run the image that is built from `deploy_docker`'s folder. With `cluster.serve`, it is a RayService, and what
    its image is built from. With `training.train`, it is a job that trains, and what its image is built from.
    The errors are the same as there.

    Args:
        bundle: The bundle's folder, or the run folder around it; to train, a recipe's name or file, too.
        out: The folder to write, new or empty.
        key: The signer's public key, which the bundle is verified with now and at each start.
        unsigned: Deploy without verifying, now and later.
        name: The name of the Deployment, the Service and the rest, and of the model in the image; made from the
            bundle's name if left out.
        no_explain: Let servers explain no answers, as `keensight serve --no-explain`.
        cluster: The options that depend on the cluster.
        training: The options of a job that trains.
    """
    cluster = cluster or Cluster()
    if training is not None and training.train is not None:
        return _training(bundle, Path(out), name, training, cluster)
    release = _release(bundle, out, key, unsigned, name, no_explain)
    named = str(image_of(release.name if cluster.image is None else cluster.image, release.version))
    if cluster.serve == "ray":
        return _written(Path(out), ray_service_files(release, cluster), named, release)
    return _written(Path(out), kubernetes_files(release, cluster), named, release)


def _training(source: str | Path, out: Path, name: str | None, training: Training, cluster: Cluster) -> Deployment:
    from keensight.training.recipe import from_table, load_recipe, to_toml

    _check_new(out)
    folder = bundle_in(Path(source))
    if folder is None:
        recipe = load_recipe(str(source))
    else:
        found = read_bundle(folder, though_changed=True).info.recipe
        if not found:
            raise UsageError(f"{source} was not trained by a recipe, so it cannot be trained again. Give a recipe.")
        recipe = from_table(dict(found)).having(weights="", splits="")  # paths of this machine
    called = check_name(name) if name else made_valid(run_name(folder) if folder else recipe.name or Path(source).stem)
    files, image = training_files(called, to_toml(recipe), training, cluster)
    write_folder(out, files)
    return Deployment(out, tuple(sorted(files)), image, called, image_of(image, "").tag, None, False)


def _release(
    bundle: str | Path, out: str | Path, key: str | Path | None, unsigned: bool, name: str | None, no_explain: bool
) -> Release:
    _check_new(Path(out))
    return release_of(bundle, key, unsigned, name, not no_explain)


def _check_new(out: Path) -> None:
    if out.is_dir() and any(out.iterdir()):
        raise UsageError(f"{out} is not empty, and nothing is overwritten. Give a new or empty folder with --out.")
    if os.path.lexists(out) and not out.is_dir():
        raise UsageError(f"{out} is a file. Give a new or empty folder with --out.")


def _written(out: Path, files: Mapping[str, bytes], image: str, release: Release) -> Deployment:
    write_folder(out, files)
    return Deployment(
        out,
        tuple(sorted(files)),
        image,
        release.name,
        release.version,
        release.bundle.verified_by,
        release.bundle.is_signed,
    )
