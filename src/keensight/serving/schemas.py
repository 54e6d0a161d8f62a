"""The shapes of what the API takes and answers, as JSON schemas."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

Json = dict[str, Any]

TEXT: Json = {"type": "string"}
NUMBER: Json = {"type": "number"}
WHOLE: Json = {"type": "integer", "minimum": 0}
TRUTH: Json = {"type": "boolean"}
SHARE: Json = {"type": "number", "minimum": 0, "maximum": 1}


def json_object(properties: Json, optional: tuple[str, ...] = ()) -> Json:
    """Return an object's schema."""
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required}


def json_list(items: Json) -> Json:
    """Return a list's schema."""
    return {"type": "array", "items": items}


def ref(name: str) -> Json:
    """Return a reference to one of SCHEMAS."""
    return {"$ref": f"#/components/schemas/{name}"}


def _nullable(schema: Json) -> Json:
    return {"anyOf": [schema, {"type": "null"}]}


def _known(properties: Json, required: Iterable[str] = ()) -> Json:
    """Return an object whose other properties are refused; those that are not required may be null, too."""
    schemas = {name: schema if name in required else _nullable(schema) for name, schema in properties.items()}
    return {"type": "object", "properties": schemas, "required": [*required], "additionalProperties": False}


_TENSOR = {"name": TEXT, "datatype": TEXT, "shape": json_list({"type": "integer"})}
SCHEMAS: Json = {
    "Error": json_object({"error": json_object({"code": TEXT, "message": TEXT}), "request_id": TEXT}),
    "ErrorV2": json_object({"error": TEXT, "request_id": TEXT}),
    "Accuracy": json_object(
        {"split": {"enum": ["test", "val"]}, "value": SHARE, "low": SHARE, "high": SHARE, "n": WHOLE},
    ),
    "Model": json_object(
        {
            "name": TEXT,
            "version": {**TEXT, "description": "12 hexadecimal digits of a hash over the bundle's files."},
            "labels": json_list(TEXT),
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
            "accuracy": _nullable(ref("Accuracy")),
            "warnings": {
                **json_list(TEXT),
                "description": "What a user must not miss, such as an accuracy below a simple method's.",
            },
        }
    ),
    "Models": json_object(
        {"models": json_list(ref("Model")), "keep": TRUTH, "explain": TRUTH, "max_bytes": WHOLE, "max_pictures": WHOLE},
    ),
    "Prediction": json_object(
        {
            "id": TEXT,
            "file": _nullable(TEXT),
            "label": TEXT,
            "probability": SHARE,
            "probabilities": {"type": "object", "additionalProperties": SHARE},
            "abstained": {**TRUTH, "description": "The model is not sure enough, so its label should not be used."},
            "notes": json_list(TEXT),
            "reasons": {**json_list(TEXT), "description": "Why it abstained; empty if it did not."},
            "label_set": {
                **_nullable(json_list(TEXT)),
                "description": "Labels among which the true one is, with the probability that the bundle states.",
            },
        }
    ),
    "Refused": json_object({"file": _nullable(TEXT), "error": json_object({"code": TEXT, "message": TEXT})}),
    "Predictions": json_object(
        {
            "model": TEXT,
            "version": TEXT,
            "predictions": json_list({"anyOf": [ref("Prediction"), ref("Refused")]}),
            "timing_ms": json_object({"decode": NUMBER, "queue": NUMBER, "model": NUMBER, "total": NUMBER}),
            "request_id": TEXT,
        }
    ),
    "Heat": json_object(
        {
            "label": TEXT,
            "probability": SHARE,
            "inverted": {**TRUTH, "description": "Whether the model saw the picture's negative."},
            "height": WHOLE,
            "width": WHOLE,
            "heat": {
                **json_list(json_list(NUMBER)),
                "description": "For each pixel of the model's input, by how many points the label's log-odds would be "
                "lower without the patch around it: each makes its odds 2.7 times smaller. Less than 0 where it speaks "
                "against the label.",
            },
        }
    ),
    "Verdict": json_object({"id": TEXT, "right": TRUTH, "label": _nullable(TEXT)}, optional=("label",)),
    "ServerV2": json_object({"name": TEXT, "version": TEXT, "extensions": json_list(TEXT)}),
    "LiveV2": json_object({"live": TRUTH}),
    "ReadyV2": json_object({"ready": TRUTH}),
    "ModelReadyV2": json_object({"name": TEXT, "ready": TRUTH}),
    "ModelV2": json_object(
        {
            "name": TEXT,
            "versions": json_list(TEXT),
            "platform": TEXT,
            "inputs": json_list(json_object(_TENSOR)),
            "outputs": json_list(json_object(_TENSOR)),
            "parameters": json_object({"labels": {**json_list(TEXT), "description": "In the order of the output."}}),
        }
    ),
    "InferV2": _known(
        {
            "id": TEXT,
            "model_name": TEXT,
            "model_version": TEXT,
            "parameters": _known({"binary_data_output": TRUTH}),
            "inputs": {
                **json_list(
                    _known(
                        {**_TENSOR, "parameters": _known({"binary_data_size": WHOLE}), "data": json_list({})}, _TENSOR
                    )
                ),
                "minItems": 1,
                "maxItems": 1,
            },
            "outputs": {
                **json_list(
                    _known(
                        {"name": TEXT, "parameters": _known({"binary_data": TRUTH, "classification": WHOLE})}, ["name"]
                    )
                ),
                "maxItems": 1,
            },
        },
        ["inputs"],
    ),
    "InferredV2": json_object(
        {
            "id": TEXT,
            "model_name": TEXT,
            "model_version": TEXT,
            "outputs": json_list(
                json_object(
                    {
                        **_TENSOR,
                        "parameters": json_object({"binary_data_size": WHOLE}),
                        "data": json_list({"type": ["number", "string"]}),
                    },
                    optional=("parameters", "data"),
                )
            ),
        },
        optional=("id",),
    ),
}
