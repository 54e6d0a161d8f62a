"""The Open Inference Protocol, asked by Triton's own client."""

import itertools
import json
import warnings

import numpy as np
import pytest

import keensight

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what its dependencies say to each other
    from tritonclient import http as triton
    from tritonclient.utils import InferenceServerException


@pytest.fixture
def images(frozen):
    """Two decoded pictures, uint8 NHWC, and what the bundle says of them."""
    from keensight.data.pixels import decode_picture

    predictor = keensight.load(frozen)
    files = sorted((frozen.parent / "pictures").iterdir())[:2]
    images = np.stack([decode_picture(file.read_bytes(), predictor.bundle.preprocessing) for file in files])
    return images, predictor.probabilities(images)[0]


def test_triton_gets_the_probabilities(start, frozen, images):
    images, expected = images
    client = triton.InferenceServerClient(start(frozen).url.removeprefix("http://"))
    for binary_in, binary_out in itertools.product((True, False), (True, False)):
        given = triton.InferInput("images", list(images.shape), "UINT8")
        given.set_data_from_numpy(images, binary_data=binary_in)
        output = triton.InferRequestedOutput("probabilities", binary_data=binary_out)
        answer = client.infer("frozen", [given], outputs=[output], request_id="seven")
        np.testing.assert_allclose(answer.as_numpy("probabilities"), expected, atol=1e-6)
        assert answer.get_response()["id"] == "seven"
    np.testing.assert_allclose(client.infer("frozen", [given]).as_numpy("probabilities"), expected, atol=1e-6)
    client.close()


def test_triton_gets_what_was_doubted_where_it_asks(start, frozen, images):
    """A blank picture has no answer; numbers in all forms are those of the API."""
    images = np.concatenate([images[0], np.full((1, 8, 8, 1), 90, np.uint8)])
    expected = keensight.load(frozen).on_images(images)
    assert [each.abstained for each in expected] == [False, False, True]
    client = triton.InferenceServerClient(start(frozen).url.removeprefix("http://"))
    given = triton.InferInput("images", list(images.shape), "UINT8")
    given.set_data_from_numpy(images)
    for is_binary in (True, False):
        names = ("probabilities", "abstained", "reasons")
        asked = [triton.InferRequestedOutput(name, binary_data=is_binary) for name in names]
        for outputs in (asked, asked[::-1]):
            answer = client.infer("frozen", [given], outputs=outputs)
            assert answer.as_numpy("probabilities").shape == (3, 10)
            assert answer.as_numpy("abstained").tolist() == [False, False, True]
            reasons = [text if isinstance(text, str) else text.decode() for text in answer.as_numpy("reasons").tolist()]
            assert reasons == ["; ".join(each.reasons) for each in expected] and "is blank" in reasons[2]
    client.close()


def test_triton_gets_health_metadata_and_errors(start, frozen):
    server = start(frozen)
    client = triton.InferenceServerClient(server.url.removeprefix("http://"))
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("frozen")
    assert not client.is_model_ready("nix")
    assert client.get_server_metadata()["name"] == "keensight"
    found = client.get_model_metadata("frozen")
    (version,) = found["versions"]
    assert client.is_model_ready("frozen", version)
    assert client.get_model_metadata("frozen", version) == found
    assert found["inputs"] == [{"name": "images", "datatype": "UINT8", "shape": [-1, 8, 8, 1]}]
    assert found["outputs"] == [
        {"name": "probabilities", "datatype": "FP32", "shape": [-1, 10]},
        {"name": "abstained", "datatype": "BOOL", "shape": [-1]},
        {"name": "reasons", "datatype": "BYTES", "shape": [-1]},
    ]
    given = triton.InferInput("images", [1, 4, 4, 1], "UINT8")
    given.set_data_from_numpy(np.zeros((1, 4, 4, 1), np.uint8))
    with pytest.raises(InferenceServerException, match=r"its shape must be \[N, 8, 8, 1\]"):
        client.infer("frozen", [given])
    with pytest.raises(InferenceServerException, match="There is no model nix"):
        client.infer("nix", [given])
    client.close()


def test_nested_and_flat_data_are_the_same(client, images):
    images, expected = images
    for data in (images.tolist(), images.reshape(-1).tolist()):
        body = {"inputs": [{"name": "images", "datatype": "UINT8", "shape": list(images.shape), "data": data}]}
        answer = client.post("/v2/models/frozen/infer", json=body).json()
        assert answer["model_name"] == "frozen"
        (output,) = answer["outputs"]
        assert (output["name"], output["datatype"], output["shape"]) == ("probabilities", "FP32", [2, 10])
        np.testing.assert_allclose(np.reshape(output["data"], (2, 10)), expected, atol=1e-6)


def test_more_images_than_a_batch(make_client):
    client = make_client()
    body = {"inputs": [{"name": "images", "datatype": "UINT8", "shape": [100, 8, 8, 1], "data": [0] * 6400}]}
    assert client.post("/v2/models/frozen/infer", json=body).json()["outputs"][0]["shape"] == [100, 10]


GOOD = {"name": "images", "datatype": "UINT8", "shape": [1, 8, 8, 1], "data": [0] * 64}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "cannot be used"),
        (b"[]", "of the wrong kind"),
        (b"[" * 100_000, "of the wrong kind"),
        (b"\xff", "the body is not JSON: byte 0 is not UTF-8"),
        (b"hello", "the body is not JSON (line 1, column 1: expecting value)"),
        (b"\x89PNG\r\n\x1a\n", "or a picture's file to /v1/predict"),
        ({"inputs": []}, "one input, called images"),
        ({"inputs": [GOOD, GOOD]}, "one input"),
        ({"inputs": [GOOD | {"name": "x"}]}, "called images"),
        ({"inputs": [GOOD | {"datatype": "FP32"}]}, "must be UINT8"),
        ({"inputs": [GOOD | {"shape": [1, 64]}]}, "its shape must be"),
        ({"inputs": [GOOD | {"shape": [0, 8, 8, 1], "data": []}]}, "its shape must be"),
        ({"inputs": [GOOD | {"shape": [True, 8, 8, 1]}]}, "its shape must be"),
        ({"inputs": [GOOD | {"shape": 7}]}, "of the wrong kind"),
        ({"inputs": [GOOD | {"data": [0] * 63}]}, "whole numbers from 0 to 255"),
        ({"inputs": [GOOD | {"data": [256] * 64}]}, "whole numbers from 0 to 255"),
        ({"inputs": [GOOD | {"data": [-1] * 64}]}, "whole numbers from 0 to 255"),
        ({"inputs": [GOOD | {"data": [0.5] * 64}]}, "whole numbers from 0 to 255"),
        ({"inputs": [GOOD | {"data": [10**30] * 64}]}, "whole numbers from 0 to 255"),
        ({"inputs": [GOOD | {"data": [True] + [0] * 63}]}, "true and false are no numbers"),
        ({"inputs": [GOOD | {"data": [[[0] * 8] * 7 + [[0] * 7 + [False]]]}]}, "true and false are no numbers"),
        ({"inputs": [GOOD | {"data": [True] * 64}]}, "whole numbers from 0 to 255"),
        (b'{"inputs": [], "id": "a", "id": "b"}', "the key 'id' comes twice"),
        (json.dumps({"inputs": [GOOD]}).replace('"data"', '"data": [], "data"').encode(), "the key 'data' comes twice"),
        ({"inputs": [GOOD | {"data": ["0"] * 64}]}, "whole numbers from 0 to 255"),
        (
            {"inputs": [GOOD | {"data": [[0], [0, 0]]}]},
            "inputs[0].data[1] is a list of 2, and inputs[0].data[0] a list of 1",
        ),
        ({"inputs": [GOOD | {"data": [[[1], [2, 3]]]}]}, "inputs[0].data[0][1] is a list of 2"),
        ({"inputs": [GOOD | {"data": [0, [0]]}]}, "inputs[0].data[1] is a list of 1, and inputs[0].data[0] no list"),
        ({"inputs": [GOOD | {"data": "AAAA"}]}, "inputs[0].data is missing or of the wrong kind"),
        ({"inputs": [GOOD | {"data": None}]}, "inputs[0].data is missing"),
        ({"inputs": [GOOD | {"shape": None}]}, "inputs[0].shape is missing"),
        ({"inputs": {"images": GOOD}}, "inputs is missing or of the wrong kind"),
        ({"instances": [[0]]}, "the request has no instances here"),
        (
            {"inputs": [GOOD], "parameters": {"timeout": 5}},
            "parameters has no timeout here. It takes binary_data_output",
        ),
        ({"inputs": [GOOD | {"parameters": {"content_type": "np"}}]}, "inputs[0].parameters has no content_type here"),
        ({"inputs": [GOOD | {"dtype": "UINT8"}]}, "Did you mean 'datatype'?"),
        ({"inputs": [GOOD], "parameters": {"binary_data_output": 1}}, "binary_data_output must be true or false"),
        ({"inputs": [GOOD], "parameters": []}, "parameters is of the wrong kind"),
        ({"inputs": [GOOD], "model_name": "other"}, "model_name is not frozen"),
        *(
            ({"inputs": [GOOD], "outputs": [{"name": "probabilities", "parameters": parameters}]}, message)
            for parameters, message in (
                ({"classification": "2"}, "classification must be a whole number"),
                ({"classification": -1}, "classification must be a whole number"),
                ({"shared_memory_region": "x"}, "outputs[0].parameters has no shared_memory_region here"),
            )
        ),
        ({"inputs": [GOOD | {"parameters": {"binary_data_size": 64}}]}, "another size"),
        ({"inputs": [GOOD], "outputs": [{"name": "logits"}]}, "called probabilities"),
        ({"inputs": [GOOD], "id": 7}, "its id must be text"),
    ],
)
def test_what_cannot_be_understood_is_refused(client, body, message):
    content = body if isinstance(body, bytes) else json.dumps(body)
    answer = client.post("/v2/models/frozen/infer", content=content)
    assert answer.status_code == 400, answer.text
    assert message in answer.json()["error"]


@pytest.mark.parametrize("length", ["-1", "x", "1000000", "²"])
def test_a_header_length_that_is_none(client, length):
    headers = {"Inference-Header-Content-Length": length.encode("latin-1", "replace")}
    assert client.post("/v2/models/frozen/infer", content=b"{}", headers=headers).status_code == 400


@pytest.mark.parametrize(
    "parts",
    [
        {"parameters": None},
        {"id": None, "outputs": None, "parameters": None},
        {"inputs": [GOOD | {"parameters": None}]},
        {"outputs": [{"name": "probabilities", "parameters": None}]},
        {"outputs": [{"name": "probabilities", "parameters": {"binary_data": None, "classification": None}}]},
        {"outputs": []},
        {"model_name": "frozen"},  # as in Triton's examples
    ],
)
def test_what_is_null_is_left_out(client, parts):
    plain = client.post("/v2/models/frozen/infer", json={"inputs": [GOOD]})
    assert client.post("/v2/models/frozen/infer", json={"inputs": [GOOD], **parts}).json() == plain.json()


def test_health_answers_in_json(client, make_service, make_client):
    assert client.get("/v2/health/live").json() == {"live": True}
    assert client.get("/v2/health/ready").json() == {"ready": True}
    assert client.get("/v2/models/frozen/ready").json() == {"name": "frozen", "ready": True}
    service = make_service()
    service.is_draining = True
    answer = make_client(service=service).get("/v2/health/ready")
    assert (answer.status_code, answer.json()) == (503, {"ready": False})


def test_metadata_has_the_labels_in_order(client, frozen):
    found = client.get("/v2/models/frozen").json()
    assert found["parameters"] == {"labels": json.loads((frozen / "bundle.json").read_text())["labels"]}


def test_raw_pixels_are_classified(client, images):
    images, expected = images
    raw = {"Inference-Header-Content-Length": "0", "Content-Type": "application/octet-stream"}
    answer = client.post("/v2/models/frozen/infer", content=images.tobytes(), headers=raw)
    length = int(answer.headers["Inference-Header-Content-Length"])
    (output,) = json.loads(answer.content[:length])["outputs"]
    assert output["shape"] == [2, 10]
    got = np.frombuffer(answer.content[length:], "<f4").reshape(2, 10)
    np.testing.assert_allclose(got, expected, atol=1e-6)
    for bad in (b"", images.tobytes()[1:]):
        answer = client.post("/v2/models/frozen/infer", content=bad, headers=raw)
        assert answer.status_code == 400
        assert "the body is raw pixels, 64 bytes for each image [8, 8, 1]" in answer.json()["error"]


def test_json_is_not_taken_for_pixels(client):
    headers = {"Inference-Header-Content-Length": "0", "Content-Type": "application/json; charset=utf-8"}
    answer = client.post("/v2/models/frozen/infer", content=b" " * 64, headers=headers)
    assert answer.status_code == 400
    assert "its Content-Type says JSON" in answer.json()["error"]


def test_triton_gets_the_likeliest_classes(start, frozen, images):
    images, expected = images
    labels = json.loads((frozen / "bundle.json").read_text())["labels"]
    client = triton.InferenceServerClient(start(frozen).url.removeprefix("http://"))
    assert "classification" in client.get_server_metadata()["extensions"]
    for is_binary, count in itertools.product((True, False), (2, 99)):
        given = triton.InferInput("images", list(images.shape), "UINT8")
        given.set_data_from_numpy(images)
        output = triton.InferRequestedOutput("probabilities", binary_data=is_binary, class_count=count)
        found = client.infer("frozen", [given], outputs=[output]).as_numpy("probabilities")
        assert found.shape == (2, min(count, 10))
        for texts, probabilities in zip(found.tolist(), expected, strict=True):
            rows = [(text if isinstance(text, str) else text.decode()).split(":", 2) for text in texts]
            best = sorted(range(10), key=lambda k: -probabilities[k])[:count]
            assert [int(index) for _, index, _ in rows] == best
            assert [label for _, _, label in rows] == [labels[k] for k in best]
            np.testing.assert_allclose([float(p) for p, _, _ in rows], probabilities[best], atol=1e-5)
    client.close()
