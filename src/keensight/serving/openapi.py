"""The API's description: as OpenAPI 3.1 for programs, and as a plain page for people."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from html import escape
from typing import Any

from keensight.serving.limits import Limits
from keensight.version import __version__

Json = dict[str, Any]

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

TEXT: Json = {"type": "string"}
NUMBER: Json = {"type": "number"}
WHOLE: Json = {"type": "integer", "minimum": 0}
TRUTH: Json = {"type": "boolean"}
SHARE: Json = {"type": "number", "minimum": 0, "maximum": 1}


def _object(properties: Json, optional: tuple[str, ...] = ()) -> Json:
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required}


def _list(items: Json) -> Json:
    return {"type": "array", "items": items}


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _nullable(schema: Json) -> Json:
    return {"anyOf": [schema, {"type": "null"}]}


def _known(properties: Json, required: Iterable[str] = ()) -> Json:
    """Return an object whose other properties are refused; those that are not required may be null, too."""
    schemas = {name: schema if name in required else _nullable(schema) for name, schema in properties.items()}
    return {"type": "object", "properties": schemas, "required": [*required], "additionalProperties": False}


_TENSOR = {"name": TEXT, "datatype": TEXT, "shape": _list({"type": "integer"})}
SCHEMAS: Json = {
    "Error": _object({"error": _object({"code": TEXT, "message": TEXT}), "request_id": TEXT}),
    "ErrorV2": _object({"error": TEXT, "request_id": TEXT}),
    "Accuracy": _object(
        {"split": {"enum": ["test", "val"]}, "value": SHARE, "low": SHARE, "high": SHARE, "n": WHOLE},
    ),
    "Model": _object(
        {
            "name": TEXT,
            "version": {**TEXT, "description": "12 hexadecimal digits of a hash over the bundle's files."},
            "labels": _list(TEXT),
            "height": WHOLE,
            "width": WHOLE,
            "channels": {"enum": [1, 3]},
            "fit": {
                "enum": ["squash", "letterbox", "crop"],
                "description": "How a picture of another shape is made to fit.",
            },
            "abstain_below": SHARE,
            "signed": TRUTH,
            "verified": {**TRUTH, "description": "Its signature was checked with the server's public key."},
            "signed_by": {**_nullable(TEXT), "description": "SHA-256 of the public key that it was verified with."},
            "default": {**TRUTH, "description": "It answers when no model is named."},
            "drawing": {**TRUTH, "description": "It reads digits, so it can be given drawings."},
            "parameters": _nullable(WHOLE),
            "accuracy": _nullable(_ref("Accuracy")),
            "warnings": {
                **_list(TEXT),
                "description": "What a user must not miss, such as an accuracy below a simple method's.",
            },
        }
    ),
    "Models": _object(
        {"models": _list(_ref("Model")), "keep": TRUTH, "explain": TRUTH, "max_bytes": WHOLE, "max_pictures": WHOLE},
    ),
    "Prediction": _object(
        {
            "id": TEXT,
            "file": _nullable(TEXT),
            "label": TEXT,
            "probability": SHARE,
            "probabilities": {"type": "object", "additionalProperties": SHARE},
            "abstained": {**TRUTH, "description": "The model is not sure enough, so its label should not be used."},
            "notes": _list(TEXT),
            "reasons": {**_list(TEXT), "description": "Why it abstained; empty if it did not."},
            "label_set": {
                **_nullable(_list(TEXT)),
                "description": "Labels among which the true one is, with the probability that the bundle states.",
            },
        }
    ),
    "Refused": _object({"file": _nullable(TEXT), "error": _object({"code": TEXT, "message": TEXT})}),
    "Predictions": _object(
        {
            "model": TEXT,
            "version": TEXT,
            "predictions": _list({"anyOf": [_ref("Prediction"), _ref("Refused")]}),
            "timing_ms": _object({"decode": NUMBER, "queue": NUMBER, "model": NUMBER, "total": NUMBER}),
            "request_id": TEXT,
        }
    ),
    "Heat": _object(
        {
            "label": TEXT,
            "probability": SHARE,
            "inverted": {**TRUTH, "description": "Whether the model saw the picture's negative."},
            "height": WHOLE,
            "width": WHOLE,
            "heat": {
                **_list(_list(NUMBER)),
                "description": "For each pixel of the model's input, by how many points the label's log-odds would be "
                "lower without the patch around it: each makes its odds 2.7 times smaller. Less than 0 where it speaks "
                "against the label.",
            },
        }
    ),
    "Verdict": _object({"id": TEXT, "right": TRUTH, "label": _nullable(TEXT)}, optional=("label",)),
    "ServerV2": _object({"name": TEXT, "version": TEXT, "extensions": _list(TEXT)}),
    "LiveV2": _object({"live": TRUTH}),
    "ReadyV2": _object({"ready": TRUTH}),
    "ModelReadyV2": _object({"name": TEXT, "ready": TRUTH}),
    "ModelV2": _object(
        {
            "name": TEXT,
            "versions": _list(TEXT),
            "platform": TEXT,
            "inputs": _list(_object(_TENSOR)),
            "outputs": _list(_object(_TENSOR)),
            "parameters": _object({"labels": {**_list(TEXT), "description": "In the order of the output."}}),
        }
    ),
    "InferV2": _known(
        {
            "id": TEXT,
            "model_name": TEXT,
            "model_version": TEXT,
            "parameters": _known({"binary_data_output": TRUTH}),
            "inputs": {
                **_list(
                    _known({**_TENSOR, "parameters": _known({"binary_data_size": WHOLE}), "data": _list({})}, _TENSOR)
                ),
                "minItems": 1,
                "maxItems": 1,
            },
            "outputs": {
                **_list(
                    _known(
                        {"name": TEXT, "parameters": _known({"binary_data": TRUTH, "classification": WHOLE})}, ["name"]
                    )
                ),
                "maxItems": 1,
            },
        },
        ["inputs"],
    ),
    "InferredV2": _object(
        {
            "id": TEXT,
            "model_name": TEXT,
            "model_version": TEXT,
            "outputs": _list(
                _object(
                    {
                        **_TENSOR,
                        "parameters": _object({"binary_data_size": WHOLE}),
                        "data": _list({"type": ["number", "string"]}),
                    },
                    optional=("parameters", "data"),
                )
            ),
        },
        optional=("id",),
    ),
}
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
            {"enum": ["png", "json"], "default": "png"},
            "A transparent overlay, or numbers; if left out, what Accept names.",
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
                    "application/json": {"schema": _ref("Heat")},
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
    files = {**_list({"type": "string", "format": "binary"}), "minItems": 1}
    fields = {each["name"]: each["schema"] for each in parameters}
    return {
        "required": True,
        "content": {
            "image/*": BYTES,
            "application/octet-stream": BYTES,
            "multipart/form-data": {"schema": _object({"file": files, **fields}, tuple(fields))},
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
    return {"application/json": {"schema": _ref(name)}}


def _plain(kind: str) -> Json:
    return {kind: {"schema": TEXT}}


def _query(name: str, schema: Json, text: str) -> Json:
    return {"name": name, "in": "query", "required": False, "schema": schema, "description": text}


def _header(name: str, text: str) -> Json:
    return {"name": name, "in": "header", "required": False, "schema": WHOLE, "description": text}


def _in_path(name: str) -> Json:
    return {"name": name, "in": "path", "required": True, "schema": TEXT}


STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 50rem; margin: 2rem auto; padding: 0 1rem; color: #1f2937 }
h2 { font-size: 1.1rem; margin: 2rem 0 .25rem } code { font: .95em ui-monospace, monospace }
h2 b { color: #1d4ed8 } p { margin: .25rem 0 } table { border-collapse: collapse; margin: .5rem 0 }
td { padding: .1rem 1rem .1rem 0; vertical-align: top }
@media (prefers-color-scheme: dark) { body { background: #111827; color: #e5e7eb } h2 b, a { color: #93c5fd } }
"""


def _said(parameter: Json) -> str:
    values = parameter["schema"].get("enum")
    return f"{' or '.join(values)}. {parameter['description']}" if values else parameter.get("description", "")


def _contents(document: Json, part: Json) -> list[str]:
    """Return the content types of a body or an answer, with the fields of those that are JSON."""
    found = []
    for kind, content in part.get("content", {}).items():
        name = content["schema"].get("$ref", "").rpartition("/")[2]
        fields = document["components"]["schemas"][name]["properties"] if name else {}
        found.append(f"{kind} {{{', '.join(fields)}}}" if fields else kind)
    return found


def docs_page(document: Json) -> tuple[str, str]:
    """Return a page that shows an OpenAPI document, and the Content-Security-Policy that it needs."""
    info = document["info"]
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8>",
        '<meta name=viewport content="width=device-width">',
        f"<title>{escape(info['title'])}: the interface</title><style>{STYLE}</style>",
        f"<h1>{escape(info['title'])} {escape(info['version'])}</h1><p>{escape(info['description'])}",
        '<p>For programs: <a href="/openapi.json">/openapi.json</a>. '
        "Errors are <code>{&quot;error&quot;: {&quot;code&quot;, &quot;message&quot;}, &quot;request_id&quot;}</code>, "
        "and below /v2 <code>{&quot;error&quot;: message}</code>.",
    ]
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            parts.append(
                f"<h2><b>{method.upper()}</b> <code>{escape(path)}</code></h2><p>{escape(operation['summary'])}"
            )
            rows = [
                (f"<code>{escape(p['name'])}</code> ({p['in']})", _said(p)) for p in operation.get("parameters", ())
            ]
            if body := operation.get("requestBody"):
                rows.append(("body", "; ".join(_contents(document, body))))
            rows += [
                (code, "; ".join([answer["description"], *(_contents(document, answer) if code < "300" else ())]))
                for code, answer in operation["responses"].items()
            ]
            cells = "".join(f"<tr><td>{name}<td>{escape(text)}" for name, text in rows)
            parts.append(f"<table>{cells}</table>")
    digest = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    csp = (
        f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return "\n".join(parts), csp
