"""The frozen bundle (signed), a copy of it without a signature, and `keensight deploy` on them."""

import lzma
import shutil
import subprocess
from pathlib import Path

import jsonschema
import pytest
import yaml

from keensight.cli import main

FROZEN = Path(__file__).parents[1] / "bundle" / "frozen"


@pytest.fixture(scope="session")
def frozen() -> Path:
    return FROZEN / "bundle"


@pytest.fixture(scope="session")
def key() -> Path:
    return FROZEN / "release.pem.pub"


@pytest.fixture
def unsigned(tmp_path) -> Path:
    """The frozen bundle in a run folder with a name that Kubernetes would not take, without its signature."""
    bundle = tmp_path / "My Digits_2" / "bundle"
    shutil.copytree(FROZEN / "bundle", bundle, copy_function=shutil.copyfile)
    (bundle / "signature.json").unlink()
    return bundle


@pytest.fixture(autouse=True)
def peak(request, monkeypatch) -> None:
    """Start no server to measure how much memory it takes: test_memory.py does, and so do whole runs."""
    if request.node.get_closest_marker("thorough") is None:
        monkeypatch.setattr("keensight.deploy.kubernetes.measured", lambda *_: 150 * 2**20)


@pytest.fixture
def deploy(capsys):
    """Run `keensight deploy` in this process."""

    def run(*words: object) -> subprocess.CompletedProcess[str]:
        with pytest.raises(SystemExit) as end:
            main(["deploy", *map(str, words)])
        said = capsys.readouterr()
        return subprocess.CompletedProcess(words, end.value.code or 0, said.out, said.err)

    return run


SCHEMAS = Path(__file__).parents[3] / "shared" / "schemas"


def strict(schema):
    """The schema of a custom resource as one that refuses fields it does not name."""
    if isinstance(schema, dict):
        found = {key: strict(value) for key, value in schema.items()}
        if "properties" in found and not schema.get("x-kubernetes-preserve-unknown-fields"):
            found.setdefault("additionalProperties", False)
        if schema.get("x-kubernetes-int-or-string"):
            found["type"] = ["integer", "string"]
        return found
    return [strict(each) for each in schema] if isinstance(schema, list) else schema


@pytest.fixture(scope="session")
def checks():
    """What validates one kind of custom resource by its own schema, unknown fields refused."""
    return validator


def validator(name, version):
    """What validates one kind of custom resource, with the field that a Kubernetes resource has besides."""
    file = SCHEMAS / f"{name}.yaml.xz"
    if not file.is_file():
        pytest.skip(f"The operators' schemas are missing: {file} does not exist")
    kinds = yaml.load(lzma.decompress(file.read_bytes()), yaml.CSafeLoader)["spec"]["versions"]
    (found,) = (each for each in kinds if each["name"] == version)
    whole = strict(found["schema"]["openAPIV3Schema"])
    whole["properties"]["metadata"] = {"type": "object"}  # of every resource, and not in these schemas
    return jsonschema.Draft202012Validator(whole).validate
