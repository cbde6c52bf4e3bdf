"""An app whose orders are counted, behind the middleware."""

from __future__ import annotations

import asyncio
import json
import uuid
from typing import Any

from webhook_dedup import IdempotencyMiddleware

from ..asgi.kit import Reply, deliver

ADA = {"authorization": "Bearer ada"}
BOB = {"authorization": "Bearer bob"}
ORDER = b'{"item": "tea", "amount": 2}'


class Shop:
    """Answers each order with its number, or as it is told.

    Attributes:
        runs: Bodies of the requests that reached the app.
        statuses: What the next ones are answered with; 201 then.
        gate: Requests wait here; open at first.
        inside: Set when one has come in.
    """

    def __init__(self, store: Any = "memory://", **options: Any) -> None:
        self.runs: list[bytes] = []
        self.statuses: list[int] = []
        self.headers: list[tuple[bytes, bytes]] = []
        self.chunks = [b'{"order": ', b"%d}"]
        self.gate = asyncio.Event()
        self.gate.set()
        self.inside = asyncio.Event()
        # A scope of its own, as some stores are shared.
        self.app = IdempotencyMiddleware(
            self._answer, store=store, **{"scope": uuid.uuid4().hex, **options}
        )

    async def order(
        self, key: str | None = '"k1"', body: bytes = ORDER, by: Any = ADA, **options: Any
    ) -> Reply:
        """Send an order of Ada's, with a key unless told otherwise."""
        headers = {"content-type": "application/json", **by}
        headers |= options.pop("headers", {})
        if key is not None:
            headers["idempotency-key"] = key
        return await deliver(self.app, body, headers=headers, **{"path": "/orders", **options})

    async def begun(self) -> asyncio.Task[Reply]:
        """Send an order that has come in and waits at the gate."""
        self.gate.clear()
        order = asyncio.create_task(self.order())
        await self.inside.wait()
        return order

    async def _answer(self, scope: Any, receive: Any, send: Any) -> None:
        body = b""
        more = True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        self.runs.append(body)
        number = len(self.runs)
        self.inside.set()
        await self.gate.wait()
        status = self.statuses.pop(0) if self.statuses else 201
        headers = [(b"content-type", b"application/json"), *self.headers]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        for chunk in self.chunks:
            body = chunk.replace(b"%d", str(number).encode())
            await send({"type": "http.response.body", "body": body, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


def replayed(reply: Reply) -> bool:
    return reply.headers.get("idempotent-replayed") == "true"


def is_problem(reply: Reply, status: int, code: str) -> bool:
    """Whether a reply is a problem with a link to the documentation."""
    content = json.loads(reply.body)
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.headers["link"] == f'<{content["type"]}>; rel="describedby"; type="text/html"'
    assert set(content) == {"type", "title", "status", "detail", "code"}
    assert all(content.values())
    return (reply.status, content["status"], content["code"]) == (status, status, code)
