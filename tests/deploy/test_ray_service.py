"""The RayService: valid by KubeRay's own schema, and an application that Ray Serve finds and that answers."""

import sys
from types import SimpleNamespace

import jsonschema
import pytest
import yaml
from starlette.testclient import TestClient

import keensight
from keensight.deploy.cluster import Cluster
from keensight.errors import GateError, UsageError
from keensight.scale import ray_serve


@pytest.fixture
def written(tmp_path, frozen):
    def write(**options):
        cluster = Cluster(**{"serve": "ray", "replicas": 3, "max_replicas": 5, **options})
        key = frozen.parent / "release.pem.pub"
        return keensight.deploy_kubernetes(frozen, out=tmp_path / "out", key=key, name="digits", cluster=cluster)

    return write


def test_it_is_valid_and_a_misspelt_field_is_not(written, checks):
    folder = written(namespace="vision").folder
    found = yaml.safe_load((folder / "service" / "rayservice.yaml").read_text())
    check = checks("ray.io_rayservices", "v1")
    check(found)
    ray = found["spec"]["rayClusterConfig"]
    (group,) = ray["workerGroupSpecs"]
    assert (group["replicas"], group["minReplicas"], group["maxReplicas"]) == (3, 3, 5)
    assert ray["authOptions"] == {"mode": "token"}
    for place in (found["spec"], ray, group, group["template"]["spec"]["containers"][0]["readinessProbe"]):
        place["replica"] = 3
        with pytest.raises(jsonschema.ValidationError, match="replica"):
            check(found)
        del place["replica"]


def test_all_names_agree(written, frozen):
    done = written(namespace="vision")
    folder = done.folder / "service"
    found = {file.name: yaml.safe_load(file.read_text()) for file in folder.iterdir()}
    assert {*found["kustomization.yaml"]["resources"], "kustomization.yaml"} == set(found)
    spec = found["rayservice.yaml"]["spec"]
    for group in (spec["rayClusterConfig"]["headGroupSpec"], *spec["rayClusterConfig"]["workerGroupSpecs"]):
        pod = group["template"]
        (container,) = pod["spec"]["containers"]
        assert container["image"] == done.image
        assert {each["name"] for each in container["volumeMounts"]} == {each["name"] for each in pod["spec"]["volumes"]}
        key = next(each for each in pod["spec"]["volumes"] if each["name"] == "key")
        assert key["configMap"]["name"] == found["key.yaml"]["metadata"]["name"]
        assert found["network.yaml"]["spec"]["podSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    (application,) = yaml.safe_load(spec["serveConfigV2"])["applications"]
    module, _, name = application["import_path"].partition(":")
    assert getattr(sys.modules[module], name) is ray_serve.app
    assert application["deployments"][0]["name"] == ray_serve.DEPLOYMENT
    args = application["args"]
    assert (done.folder / args["bundle"].lstrip("/") / "model.onnx").read_bytes() == (
        frozen / "model.onnx"
    ).read_bytes()
    assert (done.folder / "key.pub").read_text() == found["key.yaml"]["data"]["key.pub"]
    assert any(
        line.startswith("ray[default,serve]==") for line in (done.folder / "requirements.txt").read_text().splitlines()
    )


def test_the_application_answers_what_a_server_answers(monkeypatch, frozen, tmp_path, draw):
    built = []
    serve = SimpleNamespace(
        ingress=lambda build: lambda: built.append(build),
        deployment=lambda name: lambda _: SimpleNamespace(bind=lambda: name),
    )
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(serve=serve))
    args = {"bundle": str(frozen), "key": str(frozen.parent / "release.pem.pub"), "explain": False}
    assert ray_serve.app(args) == ray_serve.DEPLOYMENT
    picture = next(draw(tmp_path / "p", ["a"], 1, 0).rglob("*.png"))
    with TestClient(built[0]()) as client:
        answer = client.post("/v1/predict", content=picture.read_bytes()).json()
        assert client.get("/readyz").status_code == 200
        assert client.get("/v1/models").json()["explain"] is False
    expected = keensight.predict(frozen, picture)[0]
    assert answer["predictions"][0]["label"] == expected.label
    with pytest.raises(GateError):
        ray_serve.server(str(frozen), _another_key(tmp_path))
    with pytest.raises(UsageError, match="'bundel'.*Give bundle"):
        ray_serve.app({"bundel": "x"})
    with pytest.raises(UsageError, match="no bundle"):
        ray_serve.app({})


def _another_key(folder):
    keensight.new_key(folder / "other.pem")
    return str(folder / "other.pem.pub")


@pytest.mark.parametrize(
    ("options", "says"),
    [({"serve": "flask"}, "--serve is 'flask'. Only ray"), ({"labels": ("a=b",)}, "--gateway or --label")],
)
def test_what_makes_no_sense_is_refused(written, tmp_path, options, says):
    with pytest.raises(UsageError, match=says):
        written(**options)
    assert not (tmp_path / "out").exists()
