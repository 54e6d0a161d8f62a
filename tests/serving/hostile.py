"""Hostile requests, by a seeded generator. A case is pieces: bytes to send, and pauses in seconds."""

from __future__ import annotations

import io
import json
import random
import struct
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib import util
from pathlib import Path

from PIL import Image

spec = util.spec_from_file_location("hostile_pictures", Path(__file__).parents[1] / "data/hostile_pictures.py")
hostile_pictures = sys.modules["hostile_pictures"] = util.module_from_spec(spec)
spec.loader.exec_module(hostile_pictures)

SHAPE = (8, 8, 1)  # of the frozen bundle
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
NAMES = (
    "../../etc/passwd", "..\\..\\boot.ini", "a\x00.png", "\u202egnp.exe", "\ud800".encode("utf-8", "surrogatepass"),
    "💥" * 300, "';drop table answers;--", "<script>alert(1)</script>", "x" * 9000, "CON", "\r\nX-Injected: 1", "",
    "%n%s%x", "é" * 5000, "\u2028line", '"; filename="b.png',
)  # fmt: skip
WEBP = b"RIFF\x1a\x00\x00\x00WEBPVP8L\x0d\x00\x00\x00\x2f\x00\x00\x00\x10\x07\x10\x11\x11\x88\x88\xfe\x07\x00"


@dataclass(frozen=True, slots=True)
class Case:
    """What is sent, and how it ends: `answer` waits for one, `half` closes our side first, `reset` cuts the line.

    `deadline` is a whole request, which has an answer before its deadline.
    """

    kind: str
    pieces: list[bytes | float]
    end: str = "answer"


class Generator:
    """Makes cases; the same seed makes the same ones."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        kinds: list[tuple[int, Callable[[], Case]]] = [
            (20, self.damaged), (8, self.polyglot), (2, self.bomb), (3, self.header_bomb), (20, self.form),
            (12, self.framing), (6, self.smuggling), (6, self.headers), (12, self.tensor), (5, self.binary_tensor),
            (6, self.query), (4, self.verdict), (2, self.slow), (4, self.cut_off), (8, self.trying_a_decoder),
        ]  # fmt: skip
        weights, makers = zip(*kinds, strict=True)
        self.makers, self.weights = makers, weights
        pictures = [Image.frombytes("L", (size, size), self.rng.randbytes(size**2)) for size in (8, 40)]
        self.trying = hostile_pictures.Pictures(seed, hostile_pictures.SERVED)
        self.pictures = [encoded(each, kind) for each in pictures for kind in ("PNG", "JPEG", "GIF", "WEBP")]

    def cases(self, count: int) -> Iterator[Case]:
        """Yield so many cases."""
        for _ in range(count):
            yield self.rng.choices(self.makers, self.weights)[0]()

    def picture(self) -> bytes:
        return self.rng.choice(self.pictures)

    def junk(self, most: int = 300) -> bytes:
        return self.rng.randbytes(self.rng.randrange(most))

    def mutated(self, content: bytes) -> bytes:
        """Bytes with something wrong in them."""
        rng, some = self.rng, bytearray(content)
        for _ in range(rng.choice((1, 1, 2, 5, 20))):
            at = rng.randrange(len(some) + 1)
            change = rng.randrange(6)
            if change == 0:
                del some[at:]
            elif change == 1 and at < len(some):
                some[at] ^= 1 << rng.randrange(8)
            elif change == 2:
                some[at:at] = self.junk(20)
            elif change == 3:
                del some[at : at + rng.randrange(1, 20)]
            elif change == 4:
                some[at : at + 4] = rng.choice((b"\xff" * 4, bytes(4), b"\x7f\xff\xff\xff", b"\x80\0\0\0"))
            else:
                some[at:at] = some[at // 2 : at]
        return bytes(some[:200_000])

    def damaged(self) -> Case:
        kind = self.rng.choice(
            ("image/png", "image/jpeg", "application/octet-stream", "text/html", "image/svg+xml", "")
        )
        body = self.rng.choice((self.mutated(self.picture()), self.mutated(self.picture()), self.junk(), b""))
        return Case("damaged", [post(self.where(), body, kind)], "deadline")

    def where(self) -> str:
        return self.rng.choice(("/v1/predict",) * 18 + ("/v1/explain", "/v1/explain?format=json"))

    def polyglot(self) -> Case:
        rng = self.rng
        other = rng.choice((b"<script>alert(1)</script>", b"PK\x03\x04" + self.junk(), b"%PDF-1.7\n", b"#!/bin/sh\n",
                            b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"\x7fELF", self.picture()))  # fmt: skip
        starts = (b"GIF89a", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"RIFF\xff\xff\xff\xffWEBP", b"BM", b"II*\0")
        body = rng.choice((self.picture() + other, other + self.picture(), rng.choice(starts) + other))
        return Case("polyglot", [post(self.where(), body, "image/png")], "deadline")

    def bomb(self) -> Case:
        """Small files that are large pictures, or that hold a lot else."""
        chunk = self.rng.choice((b"zTXt", b"iCCP", b"iTXt", b"eXIf"))
        maker = self.rng.choice((
            lambda: png(4999, 4999), lambda: png(4000, 4000, 16, 6), lambda: png(2000, 2000), lambda: png(20_000, 1),
            lambda: png(1, 20_000), lambda: png(8, 8, chunk=chunk, times=self.rng.choice((1, 50))), gif_of_frames,
        ))  # fmt: skip
        return Case("bomb", [post("/v1/predict", maker(), "image/png")], "deadline")

    def trying_a_decoder(self) -> Case:
        """Scans, interlace, frames and metadata."""
        kind, picture = self.trying.picture()
        return Case(kind, [post(self.where(), picture, "image/png")], "deadline")

    def header_bomb(self) -> Case:
        """Headers that promise more than there is memory."""
        rng = self.rng
        wide, high = (rng.choice((0, 1, 5001, 65_535, 2**31 - 1, 2**32 - 1)) for _ in range(2))
        short = struct.pack("<HH", wide % 65536, high % 65536)
        canvas = struct.pack("<I", wide % 2**24)[:3] + struct.pack("<I", high % 2**24)[:3]
        frame = (
            b"\xff\xd8\xff\xc0\0\x11\x08"
            + struct.pack(">HH", high % 65536, wide % 65536)
            + b"\x03\x01\x22\0\x02\x11\x01\x03\x11\x01"
        )
        body = rng.choice((
            png(wide, high, empty=True), b"GIF89a" + short + b"\0\0\0,\0\0\0\0" + short + b"\0\x02\x02D\x01\0;",
            b"RIFF\x1e\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + canvas + WEBP[12:], frame + self.junk(),
        ))  # fmt: skip
        return Case("header bomb", [post(self.where(), body, "image/png")], "deadline")

    def form(self) -> Case:
        rng = self.rng
        boundary = rng.choice((b"x", b"x", b"x" * 70, b"x" * 500, b"", b"'()+_,-./:=?", self.junk(20)))
        parts = [self.part(boundary) for _ in range(rng.choice((0, 1, 1, 2, 3, 5)))]
        body = b"".join(parts) * rng.choice((1,) * 20 + (20, 2000))
        body = body[:2_000_000] + rng.choice((b"--" + boundary + b"--\r\n", b"", b"--", b"--" + boundary))
        if rng.random() < 0.5:
            body = self.mutated(body) if body else b"\r\n"
        quote = rng.choice((b"", b'"'))
        told = b"multipart/form-data; boundary=" + quote + boundary + rng.choice((quote, quote, b"", b"; boundary=y"))
        told = rng.choice((told, told, told, b"multipart/form-data", b"multipart/mixed; boundary=x", b"multipart/"))
        return Case(
            "form", [post(self.where(), body, told.replace(b"\r", b"").replace(b"\n", b"").replace(b"\0", b""))]
        )

    def part(self, boundary: bytes) -> bytes:
        rng = self.rng
        name = rng.choice(NAMES)
        name = name.encode() if isinstance(name, str) else name
        header = rng.choice((
            b'Content-Disposition: form-data; name="file"; filename="' + name + b'"',
            b"Content-Disposition: form-data; name=file; filename*=utf-8''" + name, b"Content-Disposition: " + name,
            b'Content-Disposition: form-data; name="' + name + b'"', b"X" * rng.choice((1, 9000)) + b": y", b"",
            b'content-disposition: form-data; filename="a"\r\nContent-Transfer-Encoding: base64',
        ))  # fmt: skip
        end = rng.choice((b"\r\n", b"\r\n", b"\r\n", b"\n", b""))
        content = rng.choice((self.picture(), self.mutated(self.picture()), b"", self.junk(50)))
        return b"--" + boundary + end + header + end + end + content + end

    def framing(self) -> Case:
        """Broken HTTP: chunks, lengths, request lines."""
        rng, body = self.rng, self.picture()
        size = rng.choice((b"%x" % len(body), b"%X;ext=%s" % (len(body), b"a" * rng.choice((1, 20_000))), b"-1",
                           b"0x10",
                           b"ffffffffffffffff", b"1" + b"0" * 40, b"", b"g", b" 5", b"5 ", b"00000000005",
                           b"+5"))  # fmt: skip
        chunked = head("POST", "/v1/predict", b"Transfer-Encoding: chunked")
        small = b"".join(b"1\r\n%c\r\n" % byte for byte in body[:2000])
        line = rng.choice((b"GET", b"GET /", b"GET / HTTP/9.9", b"get / HTTP/1.1", b"PRI * HTTP/2.0", b"\x16\x03\x01",
                           b"GET http://evil/ HTTP/1.1", b"CONNECT evil:443 HTTP/1.1", b"OPTIONS * HTTP/1.1",
                           self.junk(40),
                           b"GET /%00%ff%2e%2e/ HTTP/1.1", b"GET /\xff\xfe HTTP/1.1", b"TRACE / HTTP/1.1",
                           b"GET /" + b"a" * rng.choice((10, 60_000, 70_000)) + b" HTTP/1.1",
                           b"GET  /  HTTP/1.1"))  # fmt: skip
        length = rng.choice(
            (b"-5", b"99999999999999999999", b"5, 5", b"+5", b"0x5", b"", b"5\r\nContent-Length: 6", b"1e3")
        )
        sent = rng.choice((
            chunked + size + b"\r\n" + body + b"\r\n0\r\n\r\n", chunked + small + b"0\r\n\r\n",
            chunked + b"0\r\nTrailer: " + b"y" * rng.choice((1, 70_000)) + b"\r\n\r\n", chunked + self.junk(),
            line + b"\r\nHost: x\r\nConnection: close\r\n\r\n", head("POST", "/v1/predict",
            b"Content-Length: " + length) + body,
        ))  # fmt: skip
        return Case("framing", [sent], rng.choice(("answer", "answer", "half")))

    def smuggling(self) -> Case:
        """Two lengths in one request: whoever believes the wrong one sees a second request."""
        rng = self.rng
        inner = b"0\r\n\r\n" + SMUGGLED
        te = rng.choice((b"Transfer-Encoding: chunked", b"Transfer-Encoding : chunked", b"Transfer-Encoding: xchunked",
                         b"Transfer-Encoding: chunked, identity", b"Transfer-Encoding:\x0bchunked",
                         b"X: y\nTransfer-Encoding: chunked",
                         b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
                         b" Transfer-Encoding: chunked"))  # fmt: skip
        length = b"Content-Length: %d" % len(inner)
        pair = rng.choice(((te, length), (length, te), (length, b"Content-Length: 0"), (b"Content-Length: 0", length)))
        lines = [b"POST /v1/predict HTTP/1.1", b"Host: x", *pair]
        return Case("smuggling", [b"\r\n".join(lines) + b"\r\n\r\n" + inner], "half")

    def headers(self) -> Case:
        rng, body = self.rng, self.picture()
        many = rng.choice((b"\r\n".join(b"X-%d: %d" % (i, i) for i in range(rng.choice((100, 5000)))),
                           b"X: " + b"y" * rng.choice((8000, 65_000, 300_000)), b"Expect: 100-continue", b"X:\0",
                           b": x", b"X",
                           b"Upgrade: websocket\r\nConnection: Upgrade", b"Content-Encoding: gzip",
                           b"X-Forwarded-For: " + self.junk(),
                           b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__",
                           b"X-Request-Id: " + rng.choice((b"a\tb", b"x" * 9000)), b"Authorization: Bearer \xff",
                           b"X: a\r\n folded",
                           b"Content-Type: \xff\xfe; boundary=\x80", b"Range: bytes=0-",
                           b"Sec-Fetch-Site: cross-site"))  # fmt: skip
        return Case("headers", [head("POST", self.where(), b"Content-Length: %d" % len(body), many) + body])

    def tensor(self) -> Case:
        """JSON tensors that lie about their shape, and JSON that is none."""
        rng = self.rng
        shape = rng.choice(([1, *SHAPE], [2, *SHAPE], [0, *SHAPE], [-1, *SHAPE], [2**62, *SHAPE], [1, 8, 8], [1.0,
                            *SHAPE],
                            [True, *SHAPE], ["1", *SHAPE], [1, 8, 8, 3], [], None, {}, [[1]], [10**400,
                            *SHAPE]))  # fmt: skip
        data = rng.choice(([0] * 64, [0] * 63, [256] * 64, [-1] * 64, [0.5] * 64, [None] * 64, ["a"] * 64,
                           [[0] * 8] * 8,
                           [True] * 64, [10**30] * 64, [], "x" * 64, {}, None, [[], [0]], [{}] * 64))  # fmt: skip
        given = {"name": "images", "datatype": "UINT8", "shape": shape, "data": data}
        given[rng.choice(("name", "datatype", "parameters", "x"))] = rng.choice(
            (None, 1, [], {}, "UINT8", "FP32", "images", "\ud800")
        )
        asked = {"inputs": rng.choice(([given], [given], [given], given, [given] * 2, [], None, [None], "x"))}
        asked[rng.choice(("id", "outputs", "parameters", "x"))] = rng.choice(
            (
                "1",
                1,
                None,
                [],
                {},
                [{"name": "probabilities"}],
                {"binary_data_output": True},
                [1],
                "\ud800",
                [{"name": "x"}],
            )
        )
        text = json.dumps(asked).encode()
        body = rng.choice((text, text, text, self.mutated(text), b"[" * 100_000, b'{"inputs":' * 5000, b"NaN",
        b"\xff\xfe{",
                           b"1" * 50_000, text.replace(b"64", b"1e400"), b'{"inputs": 1, "inputs": 2}'))  # fmt: skip
        return Case("tensor", [post(self.infer(), body, "application/json")])

    def infer(self) -> str:
        name = self.rng.choice(("frozen",) * 6 + ("frozen/versions/1", "%00", "..%2f..", "x" * 3000, "%ff"))
        return f"/v2/models/{name}/infer"

    def binary_tensor(self) -> Case:
        rng = self.rng
        num = rng.choice((1, 1, 2, 0, 5000))
        told = rng.choice((64 * num, 64 * num, 63, -1, 2**63, "64", None, 1e9, True))
        given = {
            "name": "images",
            "datatype": "UINT8",
            "shape": [num, *SHAPE],
            "parameters": {"binary_data_size": told},
        }
        text = json.dumps(
            {"inputs": [given], "parameters": {"binary_data_output": rng.choice((True, False, 1))}}
        ).encode()
        raw = bytes(64 * rng.choice((num, num, 1, 0))) + rng.choice((b"", b"", b"x"))
        length = rng.choice(
            (len(text), len(text), len(text) - 1, len(text) + 1, 0, -1, 10**30, 2**63, "x", "1_0", "\u0661")
        )
        header = f"Inference-Header-Content-Length: {length}".encode()
        return Case("binary tensor", [post(self.infer(), text + raw, "application/octet-stream", header)])

    def query(self) -> Case:
        rng = self.rng
        odd = rng.choice(
            ("", "frozen@", "@", "%00", "%ff%fe", "a" * 5000, "..%2F..%2Fetc", "%F0%9F%92%A5", "frozen@0", "{}", "%")
        )
        path = rng.choice((f"/v1/predict?model={odd}", f"/v1/explain?label={odd}", f"/v1/explain?format={odd}",
                           f"/v1/models/{odd}/card",
                           f"/v1/predict?model={odd}&model=frozen", f"/{odd}", f"/v1/models/{odd}/report",
                           f"/docs?{odd}"))  # fmt: skip
        method = rng.choice(("GET", "POST", "HEAD", "PUT", "DELETE", "PATCH", "X" * 30))
        body = self.picture()
        return Case("query", [head(method, path, b"Content-Length: %d" % len(body)) + body])

    def verdict(self) -> Case:
        rng = self.rng
        odd = rng.choice((None, 1, True, "", "0" * 32, "x" * 9000, "\ud800", "\x00", [], {}, 10**400, "0" * 31 + "\n"))
        text = json.dumps(rng.choice(({"id": odd, "right": True}, {"id": "0" * 32, "right": odd}, {"id": "0" * 32,
                                      "right": False, "label": odd},
                                      odd, [odd]))).encode()  # fmt: skip
        kind = rng.choice(("application/json",) * 4 + ("text/plain", "application/json; charset=utf-16"))
        return Case(
            "verdict", [post("/v1/verdict", rng.choice((text, text, self.mutated(text) if text else b"")), kind)]
        )

    def slow(self) -> Case:
        """A request that drips."""
        whole = post("/v1/predict", self.picture(), "image/png")
        at = sorted(self.rng.randrange(len(whole)) for _ in range(8))
        pieces = [part for a, b in zip([0, *at], [*at, len(whole)], strict=True) for part in (whole[a:b], 0.02)]
        return Case("slow", pieces[: self.rng.choice((4, 18, 18))], self.rng.choice(("answer", "half", "reset")))

    def cut_off(self) -> Case:
        whole = post(self.where(), self.picture() * self.rng.choice((1, 500)), "image/png")
        return Case("cut off", [whole[: self.rng.randrange(len(whole))]], self.rng.choice(("half", "reset")))


def encoded(picture: Image.Image, kind: str) -> bytes:
    """A picture's file."""
    file = io.BytesIO()
    picture.save(file, kind)
    return file.getvalue()


@cache
def png(
    width: int, height: int, depth: int = 8, colour: int = 0, empty: bool = False, chunk: bytes = b"", times: int = 1
) -> bytes:
    """A black PNG; `empty`, it has no pixels, and the `chunk` is one that unpacks to 5 MB, so many times."""
    row = bytes(1 + width * {0: 1, 6: 4}[colour] * depth // 8 if not empty else 0)
    packer = zlib.compressobj(1)
    rows = b"".join(packer.compress(row) for _ in range(0 if empty else height)) + packer.flush()
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))]
    if chunk:
        chunks += [(chunk, b"text\0\0" + zlib.compress(bytes(5_000_000)))] * times
    found = b"\x89PNG\r\n\x1a\n"
    for name, content in [*chunks, (b"IDAT", rows), (b"IEND", b"")]:
        found += struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
    return found


def gif_of_frames(count: int = 2000) -> bytes:
    """An animation of 60,000 x 1 pixels in very little space."""
    frame = b",\0\0\0\0\x60\xea\x01\0\0\x02\x02D\x01\0"
    return b"GIF89a\x60\xea\x01\0\0\0\0" + frame * count + b";"


def head(method: str, path: str, *headers: bytes) -> bytes:
    """A request up to its body."""
    lines = [f"{method} {path} HTTP/1.1".encode(), b"Host: x", b"Connection: close", *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n"


def post(path: str, body: bytes, kind: str | bytes, *headers: bytes) -> bytes:
    """A whole request."""
    kind = kind.encode() if isinstance(kind, str) else kind
    return head("POST", path, b"Content-Type: " + kind, b"Content-Length: %d" % len(body), *headers) + body
