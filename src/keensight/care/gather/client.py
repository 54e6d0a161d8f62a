"""A polite HTTP client: few requests at a time to one host, at the pace that it asks for, and nothing that robots.txt
refuses. It is also a careful one: every address is checked (see `network`), and size and time are bounded.

Ours, because the base install has no HTTP client, and none lets the address be checked that is then connected to.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import SplitResult, quote, urlencode, urljoin

from keensight.care.gather.limits import asked_to_wait
from keensight.care.gather.network import CONNECT_S, Network, RefusedError, UnreachableError, checked_url
from keensight.care.gather.robots import MAX_BYTES, Rules, rules_in
from keensight.version import __version__

PARALLEL = 2  # requests at a time to one host
PICTURE_S = 0.25  # between pictures of one host: iNaturalist, for one, asks for at most 5 GB an hour
READ_S, WHOLE_S = 20.0, 120.0  # for each read, and for a request with its answer
MOST_ATTEMPTS, MOST_REDIRECTS = 4, 5
DOWN = 3  # requests in a row that a host did not answer, each tried again: it is not asked any more
MAX_ANSWER = 20 * 2**20  # bytes of what a service says; pictures have a limit of their own
BUSY = (429, 503)
REDIRECTS = (301, 302, 303, 307, 308)
RESERVED = ("noai", "noimageai")  # in X-Robots-Tag: the owner does not want it in training


class LaterError(Exception):
    """A host asks to wait for longer than the caller has patience: `seconds` from now."""

    def __init__(self, host: str, seconds: float) -> None:
        super().__init__(host, seconds)
        self.host, self.seconds = host, seconds


class StoppedError(Exception):
    """The client was closed while this request waited."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked for. A key is no part of it: ``{key}`` in the URL, headers and form stands where it goes."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    form: Mapping[str, str] | None = None  # makes it a POST


@dataclass(frozen=True, slots=True)
class Answer:
    """A host's last answer, after redirects: its status, its headers by name in lower case, and its body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Clock:
    """The time in seconds since 1970, and how to wait; another one is for tests. It waits until `stop` is set."""

    stop: threading.Event = field(default_factory=threading.Event)

    def now(self) -> float:
        """Return the time."""
        return time.time()

    def wait(self, seconds: float) -> None:
        """Wait for that long, or until the client is closed."""
        self.stop.wait(seconds)


@dataclass(slots=True)
class _Gate:
    """Lets few requests at a time through to one host, one after the other at its pace."""

    slots: threading.BoundedSemaphore = field(default_factory=lambda: threading.BoundedSemaphore(PARALLEL))
    lock: threading.Lock = field(default_factory=threading.Lock)
    interval_s: float = 0.0
    next_at: float = 0.0  # when the next request has its turn
    rest_until: float = 0.0  # until when the host wants no request at all
    unanswered: int = 0
    why: str = ""
    rules: Rules | None = None
    rules_lock: threading.Lock = field(default_factory=threading.Lock)


class Client:
    """Fetches from many threads at once. Close it to end all requests that wait or read."""

    def __init__(
        self, contact: str = "", patience_s: float = 120.0, network: Network | None = None, clock: Clock | None = None
    ) -> None:
        self.network = network or Network()
        self.clock = clock or Clock()
        self._patience_s = patience_s
        self._agent = f"keensight/{__version__} ({f'{contact}; ' if contact else ''}gathers pictures for a classifier)"
        self._gates: dict[str, _Gate] = {}
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._tls: ssl.SSLContext | None = None

    def close(self) -> None:
        """End what is under way: what waits or reads raises StoppedError."""
        self.clock.stop.set()
        with self._lock:
            for sock in self._open:
                _cut(sock)

    def pace(self, host: str, interval_s: float) -> None:
        """Leave at least so many seconds between requests to a host."""
        gate = self._gate(host)
        with gate.lock:
            gate.interval_s = max(gate.interval_s, interval_s)

    def call(self, request: Request, key: str = "") -> Answer:
        """Return what a service's interface says, whatever its status. It is documented for programs: no robots.txt.

        Raises RefusedError, UnreachableError, LaterError and StoppedError.
        """
        return self._answer(request, key, MAX_ANSWER, is_picture=False)

    def picture(self, url: str, most_bytes: int) -> bytes:
        """Return a file that robots.txt lets us have, and whose headers do not reserve it from training.

        Raises RefusedError, UnreachableError, LaterError and StoppedError.
        """
        answer = self._answer(Request(url), "", most_bytes, is_picture=True)
        if answer.status != 200:
            raise (UnreachableError if answer.status >= 500 else RefusedError)(f"HTTP status {answer.status}")
        tags = answer.headers.get("x-robots-tag", "").lower()
        if any(tag in RESERVED for tag in tags.replace(":", ",").replace(" ", "").split(",")):
            raise RefusedError("its owner does not want it in training (X-Robots-Tag)")
        if answer.headers.get("tdm-reservation", "").strip() == "1":
            raise RefusedError("its owner does not want it mined (TDM-Reservation)")
        return answer.body

    def _answer(self, request: Request, key: str, most_bytes: int, is_picture: bool) -> Answer:
        """Ask until there is an answer that is neither a redirect nor a request to come again."""
        url, form = request.url.replace("{key}", quote(key, safe="")), request.form
        first = checked_url(url, self.network)
        for _ in range(MOST_REDIRECTS + 1):
            parts = checked_url(url, self.network)
            if is_picture:
                self.pace(parts.netloc, PICTURE_S)
                if not self._rules(parts).allow(_target(parts)):
                    raise RefusedError(f"robots.txt of {parts.netloc} does not allow it")
            # a key is for the host that it was given for, and no other sees it
            is_same = (parts.scheme, parts.netloc) == (first.scheme, first.netloc)
            headers = {name: value.replace("{key}", key) for name, value in request.headers.items() if is_same}
            answer = self._patiently(parts, headers, form if is_same else None, key, most_bytes)
            if answer.status not in REDIRECTS or "location" not in answer.headers:
                return answer
            try:
                url, form = urljoin(parts.geturl(), answer.headers["location"]), None
            except ValueError:
                raise RefusedError(f"{parts.netloc} sends it on to something that is not a URL") from None
        raise RefusedError(f"more than {MOST_REDIRECTS} redirects")

    def _patiently(
        self, parts: SplitResult, headers: Mapping[str, str], form: Mapping[str, str] | None, key: str, most_bytes: int
    ) -> Answer:
        gate = self._gate(parts.netloc)
        is_busy, problem = False, ""
        for attempt in range(MOST_ATTEMPTS):
            if gate.unanswered >= DOWN:
                raise UnreachableError(gate.why)
            self._turn(gate, parts.netloc)
            try:
                with gate.slots:
                    answer = self._once(parts, headers, form, key, most_bytes)
            except UnreachableError as error:
                is_busy, problem = False, str(error)
                self._rest(gate, 2.0**attempt)
                continue
            gate.unanswered = 0
            wait = asked_to_wait(answer.headers, self.clock.now())
            is_busy = answer.status in BUSY or (answer.status == 403 and wait > 0)
            is_fine = not is_busy and answer.status < 500
            self._rest(gate, wait or (0.0 if is_fine else 2.0**attempt))
            if is_fine:
                return answer
            problem = f"{parts.netloc} answers with HTTP status {answer.status}"
        if is_busy:
            raise LaterError(parts.netloc, max(1.0, gate.rest_until - self.clock.now()))
        gate.unanswered, gate.why = gate.unanswered + 1, problem
        raise UnreachableError(problem)

    def _rest(self, gate: _Gate, seconds: float) -> None:
        with gate.lock:
            gate.rest_until = max(gate.rest_until, self.clock.now() + seconds)

    def _turn(self, gate: _Gate, host: str) -> None:
        """Wait for this request's turn, and longer if the host asks for it meanwhile."""
        while True:
            with gate.lock:
                now = self.clock.now()
                turn = max(now, gate.next_at, gate.rest_until)
                if turn - now > self._patience_s:
                    raise LaterError(host, turn - now)
                gate.next_at = turn + gate.interval_s
            if turn > now:
                self.clock.wait(turn - now)
            if self.clock.stop.is_set():
                raise StoppedError
            if gate.rest_until <= self.clock.now():
                return

    def _once(
        self, parts: SplitResult, headers: Mapping[str, str], form: Mapping[str, str] | None, key: str, most_bytes: int
    ) -> Answer:
        """Send one request, and return the answer to it."""
        told = {"User-Agent": self._agent, "Accept-Encoding": "identity", "Connection": "close", **headers}
        body = None
        if form is not None:
            body = urlencode({name: value.replace("{key}", key) for name, value in form.items()})
            told["Content-Type"] = "application/x-www-form-urlencoded"
        host, port = parts.hostname or "", 80 if parts.scheme == "http" else 443
        try:
            with self._within(self.network.connect(host, port)) as sock:
                connection = http.client.HTTPConnection(host, timeout=READ_S)
                connection.sock = sock if self.network.is_plain(parts) else self._encrypted(sock, host)
                try:
                    connection.request("GET" if body is None else "POST", _target(parts), body, told)
                    with connection.getresponse() as response:
                        named = {name.lower(): value for name, value in response.getheaders()}
                        answer = Answer(response.status, named, _body(response, named, most_bytes))
                finally:
                    connection.close()
            return answer
        except (OSError, http.client.HTTPException, ValueError, zlib.error) as error:
            if self.clock.stop.is_set():
                raise StoppedError from error
            raise UnreachableError(f"{host} did not answer ({_reason(error)})") from error

    @contextmanager
    def _within(self, sock: socket.socket) -> Iterator[socket.socket]:
        """Cut the connection when the whole request has taken too long: a read's own limit does not stop a trickle."""
        late = threading.Event()

        def cut() -> None:
            late.set()
            _cut(sock)

        timer = threading.Timer(WHOLE_S, cut)
        timer.daemon = True
        sock.settimeout(READ_S)
        with self._lock:
            self._open.add(sock)
        timer.start()
        try:
            if self.clock.stop.is_set():
                raise StoppedError
            yield sock
            if late.is_set() or self.clock.stop.is_set():  # an answer of untold length looks whole when it is cut
                raise TimeoutError(f"it takes longer than {WHOLE_S:g} seconds")
        finally:
            timer.cancel()
            with self._lock:
                self._open.discard(sock)
            sock.close()

    def _encrypted(self, sock: socket.socket, host: str) -> socket.socket:
        with self._lock:
            self._tls = self._tls or ssl.create_default_context()
        sock.settimeout(CONNECT_S)
        # not wrap_socket, which would take the socket away from the timer that cuts it
        encrypted = self._tls.wrap_socket(sock.dup(), server_hostname=host)
        encrypted.settimeout(READ_S)
        return encrypted

    def _gate(self, host: str) -> _Gate:
        with self._lock:
            return self._gates.setdefault(host, _Gate())

    def _rules(self, parts: SplitResult) -> Rules:
        """Return what robots.txt of a host says; it is fetched once."""
        gate = self._gate(parts.netloc)
        with gate.rules_lock:
            if gate.rules is None:
                gate.rules = self._fetch_rules(parts)
                self.pace(parts.netloc, gate.rules.delay_s)
        return gate.rules

    def _fetch_rules(self, parts: SplitResult) -> Rules:
        url = f"{parts.scheme}://{parts.netloc}/robots.txt"
        try:
            answer = self._answer(Request(url), "", MAX_BYTES, is_picture=False)
        except RefusedError:  # too many redirects, or too large: as if there were none
            return Rules()
        return rules_in(answer.body.decode("utf-8", "replace")) if answer.status == 200 else Rules()


def _target(parts: SplitResult) -> str:
    return f"{parts.path}?{parts.query}" if parts.query else parts.path


def _body(response: http.client.HTTPResponse, named: Mapping[str, str], most_bytes: int) -> bytes:
    """Read a body up to `most_bytes`, and unpack it where it was packed in spite of what was asked for."""
    length = named.get("content-length", "")
    if length.isdecimal() and int(length) > most_bytes:
        raise RefusedError(f"it has {int(length):,} bytes, and at most {most_bytes:,} are accepted")
    packed = named.get("content-encoding", "identity").lower()
    unpack: Callable[[bytes, int], bytes] | None = None
    if packed in ("gzip", "x-gzip", "deflate"):
        unpack = zlib.decompressobj(zlib.MAX_WBITS | 32).decompress
    elif packed != "identity":
        raise RefusedError(f"it is packed as '{packed[:20]}', which was not asked for")
    received, parts, size = 0, list[bytes](), 0
    while block := response.read1(2**16):
        received += len(block)
        parts.append(unpack(block, most_bytes + 1 - size) if unpack else block)
        size += len(parts[-1])
        if max(size, received) > most_bytes:
            raise RefusedError(f"it has more than the {most_bytes:,} bytes that are accepted")
    if length.isdecimal() and received < int(length):
        raise UnreachableError(f"cut short, {received:,} of {int(length):,} bytes")
    return b"".join(parts)


def _cut(sock: socket.socket) -> None:
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate: {error.verify_message}"
    text = str(getattr(error, "strerror", None) or error) or type(error).__name__
    return "".join(each if each.isprintable() else "?" for each in text)[:200].lower()
