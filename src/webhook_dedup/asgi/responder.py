"""One request of one source, from its first byte to its answer."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from ..batch import events_of, without_repeats
from ..dedup import Dedup
from ..errors import RejectedDelivery, StoreError
from ..model import Claim, Delivery, Event
from ..observe.record import Kind, Reason, Record, skip
from ..policy import RETRY_AFTER
from ..providers import Parsed
from .ack_then_run import respond_claimed, respond_first
from .exchange import Exchange
from .handshake import answered, passes_through
from .responses import acknowledge, acknowledge_claimed, refuse
from .run_then_ack import respond_handled
from .scopes import ClientLeft, delivery_of, read_body
from .verification import verify

__all__ = ["respond"]

logger = logging.getLogger("webhook_dedup")

_Responder = Callable[[Exchange, Delivery, Event], Awaitable["asyncio.Future[None] | None"]]

_BY_ACK: dict[str, _Responder] = {
    "first": respond_first,
    "claimed": respond_claimed,
    "handled": respond_handled,
}


async def respond(exchange: Exchange) -> asyncio.Future[None] | None:
    """Answer a request: a handshake by its rules, a delivery by its source's ``ack``.

    Returns:
        The end of what runs after the answer, if anything does.
    """
    source = exchange.route.source
    event: Event | None = None
    try:
        if exchange.scope["method"].upper() in source.methods:
            admitted = await _admitted(exchange)
            if admitted is None:
                return None
            delivery, event = admitted
            return await _BY_ACK[source.ack](exchange, delivery, event)
        passes = await passes_through(exchange)
    except RejectedDelivery as rejection:
        told = {"detail": rejection.detail, "status": rejection.status}
        _record_rejected(exchange, event, reason=rejection.code, **told)
        await refuse(exchange.send, rejection)
        return None
    except ClientLeft:
        detail = "the client hung up before its body was complete"
        _record_rejected(exchange, event, reason="client_left", detail=detail)
        return None
    if passes:
        await exchange.app(exchange.scope, exchange.receive, exchange.send)
    return None


async def _admitted(exchange: Exchange) -> tuple[Delivery, Event] | None:
    """Read and verify a delivery, and say what is to be run of it.

    ``None`` when it was answered: as a handshake, or because there is nothing to run.
    """
    route, source = exchange.route, exchange.route.source
    body = await read_body(exchange.receive, exchange.scope["headers"], route.max_body)
    delivery = delivery_of(exchange.scope, source.name, body)
    parsed = route.parse(delivery)
    handshake = source.handshake
    if handshake is not None and not handshake.signed and await answered(exchange, parsed):
        return None
    if source.signed:
        await verify(source, parsed, delivery.received_at)
    if handshake is not None and handshake.signed and await answered(exchange, parsed):
        return None
    if not exchange.dedup.running:
        await _start(exchange.dedup)
    event = _identify(exchange, delivery, parsed)
    done = event is not None and _known_done(exchange, event)
    if event is not None and not done:
        return delivery, event
    await _acknowledge_known(exchange, duplicate=done)
    return None


async def _start(dedup: Dedup) -> None:
    """Start for all requests to come, which must not see the context variables of this one."""
    try:
        await contextvars.Context().run(asyncio.ensure_future, dedup.start())
    except StoreError as exc:
        logger.warning("the store cannot be started: %s", exc)
        raise RejectedDelivery(
            503, "store_unavailable", "events cannot be accepted now", retry_after=RETRY_AFTER
        ) from exc


def _identify(exchange: Exchange, delivery: Delivery, parsed: Parsed) -> Event | None:
    """Say which events of a verified delivery are to be run. Nothing of a refused one is kept."""
    route, record = exchange.route, exchange.dedup.record
    event, repeats = without_repeats(route.identify(parsed, delivery))
    if route.late(event):
        detail = "the event is older than events are remembered; it is run unless it is still known"
        record.about(Kind.RECEIVED, event, reason="after_window", detail=detail, warning=True)
    elif route.source.batched and not event.items:
        detail = "there are no events in the delivery"
        record.about(Kind.RECEIVED, event, reason="empty_batch", detail=detail)
        return None
    else:
        record.about(Kind.RECEIVED, event)
    for repeat in repeats:
        detail = "it stands in its delivery for the second time"
        record.about(Kind.SKIPPED, repeat, reason=Reason.DUPLICATE.value, detail=detail)
    try:
        sifted, skips = route.sift(event)
    except Exception as exc:
        detail = f"a guard failed with {type(exc).__name__}"
        record.about(Kind.REJECTED, event, reason="guard_failed", detail=detail, status=500)
        raise
    for skipped, (reason, detail) in skips:
        record.about(Kind.SKIPPED, skipped, reason=reason, detail=detail)
    return sifted


def _record_rejected(exchange: Exchange, event: Event | None, **fields: Any) -> None:
    """Record a rejection, with the event if that is known and verified by then."""
    record = exchange.dedup.record
    if event is None:
        record(Record(Kind.REJECTED, exchange.route.source.name, **fields))
    else:
        record.about(Kind.REJECTED, event, **fields)


def _known_done(exchange: Exchange, event: Event) -> bool:
    """Whether this process knows, without I/O, that all events of a delivery are done.

    If so, their skips are recorded.
    """
    seen, route = exchange.dedup.seen, exchange.route
    if seen is None or route.policy.observe_only or route.source.ack == "handled":
        return False
    known: list[tuple[Event, Claim]] = []
    for one in events_of(event):
        claim = None if one.key is None else seen.peek(str(one.key), one.fingerprint)
        if claim is None or exchange.refuses(claim):
            return False
        known.append((one, claim))
    for one, claim in known:
        exchange.dedup.record(skip(Kind.SKIPPED, one, claim))
    return True


async def _acknowledge_known(exchange: Exchange, *, duplicate: bool) -> None:
    """Acknowledge a delivery that brings nothing to run."""
    if exchange.route.source.ack == "claimed":
        await acknowledge_claimed(exchange.send, exchange.preset, duplicate=duplicate)
    else:
        await acknowledge(exchange.send, exchange.preset)
