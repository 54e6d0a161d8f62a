"""`keensight deploy`: what it prints, and what it refuses before anything is written."""

import json
import shutil

import pytest


@pytest.mark.parametrize("where", ["docker", "kubernetes"])
def test_it_says_what_comes_next(deploy, frozen, key, tmp_path, where):
    done = deploy(where, frozen, "--key", key, "--out", tmp_path / "out", "--name", "digits")
    assert (done.returncode, done.stderr) == (0, "")
    assert "digits@0e80d139e671, signed by the key d8bb0bd391c8182a" in done.stdout
    next_step = {"docker": "docker build --tag digits:0e80d139e671", "kubernetes": "kubectl apply -k"}[where]
    assert f"next           {next_step} {tmp_path / 'out'}" in done.stdout


def test_the_next_step_is_the_route_where_there_is_one_and_notes_say_what_it_takes(deploy, frozen, key, tmp_path):
    out = tmp_path / "out"
    words = ["--hostname", "a.example", "--gateway", "public", "--namespace", "vision", "--image", "team/digits"]
    done = deploy("kubernetes", frozen, "--key", key, "--out", out, *words)
    assert f"next           kubectl apply -k {out}/overlays/gateway" in done.stdout
    assert "docker.io/team/digits:0e80d139e671" in done.stdout
    assert "kubectl create namespace vision" in done.stdout


def test_an_image_that_is_yet_to_be_built_has_no_digest(deploy, frozen, key, tmp_path):
    image = f"example.org/digits@sha256:{'0a' * 32}"
    done = deploy("docker", frozen, "--key", key, "--out", tmp_path / "out", "--image", image)
    assert (done.returncode, done.stdout) == (2, "")
    assert "known only after it is built" in done.stderr
    assert not (tmp_path / "out").exists()


def test_json(deploy, unsigned, tmp_path):
    done = deploy("kubernetes", unsigned, "--unsigned", "--out", tmp_path / "out", "--json")
    said = json.loads(done.stdout)
    assert said["image"] == f"my-digits-2:{said['version']}"
    assert said["verified_by"] is None
    assert said["signed"] is False
    assert "base/deployment.yaml" in said["files"]


@pytest.mark.parametrize("where", ["docker", "kubernetes"])
def test_what_carries_no_signature_is_said_to_carry_none(deploy, frozen, unsigned, tmp_path, where):
    done = deploy(where, unsigned, "--unsigned", "--out", tmp_path / "none")
    assert "carries no signature: anyone could have changed it" in done.stdout
    done = deploy(where, frozen, "--unsigned", "--out", tmp_path / "unchecked")
    assert "signed, but not checked" in done.stdout


@pytest.mark.parametrize("where", ["docker", "kubernetes"])
def test_bundles_that_are_refused_leave_nothing_behind(deploy, frozen, key, unsigned, tmp_path, where):
    changed = tmp_path / "changed"
    shutil.copytree(frozen, changed, copy_function=shutil.copyfile)
    with open(changed / "model.safetensors", "ab") as weights:
        weights.write(b"!")
    broken = tmp_path / "broken"
    shutil.copytree(unsigned, broken, copy_function=shutil.copyfile)
    (broken / "sbom.cdx.json").unlink()
    (broken / "model.onnx").write_bytes(b"no model")
    out = tmp_path / "out"
    for words, status, says in (
        ([unsigned], 3, "is not signed, so servers cannot check"),
        ([unsigned, "--key", key], 3, "is not signed"),
        ([frozen], 2, "there is no key to verify it with"),
        ([changed, "--key", key], 3, "model.safetensors was changed"),
        ([changed, "--unsigned"], 3, "model.safetensors"),
        ([broken, "--unsigned"], 1, "model.onnx cannot be"),
        ([tmp_path / "missing", "--unsigned"], 1, "does not exist"),
        ([tmp_path / "missing", "--key", key], 1, "does not exist"),
        ([frozen, "--key", tmp_path / "missing.pub"], 1, "missing.pub"),
        ([frozen, "--key", key, "--unsigned"], 2, "Give one of the two"),
        ([frozen, "--key", key, "--name", "My Digits"], 2, "Try my-digits."),
        ([frozen, "--key", key, "--image", "my registry/digits"], 2, "--image is 'my registry/digits'"),
    ):
        done = deploy(where, *words, "--out", out)
        assert (done.returncode, done.stdout) == (status, ""), (words, done.stderr)
        assert done.stderr.count("\n") == 1 and says in done.stderr, (words, done.stderr)
        assert not out.exists(), words


def test_a_folder_that_is_not_empty_is_refused(deploy, frozen, key, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("mine")
    for out in (tmp_path / "out", tmp_path / "out" / "mine"):
        done = deploy("docker", frozen, "--key", key, "--out", out)
        assert done.returncode == 2
        assert "Give a new or empty folder with --out" in done.stderr
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["mine"]


def test_resources_that_make_no_sense_are_wrong_usage(deploy, frozen, key, tmp_path):
    words = ["kubernetes", frozen, "--key", key, "--out", tmp_path / "out"]
    for option, value, says in (
        ("--cpu", "4", "--cpu is 4 and its limit 2"),
        ("--memory", "0", "it must be above zero"),
        ("--memory-limit", "1GB", "not a quantity of memory"),
        ("--replicas", "0", "--replicas is 0"),
    ):
        done = deploy(*words, option, value)
        assert (done.returncode, done.stdout) == (2, "")
        assert says in done.stderr
    assert not (tmp_path / "out").exists()


def test_into_an_empty_folder_here(deploy, frozen, key, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert deploy("docker", frozen, "--key", key, "--out", ".").returncode == 0
    assert (tmp_path / "Dockerfile").exists()
