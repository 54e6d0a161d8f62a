"""Manifests: valid for several versions of Kubernetes, consistent with each other, and what Kustomize makes of them."""

import copy
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

import keensight
from keensight.deploy.cluster import Cluster
from keensight.deploy.resources import Resources
from keensight.errors import UsageError

VERSIONS = ("1.27", "1.37")
CUSTOM = {"HTTPRoute", "InferenceService"}  # of Gateway API and KServe, which Kubernetes' own schemas do not have
EVERYTHING = {
    "image": "registry.example.org:5000/team/digits",
    "namespace": "vision",
    "hostname": "digits.example.org",
    "gateway": "infra/public",
    "labels": ["team=vision"],
    "replicas": 3,
    "max_replicas": 7,
    "resources": Resources("1", "4", "512Mi", "2Gi"),
}


@pytest.fixture
def written(frozen, key, tmp_path):
    """Write manifests, and return their folder."""

    def write(**options) -> Path:
        cluster = Cluster(**options)
        return keensight.deploy_kubernetes(frozen, out=tmp_path / "k8s", key=key, name="digits", cluster=cluster).folder

    return write


def manifests(folder: Path) -> dict[str, dict]:
    """Every manifest by its kind, but for the kustomizations."""
    files = [file for file in folder.rglob("*.yaml") if file.name != "kustomization.yaml"]
    found = [yaml.safe_load(file.read_text()) for file in files]
    assert len({manifest["kind"] for manifest in found}) == len(files)
    return {manifest["kind"]: manifest for manifest in found}


def check(manifest: dict) -> None:
    import kubernetes_validate  # takes four seconds, which only these tests shall cost

    for version in VERSIONS:
        kubernetes_validate.validate(manifest, version, strict=True)


@pytest.mark.parametrize("options", [{}, EVERYTHING], ids=["defaults", "everything"])
def test_every_manifest_is_valid(written, options):
    found = manifests(written(**options))
    kinds = {"Deployment", "Service", "HorizontalPodAutoscaler", "PodDisruptionBudget", "NetworkPolicy", "ConfigMap"}
    assert set(found) == kinds | {"InferenceService"} | ({"HTTPRoute"} if options else set())
    for kind in kinds:
        check(found[kind])


def test_the_validator_sees_what_is_wrong(written):
    from kubernetes_validate import ValidationError

    deployment = manifests(written())["Deployment"]
    deployment["spec"]["template"]["spec"]["containers"][0]["livenessProb"] = {}
    with pytest.raises(ValidationError, match="livenessProb"):
        check(deployment)


def test_kserve_gets_a_pod_that_is_valid(written):
    # https://kserve.github.io/website/docs/reference/crd-api: a predictor is a pod's spec with some fields beside it
    found = manifests(written(**EVERYTHING))
    service = found["InferenceService"]
    assert service["apiVersion"] == "serving.kserve.io/v1beta1"
    assert service["metadata"]["annotations"]["serving.kserve.io/deploymentMode"] == "RawDeployment"
    predictor = dict(service["spec"]["predictor"])
    beside = {
        name: predictor.pop(name)
        for name in (
            "labels", "annotations", "minReplicas", "maxReplicas", "scaleMetric", "scaleTarget", "timeout",
            "deploymentStrategy",
        )
    }  # fmt: skip
    assert (beside["minReplicas"], beside["maxReplicas"]) == (3, 7)
    metadata = {"name": "digits", "labels": beside["labels"], "annotations": beside["annotations"]}
    check({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": predictor})
    assert predictor["containers"][0]["name"] == "kserve-container"
    pod = found["Deployment"]["spec"]["template"]["spec"]
    for part in set(pod) - {"containers"}:
        assert predictor[part] == pod[part]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        ours, theirs = (dict(spec["containers"][0][probe]) for spec in (pod, predictor))
        del ours["httpGet"], theirs["httpGet"]
        assert ours == theirs
    for part in ("command", "imagePullPolicy", "resources", "securityContext", "volumeMounts", "lifecycle"):
        assert predictor["containers"][0][part] == pod["containers"][0][part]
    assert beside["deploymentStrategy"] == found["Deployment"]["spec"]["strategy"]


def test_the_route_is_a_route_of_the_gateway_api(written):
    # https://gateway-api.sigs.k8s.io/reference/spec/#httproute
    route = manifests(written(**EVERYTHING))["HTTPRoute"]
    assert route["apiVersion"] == "gateway.networking.k8s.io/v1"
    assert set(route["spec"]) == {"parentRefs", "hostnames", "rules"}
    assert route["spec"]["parentRefs"] == [{"name": "public", "namespace": "infra"}]
    refused, allowed = route["spec"]["rules"]
    assert refused == {"matches": [{"path": {"type": "Exact", "value": "/metrics"}}]}
    assert allowed["backendRefs"] == [{"name": "digits", "port": 80}]
    assert allowed["timeouts"] == {"request": "30s"}


def test_selectors_ports_and_names_fit_each_other(written):
    found = manifests(written())
    pod = found["Deployment"]["spec"]["template"]
    labels = pod["metadata"]["labels"]
    for selector in (
        found["Deployment"]["spec"]["selector"]["matchLabels"],
        found["Service"]["spec"]["selector"],
        found["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        found["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
        *(spread["labelSelector"]["matchLabels"] for spread in pod["spec"]["topologySpreadConstraints"]),
    ):
        assert selector.items() <= labels.items()
        assert "app.kubernetes.io/version" not in selector  # selectors never change
    (container,) = pod["spec"]["containers"]
    assert [port["name"] for port in container["ports"]] == [found["Service"]["spec"]["ports"][0]["targetPort"]]
    assert found["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]["name"] == found["Deployment"]["metadata"]["name"]
    assert pod["spec"]["volumes"][0]["configMap"]["name"] == found["ConfigMap"]["metadata"]["name"]


def test_no_request_is_lost_on_paper(written):
    spec = manifests(written())["Deployment"]["spec"]
    assert spec["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    assert "replicas" not in spec
    pod = spec["template"]["spec"]
    (container,) = pod["containers"]
    wait_s = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    probe = container["readinessProbe"]
    assert wait_s + 20 < pod["terminationGracePeriodSeconds"]  # 20 is what `keensight serve --grace` is by default
    assert probe["httpGet"]["path"] == "/readyz" and container["livenessProbe"]["httpGet"]["path"] == "/healthz"


def test_pods_meet_the_restricted_standard(written):
    # https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted
    pod = manifests(written())["Deployment"]["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    (container,) = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {next(iter(set(volume) - {"name"})) for volume in pod["volumes"]} <= {"configMap"}


@pytest.mark.parametrize("name", ["true", "null", "no", "e1"])
def test_names_that_yaml_would_take_for_something_else(frozen, key, tmp_path, name):
    cluster = Cluster(image=f"{name}:1e10", namespace=name, hostname=name, gateway=name)
    done = keensight.deploy_kubernetes(frozen, out=tmp_path / "k8s", key=key, name=name, cluster=cluster)
    for manifest in manifests(done.folder).values():
        check(manifest) if manifest["kind"] not in CUSTOM else None
        assert manifest["metadata"]["labels"]["app.kubernetes.io/name"] == name
    base = yaml.safe_load((done.folder / "base" / "kustomization.yaml").read_text())
    assert base["images"] == [{"name": "model", "newName": name, "newTag": "1e10"}]


def test_the_mounted_key_verifies_whatever_the_image_says(written, frozen, key, tmp_path):
    found = manifests(written())
    image = keensight.deploy_docker(frozen, out=tmp_path / "image", key=key, name="digits").folder
    (entry,) = re.findall(r"^ENTRYPOINT (.*)", (image / "Dockerfile").read_text(), re.MULTILINE)
    for pod in (found["Deployment"]["spec"]["template"]["spec"], found["InferenceService"]["spec"]["predictor"]):
        (container,) = pod["containers"]
        assert container["command"] == json.loads(entry)
        path = Path(container["command"][container["command"].index("--key") + 1])
        assert str(path.parent) == container["volumeMounts"][0]["mountPath"]
        assert path.name in found["ConfigMap"]["data"]


def test_explaining_can_be_turned_off(frozen, key, unsigned, tmp_path):
    for name, bundle, verified in (("a", frozen, {"key": key}), ("b", unsigned, {"unsigned": True})):
        found = manifests(keensight.deploy_kubernetes(bundle, out=tmp_path / name, **verified, no_explain=True).folder)
        pods = found["Deployment"]["spec"]["template"]["spec"], found["InferenceService"]["spec"]["predictor"]
        assert [pod["containers"][0]["args"] for pod in pods] == [["--no-explain"]] * 2
        check(found["Deployment"])


def test_without_a_key_nothing_is_mounted(unsigned, tmp_path):
    done = keensight.deploy_kubernetes(unsigned, out=tmp_path / "k8s", unsigned=True)
    found = manifests(done.folder)
    assert "ConfigMap" not in found
    pod = found["Deployment"]["spec"]["template"]["spec"]
    for spec in (pod, found["InferenceService"]["spec"]["predictor"]):
        assert "volumes" not in spec and "volumeMounts" not in spec["containers"][0]
        assert "command" not in spec["containers"][0]  # the image's own, which may have a key
    check(found["Deployment"])


def test_a_new_model_changes_the_pods_and_nothing_that_cannot_change(frozen, key, unsigned, tmp_path):
    (unsigned / "report.html").write_text("<!doctype html><title>another</title>")
    (unsigned / "sbom.cdx.json").unlink()
    before = keensight.deploy_kubernetes(frozen, out=tmp_path / "a", unsigned=True, name="digits")
    after = keensight.deploy_kubernetes(unsigned, out=tmp_path / "b", unsigned=True, name="digits")
    assert before.version != after.version
    old, new = manifests(before.folder), manifests(after.folder)
    assert old["Deployment"]["spec"]["selector"] == new["Deployment"]["spec"]["selector"]
    assert old["Service"] == new["Service"]
    template = copy.deepcopy(new["Deployment"]["spec"]["template"])
    template["metadata"]["labels"]["app.kubernetes.io/version"] = before.version
    template["metadata"]["annotations"]["keensight/bundle-version"] = before.version
    assert template == old["Deployment"]["spec"]["template"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"replicas": 0}, "--replicas is 0"),
        ({"replicas": 5, "max_replicas": 4}, "--max-replicas 4"),
        ({"max_replicas": 10**6}, "1,000"),
        ({"hostname": "a.example"}, "Only one of --hostname"),
        ({"gateway": "public"}, "Only one of --hostname"),
        ({"image": "my registry/digits"}, "--image is"),
        ({"image": ""}, "--image is"),
        ({"image": "example.org/digits:latest"}, "never pulls a newer one"),
        ({"namespace": "Kube_System"}, "--namespace"),
        ({"labels": ["team"]}, "--label"),
    ],
)
def test_what_makes_no_sense_is_refused(options, says):
    with pytest.raises(UsageError, match=says):
        Cluster(**options)


def kustomized(folder: Path) -> dict[str, dict]:
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is missing, whose `kubectl kustomize` renders what is written")
    done = subprocess.run(["kubectl", "kustomize", folder], capture_output=True, text=True, check=False)
    if "unknown field" in done.stderr or "unknown command" in done.stderr:
        pytest.skip(f"kubectl is too old: {done.stderr[:200]}")
    assert done.returncode == 0, done.stderr
    return {manifest["kind"]: manifest for manifest in yaml.safe_load_all(done.stdout)}


def test_what_kustomize_makes_of_the_base(written):
    found = kustomized(written(**EVERYTHING) / "base")
    for manifest in found.values():
        check(manifest)
        assert manifest["metadata"]["namespace"] == "vision"
        assert manifest["metadata"]["labels"]["team"] == "vision"
    pod = found["Deployment"]["spec"]["template"]
    assert pod["spec"]["containers"][0]["image"] == "registry.example.org:5000/team/digits:0e80d139e671"
    assert pod["metadata"]["labels"]["team"] == "vision"
    assert "team" not in found["Deployment"]["spec"]["selector"]["matchLabels"]


def test_what_kustomize_makes_of_the_canary(written):
    folder = written(**EVERYTHING)
    base, found = kustomized(folder / "base"), kustomized(folder / "overlays" / "canary")
    assert set(found) == {"Deployment", "ConfigMap"}
    canary = found["Deployment"]
    check(canary)
    assert canary["metadata"]["name"] == "digits-canary"
    assert canary["spec"]["replicas"] == 1
    labels = canary["spec"]["template"]["metadata"]["labels"]
    assert base["Service"]["spec"]["selector"].items() <= labels.items()
    assert canary["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert not base["Deployment"]["spec"]["selector"]["matchLabels"].items() <= labels.items()
    mounted = canary["spec"]["template"]["spec"]["volumes"][0]["configMap"]["name"]
    assert mounted == found["ConfigMap"]["metadata"]["name"]


def test_what_kustomize_makes_of_the_other_overlays(written):
    folder = written(**EVERYTHING)
    base = kustomized(folder / "base")
    public = kustomized(folder / "overlays" / "gateway")
    assert set(public) == {*base, "HTTPRoute"}
    found = kustomized(folder / "overlays" / "kserve")
    for manifest in (*public.values(), *found.values()):
        assert manifest["metadata"]["labels"]["team"] == "vision"
    assert set(found) == {"InferenceService", "NetworkPolicy", "PodDisruptionBudget", "ConfigMap"}
    predictor = found["InferenceService"]["spec"]["predictor"]
    assert predictor["containers"][0]["image"] == "registry.example.org:5000/team/digits:0e80d139e671"
    assert predictor["labels"]["team"] == "vision"
    for kind, selector in (("NetworkPolicy", "podSelector"), ("PodDisruptionBudget", "selector")):
        assert found[kind]["spec"][selector]["matchLabels"].items() <= predictor["labels"].items()
    assert predictor["volumes"][0]["configMap"]["name"] == found["ConfigMap"]["metadata"]["name"]
