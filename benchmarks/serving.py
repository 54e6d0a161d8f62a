"""Start a server, ours or the peer's, and say how many requests it takes: one JSON object.

python serving.py ours BUNDLE PICTURE --p95 50                   requests/s at a p95 of 50 ms, start, memory
python serving.py ours BUNDLE PICTURE --batch-size 1             the same without micro-batching
python serving.py torch BUNDLE PICTURE --network dense --peer .venv-bench/bin/python
python serving.py tensors BUNDLE PICTURE                         images/s, decoded already, 32 in a request
python serving.py session BUNDLE PICTURE                         the same for ONNX Runtime in this process

The load comes from a process of its own (load.py), from the same cores. The rate doubles until p95 is too large,
and then halves the gap; `low_p95_ms` is at a tenth of what the server takes.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
BATCH = 32
START_S = 120.0


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("ours", "torch", "tensors", "session"))
    parser.add_argument("bundle", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--also", type=Path, action="append", default=[], help="a bundle that is served as well")
    parser.add_argument("--network", choices=("dense", "husky"), default="husky")
    parser.add_argument("--peer", default=sys.executable)
    parser.add_argument("--batch-size", type=int, default=BATCH)
    parser.add_argument("--p95", type=float, default=50.0, help="the most that counts, in ms")
    parser.add_argument("--steps", type=int, default=12, help="rates to try")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    asked = parser.parse_args()
    if asked.what == "session":
        print(json.dumps({"images_per_s": in_process(asked)}))
        return
    port = free_port()
    with tempfile.TemporaryDirectory() as folder, running(command(asked, port), port) as (process, start_s):
        request = Path(folder, "request")
        if asked.what == "tensors":
            request.write_bytes(tensors(asked, port))
            rate = saturated(port, request, asked.steps)
            print(json.dumps({"images_per_s": rate * BATCH}))
            return
        path = "/predict" if asked.what == "torch" else "/v1/predict"
        request.write_bytes(form(path, asked.picture.read_bytes()))
        load(port, request, rate=20, seconds=2)
        found = search(port, request, asked.p95, asked.steps)
        low = load(port, request, rate=max(5.0, found["requests_per_s"] / 10), seconds=5)
        memory_mb = megabytes(process.pid)
    print(
        json.dumps(
            {
                **found,
                "low_p95_ms": low["p95_ms"],
                "start_s": start_s,
                "memory_mb": memory_mb,
                "memory_gb": memory_mb / 1000,
            }
        )
    )


def command(asked: argparse.Namespace, port: int) -> list[str]:
    """Return the words that start the server."""
    if asked.what == "torch":
        script = str(HERE / "peers" / "torch_server.py")
        words = [asked.peer, script, asked.network, str(asked.bundle / "model.safetensors")]
        return [*words, "--port", str(port), "--threads", str(asked.threads)]
    words = [sys.executable, "-m", "keensight", "serve", *map(str, (asked.bundle, *asked.also)), "--port", str(port)]
    return [*words, "--batch-size", str(asked.batch_size)]


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


@contextmanager
def running(words: list[str], port: int) -> Iterator[tuple[subprocess.Popen[bytes], float]]:
    """Run a server; give its process, and the seconds until it answered at all."""
    begin = time.perf_counter()
    with tempfile.TemporaryFile() as log, subprocess.Popen(words, stdout=log, stderr=log) as process:
        try:
            while not answers(port):
                if process.poll() is not None or time.perf_counter() > begin + START_S:
                    log.seek(0)
                    raise SystemExit(f"{' '.join(words)} did not start: {log.read().decode()[-2000:]}")
                time.sleep(0.01)
            yield process, time.perf_counter() - begin
        finally:
            process.send_signal(signal.SIGTERM)


def answers(port: int) -> bool:
    """Say whether a server answers HTTP, whatever the status."""
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/openapi.json", timeout=5).read()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


def form(path: str, picture: bytes) -> bytes:
    """Return a request with a picture in a form, as browsers send it."""
    body = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\nContent-Type: image/jpeg\r\n\r\n'
    body += picture + b"\r\n--x--\r\n"
    return request_of(path, body, "multipart/form-data; boundary=x")


def request_of(path: str, body: bytes, kind: str, *headers: str) -> bytes:
    """Return a whole request."""
    lines = [f"POST {path} HTTP/1.1", "Host: x", f"Content-Type: {kind}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def load(
    port: int, request: Path, rate: float, seconds: float, connections: int = 64, late: float = 5.0
) -> dict[str, float]:
    """Return what load.py says."""
    words = [str(port), str(request), "--rate", f"{rate:.3f}", "--seconds", str(seconds)]
    words = [sys.executable, str(HERE / "load.py"), *words, "--connections", str(connections), "--late", str(late)]
    done = subprocess.run(words, stdout=subprocess.PIPE, check=True, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    print(f"  {rate:.0f}/s: {found}", file=sys.stderr, flush=True)
    return found


def search(port: int, request: Path, most_ms: float, steps: int) -> dict[str, float]:
    """Return the largest rate that is answered in full with p95 within `most_ms`, and the latencies at it."""
    good, bad, best = 0.0, 0.0, dict.fromkeys(("p50_ms", "p95_ms", "p99_ms"), float("inf"))
    for _ in range(steps):
        rate = (good + bad) / 2 if bad else 2 * good or 40.0
        found = load(port, request, rate, seconds=4)
        if found["p95_ms"] <= most_ms and not found["failed"]:
            good, best = rate, {name: found[name] for name in best}
        else:
            bad = rate
        if good and bad and bad < 1.08 * good:
            break
    if not good:
        raise SystemExit(f"No rate was answered with a p95 of {most_ms:g} ms: is this machine busy?")
    return {"requests_per_s": good, **best}


def saturated(port: int, request: Path, steps: int) -> float:
    """Return how many requests a second are answered where three are always under way: one in the model."""
    # due at once
    return load(port, request, 1e4, seconds=10 * steps / 1e4, connections=3, late=300)["answers_per_s"]


def tensors(asked: argparse.Namespace, port: int) -> bytes:
    """Return a request with 32 decoded images as a binary tensor."""
    images_NHWC = decoded(asked)
    given = {"name": "images", "datatype": "UINT8", "shape": images_NHWC.shape}
    told = {"inputs": [{**given, "parameters": {"binary_data_size": images_NHWC.nbytes}}]}
    text = json.dumps({**told, "parameters": {"binary_data_output": True}}).encode()
    path = f"/v2/models/{name_of(port)}/infer"
    length = f"Inference-Header-Content-Length: {len(text)}"
    return request_of(path, text + images_NHWC.tobytes(), "application/octet-stream", length)


def name_of(port: int) -> str:
    """Return what the server calls its model."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/models", timeout=5) as answer:
        return str(json.load(answer)["models"][0]["name"])


def decoded(asked: argparse.Namespace) -> Any:
    """Return the picture 32 times, as the model wants it: uint8 NHWC."""
    import numpy as np

    from keensight.bundle.read import read_bundle
    from keensight.data.pixels import decode_picture

    return np.stack([decode_picture(asked.picture.read_bytes(), read_bundle(asked.bundle).preprocessing)] * BATCH)


def in_process(asked: argparse.Namespace) -> float:
    """Return the images/s of ONNX Runtime itself, with as many threads as the cores."""
    import onnxruntime

    images_NHWC = decoded(asked)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = asked.threads
    session = onnxruntime.InferenceSession(asked.bundle / "model.onnx", options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    session.run(None, {name: images_NHWC})
    begin, rounds = time.perf_counter(), 10 * asked.steps
    for _ in range(rounds):
        session.run(None, {name: images_NHWC})
    return BATCH * rounds / (time.perf_counter() - begin)


def megabytes(pid: int) -> float:
    """Return the most resident memory that a process has had."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    found = re.search(r"VmHWM:\s+(\d+)", status)
    assert found
    return int(found[1]) * 1024 / 1e6


if __name__ == "__main__":
    main()
