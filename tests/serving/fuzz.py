"""What becomes of a server under hostile requests: `make fuzz` sends 100,000.

    python tests/serving/fuzz.py tests/bundle/frozen/bundle --cases 100000

What counts as failure: a 5xx other than 503, a picture without an answer by its deadline, a line of the server's log
that says that something failed, a request that was smuggled, an exit status other than 0, a good client beside it whose
median is more than twice what it was before.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import util
from pathlib import Path

spec = util.spec_from_file_location("hostile", Path(__file__).with_name("hostile.py"))
hostile = sys.modules["hostile"] = util.module_from_spec(spec)
spec.loader.exec_module(hostile)
Case, Generator, post, png = hostile.Case, hostile.Generator, hostile.post, hostile.png

PATIENCE_S = 2.0  # for an answer; requests that are cut short get none
DEADLINE_S = 32.0  # for a whole request: the server's own is 30


@dataclass(slots=True)
class Outcome:
    """How often each status came, by kind of case; `silent` and `closed` where there was none."""

    statuses: Counter[str] = field(default_factory=Counter)
    kinds: dict[str, Counter[str]] = field(default_factory=dict)
    slowest_s: float = 0.0  # of the answers to whole requests
    slowest: str = ""

    def count(self, case: Case, status: str, seconds: float) -> None:
        """Count one case."""
        kind = case.kind
        if case.end == "deadline" and seconds > self.slowest_s:
            self.slowest_s, self.slowest = seconds, kind
        self.statuses[status] += 1
        self.kinds.setdefault(kind, Counter())[status] += 1


async def send(port: int, case: Case) -> str:
    """Send a case, and return the status that came, `closed` or `silent`."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return "not connected"
    answer = b""
    try:
        for piece in case.pieces:
            if isinstance(piece, float):
                await asyncio.sleep(piece)
            else:
                writer.write(piece)
        if case.end == "reset":
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return "reset"
        if case.end == "half":
            writer.write_eof()
        patience_s = {"answer": PATIENCE_S, "deadline": DEADLINE_S}.get(case.end, PATIENCE_S / 8)
        async with asyncio.timeout(patience_s):
            answer = await reader.read(65536)
    except TimeoutError:
        return "late" if case.end == "deadline" else "silent"
    except OSError:
        return "closed"
    finally:
        writer.close()
    found = re.match(rb"HTTP/1\.1 (\d{3})", answer)
    return found[1].decode() if found else "closed"


async def attack(
    port: int, cases: Iterator[Case], outcome: Outcome | None = None, *, at_once: int = 12, rate: float = 0.0
) -> Outcome:
    """Send cases, so many at once, `rate` a second (0: as fast as it goes), and count what comes back."""
    outcome, begin, sent = outcome or Outcome(), time.monotonic(), 0

    async def worker() -> None:
        nonlocal sent
        for case in cases:
            sent += 1
            if rate:
                await asyncio.sleep(begin + sent / rate - time.monotonic())
            begun = time.monotonic()
            status = await send(port, case)
            outcome.count(case, status, time.monotonic() - begun)

    await asyncio.gather(*(worker() for _ in range(at_once)))
    return outcome


class Memory:
    """Samples the resident memory of a process, in MB."""

    def __init__(self, pid: int) -> None:
        self._file = Path(f"/proc/{pid}/status")
        self.samples = [self.now()]
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def now(self) -> float:
        """Return it now."""
        return int(re.search(r"VmRSS:\s+(\d+)", self._file.read_text())[1]) * 1024 / 1e6

    def _watch(self) -> None:
        while not self._done.wait(0.1):
            self.samples.append(self.now())

    def stop(self) -> None:
        """Sample no more."""
        self._done.set()
        self._thread.join()
        self.samples.append(self.now())


def probe(port: int, seconds: float) -> dict[str, float]:
    """Ask well-behaved questions, twenty a second, and return latencies in ms from when each was due."""
    request = post("/v1/predict", png(8, 8), "image/png").replace(b"Connection: close\r\n", b"")
    took, begin = [], time.perf_counter()
    with socket.create_connection(("127.0.0.1", port)) as line:
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while (due := begin + len(took) / 20) < begin + seconds:
            time.sleep(max(0.0, due - time.perf_counter()))
            line.sendall(request)
            answer = line.recv(65536)
            while b"\r\n\r\n" not in answer or not answer.endswith(b"}"):
                answer += line.recv(65536)
            assert answer.startswith(b"HTTP/1.1 200"), answer
            took.append((time.perf_counter() - due) * 1e3)
    cuts = statistics.quantiles(took, n=100)
    return {"n": len(took), "p50_ms": round(cuts[49], 2), "p95_ms": round(cuts[94], 2), "p99_ms": round(cuts[98], 2)}


def main() -> None:
    """Fuzz a server, print what came of it, and exit with 1 where something failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rate", type=float, default=50.0, help="cases a second while a good client asks, too")
    parser.add_argument("--keep", action="store_true", help="let the server keep pictures: its disk then counts, too")
    parser.add_argument("--calm", type=float, default=20.0, help="seconds of measuring before")
    parser.add_argument("--probe", type=int, help=argparse.SUPPRESS)  # the port: ask, from a process of its own
    asked = parser.parse_args()
    if asked.probe:
        print(json.dumps(probe(asked.probe, asked.calm)))
        return
    with tempfile.TemporaryDirectory() as folder, open(Path(folder, "log"), "w+") as log:
        words = ("serve", asked.bundle, "--port", "0", *(("--keep", f"{folder}/kept") if asked.keep else ()))
        command = [sys.executable, "-m", "keensight", *map(str, words)]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        port = int(re.search(r":(\d+)$", server.stdout.readline().strip())[1])

        def asking(seconds: float) -> subprocess.Popen[str]:
            words = [str(asked.bundle), "--probe", str(port), "--calm", str(seconds)]
            return subprocess.Popen([sys.executable, __file__, *words], stdout=subprocess.PIPE, text=True)

        idle = json.loads(asking(asked.calm).communicate()[0])
        print("a good client, before   ", idle, flush=True)
        memory = Memory(server.pid)
        begin, first = time.monotonic(), min(asked.cases, round(2 * asked.calm * asked.rate))
        good = asking(2 * asked.calm)
        outcome = asyncio.run(attack(port, Generator(asked.seed).cases(first), rate=asked.rate))
        beside = json.loads(good.communicate()[0])
        print("a good client, meanwhile", beside, flush=True)
        asyncio.run(attack(port, Generator(asked.seed + 1).cases(asked.cases - first), outcome))
        seconds = time.monotonic() - begin
        time.sleep(2)
        memory.stop()
        server.terminate()
        status = server.wait(60)
        log.seek(0)
        lines = [json.loads(line) for line in log if not line.startswith("keensight: warning")]
    found = failures(outcome, lines)
    if beside["p50_ms"] > 2 * idle["p50_ms"]:
        found.append(f"a good client waited {beside['p50_ms']} ms, not {idle['p50_ms']}: more than twice as long")
    print(f"{asked.cases:,} cases in {seconds:.0f} s, seed {asked.seed}: {dict(outcome.statuses.most_common())}")
    for kind, statuses in sorted(outcome.kinds.items()):
        print(f"  {kind:14} {dict(statuses.most_common())}")
    print(f"the slowest answer to a picture came after {outcome.slowest_s:.2f} s ({outcome.slowest})")
    before, *_, after = memory.samples
    print(f"memory: {before:.0f} MB before, {max(memory.samples):.0f} at most, {after:.0f} after; exit status {status}")
    print("\n".join(found) or "nothing failed")
    sys.exit(bool(found or status))


def failures(outcome: Outcome, log: list[dict[str, object]]) -> list[str]:
    """Return what must not happen and did, in words."""
    found = [f"{n} answers {status}" for status, n in outcome.statuses.items() if status[0] == "5" and status != "503"]
    found += [f"{n} answers later than {DEADLINE_S:g} s" for status, n in outcome.statuses.items() if status == "late"]
    found += [f"{n} times not connected" for status, n in outcome.statuses.items() if status == "not connected"]
    for line in log:
        if line["event"] == "failed" or (line["event"] == "request" and line["status"] not in (503, *range(200, 500))):
            found.append(json.dumps(line))
        if line.get("path") == "/smuggled":
            found.append("a request was smuggled")
    return found[:20]


if __name__ == "__main__":
    main()
