"""The folder that an image is built from."""

import csv
import hashlib
import io
import json
import re
import subprocess
import sys
import zipfile
from importlib.metadata import requires

import pytest

import keensight
from keensight.bundle.folder import version_of
from keensight.bundle.read import read_bundle
from keensight.deploy.templates import template
from keensight.deploy.wheel import own_wheel


def test_the_folder_has_all_that_a_build_takes(frozen, key, tmp_path):
    done = keensight.deploy_docker(frozen, out=tmp_path / "image", key=key, name="digits")
    assert (done.name, done.image) == ("digits", f"digits:{done.version}")
    found = {str(path.relative_to(done.folder)) for path in done.folder.rglob("*") if path.is_file()}
    assert found == set(done.files)
    shipped = read_bundle(done.folder / "models" / "digits", done.folder / "key.pub")
    assert version_of(shipped.files) == done.version == "0e80d139e671"
    dockerfile = (done.folder / "Dockerfile").read_text()
    for source in re.findall(r"^COPY (?!--from)(\S+)", dockerfile, re.MULTILINE):
        assert (done.folder / source).exists(), source
    for copied in re.findall(r"^COPY --from=build (\S+)", dockerfile, re.MULTILINE):
        assert copied in ("/opt/keensight", "/models", "/key")
    (entry,) = re.findall(r"^ENTRYPOINT (.*)", dockerfile, re.MULTILINE)
    assert json.loads(entry) == [
        "keensight", "serve", "/models/digits", "--key", "/key/key.pub", "--host", "::"
    ]  # fmt: skip
    assert f"docker build --tag {done.image} ." in dockerfile
    assert re.findall(r"^USER (.*)", dockerfile, re.MULTILINE) == ["65532:65532"]
    assert "#?" not in dockerfile and "HEALTHCHECK" in dockerfile


def test_without_a_signature_there_is_no_key(unsigned, tmp_path):
    done = keensight.deploy_docker(unsigned, out=tmp_path / "image", unsigned=True)
    assert done.name == "my-digits-2"
    assert done.verified_by is None
    dockerfile = (done.folder / "Dockerfile").read_text()
    assert "key" not in re.sub(r"#.*", "", dockerfile.replace("keensight", ""))
    assert 'ENTRYPOINT ["keensight", "serve", "/models/my-digits-2", "--host", "::"]' in dockerfile


def test_explaining_can_be_turned_off(frozen, key, unsigned, tmp_path):
    for name, bundle, verified in (("a", frozen, {"key": key}), ("b", unsigned, {"unsigned": True})):
        done = keensight.deploy_docker(bundle, out=tmp_path / name, **verified, no_explain=True)
        (entry,) = re.findall(r"^ENTRYPOINT (.*)", (done.folder / "Dockerfile").read_text(), re.MULTILINE)
        assert json.loads(entry)[-3:] == ["--host", "::", "--no-explain"]


def test_everything_is_pinned_by_hash(frozen, key, tmp_path):
    done = keensight.deploy_docker(frozen, out=tmp_path / "image", key=key)
    logical = (done.folder / "requirements.txt").read_text().replace("\\\n", " ").splitlines()
    pinned = {}
    for line in logical[1:]:
        requirement, *hashes = line.split(" --hash=sha256:")
        name, version = re.match(r"([\w.-]+)==([\w.]+)", requirement).groups()
        assert hashes and all(re.fullmatch("[0-9a-f]{64} *", digest) for digest in hashes), line
        pinned[name.lower().replace("_", "-")] = (version, [digest.strip() for digest in hashes])
    runtime = {re.match(r"[\w-]+", line)[0] for line in requires("keensight") if "extra ==" not in line}
    assert runtime <= set(pinned)
    assert not {"torch", "scikit-learn", "matplotlib"} & set(pinned)
    wheel = done.folder / "wheels" / f"keensight-{keensight.__version__}-py3-none-any.whl"
    assert pinned["keensight"] == (keensight.__version__, [hashlib.sha256(wheel.read_bytes()).hexdigest()])


def test_the_pins_are_those_of_the_constraints(request):
    constraints = (request.config.rootpath / "constraints.txt").read_text()
    versions = dict(re.findall(r"^([\w.-]+)==(\S+)$", constraints.lower().replace("_", "-"), re.MULTILINE))
    pins = dict(re.findall(r"^([\w.-]+)==(\S+)", template("requirements.txt").lower().replace("_", "-"), re.MULTILINE))
    assert {name: versions[name] for name in pins} == pins, "scripts/pin-runtime makes them again"


@pytest.mark.thorough
def test_the_wheel_is_whole_installs_and_is_the_same_each_time(tmp_path):
    name, packed = own_wheel()
    assert own_wheel() == (name, packed)
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        names = archive.namelist()
        (record,) = [name for name in names if name.endswith("RECORD")]
        assert "keensight/kernels/__init__.py" in names and not [name for name in names if name.endswith(".so")]
        assert sorted(row[0] for row in csv.reader(io.StringIO(archive.read(record).decode()))) == sorted(names)
    (tmp_path / name).write_bytes(packed)
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target", tmp_path / "site"]
    subprocess.run([*install, tmp_path / name], check=True)
    code = "import keensight; from keensight.deploy.wheel import own_wheel; print(keensight.__file__, own_wheel()[0])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [str(tmp_path / "site" / "keensight" / "__init__.py"), name]
