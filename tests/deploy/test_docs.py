"""What docs/kubernetes.md and docs/docker.md tell people to type works, and what they mention is there."""

import re
import shlex
import shutil
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
COMMANDS = {name: re.findall(r"^    (.*)$", (DOCS / name).read_text(), re.MULTILINE) for name in
            ("docker.md", "kubernetes.md")}  # fmt: skip


@pytest.fixture
def desk(frozen, key, tmp_path, monkeypatch) -> Path:
    """A folder as the reader has it: two runs, the second one retrained, and the key."""
    for run in ("digits", "digits-2"):
        shutil.copytree(frozen, tmp_path / "runs" / run / "bundle", copy_function=shutil.copyfile)
    shutil.copyfile(key, tmp_path / "release.pem.pub")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.thorough
@pytest.mark.parametrize("name", COMMANDS)
def test_the_commands_work_and_what_they_write_is_there(name, deploy, desk):
    commands = COMMANDS[name]
    deploys = [shlex.split(command)[2:] for command in commands if command.startswith("keensight deploy")]
    assert deploys
    for words in deploys:
        done = deploy(*words)
        assert done.returncode == 0, done.stderr
    for command in commands:
        for folder in re.findall(r"-k (\S+)|kubectl kustomize (\S+)|docker build .*?(\S+)$", command):
            (found,) = filter(None, folder)
            assert (desk / found / ("Dockerfile" if "docker" in command else "kustomization.yaml")).exists(), command
    for file in re.findall(r"`(k8s[\w/-]*/[\w.-]+\.yaml|image/[\w.-]+)`", (DOCS / name).read_text()):
        assert (desk / file).exists(), file


def test_every_manifest_is_explained(deploy, desk):
    (words,) = [shlex.split(c)[2:] for c in COMMANDS["kubernetes.md"] if "k8s-public" in c and "deploy" in c]
    assert deploy(*words).returncode == 0
    text = (DOCS / "kubernetes.md").read_text()
    for file in (desk / "k8s-public" / "base").iterdir():
        assert f"`k8s/base/{file.name}`" in text
    for overlay in (desk / "k8s-public" / "overlays").iterdir():
        assert f"overlays/{overlay.name}/" in text
