"""The JSON answer of `POST /v1/predict`, on the fast path and on the regular one."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any

from keensight.serving.limits import RefusalError
from keensight.serving.registry import Model
from keensight.serving.uploads import Upload
from keensight.values import Prediction


def described(picture: Upload, answer: Prediction | RefusalError) -> dict[str, Any]:
    """Return the JSON for one picture. The ids are secret: anyone who knows one may judge the answer."""
    if isinstance(answer, RefusalError):
        return {"file": picture.file, "error": {"code": answer.code, "message": str(answer)}}
    return {
        "id": secrets.token_hex(16),
        "file": picture.file,
        "label": answer.label,
        "probability": answer.probability,
        "probabilities": answer.probabilities,
        "abstained": answer.abstained,
        "notes": list(answer.notes),
        "reasons": list(answer.reasons),
        "label_set": None if answer.label_set is None else list(answer.label_set),
    }


def whole_answer(
    model: Model,
    predictions: Sequence[Mapping[str, Any]],
    timing_s: Mapping[str, float],
    started: float,
    request_id: str,
) -> dict[str, Any]:
    """Return the whole answer to a request that arrived at `started`, a `time.perf_counter`."""
    timing_ms = {name: round(seconds * 1e3, 3) for name, seconds in timing_s.items()}
    return {
        "model": model.name,
        "version": model.version,
        "predictions": predictions,
        "timing_ms": {**timing_ms, "total": round((time.perf_counter() - started) * 1e3, 3)},
        "request_id": request_id,
    }
