"""Deliveries that bring several events."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from msgspec.structs import replace

from .keys import digest
from .model import BatchItem, Delivery, Event, Key, fingerprint_of

__all__ = ["batch_of", "events_of", "with_body", "without_repeats"]


def events_of(event: Event) -> tuple[Event, ...]:
    """Return the events that are claimed for a delivery: those of its items, or its only one."""
    return tuple(item.event for item in event.items) if event.items else (event,)


def batch_of(items: Sequence[BatchItem], delivery: Delivery) -> Event:
    """Return the event that stands for these items of a delivery; a single item's is its own."""
    if len(items) == 1:
        return replace(items[0].event, items=tuple(items))
    key = _key_of([item.event for item in items])
    return Event(
        key=key,
        source=delivery.source,
        id=delivery.id if key is None else key.event_id,
        fingerprint=fingerprint_of(delivery.body),
        delivery=delivery,
        items=tuple(items),
    )


def without_repeats(event: Event) -> tuple[Event, Collection[Event]]:
    """Leave out items that their delivery repeats; return their events beside."""
    if len(event.items) < 2 or event.delivery is None:  # noqa: PLR2004 - one alone repeats nothing
        return event, ()
    first: dict[object, BatchItem] = {}
    for item in event.items:
        first.setdefault(item.event.key or item.index, item)
    if len(first) == len(event.items):
        return event, ()
    kept = {item.index for item in first.values()}
    repeats = [item.event for item in event.items if item.index not in kept]
    return batch_of(list(first.values()), event.delivery), repeats


def with_body(delivery: Delivery, body: bytes) -> Delivery:
    """Return a delivery with another body, and the ``Content-Length`` of that."""
    length = str(len(body)).encode()
    headers = tuple(
        (name, length if name.lower() == b"content-length" else value)
        for name, value in delivery.headers
    )
    return replace(delivery, body=body, headers=headers)


def _key_of(events: Sequence[Event]) -> Key | None:
    """Make a key that all deliveries of the same events share; nothing is claimed under it."""
    keys = [event.key for event in events]
    texts = sorted(str(key) for key in keys if key is not None)
    if len(texts) < len(keys) or not texts or keys[0] is None:
        return None
    together = fingerprint_of(b"".join(map(digest, texts)))
    return replace(keys[0], event_id=f"batch:{together.hex()}")
