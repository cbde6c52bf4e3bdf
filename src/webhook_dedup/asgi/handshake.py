"""Handshakes of providers: answered, and nothing is claimed or stored for them."""

from __future__ import annotations

import asyncio

from ..observe.record import Kind, Record
from ..providers import Parsed
from ..providers.handshakes import Reply, VisitingHandshake
from .exchange import Exchange
from .responses import respond
from .scopes import delivery_of
from .verification import verify

__all__ = ["answered", "passes_through"]


async def answered(exchange: Exchange, parsed: Parsed) -> bool:
    """Answer a request if it is a handshake.

    Raises:
        RejectedDelivery: It is one that must not be answered.
    """
    reply = exchange.route.source.answer(parsed)
    if reply is None:
        return False
    await _reply(exchange, parsed, reply)
    return True


async def passes_through(exchange: Exchange) -> bool:
    """Say whether a request whose method carries no deliveries is the app's.

    It is unless it is a handshake, which is answered here. Its body is left for the app to read.

    Raises:
        RejectedDelivery: It is a handshake that must not be answered.
    """
    source = exchange.route.source
    delivery = delivery_of(exchange.scope, source.name, b"")
    parsed = exchange.route.parse(delivery)
    reply = source.answer(parsed)
    if reply is None:
        return True
    if source.handshake is not None and source.handshake.signed:
        await verify(source, parsed, delivery.received_at)
    await _reply(exchange, parsed, reply)
    return False


async def _reply(exchange: Exchange, parsed: Parsed, reply: Reply) -> None:
    source = exchange.route.source
    handshake = source.handshake
    if isinstance(handshake, VisitingHandshake) and handshake.visits(parsed):
        await asyncio.to_thread(handshake.visit, parsed)
    headers = [(name.lower().encode(), value.encode("latin-1")) for name, value in reply.headers]
    if reply.content_type:
        headers.append((b"content-type", reply.content_type.encode("latin-1")))
    await respond(exchange.send, reply.status, reply.body, headers)
    exchange.dedup.record(
        Record(Kind.RECEIVED, source.name, reason="handshake", detail=f"{parsed.method} answered")
    )
