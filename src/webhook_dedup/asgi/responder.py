"""One request of one source, from its first byte to its answer."""

from __future__ import annotations

import logging

from ..dedup import Dedup
from ..errors import RejectedDelivery, StoreError
from ..model import Delivery, Event
from ..observe.record import Kind, Record, about, skip
from .early import respond_claimed, respond_first
from .exchange import Exchange
from .handled import respond_handled
from .responses import acknowledge, acknowledge_claimed, refuse
from .scopes import ClientLeft, delivery_of, read_body

__all__ = ["respond"]

logger = logging.getLogger("webhook_dedup")

_BY_ACK = {"first": respond_first, "claimed": respond_claimed, "handled": respond_handled}


async def respond(exchange: Exchange) -> None:
    """Check a delivery, then acknowledge and run it in the order of its source's ``ack``."""
    try:
        if not exchange.dedup.running:
            await _start(exchange.dedup)
        delivery, event = await _read(exchange)
        if not await _answered_from_memory(exchange, event):
            await _BY_ACK[exchange.route.source.ack](exchange, delivery, event)
    except RejectedDelivery as rejection:
        _record_rejected(exchange, rejection.code, rejection.detail, rejection.status)
        await refuse(exchange.send, rejection)
    except ClientLeft:
        detail = "the client hung up before its body was complete"
        _record_rejected(exchange, "client_left", detail, None)


async def _start(dedup: Dedup) -> None:
    try:
        await dedup.start()
    except StoreError as exc:
        logger.warning("the store cannot be started: %s", exc)
        raise RejectedDelivery(
            503, "store_unavailable", "events cannot be accepted now", retry_after=5.0
        ) from exc


async def _read(exchange: Exchange) -> tuple[Delivery, Event]:
    """Read, verify and identify a delivery. Nothing of a refused one is kept."""
    route = exchange.route
    body = await read_body(exchange.receive, exchange.scope["headers"], route.max_body)
    delivery = delivery_of(exchange.scope, route.source.name, body)
    event = route.read(delivery, now=delivery.received_at)
    if route.late(event):
        detail = "the event is older than events are remembered; it is run all the same"
        reason, warning = "after_window", True
    else:
        detail, reason, warning = None, None, False
    record = about(Kind.RECEIVED, event, reason=reason, detail=detail, warning=warning)
    exchange.dedup.record(record)
    return delivery, event


def _record_rejected(exchange: Exchange, code: str, detail: str, status: int | None) -> None:
    name = exchange.route.source.name
    exchange.dedup.record(Record(Kind.REJECTED, name, reason=code, detail=detail, status=status))


async def _answered_from_memory(exchange: Exchange, event: Event) -> bool:
    """Acknowledge an event that this process knows to be done, without any I/O."""
    seen, ack = exchange.dedup.seen, exchange.route.source.ack
    if seen is None or event.key is None or exchange.policy.observe_only or ack == "handled":
        return False
    claim = seen.peek(str(event.key), event.fingerprint)
    if claim is None or exchange.refuses(claim):
        return False
    exchange.dedup.record(skip(Kind.SKIPPED, event, claim))
    if ack == "claimed":
        await acknowledge_claimed(exchange.send, exchange.preset, duplicate=True)
    else:
        await acknowledge(exchange.send, exchange.preset)
    return True
