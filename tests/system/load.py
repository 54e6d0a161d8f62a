"""Open-loop load in a process of its own: requests start by the clock, whether earlier ones were answered or not.

    python load.py PORT PICTURE REQUESTS_A_SECOND

It goes on until SIGTERM, waits for what is under way, and prints one JSON object: how many requests were sent, those
that failed with the time and the reason, how many answers came from which version, and the slowest in seconds.
"""

import asyncio
import collections
import json
import signal
import sys
import time
from pathlib import Path

TIMEOUT_S = 20.0


async def ask(port: int, picture: bytes) -> str:
    """Ask once, on a connection of its own, and return the version that answered."""
    head = f"POST /v1/predict HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Length: {len(picture)}\r\n\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(head.encode() + picture)
        answer = await reader.read()
    finally:
        writer.close()
    headers, _, body = answer.partition(b"\r\n\r\n")
    if not headers.startswith(b"HTTP/1.1 200 "):
        raise OSError(f"{headers[:60]!r} {body[:200]!r}")
    return json.loads(body)["version"]


async def load(port: int, picture: bytes, rate: float) -> dict:
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    versions, failures, times_s, tasks = collections.Counter(), [], [], set()

    async def one(due: float) -> None:
        try:
            versions[await asyncio.wait_for(ask(port, picture), TIMEOUT_S)] += 1
        except (OSError, ValueError, KeyError, TimeoutError) as error:
            failures.append([time.time(), f"{type(error).__name__}: {error}"])
        times_s.append(time.monotonic() - due)  # from when it should have started: no omission is coordinated

    due = time.monotonic()
    while not stopped.is_set():
        task = asyncio.create_task(one(due))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        due += 1 / rate
        await asyncio.sleep(max(0.0, due - time.monotonic()))
    await asyncio.gather(*tasks)
    times_s.sort()
    return {
        "requests": len(times_s),
        "failures": failures,
        "versions": versions,
        "p50_s": times_s[len(times_s) // 2],
        "p99_s": times_s[len(times_s) * 99 // 100],
        "slowest_s": times_s[-1],
    }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(load(int(sys.argv[1]), Path(sys.argv[2]).read_bytes(), float(sys.argv[3])))))
