"""The Open Inference Protocol, version 2, as KServe and Triton speak it, with the binary tensor extension.

https://kserve.github.io/website/docs/concepts/architecture/data-plane/v2-protocol and
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md

Shape letters: N images, H height, W width, C channels, K classes.
"""

from __future__ import annotations

import asyncio
import json
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from keensight.serving.bodies import held, read_body
from keensight.serving.limits import RefusalError
from keensight.serving.registry import Model
from keensight.serving.service import Service
from keensight.values import FloatArray, Uint8Array
from keensight.version import __version__

HEADER_LENGTH = "Inference-Header-Content-Length"
INPUT, OUTPUT = "images", "probabilities"


@dataclass(frozen=True, slots=True)
class Infer:
    """A parsed request: images uint8 NHWC, and the form of its answer."""

    id: str | None
    images_NHWC: Uint8Array
    is_binary: bool


async def server(request: Request) -> Response:
    """Describe the server."""
    return JSONResponse({"name": "keensight", "version": __version__, "extensions": ["binary_tensor_data"]})


async def live(request: Request) -> Response:
    """Say that the process is alive."""
    return Response()


async def ready(request: Request) -> Response:
    """Say whether the server is ready for requests."""
    return Response(status_code=200 if _service(request).is_ready else 503)


async def metadata(request: Request) -> Response:
    """Describe a model."""
    model = _model(request)
    size = model.bundle.preprocessing
    versions = [other.version for other in _service(request).registry if other.name == model.name]
    return JSONResponse(
        {
            "name": model.name,
            "versions": versions,
            "platform": f"{model.predictor.engine.name}_onnx",
            "inputs": [{"name": INPUT, "datatype": "UINT8", "shape": [-1, size.height, size.width, size.channels]}],
            "outputs": [{"name": OUTPUT, "datatype": "FP32", "shape": [-1, len(model.bundle.labels)]}],
        }
    )


async def model_ready(request: Request) -> Response:
    """Say whether a model is loaded; if not, the status is 404."""
    _model(request)
    return Response(status_code=200 if _service(request).is_ready else 503)


async def infer(request: Request) -> Response:
    """Classify images of the model's own size."""
    service, model = _service(request), _model(request)
    service.places.check()
    with held(service.memory) as sizes:
        body = await read_body(request, service.limits, service.memory, sizes)
        length = request.headers.get(HEADER_LENGTH)
        loop = asyncio.get_running_loop()
        asked = await loop.run_in_executor(service.decoders, parse, body, length, model)
        with service.places.take(math.ceil(len(asked.images_NHWC) / service.limits.max_pictures)):
            answered = await model.batcher.submit(asked.images_NHWC)
    timing_s = {"queue": answered.queue_s, "model": answered.model_s}
    service.metrics.answered(model, answered.predictions, timing_s)
    probabilities_NK = np.array([list(p.probabilities.values()) for p in answered.predictions], np.float32)
    return _answer(model, asked, probabilities_NK)


def parse(body: bytes, header_length: str | None, model: Model) -> Infer:
    """Parse the body of an inference request. Raises RefusalError (400) that says what is wrong with it."""
    try:
        if header_length is not None and not (header_length.isascii() and header_length.isdigit()):
            raise ValueError(f"{HEADER_LENGTH} is not a number")
        end = len(body) if header_length is None else int(header_length)
        if end > len(body):
            raise ValueError(f"{HEADER_LENGTH} is larger than the body")
        asked = json.loads(body[:end])
        inputs = asked["inputs"]
        if len(inputs) != 1 or inputs[0]["name"] != INPUT:
            raise ValueError(f"it must have one input, called {INPUT}")
        images_NHWC = _tensor(inputs[0], body[end:], model)
        outputs = asked.get("outputs") or [{"name": OUTPUT}]
        if len(outputs) != 1 or outputs[0]["name"] != OUTPUT:
            raise ValueError(f"it can ask for one output, called {OUTPUT}")
        by_default = asked.get("parameters", {}).get("binary_data_output", False)
        is_binary = outputs[0].get("parameters", {}).get("binary_data", by_default)
        given = asked.get("id")
        if not (given is None or isinstance(given, str)) or not isinstance(is_binary, bool):
            raise ValueError("its id must be text, and binary_data true or false")
        return Infer(given, images_NHWC, is_binary)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        detail = str(error) if type(error) is ValueError else "a part of it is missing or of the wrong kind"
        raise RefusalError(400, "bad_request", f"The inference request cannot be used: {detail}.") from error


def _tensor(given: dict[str, Any], binary: bytes, model: Model) -> Uint8Array:
    size = model.bundle.preprocessing
    wanted = (size.height, size.width, size.channels)
    shape = given["shape"]
    if not all(type(side) is int for side in shape) or tuple(shape[1:]) != wanted or shape[0] < 1:
        raise ValueError(f"its shape must be [N, {', '.join(map(str, wanted))}]")
    if given["datatype"] != "UINT8":
        raise ValueError("its datatype must be UINT8")
    binary_size = given.get("parameters", {}).get("binary_data_size")
    if binary_size is not None:
        if binary_size != len(binary) or len(binary) != math.prod(shape):
            raise ValueError("its binary data has another size than its shape, or than binary_data_size says")
        return np.frombuffer(binary, np.uint8).reshape(shape)
    if binary:
        raise ValueError("it has binary data, but no binary_data_size")
    data = np.array(given["data"])
    if data.dtype.kind not in "iu" or data.size != math.prod(shape) or data.min() < 0 or data.max() > 255:
        raise ValueError("its data must be as many whole numbers from 0 to 255 as its shape says")
    return data.astype(np.uint8).reshape(shape)


def _answer(model: Model, asked: Infer, probabilities_NK: FloatArray) -> Response:
    output: dict[str, Any] = {"name": OUTPUT, "datatype": "FP32", "shape": list(probabilities_NK.shape)}
    answer = {"model_name": model.name, "model_version": model.version, "outputs": [output]}
    if asked.id is not None:
        answer["id"] = asked.id
    if not asked.is_binary:
        output["data"] = probabilities_NK.reshape(-1).tolist()
        return JSONResponse(answer)
    binary = probabilities_NK.astype("<f4").tobytes()
    output["parameters"] = {"binary_data_size": len(binary)}
    header = json.dumps(answer).encode()
    return Response(header + binary, 200, {HEADER_LENGTH: str(len(header))}, "application/octet-stream")


def _model(request: Request) -> Model:
    return _service(request).registry.find(request.path_params["name"], request.path_params.get("version"))


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


ROUTES = [
    Route("/v2", server, methods=["GET"]),
    Route("/v2/health/live", live, methods=["GET"]),
    Route("/v2/health/ready", ready, methods=["GET"]),
    *(
        Route(f"/v2/models/{{name}}{version}{path}", endpoint, methods=[method])
        for version in ("", "/versions/{version}")
        for path, endpoint, method in (("", metadata, "GET"), ("/ready", model_ready, "GET"), ("/infer", infer, "POST"))
    ),
]
