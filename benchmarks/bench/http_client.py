"""A cheap load generator: ``python -m benchmarks.bench.http_client PORT REQUESTS CONNECTIONS``.

Prints the seconds each answer took, as JSON. Each connection sends its next request when the last
one is answered; each request is a new event of 1 KB.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
import uuid

BODY = b'{"padding": "' + b"x" * 1000 + b'"}'
HEAD = (
    b"POST /hook HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\n"
    b"x-event-id: %b\r\nidempotency-key: %b\r\ncontent-length: %d\r\n\r\n"
)


class Sender(asyncio.Protocol):
    """One connection."""

    def __init__(self, left: list[int], waits: list[float], ended: asyncio.Future[None]) -> None:
        self.left, self.waits, self.ended = left, waits, ended
        self.buffer = b""

    def connection_made(self, transport) -> None:
        self.transport = transport
        self._next()

    def _next(self) -> None:
        if self.left[0] == 0:
            self.transport.close()
            return
        self.left[0] -= 1
        key = uuid.uuid4().hex.encode()
        self.sent = time.perf_counter()
        self.transport.write(HEAD % (key, key, len(BODY)) + BODY)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, gap, body = self.buffer.partition(b"\r\n\r\n")
        if not gap or len(body) < _length(head):
            return
        self.waits.append(time.perf_counter() - self.sent)
        if b" 200 " not in head[:16]:
            self.ended.set_exception(RuntimeError(head.decode()))
        self.buffer = b""
        self._next()

    def connection_lost(self, _: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_result(None)


def _length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.partition(b":")[2])
    return 0


async def load(port: int, requests: int, connections: int) -> list[float]:
    loop = asyncio.get_running_loop()
    left, waits = [requests], []
    ends = [loop.create_future() for _ in range(connections)]
    for ended in ends:
        await loop.create_connection(lambda e=ended: Sender(left, waits, e), "127.0.0.1", port)
    await asyncio.gather(*ends)
    return waits


def main() -> None:
    port, requests, connections = map(int, sys.argv[1:])
    print(json.dumps(asyncio.run(load(port, requests, connections))))


if __name__ == "__main__":
    main()
