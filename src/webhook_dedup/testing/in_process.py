"""Calls an ASGI app as a server does, without a server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping
from contextlib import asynccontextmanager
from time import perf_counter
from typing import Any
from urllib.parse import unquote, urlsplit

from .answers import Answer, Deliverable

__all__ = ["ASGIApp", "call", "living"]

Message = MutableMapping[str, Any]
ASGIApp = Callable[
    [Any, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]
]

_FAILED = 500


async def call(app: ASGIApp, delivery: Deliverable, state: Mapping[str, Any]) -> Answer:
    """Deliver once, and wait until the app is done with it. What it raises is a 500."""
    scope = _scope(delivery, state)
    waiting: list[Message] = [{"type": "http.request", "body": delivery.body, "more_body": False}]
    sent: list[Message] = []
    began = perf_counter()
    answered = [0.0]

    async def receive() -> Message:
        if waiting:
            return waiting.pop()
        await asyncio.Event().wait()
        raise AssertionError("nobody hangs up")

    async def send(message: Message) -> None:
        sent.append(message)
        answered[0] = perf_counter() - began

    try:
        await app(scope, receive, send)
    except Exception as exc:  # noqa: BLE001 - a server answers for its app
        return Answer(_FAILED, {}, b"", perf_counter() - began, repr(exc))
    return _answer(sent, answered[0])


def _answer(sent: list[Message], seconds: float) -> Answer:
    if not sent:
        return Answer(_FAILED, {}, b"", seconds, "the app returned without a response")
    headers = {
        name.decode("latin-1").lower(): value.decode("latin-1")
        for name, value in sent[0].get("headers", ())
    }
    body = b"".join(message.get("body", b"") for message in sent[1:])
    return Answer(sent[0]["status"], headers, body, seconds)


def _scope(delivery: Deliverable, state: Mapping[str, Any]) -> dict[str, Any]:
    url = urlsplit(delivery.url)
    path = url.path or "/"
    headers = {"host": url.netloc or "testserver", **delivery.headers}
    headers["content-length"] = str(len(delivery.body))
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": delivery.method,
        "scheme": url.scheme or "http",
        "path": unquote(path),
        "raw_path": path.encode(),
        "query_string": url.query.encode(),
        "root_path": "",
        "headers": [
            (name.lower().encode("latin-1"), value.encode("latin-1"))
            for name, value in headers.items()
        ],
        "client": ("127.0.0.1", 50_000),
        "server": (url.hostname or "testserver", url.port or 80),
        "state": dict(state),
    }


@asynccontextmanager
async def living(app: ASGIApp) -> AsyncIterator[dict[str, Any]]:
    """Run the lifespan of an app around the block; yield its state.

    An app that knows no lifespan is used without one.

    Raises:
        RuntimeError: Its start-up or its shutdown failed.
    """
    asked: asyncio.Queue[Message] = asyncio.Queue()
    heard: asyncio.Queue[Message] = asyncio.Queue()
    state: dict[str, Any] = {}
    scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": state}
    task = asyncio.ensure_future(_run(app, scope, asked.get, heard.put))
    knows = await _tell("startup", asked, heard, task)
    try:
        yield state
        if knows:
            await _tell("shutdown", asked, heard, task)
    finally:
        task.cancel()
        await asyncio.wait([task])


async def _run(app: ASGIApp, *channel: Any) -> None:
    await app(*channel)


async def _tell(
    word: str, asked: asyncio.Queue[Message], heard: asyncio.Queue[Message], task: Any
) -> bool:
    """Send a lifespan event; ``False`` if the app does not understand any."""
    await asked.put({"type": f"lifespan.{word}"})
    hearing = asyncio.ensure_future(heard.get())
    await asyncio.wait([hearing, task], return_when=asyncio.FIRST_COMPLETED)
    if not hearing.done():
        hearing.cancel()
        return False
    answer = hearing.result()
    if answer["type"] != f"lifespan.{word}.complete":
        raise RuntimeError(f"the app's {word} failed: {answer.get('message', '')}")
    return True
