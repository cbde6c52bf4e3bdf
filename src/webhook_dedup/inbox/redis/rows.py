"""How one item is written into a Redis hash, and read from a script's answer."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from ...model import Delivery, Item
from ..attempts import entry, read_entry
from ..codec import UnreadableDelivery, decode_delivery, encode_head, number

__all__ = [
    "Argument",
    "decoded",
    "encoded",
    "fields",
    "last_error",
    "microseconds",
    "read_row",
    "stand_in",
]

Argument = str | bytes | int

_LONGEST = 10**17  # microseconds, about 3,000 years; the scripts reckon in doubles


def microseconds(seconds: float) -> bytes:
    """Round a duration up."""
    return b"%d" % max(0, math.ceil(min(seconds * 1_000_000, _LONGEST)))


def encoded(text: str) -> bytes:
    """Write any text, lone surrogates included."""
    return text.encode("utf-8", "surrogatepass")


def decoded(value: bytes | None) -> str:
    """Read what :func:`encoded` wrote; what it did not write is shown escaped."""
    if value is None:
        return ""
    try:
        return value.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return value.decode("utf-8", "backslashreplace")


def fields(item: Item, lease: bytes) -> tuple[bytes, ...]:
    """Return what the script ``put`` is given for one item."""
    delivery = item.delivery
    if not math.isfinite(delivery.received_at):
        raise ValueError(f"item {item.id!a} was received at {delivery.received_at}")
    received_at = number(float(delivery.received_at))
    return (
        encoded(item.id),
        received_at.encode(),
        lease,
        encoded(item.token),
        encode_head(delivery, received_at),
        delivery.body,
        encoded(item.key),
        encoded(item.event_id),
        encoded(delivery.source),
        _past(item) if item.attempts or item.deferred or item.history else b"",
    )


def _past(item: Item) -> bytes:
    history = "\n".join(map(entry, item.history)).encode()
    return b"%d %d %d %b" % (item.attempts, item.cut_off, item.deferred, history)


def last_error(line: bytes | None) -> str | None:
    """Return the error of the last line of a history."""
    return read_entry(line).error if line else None


def read_row(row: Sequence[Any]) -> Item:
    """Build an item from what the scripts answer for one.

    Raises:
        ValueError: It cannot be read; the message shows neither headers nor body.
    """
    item_id, _, head, body, *_ = row
    if head is None or body is None:
        raise ValueError("it has no head or no body")
    try:
        delivery = decode_delivery(decoded(item_id), head, body)
    except UnreadableDelivery as error:
        # What cannot be encoded or decoded is shown by its error, and headers are secret.
        is_shown = isinstance(error.__cause__, UnicodeError)
        raise ValueError("its head is not as written" if is_shown else str(error)) from error
    return _item(row, delivery)


def stand_in(row: Sequence[Any]) -> Item:
    """Build an item of a row that cannot be read, so that people can see and purge it."""
    item_id, _, _, body, _, _, source, *_, received_at = row
    delivery = Delivery(
        id=decoded(item_id),
        source=decoded(source),
        method="",
        path="",
        headers=(),
        body=body or b"",
        received_at=float(received_at or 0),
    )
    return _item(row, delivery, lambda field: int(field) if field.isdigit() else 0)


def _item(row: Sequence[Any], delivery: Delivery, number_in: Callable[[bytes], int] = int) -> Item:
    _, token, _, _, key, event_id, _, attempts, deferred, history, dead, cut_off, _ = row
    return Item(
        id=delivery.id,
        token=decoded(token),
        delivery=delivery,
        attempts=number_in(attempts or b"0"),
        deferred=deferred is not None,
        key=decoded(key),
        event_id=decoded(event_id),
        history=tuple(map(read_entry, history.split(b"\n"))) if history else (),
        dead=dead is not None,
        cut_off=number_in(cut_off or b"0"),
    )
