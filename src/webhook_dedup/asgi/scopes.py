"""From a request to a delivery, and back to a request that an app can run."""

from __future__ import annotations

import asyncio
import sys
import time
from itertools import chain
from typing import Any, Protocol

from ..errors import RejectedDelivery
from ..model import Delivery, Event, new_id
from .types import Message, Receive, Scope

__all__ = [
    "BodyOnce",
    "ClientLeft",
    "accepted",
    "delivery_of",
    "event_of",
    "read_body",
    "root_path_of",
    "scope_of",
    "with_event",
]

_EVENT = "webhook_dedup.event"
_TUPLE = frozenset({tuple})
_BYTES = frozenset({bytes})


class _HasScope(Protocol):
    @property
    def scope(self) -> Any: ...


class ClientLeft(Exception):
    """The client hung up before its body was complete."""


def event_of(request: _HasScope) -> Event:
    """Return the event that a handler was called for.

    Args:
        request: The handler's Starlette or FastAPI request, or anything with an ASGI ``scope``.

    Raises:
        LookupError: No source of the middleware matched this request.
    """
    event: Event | None = request.scope.get(_EVENT)
    if event is None:
        path = request.scope.get("path")
        raise LookupError(
            f"this request was not accepted by WebhookDedup: no source matches its path {path!r}"
        )
    return event


def accepted(scope: Scope, source: str) -> bool:
    """Whether a request is the run of an event that this source has accepted before."""
    event: Event | None = scope.get(_EVENT)
    return event is not None and event.source == source


async def read_body(receive: Receive, headers: Any, limit: int) -> bytes:
    """Read a request's body up to ``limit`` bytes.

    Raises:
        RejectedDelivery: It is larger (413).
        ClientLeft: It ended before it was complete.
    """
    for name, value in headers:
        if name == b"content-length" and value.isdigit() and int(value[:20]) > limit:
            raise _too_large(limit)
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientLeft
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            raise _too_large(limit)
        chunks.append(chunk)
        if not message.get("more_body", False):
            return b"".join(chunks)  # also bytes where a server hands over its own buffer


def _too_large(limit: int) -> RejectedDelivery:
    return RejectedDelivery(413, "body_too_large", f"the body is larger than {limit} bytes")


def delivery_of(scope: Scope, source: str, body: bytes) -> Delivery:
    """Keep everything of a request that a later run needs."""
    get = scope.get
    params = get("path_params")
    return Delivery(
        new_id(),
        source,
        scope["method"],
        scope["path"],
        _headers(scope["headers"]),
        body,
        time.time(),
        raw_path=get("raw_path"),
        root_path=get("root_path", ""),
        query_string=get("query_string", b""),
        scheme=get("scheme", "http"),
        http_version=get("http_version", "1.1"),
        client=_address(get("client")),
        server=_address(get("server")),
        path_params=dict(params) if params else {},
    )


def _headers(found: Any) -> tuple[tuple[bytes, bytes], ...]:
    """Return headers as pairs of ``bytes``. Those that most servers make are taken as they are."""
    headers = tuple(found)
    if _TUPLE.issuperset(map(type, headers)) and _BYTES.issuperset(map(type, chain(*headers))):
        return headers
    return tuple([(bytes(name), bytes(value)) for name, value in headers])


def _address(found: Any) -> Any:
    pair = found is None or (type(found) is tuple and len(found) == 2)  # noqa: PLR2004 - host, port
    return found if pair else (found[0], found[1])


def scope_of(delivery: Delivery, event: Event, app: Any, state: dict[str, Any]) -> Scope:
    """Build the request that an app runs after the acknowledgement, the first time and again.

    It holds nothing of what outer middlewares added: what they opened is closed by then.
    """
    scope: Scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": delivery.http_version,
        "method": delivery.method,
        "scheme": delivery.scheme,
        "path": delivery.path,
        "raw_path": delivery.raw_path,
        "query_string": delivery.query_string,
        "root_path": delivery.root_path,
        "headers": list(delivery.headers),
        "client": delivery.client,
        "server": delivery.server,
        "state": dict(state),
        "extensions": {},
        _EVENT: event,
    }
    if app is not None:
        scope["app"] = app
    if delivery.path_params:
        scope["path_params"] = dict(delivery.path_params)
    return scope


def with_event(scope: Scope, event: Event) -> Scope:
    """Return a copy of a live request's scope that knows its event."""
    return {**scope, _EVENT: event}


def root_path_of(app: Any) -> str:
    """Return the ``root_path`` that an app gives its requests by itself, whatever they came with.

    FastAPI does. What stands before it must find paths as its router will, or a request that is
    spelled with the ``root_path`` goes by.
    """
    fastapi = sys.modules.get("fastapi")
    while app is not None and fastapi is not None:
        if isinstance(app, fastapi.FastAPI):
            return str(app.root_path)
        app = getattr(app, "__dict__", {}).get("app")  # of a middleware in between
    return ""


class BodyOnce:
    """A ``receive`` that gives a body that was already read, then what comes after it.

    Args:
        body: The exact bytes.
        then: The live request's ``receive``, which tells of the client's departure; without one
            the call blocks, since there is no client any more.
    """

    def __init__(self, body: bytes, then: Receive | None = None) -> None:
        self._body: bytes | None = body
        self._then = then

    async def __call__(self) -> Message:
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        if self._then is not None:
            return await self._then()
        await asyncio.get_running_loop().create_future()
        raise AssertionError("the future above never ends")  # pragma: no cover  # never reached
