"""A client's connection: uvicorn's HTTP with the limits that it lacks, and a fast path."""

from __future__ import annotations

import asyncio
import socket
import time
from http import HTTPStatus

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from keensight.serving.guard import Asked, error_response, record, request_id_of
from keensight.serving.limits import RefusalError
from keensight.serving.quick import HEADERS, Quick, Waiting
from keensight.serving.service import Service

MAX_HEADER_BYTES = 64 * 1024
LINGER_S = 1.0  # closing at once, with unread data, would discard the answer
MOST_AT_ONCE = 8  # fast-path requests per read: one read may hold a thousand, and other clients would wait for them all
BUSY = b'{"error": {"code": "busy", "message": "Too many connections are open. Try again in a moment."}}'
REFUSED = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 1\r\nconnection: close\r\n"
    b"content-length: " + str(len(BUSY)).encode() + b"\r\n\r\n" + BUSY
)


def protocol(service: Service) -> type[HttpToolsProtocol]:
    """Return uvicorn's HTTP protocol with a limit on connections, on a request's bytes, and on the time for headers.

    A request that `Quick` takes is answered here, if all of it came in one piece. Any other is handed to uvicorn, with
    what has arrived of it so far.
    """
    limits, quick = service.limits, Quick(service)
    most_bytes = 2 * limits.max_bytes + MAX_HEADER_BYTES  # chunks have headers too

    class Protocol(HttpToolsProtocol):
        deadline: asyncio.TimerHandle | None = None
        received = 0
        at_once = 0  # fast-path requests since the last read
        held: list[bytes] | None = None  # the body of a request that may take the fast path
        waiting: Waiting | None = None  # a request on the fast path
        is_whole = False
        started = 0.0
        is_turned_away = False
        is_last = False
        is_begun = False  # a request's first bytes are here, and not all of its headers
        idle_since: float | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            if len(self.connections) > limits.connections and not self._end_the_longest_idle():
                transport.write(REFUSED)
                transport.close()
                return
            bound = transport.get_extra_info("socket")
            if hasattr(socket, "TCP_USER_TIMEOUT") and bound.family in (socket.AF_INET, socket.AF_INET6):
                # a client that does not read its answer is cut off
                bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(limits.request_s * 1e3))
            self._wait_for_headers()

        def data_received(self, data: bytes) -> None:
            if self.transport.is_closing() or self.is_turned_away:
                return
            if self._is_between_requests() and self.deadline is None:
                self.received = 0
            self.received += len(data)
            self.at_once = 0
            self.idle_since = None
            super().data_received(data)
            if self.held is not None and self.waiting is None and not self.transport.is_closing():
                self._go_the_long_way()  # its rest may take a while
            if self._is_between_requests():
                if self.is_begun or self.idle_since is None:  # idle: answered at once, so uvicorn's timer runs
                    self._wait_for_headers()
                # the body of a request that was refused early may still be arriving
                rest = most_bytes if self.cycle is not None and self.cycle.more_body else 0
                if self.received > MAX_HEADER_BYTES + rest:
                    self._turn_away(431, "headers_too_large", f"Headers have up to {MAX_HEADER_BYTES:,} bytes here.")
            else:
                self._headers_came()
                if self.received > most_bytes:
                    self.transport.close()

        def eof_received(self) -> bool:  # type: ignore[override]
            """Answer a half-closed client, if all of its request is here."""
            self.is_last = self.waiting is not None
            cycle = self.cycle
            is_answering = cycle is not None and not cycle.response_complete and not cycle.more_body
            if cycle is not None and is_answering and not self.pipeline:
                cycle.keep_alive = False
            return self.is_last or is_answering

        def connection_lost(self, exc: Exception | None) -> None:
            self._headers_came()
            super().connection_lost(exc)

        def on_message_begin(self) -> None:
            self._hurry()  # answers keep the order of their requests
            self.is_begun, self.idle_since = True, None
            self._unset_keepalive_if_required()  # the last answer started a timer for this request, which is here
            super().on_message_begin()

        def on_headers_complete(self) -> None:
            parser, self.is_begun = self.parser, False
            self._headers_came()
            if (
                self._is_between_requests()
                and self.at_once < MOST_AT_ONCE
                and not self.flow.write_paused
                and parser.should_keep_alive()
                and parser.get_http_version() == "1.1"
                and quick.takes(parser.get_method(), self.url, self.headers)
            ):
                self.at_once += 1
                self.held, self.is_whole, self.started = [], False, time.perf_counter()
            else:
                super().on_headers_complete()

        def on_body(self, body: bytes) -> None:
            if self.held is None:
                super().on_body(body)
            else:
                self.held.append(body)

        def on_message_complete(self) -> None:
            if self.held is None:
                if self.cycle is not None and self.cycle.response_complete:  # the rest of its body has arrived
                    self.cycle.more_body, self.received, self.idle_since = False, 0, self.loop.time()
                    self.timeout_keep_alive_task = self.loop.call_later(
                        self.timeout_keep_alive, self.timeout_keep_alive_handler
                    )
                super().on_message_complete()
                return
            self.is_whole = True
            peer = self.client[0] if self.client else ""
            self.waiting = quick.ask(self.headers, b"".join(self.held), peer, self.started, self._reply)
            if self.waiting is None:
                self._go_the_long_way()

        def on_response_complete(self) -> None:
            self.received = 0
            super().on_response_complete()
            if self.is_begun:  # the next request's first bytes are here
                self._unset_keepalive_if_required()
                self._wait_for_headers()
            elif self._is_between_requests():
                self.idle_since = self.loop.time()

        def send_400_response(self, msg: str) -> None:
            self._hurry()
            self._turn_away(400, "bad_http", "This is not an HTTP request that can be understood.")

        def shutdown(self) -> None:
            self._hurry()
            super().shutdown()

        def _turn_away(self, status: int, code: str, message: str) -> None:
            """Refuse data that is not a valid request, log it, and close the connection."""
            asked = Asked("other", "", self.client[0] if self.client else "", request_id_of(""))
            body = bytes(error_response(RefusalError(status, code, message), asked.request_id, asked.path).body)
            head = (
                f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\ncontent-length: {len(body)}\r\n"
                f"connection: close\r\nx-request-id: {asked.request_id}\r\n"
            )
            self.is_turned_away = True
            self.transport.write(head.encode() + HEADERS + b"\r\n" + body)
            self.transport.write_eof()
            self.loop.call_later(LINGER_S, self.transport.close)
            record(service, asked, "other", status, 0.0, len(body))

        def _reply(self, answer: bytes | None) -> None:
            self.waiting = None
            if self.transport.is_closing():
                self.held = None
            elif answer is None:
                self._go_the_long_way()
            else:
                self.held = None
                date = b"".join(b"%b: %b\r\n" % header for header in self.server_state.default_headers)
                self.transport.write(b"HTTP/1.1 200 OK\r\n" + date + answer)
                if service.is_draining or self.is_last:
                    self.transport.close()
                self.on_response_complete()

        def _go_the_long_way(self) -> None:
            """Hand the held request to uvicorn, which finds everything in place: parser, headers and body."""
            held, self.held = self.held or [], None
            super().on_headers_complete()
            for body in held:
                super().on_body(body)
            if self.is_whole:
                super().on_message_complete()

        def _hurry(self) -> None:
            if self.waiting is not None:
                self.waiting.hurry()

        def _is_between_requests(self) -> bool:
            return self.held is None and (self.cycle is None or self.cycle.response_complete)

        def _end_the_longest_idle(self) -> bool:
            """Close the connection that waits longest for another request. Return whether there was one."""
            ours = [each for each in self.connections if isinstance(each, Protocol)]
            idle = [(each.idle_since, i) for i, each in enumerate(ours) if each.idle_since is not None]
            if idle:
                longest = ours[min(idle)[1]]
                longest.idle_since = None
                longest.transport.close()
            return bool(idle)

        def _wait_for_headers(self) -> None:
            if self.deadline is None:
                self.deadline = self.loop.call_later(limits.header_s, self.transport.close)

        def _headers_came(self) -> None:
            if self.deadline is not None:
                self.deadline.cancel()
                self.deadline = None

    return Protocol
