"""The Open Inference Protocol, version 2, as KServe and Triton speak it, with the extensions for binary tensors
and for classification.

https://kserve.github.io/website/docs/concepts/architecture/data-plane/v2-protocol and
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md,
.../extension_classification.md. What a request may have: `infer.py`.

Shape letters: N images, H height, W width, C channels, K classes.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from keensight.serving.bodies import held, read_body
from keensight.serving.infer import HEADER_LENGTH, INPUT, OUTPUT, Infer, parse
from keensight.serving.registry import Model
from keensight.serving.service import Service
from keensight.values import FloatArray, Prediction
from keensight.version import __version__

EXTENSIONS = ["binary_tensor_data", "classification"]


async def server(request: Request) -> Response:
    """Describe the server."""
    return JSONResponse({"name": "keensight", "version": __version__, "extensions": EXTENSIONS})


async def live(request: Request) -> Response:
    """Say that the process is alive."""
    return JSONResponse({"live": True})


async def ready(request: Request) -> Response:
    """Say whether the server is ready for requests."""
    is_ready = _service(request).is_ready
    return JSONResponse({"ready": is_ready}, 200 if is_ready else 503)


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
            "outputs": [
                {"name": OUTPUT, "datatype": "FP32", "shape": [-1, len(model.bundle.labels)]},
                {"name": "abstained", "datatype": "BOOL", "shape": [-1]},
                {"name": "reasons", "datatype": "BYTES", "shape": [-1]},
            ],
            "parameters": {"labels": list(model.bundle.labels)},  # in the order of the output
        }
    )


async def model_ready(request: Request) -> Response:
    """Say whether a model is loaded; if not, the status is 404."""
    model, is_ready = _model(request), _service(request).is_ready
    return JSONResponse({"name": model.name, "ready": is_ready}, 200 if is_ready else 503)


async def infer(request: Request) -> Response:
    """Classify images of the model's own size."""
    service, model = _service(request), _model(request)
    service.places.check()
    with held(service.memory) as sizes:
        body = await read_body(request, service.limits, service.memory, sizes)
        length, kind = request.headers.get(HEADER_LENGTH), request.headers.get("content-type", "")
        loop = asyncio.get_running_loop()
        asked = await loop.run_in_executor(service.decoders, parse, body, length, kind, model)
        with service.places.take(math.ceil(len(asked.images_NHWC) / service.limits.max_pictures)):
            answered = await model.batcher.submit(asked.images_NHWC)
    timing_s = {"queue": answered.queue_s, "model": answered.model_s}
    service.metrics.answered(model, answered.predictions, timing_s)
    probabilities_NK = np.array([list(p.probabilities.values()) for p in answered.predictions], np.float32)
    doubts = [_doubt(name, answered.predictions) for name in asked.doubts]
    return _answer(model, asked, probabilities_NK, doubts)


def _doubt(name: str, predictions: Sequence[Prediction]) -> tuple[str, str, list[Any], bytes]:
    """Return name, datatype, data and binary data of an output: whether each picture has no answer, or why."""
    if name == "abstained":
        abstained = [each.abstained for each in predictions]
        return name, "BOOL", abstained, bytes(abstained)
    reasons = ["; ".join(each.reasons) for each in predictions]
    return name, "BYTES", reasons, _packed(reasons)


def _answer(
    model: Model,
    asked: Infer,
    probabilities_NK: FloatArray,
    doubts: Sequence[tuple[str, str, list[Any], bytes]] = (),
) -> Response:
    names = _best(model, probabilities_NK, asked.num_classes) if asked.num_classes else None
    datatype, shape = ("FP32", probabilities_NK.shape) if names is None else ("BYTES", (len(names), len(names[0])))
    output: dict[str, Any] = {"name": OUTPUT, "datatype": datatype, "shape": list(shape)}
    others: list[dict[str, Any]] = [
        {"name": name, "datatype": kind, "shape": [len(data)]} for name, kind, data, _ in doubts
    ]
    answer = {"model_name": model.name, "model_version": model.version, "outputs": [output, *others]}
    if asked.id is not None:
        answer["id"] = asked.id
    if not asked.is_binary:
        output["data"] = probabilities_NK.reshape(-1).tolist() if names is None else [*chain.from_iterable(names)]
        for other, (_, _, data, _) in zip(others, doubts, strict=True):
            other["data"] = data
        return JSONResponse(answer)
    binary = probabilities_NK.astype("<f4").tobytes() if names is None else _packed(chain.from_iterable(names))
    output["parameters"] = {"binary_data_size": len(binary)}
    for other, (_, _, _, packed) in zip(others, doubts, strict=True):
        other["parameters"] = {"binary_data_size": len(packed)}
        binary += packed
    header = json.dumps(answer).encode()
    return Response(header + binary, 200, {HEADER_LENGTH: str(len(header))}, "application/octet-stream")


def _best(model: Model, probabilities_NK: FloatArray, num_classes: int) -> list[list[str]]:
    """Return the likeliest classes of each image as VALUE:INDEX:LABEL, the likeliest first."""
    order_NK = np.argsort(-probabilities_NK, axis=1, kind="stable")[:, :num_classes]
    labels = model.bundle.labels
    return [
        [f"{p_K[k]:.6f}:{k}:{labels[k]}" for k in order_K]
        for p_K, order_K in zip(probabilities_NK, order_NK, strict=True)
    ]


def _packed(texts: Iterable[str]) -> bytes:
    """Return a binary tensor of BYTES: each text after its length, 4 bytes, little-endian."""
    return b"".join(len(text).to_bytes(4, "little") + text for text in (each.encode() for each in texts))


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
