import io
import json
import re
import subprocess
import sys
from pathlib import Path

import httpx2 as httpx
import pytest
from starlette.routing import Route

from keensight.serving.guard import PARAMETERS
from keensight.serving.limits import Limits
from keensight.serving.openapi import openapi
from keensight.serving.static import page_files


@pytest.fixture
def document():
    return openapi(Limits())


def test_it_is_openapi_3_1(document):
    from openapi_spec_validator import validate  # takes four seconds, which only this file shall cost

    assert document["openapi"].startswith("3.1")
    validate(document)


def test_every_route_is_described(client, document):
    routes = {
        (route.path, (route.methods - {"HEAD"}).pop().lower())
        for route in client.app.routes
        if isinstance(route, Route) and route.path not in page_files()
    }
    described = {(path, method) for path, item in document["paths"].items() for method in item}
    assert described == routes


def test_the_parameters_of_the_guard_are_the_described_ones(document):
    described = {
        path: tuple(each["name"] for each in operation.get("parameters", ()) if each["in"] == "query")
        for path, item in document["paths"].items()
        for operation in item.values()
    }
    assert {path: names for path, names in described.items() if names} == PARAMETERS


def check(document, path, method, answer):
    """Compare an answer with its description."""
    import jsonschema

    described = document["paths"][path][method]["responses"]
    assert str(answer.status_code) in described, (path, answer.status_code)
    content = described[str(answer.status_code)].get("content", {})
    kind = answer.headers.get("Content-Type", "").partition(";")[0]
    if content:
        assert kind in content
        if kind == "application/json":
            jsonschema.validate(answer.json(), content[kind]["schema"] | {"components": document["components"]})


def test_answers_are_as_described(client, digit, document):
    tensor = {"name": "images", "datatype": "UINT8", "shape": [1, 8, 8, 1], "data": [0] * 64}
    many = [("f", ("a.png", digit)), ("f", ("b.txt", b"b"))]
    for path, method, options in (
        ("/v1/models", "get", {}),
        ("/v1/models/{name}/card", "get", {}),
        ("/v1/models/{name}/report", "get", {}),
        ("/v1/predict", "post", {"content": digit}),
        ("/v1/predict", "post", {"files": many}),
        ("/v1/predict", "post", {"content": b"x"}),
        ("/v1/predict", "post", {"content": b""}),
        ("/v1/predict", "post", {"content": digit, "params": {"model": "nix"}}),
        ("/v1/explain", "post", {"content": digit}),
        ("/v1/explain", "post", {"content": digit, "params": {"format": "json"}}),
        ("/v1/verdict", "post", {"json": {"id": "x", "right": True}}),
        ("/v2", "get", {}),
        ("/v2/models/{name}", "get", {}),
        ("/v2/models/{name}/infer", "post", {"json": {"inputs": [tensor], "id": "1"}}),
        ("/v2/models/{name}/infer", "post", {"json": {}}),
        ("/v2/health/live", "get", {}),
        ("/v2/health/ready", "get", {}),
        ("/v2/models/{name}/ready", "get", {}),
        ("/healthz", "get", {}),
        ("/readyz", "get", {}),
        ("/metrics", "get", {}),
        ("/docs", "get", {}),
        ("/openapi.json", "get", {}),
    ):
        check(document, path, method, client.request(method, path.replace("{name}", "frozen"), **options))


def test_the_page_needs_nothing_from_elsewhere(client):
    answer = client.get("/docs")
    assert "/v1/predict" in answer.text
    assert not re.findall(r"https?://", answer.text)
    assert "<script" not in answer.text
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'; style-src 'sha256-")


@pytest.mark.thorough
def test_a_generated_client_works(start, frozen, digit, tmp_path, monkeypatch):
    server = start(frozen)
    (tmp_path / "openapi.json").write_text(json.dumps(openapi(Limits())))
    words = ("generate", "--path", "openapi.json", "--output-path", "client", "--meta", "none")
    subprocess.run(
        [Path(sys.executable).with_name("openapi-python-client"), *words], check=True, cwd=tmp_path, capture_output=True
    )
    monkeypatch.syspath_prepend(tmp_path)
    import client
    from client.api.default import explain, metadata_v2, models, predict
    from client.models import ExplainFormat, PredictFilesBody
    from client.types import File

    with client.Client(base_url=server.url) as asks:
        (model,) = models.sync(client=asks).models
        assert model.labels == list("0123456789")
        (alone,) = predict.sync(client=asks, body=File(io.BytesIO(digit))).predictions
        files = [File(io.BytesIO(content), name, "image/png") for name, content in (("a", digit), ("b", b"no"))]
        first, second = predict.sync(client=asks, body=PredictFilesBody(files)).predictions
        truth = httpx.post(f"{server.url}/v1/predict", content=digit).json()["predictions"][0]
        assert alone.label == first.label == truth["label"] and alone.probabilities.to_dict() == truth["probabilities"]
        assert first.file == "a" and second.error.code == "unsupported_format"
        refused = predict.sync_detailed(client=asks, body=File(io.BytesIO(b"no")))
        assert refused.status_code == 415 and refused.parsed.error.code == "unsupported_format"
        heat = explain.sync(client=asks, body=File(io.BytesIO(digit)), format_=ExplainFormat.JSON)
        assert heat.label == truth["label"] and (heat.height, heat.width) == (8, 8)
        assert metadata_v2.sync(model.name, client=asks).inputs[0].shape == [-1, 8, 8, 1]


@pytest.mark.slow
def test_schemathesis_finds_nothing(start, frozen, tmp_path):
    server = start(frozen, "--keep", tmp_path / "kept")
    words = "--max-examples 10 --generation-deterministic --no-color --warnings off"
    words += " --exclude-checks=positive_data_acceptance"  # random bytes fit the schema of a picture, and are none
    done = subprocess.run(
        [Path(sys.executable).with_name("st"), "run", f"{server.url}/openapi.json", *words.split()],
        check=False, cwd=tmp_path, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-5000:]
    assert int(re.search(r"([\d,]+) generated", done.stdout)[1].replace(",", "")) > 400
    assert not server.log("failed")
