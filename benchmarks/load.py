"""An open-loop load generator: requests leave at a constant rate, whether or not answers come.

python load.py PORT REQUEST --rate 200 --seconds 5

REQUEST is a file with one whole HTTP request, to be sent over connections that stay open. Latency counts from when a
request was due, so that a server that falls behind cannot hide it (Tene 2015, "How NOT to Measure Latency").

Plain sockets and epoll, no event loop: it runs on the server's cores, and what it costs distorts the fast side most.
With asyncio's streams a request cost it 0.3 ms, as much as the server.
"""

from __future__ import annotations

import argparse
import json
import re
import select
import socket
import statistics
import time
from collections import deque
from pathlib import Path

LENGTH = re.compile(rb"\r\ncontent-length: (\d+)\r\n", re.IGNORECASE)
MOST_WAIT_S = 0.05


class Connection:
    """A connection with at most one request under way; `due` is when that was due."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.due = 0.0
        self._unsent, self._received, self._wanted = memoryview(b""), b"", 0

    def send(self, request: bytes, due: float) -> bool:
        """Send a request; say whether all of it has left already."""
        self.due, self._received, self._wanted, self._unsent = due, b"", 0, memoryview(request)
        return self.send_rest()

    def send_rest(self) -> bool:
        """Send what has not left yet; say whether that was all."""
        try:
            self._unsent = self._unsent[self.socket.send(self._unsent, socket.MSG_DONTWAIT) :]
        except BlockingIOError:
            return False
        return not self._unsent

    def answered(self) -> bool | None:
        """Read; say whether the answer's status is 200, or None where it is not complete yet."""
        data = self.socket.recv(1 << 18, socket.MSG_DONTWAIT)
        if not data:
            return False
        self._received += data
        if not self._wanted:
            end = self._received.find(b"\r\n\r\n") + 4
            if end < 4:
                return None
            found = LENGTH.search(self._received, 0, end)
            self._wanted = end + (int(found[1]) if found else 0)
        return self._received.startswith(b"HTTP/1.1 200") if len(self._received) >= self._wanted else None


class Load:
    """Requests that leave when they are due, and the seconds from then on that their answers took."""

    def __init__(self, port: int, request: bytes, num_connections: int) -> None:
        self._request = request
        self._poll = select.epoll()
        self._connections: dict[int, Connection] = {}
        for _ in range(num_connections):
            connection = Connection(port)
            self._connections[connection.socket.fileno()] = connection
            self._poll.register(connection.socket, select.EPOLLIN)
        self._free = deque(self._connections.values())
        self.took: list[float] = []

    def run(self, count: int, rate: float, late: float) -> float:
        """Send `count` requests, `rate` a second; return the seconds until the last answer, or until `late`."""
        begin = time.perf_counter() + 0.2
        deadline, sent = begin + count / rate + late, 0
        while len(self.took) < count and self._connections and (now := time.perf_counter()) < deadline:
            while self._free and sent < count and begin + sent / rate <= now:
                self._send(self._free.popleft(), begin + sent / rate)
                sent += 1
            is_pacing = self._free and sent < count
            wait = min(MOST_WAIT_S, max(0.0, begin + sent / rate - now)) if is_pacing else MOST_WAIT_S
            for number, events in self._poll.poll(wait):
                self._happened(self._connections[number], events)
        return time.perf_counter() - begin

    def _send(self, connection: Connection, due: float) -> None:
        if not connection.send(self._request, due):
            self._poll.modify(connection.socket, select.EPOLLIN | select.EPOLLOUT)

    def _happened(self, connection: Connection, events: int) -> None:
        try:
            if events & select.EPOLLOUT and connection.send_rest():
                self._poll.modify(connection.socket, select.EPOLLIN)
            is_good = connection.answered() if events & ~select.EPOLLOUT else None
        except OSError:
            is_good = False
        if is_good:
            self.took.append(time.perf_counter() - connection.due)
            self._free.append(connection)
        elif is_good is False:  # what it carried has failed, and so would the next
            self._poll.unregister(connection.socket)
            del self._connections[connection.socket.fileno()]
            connection.socket.close()


def main() -> None:
    """Send, and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("request", type=Path)
    parser.add_argument("--rate", type=float, required=True, help="requests a second")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--late", type=float, default=5.0, help="seconds after the last was due, when answers fail")
    asked = parser.parse_args()
    count = max(20, round(asked.rate * asked.seconds))
    load = Load(asked.port, asked.request.read_bytes(), min(asked.connections, count))
    seconds = load.run(count, asked.rate, asked.late)
    cuts = statistics.quantiles(load.took, n=100) if len(load.took) > 1 else [float("inf")] * 99
    percentiles = {f"p{share}_ms": 1e3 * cuts[share - 1] for share in (50, 95, 99)}
    print(json.dumps({**percentiles, "failed": count - len(load.took), "answers_per_s": len(load.took) / seconds}))


if __name__ == "__main__":
    main()
