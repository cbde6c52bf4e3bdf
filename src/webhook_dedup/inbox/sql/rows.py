"""How one item is written into a row, and read from one."""

from __future__ import annotations

import math
from typing import Any

from ...keys import digest
from ...model import Delivery, Item
from ..attempts import entry, read_entry
from ..codec import UnreadableDelivery, decode_delivery, encode_head

__all__ = ["escaped", "past_of", "read_row", "stand_in", "unescaped", "values_of"]


def escaped(text: str) -> str:
    r"""Write any text as one that every database takes and people can read.

    NUL and lone surrogates become ``\x00`` and ``\ud800``, a backslash is doubled.
    """
    if text.isascii() and "\\" not in text and "\0" not in text:
        return text
    doubled = text.replace("\\", "\\\\").replace("\0", "\\x00")
    return doubled.encode("utf-8", "backslashreplace").decode()


def unescaped(text: str) -> str:
    """Read what :func:`escaped` wrote."""
    if "\\" not in text:
        return text
    return text.encode("latin-1", "backslashreplace").decode("unicode_escape")


def values_of(item: Item) -> tuple[Any, ...]:
    """Return what the statement ``put_new`` is given for an item that nothing befell yet.

    In the order of :data:`.statements.KEPT`. A tuple, because the garbage collector soon leaves
    alone one that holds nothing but texts, bytes and numbers.

    Raises:
        ValueError: It was received at no time.
    """
    delivery = item.delivery
    received_at = float(delivery.received_at)
    if not math.isfinite(received_at):
        raise ValueError(f"item {item.id!a} was received at {received_at}")
    return (
        escaped(item.id),
        received_at,
        escaped(delivery.source),
        escaped(item.event_id),
        escaped(item.key),
        digest(item.key) if item.key else None,
        escaped(item.token),
        encode_head(delivery),
        delivery.body,
    )


def past_of(item: Item) -> tuple[Any, ...]:
    """Return what the statement ``put`` is given of an item beside :func:`values_of`."""
    return (
        item.attempts,
        item.cut_off,
        item.deferred,
        escaped(item.history[-1].error) if item.history else None,
        "".join([f"{entry(attempt)}\n" for attempt in item.history]),
    )


def read_row(row: Any) -> Item:
    """Build an item from a row.

    Raises:
        ValueError: It cannot be read; the message shows neither headers nor body.
    """
    item_id = unescaped(_text(row.id))
    try:
        delivery = decode_delivery(item_id, row.head, row.body)
    except (UnreadableDelivery, RecursionError) as error:
        raise ValueError(_complaint(error)) from error
    return Item(
        id=item_id,
        token=unescaped(_text(row.token)),
        delivery=delivery,
        key=unescaped(_text(row.key)),
        event_id=unescaped(_text(row.event_id)),
        **_state(row),
    )


def stand_in(row: Any) -> Item:
    """Build an item of a row that cannot be read, so that people can see and purge it."""
    item_id = _shown(row.id)
    delivery = Delivery(
        id=item_id,
        source=_shown(row.source),
        method="",
        path="",
        headers=(),
        body=row.body or b"",
        received_at=_number(row.received_at),
    )
    return Item(
        id=item_id,
        token=_shown(row.token),
        delivery=delivery,
        key=_shown(row.key),
        event_id=_shown(row.event_id),
        **_state(row),
    )


def _complaint(error: Exception) -> str:
    if isinstance(error.__cause__, UnicodeError):  # it would show the headers
        return "its head is not the text that was written"
    return str(error)


def _state(row: Any) -> dict[str, Any]:
    history = tuple(map(read_entry, _text(row.history, "backslashreplace").splitlines()))
    return {
        "attempts": int(_number(row.attempts)),
        "cut_off": int(_number(row.cut_off)),
        "deferred": bool(row.deferred),
        "history": history,
        "dead": row.due is None,
    }


def _text(value: str | bytes | None, errors: str = "strict") -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", errors)
    return value or ""


def _shown(value: str | bytes | None) -> str:
    text = _text(value, "backslashreplace")
    try:
        return unescaped(text)
    except ValueError:
        return text


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return 0.0
