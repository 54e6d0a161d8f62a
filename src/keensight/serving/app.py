"""The routes, and the endpoints of version 1 of the API.

Shape letters: N images, H height, W width, C channels.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable

import numpy as np
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from keensight.bundle.strict_json import without_repeats
from keensight.names import odd_name
from keensight.serving import protocol
from keensight.serving.answers import described, whole_answer
from keensight.serving.bodies import held, read_body
from keensight.serving.decoding import SMALL_WORK
from keensight.serving.guard import PARAMETERS, Guard, check_parameters, error_response
from keensight.serving.limits import RefusalError
from keensight.serving.metrics import CONTENT_TYPE
from keensight.serving.openapi import openapi
from keensight.serving.openapi_page import docs_page
from keensight.serving.registry import Model
from keensight.serving.service import Service
from keensight.serving.static import page_files
from keensight.serving.uploads import (
    LargePictureError,
    Sent,
    Upload,
    decode,
    decode_now,
    refusals,
    twice,
    uploads,
)
from keensight.values import Prediction, Uint8Array

MAX_LABEL = 200
SMALL_FORM = 32_768  # bytes; a larger form is parsed in another thread, as that takes a while
NO_STORE = {"Cache-Control": "no-store"}
REPORT_CSP = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'self'"

Endpoint = Callable[[Request], Awaitable[Response]]


def create_app(service: Service) -> Starlette:
    """Return the ASGI application that answers with what `service` holds."""
    routes = [
        *(Route(path, _file(content, kind), methods=["GET"]) for path, (content, kind) in page_files().items()),
        Route("/v1/models", models, methods=["GET"]),
        Route("/v1/models/{name}/card", card, methods=["GET"]),
        Route("/v1/models/{name}/report", report, methods=["GET"]),
        Route("/v1/predict", predict, methods=["POST"]),
        Route("/v1/explain", explain, methods=["POST"]),
        Route("/v1/verdict", verdict, methods=["POST"]),
        *protocol.ROUTES,
        Route("/healthz", healthz, methods=["GET"]),
        Route("/readyz", readyz, methods=["GET"]),
        Route("/metrics", metrics, methods=["GET"]),
        Route("/openapi.json", openapi_json, methods=["GET"]),
        Route("/docs", docs, methods=["GET"]),
    ]
    names = {route.endpoint: route.path for route in reversed(routes)}
    app = Starlette(
        routes=routes,
        middleware=[Middleware(Guard, service=service, routes=names)],
        exception_handlers={HTTPException: _http_error},
    )
    app.router.redirect_slashes = False
    app.state.service = service
    return app


async def models(request: Request) -> Response:
    """List the models."""
    service = _service(request)
    return JSONResponse(
        {
            "models": service.registry.described(),
            "keep": service.keeper is not None,
            "explain": service.explains,
            "max_bytes": service.limits.max_bytes,
            "max_pictures": service.limits.max_pictures,
        },
        headers=NO_STORE,
    )


async def predict(request: Request) -> Response:
    """Classify one picture or several."""
    started = time.perf_counter()
    service = _service(request)
    service.registry.named(request.query_params.get("model"))
    service.places.check()
    with held(service.memory) as sizes:
        body = await read_body(request, service.limits, service.memory, sizes)
        sent = await _uploads(request, body)
        model = service.registry.named(_parameters(request, sent).get("model"))
        pictures = sent.pictures
        del body, sent
        with service.places.take(len(pictures)):
            answers, timing_s = await _answers(service, model, pictures)
    if len(pictures) == 1 and isinstance(answers[0], RefusalError):
        raise answers[0]
    predictions = [described(picture, answer) for picture, answer in zip(pictures, answers, strict=True)]
    if service.keeper is not None:
        await service.keeper.keep(model, pictures, predictions)
    answer = whole_answer(model, predictions, timing_s, started, request.state.request_id)
    return JSONResponse(answer, headers=NO_STORE)


def _parameters(request: Request, sent: Sent) -> dict[str, str]:
    """Return the parameters in the address and in the form. Raises RefusalError (400) for an unknown one, or two."""
    check_parameters(sent.fields, PARAMETERS[request.url.path])
    for name, value in sent.fields.items():
        if request.query_params.get(name, value) != value:
            raise twice(name)
    return {**request.query_params, **sent.fields}


async def _uploads(request: Request, body: bytes) -> Sent:
    service = _service(request)
    content_type = request.headers.get("content-type", "")
    if content_type.startswith("multipart/") and len(body) > SMALL_FORM:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(service.decoders, uploads, content_type, body, service.limits)
    return uploads(content_type, body, service.limits)


async def _answers(
    service: Service, model: Model, pictures: list[Upload]
) -> tuple[list[Prediction | RefusalError], dict[str, float]]:
    """Return an answer for each picture, in order, and how long decoding, waiting and the model took, in seconds."""
    started = time.perf_counter()
    with model.batcher.expecting():
        images = await asyncio.gather(*(decoded(service, model, picture) for picture in pictures))
        decode_s = time.perf_counter() - started
    timing_s = {"decode": decode_s, "queue": 0.0, "model": 0.0}
    good = [image for image in images if not isinstance(image, RefusalError)]
    predictions: list[Prediction] = []
    if good:
        answered = await model.batcher.submit(np.stack(good))
        predictions = answered.predictions
        timing_s |= {"queue": answered.queue_s, "model": answered.model_s}
        service.metrics.answered(model, predictions, timing_s)
    remaining = iter(predictions)
    return [image if isinstance(image, RefusalError) else next(remaining) for image in images], timing_s


async def decoded(service: Service, model: Model, picture: Upload) -> Uint8Array | RefusalError:
    """Return a picture as the model needs it, uint8 HWC, or the reason why it cannot be used."""
    loop, asked = asyncio.get_running_loop(), (picture, model.bundle.preprocessing, service.limits)
    try:
        if model.is_small and (image_HWC := decode_now(*asked)) is not None:
            return image_HWC
        try:
            return await loop.run_in_executor(service.decoders, decode, *asked, SMALL_WORK)
        except LargePictureError as large:
            until = min(time.monotonic() + service.limits.request_s, service.stop_at)
            job = service.apart.submit(picture.content, model.bundle.preprocessing, large.work, until)
        try:
            with refusals(service.limits):
                return await asyncio.wrap_future(job.result)
        except asyncio.CancelledError:  # the request has timed out
            service.apart.give_up(job)
            raise
    except RefusalError as error:
        return error


async def explain(request: Request) -> Response:
    """Return an occlusion heat map: where covering the picture changes the answer."""
    from keensight.serving.heat import heat, overlay  # with what explains: few ask, and it takes far longer than this

    service = _service(request)
    if not service.explains:
        raise RefusalError(
            404, "not_explained", "This server explains no answers: it was started with --no-explain. Ask /v1/predict."
        )
    service.registry.named(request.query_params.get("model"))
    until = time.monotonic() + service.limits.request_s

    def is_over() -> bool:
        return time.monotonic() > min(until, service.stop_at)

    service.explaining.check()
    with held(service.memory) as sizes:
        body = await read_body(request, service.limits, service.memory, sizes)
        sent = await _uploads(request, body)
        asked = _parameters(request, sent)
        model = service.registry.named(asked.get("model"))
        form = asked.get("format") or _form_accepted(request.headers.get("accept", ""))
        if form not in ("png", "json"):
            raise RefusalError(400, "unknown_format", "The format can be png or json.")
        if len(sent.pictures) > 1:
            raise RefusalError(
                413, "too_many_pictures", "Only one picture can be explained at a time. Send the others separately."
            )
        with service.explaining.take():
            image_HWC = await decoded(service, model, sent.pictures[0])
            if isinstance(image_HWC, RefusalError):
                raise image_HWC
            loop = asyncio.get_running_loop()
            label = asked.get("label") or None
            found = await loop.run_in_executor(service.explainer, heat, model, image_HWC, label, is_over)
    if form == "png":
        told = {"X-Largest-Drop": f"{np.abs(found.drop_HW).max():.4f}", "X-Inverted": str(found.inverted).lower()}
        return Response(overlay(found.drop_HW), media_type="image/png", headers={**NO_STORE, **told})
    height, width = found.drop_HW.shape
    answer = {"label": found.label, "probability": found.probability, "inverted": found.inverted}
    heat_HW = (found.drop_HW.round(6) + 0.0).tolist()  # no -0.0
    return JSONResponse({**answer, "height": height, "width": width, "heat": heat_HW}, headers=NO_STORE)


def _form_accepted(accept: str) -> str:
    """Return the form of an explanation whose `format` is not named: JSON for a client that takes only that."""
    kinds = [kind.partition(";")[0].strip().lower() for kind in accept.split(",")]
    return "json" if "application/json" in kinds and not {"image/png", "image/*", "*/*"} & {*kinds} else "png"


async def verdict(request: Request) -> Response:
    """Store a person's verdict on an answer."""
    service = _service(request)
    if service.keeper is None:
        raise RefusalError(404, "not_kept", "This server keeps nothing, so there is nothing to judge.")
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise RefusalError(415, "unsupported_media_type", "A verdict is sent as application/json.")
    with held(service.memory) as sizes:
        body = await read_body(request, service.limits, service.memory, sizes)
    try:
        given = json.loads(body, object_pairs_hook=without_repeats)
        answer_id, is_right, label = given["id"], given["right"], given.get("label")
        sound = isinstance(answer_id, str) and isinstance(is_right, bool) and isinstance(label, str | None)
        sound = sound and {"id", "right", "label"}.issuperset(given)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        sound = False
    if not sound or (label is not None and (odd_name(label) or not 0 < len(label) <= MAX_LABEL)):
        raise RefusalError(
            400,
            "bad_request",
            'A verdict is JSON: {"id": of the answer, "right": true or false, "label": what it is instead, or null}.',
        )
    await service.keeper.judge(answer_id, is_right, label)
    return Response(status_code=204, headers=NO_STORE)


async def card(request: Request) -> Response:
    """Return a model's card."""
    return Response(_text(request, "MODEL_CARD.md"), media_type="text/markdown; charset=utf-8", headers=NO_STORE)


async def report(request: Request) -> Response:
    """Return a model's report, sandboxed: it runs no script and loads nothing."""
    headers = {**NO_STORE, "Content-Security-Policy": REPORT_CSP}
    return Response(_text(request, "report.html"), media_type="text/html; charset=utf-8", headers=headers)


def _text(request: Request, name: str) -> bytes:
    model = _service(request).registry.named(request.path_params["name"])
    if name not in model.texts:
        raise RefusalError(404, "not_found", f"The bundle of this model has no {name}.")
    return model.texts[name]


async def openapi_json(request: Request) -> Response:
    """Return the OpenAPI document."""
    return JSONResponse(openapi(_service(request).limits))


async def docs(request: Request) -> Response:
    """Return the page that documents the API."""
    page, csp = docs_page(openapi(_service(request).limits))
    return HTMLResponse(page, headers={"Content-Security-Policy": csp})


async def healthz(request: Request) -> Response:
    """Say that the process is alive."""
    return PlainTextResponse("ok\n", headers=NO_STORE)


async def readyz(request: Request) -> Response:
    """Say whether the server is ready for requests."""
    ready = _service(request).is_ready
    return PlainTextResponse("ready\n" if ready else "not ready\n", 200 if ready else 503, NO_STORE)


async def metrics(request: Request) -> Response:
    """Return the metrics for Prometheus."""
    return Response(_service(request).metrics.text(), headers={**NO_STORE, "Content-Type": CONTENT_TYPE})


def _file(content: bytes, kind: str) -> Endpoint:
    async def page_file(request: Request) -> Response:
        return Response(content, headers={"Content-Type": kind, "Cache-Control": "no-cache"})

    return page_file


async def _http_error(request: Request, error: Exception) -> Response:
    """Turn Starlette's own HTTP errors into our error format."""
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "another method")
        message = f"{request.method[:20]} is not possible here; {allowed} is."
        refusal = RefusalError(405, "method_not_allowed", message, error.headers)
    else:
        refusal = RefusalError(404, "not_found", "There is nothing here. /docs lists what there is.")
    return error_response(refusal, request.state.request_id, request.url.path)


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service
