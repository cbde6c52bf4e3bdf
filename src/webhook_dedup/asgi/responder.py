"""One request of one source, from its first byte to its answer."""

from __future__ import annotations

import logging

from ..batch import events_of, without_repeats
from ..dedup import Dedup
from ..errors import RejectedDelivery, StoreError
from ..model import Claim, Delivery, Event
from ..observe.record import Kind, Reason, Record, about, skip
from ..providers import Parsed
from .early import respond_claimed, respond_first
from .exchange import Exchange
from .handled import respond_handled
from .handshake import answered, passes_through
from .responses import acknowledge, acknowledge_claimed, refuse
from .scopes import ClientLeft, delivery_of, read_body
from .verification import verify

__all__ = ["respond"]

logger = logging.getLogger("webhook_dedup")

_BY_ACK = {"first": respond_first, "claimed": respond_claimed, "handled": respond_handled}


async def respond(exchange: Exchange) -> None:
    """Answer a request: a handshake by its rules, a delivery by its source's ``ack``."""
    try:
        passes = await _respond(exchange)
    except RejectedDelivery as rejection:
        _record_rejected(exchange, rejection.code, rejection.detail, rejection.status)
        await refuse(exchange.send, rejection)
    except ClientLeft:
        detail = "the client hung up before its body was complete"
        _record_rejected(exchange, "client_left", detail, None)
    else:
        if passes:
            await exchange.app(exchange.scope, exchange.receive, exchange.send)


async def _respond(exchange: Exchange) -> bool:
    """Return True for a request that is the app's."""
    if exchange.scope["method"].upper() not in exchange.route.source.methods:
        return await passes_through(exchange)
    await _respond_to_delivery(exchange)
    return False


async def _respond_to_delivery(exchange: Exchange) -> None:
    delivery, parsed = await _read(exchange)
    if await _settled_by_handshake(exchange, delivery, parsed):
        return
    if not exchange.dedup.running:
        await _start(exchange.dedup)
    event = _identify(exchange, delivery, parsed)
    if event is None:
        await _acknowledge_known(exchange, duplicate=False)
    elif not await _answered_from_memory(exchange, event):
        await _BY_ACK[exchange.route.source.ack](exchange, delivery, event)


async def _start(dedup: Dedup) -> None:
    try:
        await dedup.start()
    except StoreError as exc:
        logger.warning("the store cannot be started: %s", exc)
        raise RejectedDelivery(
            503, "store_unavailable", "events cannot be accepted now", retry_after=5.0
        ) from exc


async def _read(exchange: Exchange) -> tuple[Delivery, Parsed]:
    route = exchange.route
    body = await read_body(exchange.receive, exchange.scope["headers"], route.max_body)
    delivery = delivery_of(exchange.scope, route.source.name, body)
    return delivery, route.parse(delivery)


async def _settled_by_handshake(exchange: Exchange, delivery: Delivery, parsed: Parsed) -> bool:
    """Check the signature; answer a handshake, after its signature where it has one."""
    source = exchange.route.source
    if source.handshake is not None and not source.handshake.signed:
        if await answered(exchange, parsed):
            return True
        await verify(source, parsed, delivery.received_at)
        return False
    await verify(source, parsed, delivery.received_at)
    return await answered(exchange, parsed)


def _identify(exchange: Exchange, delivery: Delivery, parsed: Parsed) -> Event | None:
    """Say which events of a verified delivery are to be run. Nothing of a refused one is kept."""
    route = exchange.route
    event, repeats = without_repeats(route.identify(parsed, delivery))
    reason = detail = None
    late = any(map(route.late, events_of(event)))
    if late:
        detail = "the event is older than events are remembered; it is run all the same"
        reason = "after_window"
    elif route.source.batched and not event.items:
        reason, detail = "empty_batch", "there are no events in the delivery"
    record = exchange.dedup.record
    record(about(Kind.RECEIVED, event, reason=reason, detail=detail, warning=late))
    for repeat in repeats:
        detail = "it stands in its delivery for the second time"
        record(about(Kind.SKIPPED, repeat, reason=Reason.DUPLICATE.value, detail=detail))
    if route.source.batched and not event.items:
        return None
    try:
        sifted, skips = route.sift(event)
    except Exception as exc:
        detail = f"a guard failed with {type(exc).__name__}"
        record(about(Kind.REJECTED, event, reason="guard_failed", detail=detail, status=500))
        raise
    for skipped, (reason, detail) in skips:
        record(about(Kind.SKIPPED, skipped, reason=reason, detail=detail))
    return sifted


def _record_rejected(exchange: Exchange, code: str, detail: str, status: int | None) -> None:
    name = exchange.route.source.name
    exchange.dedup.record(Record(Kind.REJECTED, name, reason=code, detail=detail, status=status))


async def _answered_from_memory(exchange: Exchange, event: Event) -> bool:
    """Acknowledge events that this process knows to be done, without any I/O."""
    seen = exchange.dedup.seen
    if seen is None or exchange.policy.observe_only or exchange.route.source.ack == "handled":
        return False
    known: list[tuple[Event, Claim]] = []
    for one in events_of(event):
        claim = None if one.key is None else seen.peek(str(one.key), one.fingerprint)
        if claim is None or exchange.refuses(claim):
            return False
        known.append((one, claim))
    for one, claim in known:
        exchange.dedup.record(skip(Kind.SKIPPED, one, claim))
    await _acknowledge_known(exchange, duplicate=True)
    return True


async def _acknowledge_known(exchange: Exchange, *, duplicate: bool) -> None:
    """Acknowledge a delivery that brings nothing to run."""
    if exchange.route.source.ack == "claimed":
        await acknowledge_claimed(exchange.send, exchange.preset, duplicate=duplicate)
    else:
        await acknowledge(exchange.send, exchange.preset)
