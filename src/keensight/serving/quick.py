"""The fast path of POST /v1/predict: one tiny picture to a quick model, without a task, a thread or a timer.

It never refuses. Whatever is unusual, refused or fails takes the regular path through Guard and app.py, as if nothing
had been tried. So only one place refuses, and the fast path answers nothing that it would refuse.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from json import JSONEncoder

from keensight.serving.access import client_of, forwarded_for
from keensight.serving.answers import described, whole_answer
from keensight.serving.batching import Answered
from keensight.serving.guard import SECURITY_HEADERS, Asked, check, record, request_id_of
from keensight.serving.limits import RefusalError
from keensight.serving.registry import Model
from keensight.serving.service import Service
from keensight.serving.uploads import NOW_BYTES, Upload, decode_now, simple_upload
from keensight.values import Uint8Array

PATH = "/v1/predict"
MOST_BYTES = NOW_BYTES + 1024  # of a body: a picture, and a form around it
UNUSUAL = frozenset((b"transfer-encoding", b"content-encoding", b"content-range", b"expect", b"upgrade"))
HEADERS = b"".join(
    b"%b: %b\r\n" % (name.lower().encode(), value.encode())
    for name, value in {"Cache-Control": "no-store", "Content-Type": "application/json", **SECURITY_HEADERS}.items()
)
_JSON = JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))  # as starlette's JSONResponse has it

RawHeaders = Sequence[tuple[bytes, bytes]]
Reply = Callable[[bytes | None], None]


class Quick:
    """Takes the requests that can go the fast path."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def takes(self, method: bytes, url: bytes, headers: RawHeaders) -> bool:
        """Say whether a request may go the fast path, judging by all that comes before its body."""
        service = self._service
        if url != b"/v1/predict" or method != b"POST" or service.is_draining:
            return False
        if service.limits.rate or service.keeper is not None:
            return False  # a token that is taken cannot be put back, and keeping takes a while
        fields = dict(headers)
        length = fields.get(b"content-length", b"")
        return (
            len(fields) == len(headers)  # no header twice
            and UNUSUAL.isdisjoint(fields)
            and not (service.origins and b"origin" in fields)
            and length.isdigit()
            and 0 < int(length[:9]) <= min(MOST_BYTES, service.limits.max_bytes)
        )

    def ask(self, headers: RawHeaders, body: bytes, peer: str, started: float, reply: Reply) -> Waiting | None:
        """Decode a picture, and pass `reply` the HTTP answer, or None if the request must take the regular path.

        Returns None, and does not reply, if that is known at once.
        """
        service, fields = self._service, dict(headers)
        picture = simple_upload(fields.get(b"content-type", b""), body)
        if picture is None:
            return None
        text = {name.decode("latin-1"): value.decode("latin-1") for name, value in headers}
        client = client_of(
            peer, forwarded_for(text.items()) if service.trusted_proxies else "", service.trusted_proxies
        )
        try:
            check(service, "POST", PATH, text, client)
            model = service.registry.find()
            service.places.check()
        except RefusalError:
            return None
        has_memory = service.memory.taken + len(body) <= service.memory.limit
        if not (has_memory and model.batcher.is_quick and model.is_small):
            return None
        begun = time.perf_counter()
        try:
            image_HWC = decode_now(picture, model.bundle.preprocessing, service.limits)
        except Exception:  # uvicorn would call it bad HTTP; the regular path fails again, and logs why
            return None
        if image_HWC is None:
            return None
        asked = Asked("POST", PATH, client, request_id_of(text.get("x-request-id", "")))
        return Waiting(service, model, picture, asked, (started, time.perf_counter() - begun), reply, len(body)).put(
            image_HWC
        )


class Waiting:
    """A request whose picture waits for its model; an `Answer` for the `Batcher`."""

    def __init__(
        self,
        service: Service,
        model: Model,
        picture: Upload,
        asked: Asked,
        times: tuple[float, float],
        reply: Reply,
        num_bytes: int,
    ) -> None:
        self._service = service
        self._model = model
        self._picture = picture
        self._asked = asked
        self._started, self._decode_s = times
        self._reply = reply
        self._num_bytes = num_bytes
        self._has_left = False

    def put(self, image_HWC: Uint8Array) -> Waiting:
        """Take a place, and wait."""
        self._hold(1)
        self._model.batcher.put(image_HWC[None], self)
        return self

    def hurry(self) -> None:
        """Answer before returning."""
        self._model.batcher.run_now()

    def done(self) -> bool:
        """Never: it gets its answer before anything else happens."""
        return False

    def set_result(self, answered: Answered) -> None:
        """Reply, count and log."""
        service, predictions = self._service, answered.predictions
        timing_s = {"decode": self._decode_s, "queue": answered.queue_s, "model": answered.model_s}
        told = [described(self._picture, predictions[0])]
        answer = whole_answer(self._model, told, timing_s, self._started, self._asked.request_id)
        try:
            body = _JSON.encode(answer).encode()
        except ValueError as error:  # NaN, for instance
            self.set_exception(error)
            return
        self._leave()
        head = b"content-length: %d\r\nx-request-id: %b\r\n" % (len(body), self._asked.request_id.encode())
        self._reply(HEADERS + head + (b"connection: close\r\n\r\n" if service.is_draining else b"\r\n") + body)
        service.metrics.answered(self._model, predictions, timing_s)
        record(service, self._asked, PATH, 200, time.perf_counter() - self._started, len(body))

    def set_exception(self, error: Exception) -> None:
        """Take the regular path, which fails again, replies and logs why. Raises `error` after a reply."""
        if self._has_left:
            raise error
        self._leave()
        self._reply(None)

    def _leave(self) -> None:
        self._has_left = True
        self._hold(-1)

    def _hold(self, sign: int) -> None:
        self._service.places.taken += sign
        self._service.memory.taken += sign * self._num_bytes
        self._service.in_flight += sign
