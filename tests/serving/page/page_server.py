"""A stand-in for the server, for the page's tests: the same API, a real bundle, and misbehaviour on demand."""

from __future__ import annotations

import json
import threading
from email import policy
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import parse_qs, unquote, urlsplit

import keensight
from keensight.errors import PictureError
from keensight.explanation.occlusion import occlusion
from keensight.serving.heat import overlay

PAGE = Path(keensight.__file__).parent / "serving" / "page"
KINDS = {".html": "text/html; charset=utf-8", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)


class PageServer:
    """Serves the page and a bundle on a free port. What a test wants to be otherwise, it sets."""

    def __init__(self, bundle: Path) -> None:
        self.predictor = keensight.load(bundle)
        sealed = self.predictor.bundle
        test = sealed.info.metrics["test"]
        self.model = {
            "name": "digits",
            "version": "2026-11-22",
            "labels": list(sealed.labels),
            "height": sealed.preprocessing.height,
            "width": sealed.preprocessing.width,
            "channels": sealed.preprocessing.channels,
            "fit": sealed.preprocessing.fit,
            "abstain_below": sealed.abstain_below,
            "signed": True,
            "verified": True,
            "default": True,
            "drawing": True,
            "parameters": sealed.info.num_parameters,
            "accuracy": {
                "split": "test",
                "value": test["accuracy"],
                "low": test["accuracy_low"],
                "high": test["accuracy_high"],
                "n": test["n"],
            },
        }
        self.listed = {
            "models": [self.model],
            "keep": False,
            "explain": True,
            "max_bytes": 10_000_000,
            "max_pictures": 32,
        }
        self.card = (sealed.path / "MODEL_CARD.md").read_text()
        self.key = ""
        self.busy = 0  # how many predictions are refused with 503 first
        self.answer = lambda prediction: prediction  # what a test makes of each prediction
        self.pictures: list[tuple[str, bytes]] = []  # name and content of all that were sent
        self.largest_drop = "0.5"
        self.verdicts: list[dict[str, object]] = []
        self.paths: list[str] = []

    def __enter__(self) -> PageServer:
        handler = type("Handler", (_Handler,), {"house": self})
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}/"
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Close the port: from now on, the server cannot be reached."""
        self._http.shutdown()
        self._http.server_close()

    def predict(self, name: str, content: bytes) -> dict[str, object]:
        """Return one picture's prediction, or the error that it is."""
        self.pictures.append((name, content))
        with TemporaryDirectory() as folder:
            file = Path(folder) / "picture"
            file.write_bytes(content)
            ((_, answer),) = self.predictor.on_files([file])
        if isinstance(answer, PictureError):
            return self.answer({"file": name, "error": {"code": "bad_picture", "message": f"It is refused: {answer}."}})
        return self.answer(
            {
                "id": f"p{len(self.pictures)}",
                "file": name,
                "label": answer.label,
                "probability": answer.probability,
                "probabilities": dict(answer.probabilities),
                "abstained": answer.abstained,
                "notes": list(answer.notes),
            }
        )

    def explain(self, content: bytes, label: str) -> bytes:
        """Return a heat map as PNG with transparency."""
        sealed = self.predictor.bundle
        picture_HWC = keensight.data.pixels.decode_picture(content, sealed.preprocessing)
        drop_HW = occlusion(self.predictor.probabilities_as_seen, picture_HWC, sealed.labels.index(label))
        return overlay(drop_HW)


class _Handler(BaseHTTPRequestHandler):
    house: PageServer

    def log_message(self, *_: object) -> None:
        """Print nothing."""

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.house.paths.append(path)
        file = PAGE / (path[1:] or "index.html")
        if not path.startswith("/v1/"):
            if file.parent == PAGE and file.is_file():
                return self.reply(200, file.read_bytes(), KINDS[file.suffix])
            return self.refuse(404, "not_found", "There is no such page.")
        if not self.allowed():
            return None
        if path == "/v1/models":
            return self.reply(200, json.dumps(self.house.listed).encode())
        if path.endswith("/card"):
            return self.reply(200, self.house.card.encode(), "text/markdown; charset=utf-8")
        return self.reply(200, b"<!doctype html><title>report</title><p>The report.</p>", KINDS[".html"])

    def do_POST(self) -> None:
        url = urlsplit(self.path)
        self.house.paths.append(url.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if not self.allowed():
            return None
        if len(body) > self.house.listed["max_bytes"]:
            return self.refuse(413, "too_large", "The request is too large.")
        if url.path == "/v1/verdict":
            self.house.verdicts.append(json.loads(body))
            return self.reply(204, b"")
        pictures = self.files(body)
        if url.path == "/v1/explain":
            overlaid = self.house.explain(pictures[0][1], query["label"])
            return self.reply(200, overlaid, "image/png", {"X-Largest-Drop": self.house.largest_drop})
        if self.house.busy:
            self.house.busy -= 1
            return self.refuse(503, "busy", "All places are taken.", {"Retry-After": "1"})
        predictions = [self.house.predict(*picture) for picture in pictures]
        if len(predictions) == 1 and "error" in predictions[0]:
            return self.refuse(400, predictions[0]["error"]["code"], predictions[0]["error"]["message"])
        answer = {
            "model": query["model"],
            "version": self.house.model["version"],
            "predictions": predictions,
            "timing_ms": {"total": 3.2},
            "request_id": "r1",
        }
        return self.reply(200, json.dumps(answer).encode())

    def files(self, body: bytes) -> list[tuple[str, bytes]]:
        head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
        parts = BytesParser(policy=policy.HTTP).parsebytes(head + body).iter_parts()
        return [(part.get_filename() or "", part.get_payload(decode=True)) for part in parts]

    def allowed(self) -> bool:
        if not self.house.key or self.headers["Authorization"] == f"Bearer {self.house.key}":
            return True
        self.refuse(401, "unauthorized", "A key is needed.")
        return False

    def refuse(self, status: int, code: str, message: str, headers: dict[str, str] | None = None) -> None:
        answer = {"error": {"code": code, "message": message}, "request_id": "r1"}
        self.reply(status, json.dumps(answer).encode(), headers=headers or {})

    def reply(
        self, status: int, body: bytes, kind: str = "application/json", headers: dict[str, str] | None = None
    ) -> None:
        self.send_response(status)
        sent = {"Content-Type": kind, "Content-Length": str(len(body)), "Content-Security-Policy": CSP}
        for name, value in (sent | {"X-Content-Type-Options": "nosniff"} | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
