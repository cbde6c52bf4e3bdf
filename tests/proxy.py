"""A TCP proxy that loses replies, stalls, refuses and cuts, for tests of what a network does."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass, field
from urllib.parse import urlsplit

HOST = "127.0.0.1"
CHUNK = 65_536


@dataclass(slots=True)
class _Loss:
    """An order to lose the reply to the next request that contains some bytes."""

    containing: bytes
    happened: asyncio.Event = field(default_factory=asyncio.Event)


class Proxy:
    """Stands between a client and a server while it is entered, on a free loopback port.

    Attributes:
        port: Where clients connect.
        delay: Seconds each reply is held up.
        connections: How many connections clients have made so far.
    """

    def __init__(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> None:
        self.port = 0
        self.delay = 0.0
        self.connections = 0
        self.losses: list[_Loss] = []
        self.flowing = asyncio.Event()
        self._target = (host, port)
        self._tls = tls
        self._listener: asyncio.Server | None = None
        self._links: set[asyncio.Task[None]] = set()

    @classmethod
    def to(cls, url: str, tls: ssl.SSLContext | None = None) -> Proxy:
        """A proxy to the server that a URL names; with ``tls``, clients speak that to it."""
        parts = urlsplit(url)
        if not (parts.hostname and parts.port):
            raise ValueError(f"no host and port in {url!r}")
        return cls(parts.hostname, parts.port, tls)

    def through(self, url: str) -> str:
        """Return a URL of the server with the proxy's address in its place."""
        parts = urlsplit(url)
        user, at, _ = parts.netloc.rpartition("@")
        return parts._replace(netloc=f"{user}{at}{HOST}:{self.port}").geturl()

    async def __aenter__(self):
        self.flowing.set()
        await self.accept()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.refuse()
        await self.cut()

    def swallow_next_reply(self, containing: bytes = b"") -> asyncio.Event:
        """Lose the reply to the next request that contains these bytes.

        The request reaches the server and the server answers it; then the client's connection
        ends in place of the reply. The event is set when that has happened.
        """
        loss = _Loss(containing)
        self.losses.append(loss)
        return loss.happened

    def altered(self, reply: bytes) -> bytes:
        """Return what is passed on of a reply: all of it, unless a subclass says otherwise."""
        return reply

    def black_hole(self) -> None:
        """Let nothing through in either direction; connections stay open and new ones are taken.

        As in a network that comes back, what is sent meanwhile arrives after :meth:`restore`.
        """
        self.flowing.clear()

    def restore(self) -> None:
        """End a black hole."""
        self.flowing.set()

    def refuse(self) -> None:
        """Refuse new connections; those that are open stay."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    async def accept(self) -> None:
        """Accept connections again, at the same port."""
        self._listener = await asyncio.start_server(self._serve, HOST, self.port, ssl=self._tls)
        self.port = self._listener.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        """Cut every open connection."""
        links = list(self._links)
        for link in links:
            link.cancel()
        await asyncio.gather(*links, return_exceptions=True)

    def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        link = asyncio.ensure_future(self._carry(reader, writer))
        self._links.add(link)
        link.add_done_callback(self._links.discard)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            server_reader, server_writer = await asyncio.open_connection(*self._target)
            try:
                await _Link(self, reader, writer, server_reader, server_writer).run()
            finally:
                server_writer.close()  # in order: an abort could lose a request on its way
        except OSError:
            return
        finally:
            writer.transport.abort()


class _Link:
    """One client's connection and the one to the server behind it."""

    def __init__(
        self,
        proxy: Proxy,
        client_reader: asyncio.StreamReader,
        client_writer: asyncio.StreamWriter,
        server_reader: asyncio.StreamReader,
        server_writer: asyncio.StreamWriter,
    ) -> None:
        self._proxy = proxy
        self._client = (client_reader, client_writer)
        self._server = (server_reader, server_writer)
        self._loss: _Loss | None = None
        self._seen = b""

    async def run(self) -> None:
        """Carry bytes until either side is done."""
        ways = [asyncio.ensure_future(self._requests()), asyncio.ensure_future(self._replies())]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    async def _requests(self) -> None:
        reader, writer = self._client[0], self._server[1]
        while data := await reader.read(CHUNK):
            await self._proxy.flowing.wait()
            self._look_for_loss(data)
            writer.write(data)
            await writer.drain()

    async def _replies(self) -> None:
        reader, writer = self._server[0], self._client[1]
        while data := await reader.read(CHUNK):
            if self._loss is not None:
                self._loss.happened.set()
                return
            self._seen = b""  # the request is answered: what follows belongs to another one
            await asyncio.sleep(self._proxy.delay)
            await self._proxy.flowing.wait()
            writer.write(self._proxy.altered(data))
            await writer.drain()

    def _look_for_loss(self, data: bytes) -> None:
        """Take up the first order that matches; a match may span two reads."""
        self._seen = (self._seen + data)[-2 * CHUNK :]
        for loss in self._proxy.losses:
            if self._loss is None and loss.containing in self._seen:
                self._loss = loss
                self._proxy.losses.remove(loss)
                return
