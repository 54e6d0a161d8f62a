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
    assert found["outputs"] == [{"name": "probabilities", "datatype": "FP32", "shape": [-1, 10]}]
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
        (b"\xff", "cannot be used"),
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
        ({"inputs": [GOOD | {"data": ["0"] * 64}]}, "whole numbers from 0 to 255"),
        ({"inputs": [GOOD | {"data": [[0], [0, 0]]}]}, "cannot be used"),
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
