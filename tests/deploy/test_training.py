"""The jobs that train: valid by the operators' own schemas, unknown fields refused; and commands that are taken."""

import copy
import inspect
import os
import subprocess
from pathlib import Path

import jsonschema
import pytest
import yaml

import keensight
from keensight.deploy.cluster import Cluster
from keensight.deploy.resources import Resources
from keensight.deploy.training import RAY, Training
from keensight.errors import UsageError


@pytest.fixture(scope="module")
def check(checks):
    return checks("trainer.kubeflow.org_trainjobs", "v1alpha1")


@pytest.fixture(scope="module")
def check_ray(checks):
    return checks("ray.io_rayjobs", "v1")


@pytest.fixture
def written(tmp_path):
    def write(source="planes", cluster=None, **options):
        training = Training("s3://bucket/planes", **options)
        return keensight.deploy_kubernetes(source, out=tmp_path / "job", cluster=cluster, training=training)

    return write


KINDS = {"base": {"recipe.toml", "train.sh"}, "kubeflow": set(), "kuberay": set()}
EVERYTHING = Cluster(image="example.org/train", namespace="vision", resources=Resources("1", "4", "1Gi", "8Gi"))


@pytest.mark.parametrize(("cluster", "options"), [(None, {}), (EVERYTHING, {"workers": 5, "credentials": "s3"})])
def test_the_job_is_valid_and_a_misspelt_field_is_not(written, check, cluster, options):
    folder = written(cluster=cluster, **options).folder
    job = yaml.safe_load((folder / "job" / "kubeflow" / "trainjob.yaml").read_text())
    check(job)
    assert job["spec"]["trainer"]["numNodes"] == options.get("workers", 2)
    for path in (
        ["spec"],
        ["spec", "trainer"],
        ["spec", "runtimePatches", 0, "trainingRuntimeSpec", "template", "spec"],
    ):
        spoilt = copy.deepcopy(job)
        place = spoilt
        for step in path:
            place = place[step]
        place["numNode"] = 3
        with pytest.raises(jsonschema.ValidationError, match="numNode"):
            check(spoilt)


@pytest.mark.parametrize(("cluster", "options"), [(None, {}), (EVERYTHING, {"workers": 5, "credentials": "s3"})])
def test_the_ray_job_is_valid_and_a_misspelt_field_is_not(written, check_ray, cluster, options):
    folder = written(cluster=cluster, **options).folder
    job = yaml.safe_load((folder / "job" / "kuberay" / "rayjob.yaml").read_text())
    check_ray(job)
    ray = job["spec"]["rayClusterSpec"]
    (group,) = ray["workerGroupSpecs"]
    assert group["replicas"] == group["minReplicas"] == group["maxReplicas"] == options.get("workers", 2)
    assert ray["authOptions"] == {"mode": "token"}
    if cluster is None:
        return
    for place in (job["spec"], ray, ray["headGroupSpec"], group["template"]["spec"]["containers"][0], group):
        place["replica"] = 3
        with pytest.raises(jsonschema.ValidationError, match="replica"):
            check_ray(job)
        del place["replica"]


def test_all_names_agree(written):
    folder = written(cluster=EVERYTHING, credentials="s3").folder / "job"
    found = {file.name: yaml.safe_load(file.read_text()) for file in folder.glob("*/*.yaml") if file.stem[0] != "k"}
    wholes = {kind: yaml.safe_load((folder / kind / "kustomization.yaml").read_text()) for kind in KINDS}
    for kind, whole in wholes.items():
        files = {file.name for file in (folder / kind).iterdir()}
        listed = {"kustomization.yaml", *whole["resources"], *(KINDS[kind])}
        assert listed - {"../base"} == files
        assert whole.get("namespace") == (None if kind == "base" else "vision")
    (recipe,) = wholes["base"]["configMapGenerator"]
    assert set(recipe["files"]) == KINDS["base"]
    claim = found["storage.yaml"]["metadata"]["name"]
    ray = found["rayjob.yaml"]["spec"]["rayClusterSpec"]
    templates = [each["template"] for each in (ray["headGroupSpec"], *ray["workerGroupSpecs"])]
    job = found["trainjob.yaml"]["spec"]
    (patched,) = job["runtimePatches"][0]["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
    for template in (*templates, patched["template"]["spec"]["template"]):
        volumes = {each["name"]: each for each in template["spec"]["volumes"]}
        assert volumes["runs"]["persistentVolumeClaim"]["claimName"] == claim == "planes-runs"
        assert volumes.get("recipe", {}).get("configMap", {"name": recipe["name"]})["name"] == recipe["name"]
        (container,) = template["spec"]["containers"]
        assert {each["name"] for each in container["volumeMounts"]} == {*volumes}
    for env in (job["trainer"]["env"], *(each["spec"]["containers"][0]["env"] for each in templates)):
        assert [each["valueFrom"]["secretKeyRef"]["name"] for each in env if "valueFrom" in each] == ["s3"] * 3
    policy = found["network.yaml"]["spec"]
    own = {"matchLabels": templates[0]["metadata"]["labels"]}
    assert policy["podSelector"] == own == policy["ingress"][0]["from"][0]["podSelector"]
    assert templates[0]["metadata"] == templates[1]["metadata"]


def test_the_command_is_one_that_the_worker_takes(written):
    worker = pytest.importorskip("keensight.scale.worker")
    folder = written().folder
    job = yaml.safe_load((folder / "job" / "kubeflow" / "trainjob.yaml").read_text())
    assert job["spec"]["trainer"]["command"] == ["torchrun", "-m", worker.__name__]
    asked = worker._parser().parse_args(job["spec"]["trainer"]["args"])
    assert asked.data == ["s3://bucket/planes"] and asked.out == "/runs/planes"
    recipe = keensight.load_recipe(str(folder / "job" / "base" / "recipe.toml"))
    assert recipe == keensight.load_recipe("planes") and asked.recipe == "/recipe/recipe.toml"


def test_the_ray_jobs_script_begins_and_goes_on(written, tmp_path):
    folder = keensight.deploy_kubernetes(
        "planes", out=tmp_path / "job", training=Training("s3://a b/$HOME", workers=3)
    ).folder  # fmt: skip
    job = yaml.safe_load((folder / "job" / "kuberay" / "rayjob.yaml").read_text())
    assert job["spec"]["entrypoint"] == "sh /recipe/train.sh"
    (tmp_path / "keensight").write_text('#!/bin/sh\nfor each; do echo "$each"; done\n')
    (tmp_path / "keensight").chmod(0o755)
    script = (folder / "job" / "base" / "train.sh").read_text().replace("/runs/", f"{tmp_path}/runs/")

    def words():
        environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
        return subprocess.run(
            ["sh", "-c", script], capture_output=True, text=True, check=True, env=environment
        ).stdout.splitlines()  # fmt: skip

    begun = words()
    assert begun[:2] == ["train", "s3://a b/$HOME"]
    given = dict(zip(begun[2::2], begun[3::2], strict=True))
    train = inspect.signature(keensight.train).parameters
    assert {option.removeprefix("--").replace("-", "_") for option in given} < train.keys()
    assert (given["--recipe"], given["--workers"]) == ("/recipe/recipe.toml", "3")
    (tmp_path / "runs" / "planes").mkdir(parents=True)
    (tmp_path / "runs" / "planes" / "recipe.toml").touch()
    assert set(words()) ^ set(begun) == {"--resume", "--recipe", "/recipe/recipe.toml"}


def test_the_image_has_the_ray_that_is_here(written):
    folder = written().folder
    job = yaml.safe_load((folder / "job" / "kuberay" / "rayjob.yaml").read_text())
    assert f"ray[default]=={RAY}" in (folder / "requirements.txt").read_text().splitlines()
    assert f"ray=={RAY}" in (Path(__file__).parents[2] / "constraints.txt").read_text().splitlines()
    assert job["spec"]["rayClusterSpec"]["rayVersion"] == RAY


def test_a_bundles_recipe_trains_again(written, trained):
    folder = written(trained.bundle).folder
    again = keensight.load_recipe(str(folder / "job" / "base" / "recipe.toml"))
    assert again == keensight.load_recipe(str(trained.folder / "recipe.toml"))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"train": "pictures"}, "pods cannot find"), ({"workers": 0}, "--workers is 0"),
        ({"storage": "x"}, "--storage"), ({"credentials": "A B"}, "--credentials"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(options, says):
    with pytest.raises(UsageError, match=says):
        Training(**options)
