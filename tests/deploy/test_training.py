"""The job that trains: valid by Kubeflow's own schema, unknown fields refused; and a command that its worker takes."""

import copy
import lzma
from pathlib import Path

import jsonschema
import pytest
import yaml

import keensight
from keensight.deploy.cluster import Cluster
from keensight.deploy.resources import Resources
from keensight.deploy.training import Training
from keensight.errors import UsageError

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


@pytest.fixture(scope="module")
def check():
    file = SCHEMAS / "trainer.kubeflow.org_trainjobs.yaml.xz"
    if not file.is_file():
        pytest.skip(f"Kubeflow's schemas are missing: {file} does not exist")
    found = yaml.load(lzma.decompress(file.read_bytes()), yaml.CSafeLoader)["spec"]["versions"][0]
    whole = strict(found["schema"]["openAPIV3Schema"])
    whole["properties"]["metadata"] = {"type": "object"}  # of every resource, and not in these schemas
    validator = jsonschema.Draft202012Validator(whole)
    assert found["name"] == "v1alpha1"
    return validator.validate


@pytest.fixture
def written(tmp_path):
    def write(source="planes", cluster=None, **options):
        training = Training("s3://bucket/planes", **options)
        return keensight.deploy_kubernetes(source, out=tmp_path / "job", cluster=cluster, training=training)

    return write


EVERYTHING = Cluster(image="example.org/train", namespace="vision", resources=Resources("1", "4", "1Gi", "8Gi"))


@pytest.mark.parametrize(("cluster", "options"), [(None, {}), (EVERYTHING, {"workers": 5, "credentials": "s3"})])
def test_the_job_is_valid_and_a_misspelt_field_is_not(written, check, cluster, options):
    folder = written(cluster=cluster, **options).folder
    job = yaml.safe_load((folder / "job" / "trainjob.yaml").read_text())
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


def test_all_names_agree(written):
    folder = written(cluster=EVERYTHING, credentials="s3").folder / "job"
    job, claim, whole = (
        yaml.safe_load((folder / name).read_text()) for name in ("trainjob.yaml", "storage.yaml", "kustomization.yaml")
    )
    pod = job["spec"]["runtimePatches"][0]["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"][0]
    volumes = {each["name"]: each for each in pod["template"]["spec"]["template"]["spec"]["volumes"]}
    assert volumes["runs"]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"] == "planes-runs"
    (recipe,) = whole["configMapGenerator"]
    assert volumes["recipe"]["configMap"]["name"] == recipe["name"] and recipe["files"] == ["recipe.toml"]
    assert {*whole["resources"], "recipe.toml", "kustomization.yaml"} == {file.name for file in folder.iterdir()}
    assert whole["namespace"] == "vision"
    secrets = [
        each["valueFrom"]["secretKeyRef"]["name"] for each in job["spec"]["trainer"]["env"] if "valueFrom" in each
    ]
    assert secrets == ["s3"] * 3


def test_the_command_is_one_that_the_worker_takes(written):
    worker = pytest.importorskip("keensight.scale.worker")
    folder = written().folder
    job = yaml.safe_load((folder / "job" / "trainjob.yaml").read_text())
    assert job["spec"]["trainer"]["command"] == ["torchrun", "-m", worker.__name__]
    asked = worker._parser().parse_args(job["spec"]["trainer"]["args"])
    assert asked.data == ["s3://bucket/planes"] and asked.out == "/runs/planes"
    recipe = keensight.load_recipe(str(folder / "job" / "recipe.toml"))
    assert recipe == keensight.load_recipe("planes") and asked.recipe == "/recipe/recipe.toml"


def test_a_bundles_recipe_trains_again(written, trained):
    folder = written(trained.bundle).folder
    again = keensight.load_recipe(str(folder / "job" / "recipe.toml"))
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
