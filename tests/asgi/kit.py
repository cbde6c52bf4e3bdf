"""Sources, stores, records and bare ASGI calls for the tests of the middleware."""

from __future__ import annotations

import asyncio
import json
import warnings
from collections.abc import Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from webhook_dedup import Policy, Source, StoreUnavailable, WebhookDedup
from webhook_dedup.observe.record import Kind, Record
from webhook_dedup.policy import Retries
from webhook_dedup.providers import sign
from webhook_dedup.stores import MemoryStore

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Starlette would rather have httpx2 than httpx
    from starlette.testclient import TestClient

__all__ = ["TestClient"]

SECRET = "a secret"
PATH = "/hooks"
LIMIT = 15.0
BODY = b'{"id": "evt_1"}'
AT_ONCE = Retries(initial=0, jitter=0)


def source(**options: Any) -> Source:
    """A signed source at ``/hooks`` with its ids in the JSON body."""
    chosen = {"name": "shop", "path": PATH, "event_id": "id", "secret": SECRET, **options}
    return Source("generic", **chosen)


def signed(body: bytes = BODY) -> dict[str, str]:
    return sign("generic", secret=SECRET, body=body)


def policy(**options: Any) -> Policy:
    return Policy(**{"retries": AT_ONCE, "drain_timeout": 1, **options})


class Records:
    """An observer that keeps everything."""

    def __init__(self) -> None:
        self.all: list[Record] = []

    def record(self, record: Record) -> None:
        self.all.append(record)

    def of(self, kind: Kind) -> list[Record]:
        return [record for record in self.all if record.kind is kind]

    @property
    def kinds(self) -> list[str]:
        return [record.kind.value for record in self.all]


class TracedStore(MemoryStore):
    """Notes every verb in a trace, and is away for the verbs it is told to fail."""

    def __init__(self, trace: list[str] | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.trace = [] if trace is None else trace
        self.away: set[str] = set()

    def _enter(self, verb: str) -> None:
        if verb in self.away:
            raise StoreUnavailable(f"told to fail {verb}")
        self.trace.append(verb)

    async def start(self) -> None:
        self._enter("start")

    async def claim(self, bids: Sequence[Any]) -> Sequence[Any]:
        self._enter("claim")
        return await super().claim(bids)

    async def complete(self, done: Sequence[Any]) -> Sequence[bool]:
        self._enter("complete")
        return await super().complete(done)

    async def release(self, claims: Sequence[Any]) -> Sequence[bool]:
        self._enter("release")
        return await super().release(claims)

    async def renew(self, claims: Sequence[Any], lease: float) -> Sequence[bool]:
        self._enter("renew")
        return await super().renew(claims, lease)


@dataclass
class Reply:
    """What one bare ASGI call was told."""

    messages: list[dict[str, Any]] = field(default_factory=list)

    @property
    def status(self) -> int:
        return self.messages[0]["status"]

    @property
    def headers(self) -> dict[str, str]:
        pairs = self.messages[0].get("headers", ())
        return {name.decode().lower(): value.decode("latin-1") for name, value in pairs}

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.messages[1:])

    def json(self) -> Any:
        return json.loads(self.body)


def http_scope(path: str = PATH, method: str = "POST", **more: Any) -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [],
        "client": ("127.0.0.1", 50_000),
        "server": ("127.0.0.1", 80),
        **more,
    }


def raw(headers: dict[str, str] | Sequence[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    if isinstance(headers, dict):
        return [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    return list(headers)


async def deliver(
    app: Any,
    body: bytes = BODY,
    *,
    headers: dict[str, str] | Sequence[tuple[bytes, bytes]] | None = None,
    leaves: asyncio.Event | None = None,
    on_send: Callable[[dict[str, Any]], None] | None = None,
    **scope: Any,
) -> Reply:
    """Send one delivery over bare ASGI, signed unless headers are given.

    ``leaves`` is set when the client hangs up; ``on_send`` sees each message, and may raise.
    """
    reply = Reply()
    waiting = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> dict[str, Any]:
        if waiting:
            return waiting.pop()
        await (leaves or asyncio.Event()).wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        if on_send is not None:
            on_send(message)
        reply.messages.append(message)

    pairs = raw(signed(body) if headers is None else headers)
    await app(http_scope(headers=pairs, **scope), receive, send)
    return reply


@asynccontextmanager
async def living(app: Any, state: dict[str, Any] | None = None):
    """Run an app's lifespan around the block, as a server does."""
    told: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    heard: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    scope = {
        "type": "lifespan",
        "asgi": {"version": "3.0"},
        "state": {} if state is None else state,
    }
    task = asyncio.ensure_future(app(scope, told.get, heard.put))
    await told.put({"type": "lifespan.startup"})
    try:
        await _hear(heard, task, "lifespan.startup.complete")
        yield scope["state"]
        await told.put({"type": "lifespan.shutdown"})
        await _hear(heard, task, "lifespan.shutdown.complete")
        await task
    finally:
        task.cancel()
        await asyncio.wait([task])


async def _hear(heard: asyncio.Queue[dict[str, Any]], task: asyncio.Task, wanted: str) -> None:
    hearing = asyncio.ensure_future(heard.get())
    await asyncio.wait([hearing, task], return_when=asyncio.FIRST_COMPLETED)
    if not hearing.done():
        hearing.cancel()
        task.result()
        raise AssertionError(f"the app ended without {wanted}")
    message = hearing.result()
    if message["type"] != wanted:
        raise RuntimeError(message.get("message", message["type"]))


class Handler:
    """A bare ASGI app: counts its runs, can be held at the gate, answers as it is told.

    Attributes:
        runs: Bodies it was called with.
        scopes: Scopes it was called with.
        gate: Runs wait here; open at first.
        inside: Set when a run has begun.
    """

    def __init__(self, *statuses: int | BaseException, trace: list[str] | None = None) -> None:
        self.runs: list[bytes] = []
        self.scopes: list[dict[str, Any]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.inside = asyncio.Event()
        self._statuses = list(statuses)
        self._trace = trace

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            return await self._live(receive, send)
        message = await receive()
        self.runs.append(message["body"])
        self.scopes.append(scope)
        if self._trace is not None:
            self._trace.append("handler")
        self.inside.set()
        await self.gate.wait()
        outcome = self._statuses.pop(0) if self._statuses else 200
        if isinstance(outcome, BaseException):
            raise outcome
        headers = [(b"x-run", str(len(self.runs)).encode())]
        await send({"type": "http.response.start", "status": outcome, "headers": headers})
        await send({"type": "http.response.body", "body": b"handled"})
        return None

    @staticmethod
    async def _live(receive: Any, send: Any) -> None:
        for word in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{word}.complete"})


@asynccontextmanager
async def mounted(handler: Any, ack: str = "first", *, store: Any = None, **options: Any):
    """``(app, records)`` of a middleware around a handler, started and drained."""
    records = Records()
    chosen = options.pop("sources", None) or [source(ack=ack)]
    options.setdefault("policy", policy())
    app = WebhookDedup(
        handler,
        store=MemoryStore() if store is None else store,
        sources=chosen,
        observers=[records],
        **options,
    )
    async with living(app):
        yield app, records


async def until(holds: Callable[[], object]) -> None:
    """Wait until it holds; for what nothing announces."""
    deadline = monotonic() + LIMIT
    while not holds():
        assert monotonic() < deadline, "it never came to hold"
        await asyncio.sleep(0.005)


async def settled(app: WebhookDedup) -> None:
    """Wait until no accepted delivery is waiting or running any more."""
    await until(lambda: not len(app.dedup.inbox))
