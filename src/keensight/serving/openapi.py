"""The API's description as OpenAPI 3.1, for programs."""

from __future__ import annotations

from keensight.serving.limits import Limits
from keensight.serving.schemas import SCHEMAS, TEXT, WHOLE, Json, json_list, json_object, ref
from keensight.version import __version__

ERRORS = {
    400: "The request or its picture is damaged, or a part of it is not understood.",
    401: "An API key is needed.",
    403: "A page of another site sent it.",
    404: "There is no such model, version or answer.",
    408: "The body took too long to arrive.",
    413: "It is too large: the body, the picture, or the number of pictures.",
    415: "The content type or the picture's format is not accepted.",
    429: "Too many requests came from this client. Retry-After says when to come back.",
    500: "The server failed. Its log has the reason.",
    503: "It is busy, about to stop, or has no model yet. Retry-After says when to come back.",
    504: "There was no answer in time.",
}
EVERYWHERE = (401, 429, 500, 503, 504)
ON_BODIES = (400, 403, 404, 408, 413, 415)
BYTES: Json = {"schema": {"type": "string", "format": "binary"}}


def openapi(limits: Limits) -> Json:
    """Return the OpenAPI 3.1 document, with the limits of this server in its texts."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "keensight",
            "version": __version__,
            "description": f"Classifies pictures by a bundle. A request has up to {limits.max_bytes:,} bytes and "
            f"{limits.max_pictures} pictures of up to {limits.max_pixels:,} pixels each: JPEG, PNG, GIF, "
            "WebP, AVIF or HEIC.",
        },
        "paths": {**_version_1(), **_version_2(), **_operations()},
        "components": {
            "schemas": SCHEMAS,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            },
        },
    }


def _version_1() -> Json:
    model = _query("model", TEXT, "NAME or NAME@VERSION; the default model if left out.")
    explained = [
        model,
        _query("label", TEXT, "The label that is asked about; the model's answer if left out."),
        _query(
            "format",
            {"enum": ["png", "json"]},
            "A transparent overlay, or numbers; if left out, what Accept names, or else the overlay.",
        ),
    ]
    return {
        "/v1/models": {"get": _operation("models", "The models that are served.", _json("Models"))},
        "/v1/predict": {
            "post": _operation(
                "predict",
                "Classify one picture, or several. One that cannot be used is an error of the whole request; of "
                "several, each has its own answer or error.",
                _json("Predictions"),
                ON_BODIES,
                [model],
                _pictures([model]),
            )
        },
        "/v1/explain": {
            "post": _operation(
                "explain",
                "A heat map: what each place of the picture adds to the answer. One at a time; 503: try again. "
                "404 where the server was started with --no-explain.",
                {
                    "image/png": {**BYTES, "schema": {"type": "string", "format": "binary"}},
                    "application/json": {"schema": ref("Heat")},
                },
                ON_BODIES,
                explained,
                _pictures(explained),
            )
        },
        "/v1/verdict": {
            "post": _operation(
                "verdict",
                "Say whether an answer was right, and what it should have been. Only where the server keeps answers.",
                None,
                ON_BODIES,
                body={"required": True, "content": _json("Verdict")},
            )
        },
        "/v1/models/{name}/card": {
            "get": _operation("card", "The model's card.", _plain("text/markdown"), (404,), [_in_path("name")])
        },
        "/v1/models/{name}/report": {
            "get": _operation("report", "The model's report.", _plain("text/html"), (404,), [_in_path("name")])
        },
    }


def _pictures(parameters: list[Json]) -> Json:
    """Return the body of a request with pictures; in a form, its parameters may be fields."""
    files = {**json_list({"type": "string", "format": "binary"}), "minItems": 1}
    fields = {each["name"]: each["schema"] for each in parameters}
    return {
        "required": True,
        "content": {
            "image/*": BYTES,
            "application/octet-stream": BYTES,
            "multipart/form-data": {"schema": json_object({"file": files, **fields}, tuple(fields))},
        },
    }


def _version_2() -> Json:
    paths: Json = {
        "/v2": {"get": _operation("serverV2", "The server, by the Open Inference Protocol.", _json("ServerV2"))},
        "/v2/health/live": {"get": _operation("liveV2", "The process is alive.", _json("LiveV2"), checks=True)},
        "/v2/health/ready": {"get": _operation("readyV2", "Requests are welcome.", _json("ReadyV2"), checks=True)},
    }
    for versions, parameters, suffix in (
        ("", [_in_path("name")], ""),
        ("/versions/{version}", [_in_path("name"), _in_path("version")], "OfVersion"),
    ):
        home = f"/v2/models/{{name}}{versions}"
        paths[home] = {
            "get": _operation(f"metadataV2{suffix}", "A model's tensors.", _json("ModelV2"), (404,), parameters)
        }
        paths[f"{home}/ready"] = {
            "get": _operation(
                f"modelReadyV2{suffix}", "The model is loaded.", _json("ModelReadyV2"), (404,), parameters
            )
        }
        paths[f"{home}/infer"] = {
            "post": _operation(
                f"inferV2{suffix}",
                "Probabilities FP32 [N, K] for images UINT8 [N, H, W, C] of the model's size. Tensors may be binary; "
                "with classification, the likeliest classes as BYTES, VALUE:INDEX:LABEL.",
                {**_json("InferredV2"), "application/octet-stream": BYTES},
                ON_BODIES,
                [
                    *parameters,
                    _header(
                        "Inference-Header-Content-Length",
                        "The number of bytes of JSON before binary tensors; 0: all is pixels.",
                    ),
                ],
                {"required": True, "content": {**_json("InferV2"), "application/octet-stream": BYTES}},
            )
        }
    for item in paths.values():
        for operation in item.values():
            for status, response in operation["responses"].items():
                if int(status) >= 400 and "content" in response:
                    response["content"] = _json("ErrorV2")
    return paths


def _operations() -> Json:
    return {
        "/healthz": {"get": _operation("healthz", "The process is alive.", _plain("text/plain"), checks=True)},
        "/readyz": {"get": _operation("readyz", "Requests are welcome.", _plain("text/plain"), checks=True)},
        "/metrics": {"get": _operation("metrics", "Counters for Prometheus.", _plain("text/plain"))},
        "/openapi.json": {
            "get": _operation("openapi", "This description.", {"application/json": {"schema": {"type": "object"}}})
        },
        "/docs": {"get": _operation("docs", "This description, as a page.", _plain("text/html"))},
    }


def _operation(
    name: str,
    summary: str,
    content: Json | None,
    errors: tuple[int, ...] = (),
    parameters: list[Json] | None = None,
    body: Json | None = None,
    checks: bool = False,
) -> Json:
    """Return an operation. Without `content` it answers 204; `checks` are for probes, and need no key."""
    ok: Json = {"description": "Done."} if content is None else {"description": "The answer."}
    if content:
        ok["content"] = content
    failures = {503: "Not now."} if checks else {status: ERRORS[status] for status in sorted({*errors, *EVERYWHERE})}
    operation: Json = {
        "operationId": name,
        "summary": summary,
        "responses": {
            "204" if content is None else "200": ok,
            **{
                str(status): {"description": text} if checks else {"description": text, "content": _json("Error")}
                for status, text in failures.items()
            },
        },
    }
    if parameters:
        operation["parameters"] = parameters
    if body:
        operation["requestBody"] = body
    if not checks:
        operation["security"] = [{}, {"bearer": []}, {"key": []}]
    return operation


def _json(name: str) -> Json:
    return {"application/json": {"schema": ref(name)}}


def _plain(kind: str) -> Json:
    return {kind: {"schema": TEXT}}


def _query(name: str, schema: Json, text: str) -> Json:
    return {"name": name, "in": "query", "required": False, "schema": schema, "description": text}


def _header(name: str, text: str) -> Json:
    return {"name": name, "in": "header", "required": False, "schema": WHOLE, "description": text}


def _in_path(name: str) -> Json:
    return {"name": name, "in": "path", "required": True, "schema": TEXT}
