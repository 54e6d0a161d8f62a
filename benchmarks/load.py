"""An open-loop load generator: requests leave at a constant rate, whether or not answers come.

python load.py PORT REQUEST --rate 200 --seconds 5

REQUEST is a file with one whole HTTP request, to be sent over connections that stay open. Latency counts from when a
request was due, so that a server that falls behind cannot hide it (Tene 2015, "How NOT to Measure Latency").
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import statistics
import time
from pathlib import Path

LENGTH = re.compile(rb"\r\ncontent-length: (\d+)\r\n", re.IGNORECASE)


async def main() -> None:
    """Send, and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("request", type=Path)
    parser.add_argument("--rate", type=float, required=True, help="requests a second")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--late", type=float, default=5.0, help="seconds after the last was due, when answers fail")
    asked = parser.parse_args()
    request, count = asked.request.read_bytes(), max(20, round(asked.rate * asked.seconds))
    due: asyncio.Queue[float] = asyncio.Queue()
    took: list[float] = []
    begin = time.perf_counter() + 0.2

    async def connection() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", asked.port)
        try:
            while True:
                when = await due.get()
                writer.write(request)
                if await answered(reader):
                    took.append(time.perf_counter() - when)
        finally:
            writer.close()

    tasks = [asyncio.create_task(connection()) for _ in range(min(asked.connections, count))]
    for number in range(count):
        when = begin + number / asked.rate
        if (wait := when - time.perf_counter()) > 0:
            await asyncio.sleep(wait)
        due.put_nowait(when)
    deadline = time.perf_counter() + asked.late
    while len(took) < count and time.perf_counter() < deadline and not all(task.done() for task in tasks):
        await asyncio.sleep(0.01)
    seconds = time.perf_counter() - begin
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    cuts = statistics.quantiles(took, n=100) if len(took) > 1 else [float("inf")] * 99
    percentiles = {f"p{share}_ms": 1e3 * cuts[share - 1] for share in (50, 95, 99)}
    print(json.dumps({**percentiles, "failed": count - len(took), "answers_per_s": len(took) / seconds}))


async def answered(reader: asyncio.StreamReader) -> bool:
    """Read one answer; say whether its status is 200."""
    head = await reader.readuntil(b"\r\n\r\n")
    found = LENGTH.search(head)
    await reader.readexactly(int(found[1]) if found else 0)
    return head.startswith(b"HTTP/1.1 200")


if __name__ == "__main__":
    asyncio.run(main())
