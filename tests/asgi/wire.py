"""HTTP/1.1 by hand, for requests that no well-bred client would send."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from tests.ports import HOST

LIMIT = 15.0


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


def request(
    path: str,
    body: bytes = b"",
    headers: dict[str, str] | Iterable[tuple[str, str]] = (),
    *,
    method: str = "POST",
    length: str | None = "",
    chunks: Iterable[bytes] | None = None,
) -> bytes:
    """The bytes of a request.

    ``length`` is the Content-Length in place of the true one, ``None`` leaves it out; ``chunks``
    are sent as a chunked body in place of ``body``.
    """
    pairs = list(headers.items() if isinstance(headers, dict) else headers)
    if chunks is not None:
        pairs.append(("Transfer-Encoding", "chunked"))
        body = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in [*chunks, b""])
    elif length is not None:
        pairs.append(("Content-Length", length or str(len(body))))
    lines = [f"{method} {path} HTTP/1.1", "Host: test", *(f"{k}: {v}" for k, v in pairs)]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


class Connection:
    """One kept-alive connection."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def __aenter__(self):
        self._reader, self._writer = await asyncio.open_connection(HOST, self._port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()

    def send(self, data: bytes) -> None:
        self._writer.write(data)

    async def answer(self) -> Answer | None:
        """The next answer; ``None`` if the server closes the connection instead."""
        try:
            return await asyncio.wait_for(self._answer(), LIMIT)
        except (asyncio.IncompleteReadError, ConnectionError):
            return None

    async def _answer(self) -> Answer:
        head = await self._reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines if line)
        if headers.get("transfer-encoding") == "chunked":
            body = await self._chunks()
        else:
            body = await self._reader.readexactly(int(headers.get("content-length", 0)))
        return Answer(int(first.split(" ")[1]), headers, body)

    async def _chunks(self) -> bytes:
        body = b""
        while size := int(await self._reader.readuntil(b"\r\n"), 16):
            body += await self._reader.readexactly(size)
            await self._reader.readexactly(2)
        await self._reader.readexactly(2)
        return body


async def ask(port: int, data: bytes) -> Answer | None:
    """Send a request over a connection of its own and return its answer."""
    async with Connection(port) as connection:
        connection.send(data)
        return await connection.answer()
