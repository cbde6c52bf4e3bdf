"""What counts as an event id, and how several values make one."""

from __future__ import annotations

from collections.abc import Iterable

from ..errors import RejectedDelivery

__all__ = ["bad_id", "event_id_of", "join_parts", "kind_of"]

_MAX_ID = 2_000


def event_id_of(value: object) -> str | None:
    """Return a found value as an event id, or ``None`` if it is null or blank.

    Raises:
        RejectedDelivery: It is neither text nor an integer, or it is too long.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        value = _decimal(value)
    if value is None:
        return None
    if not isinstance(value, str):
        raise bad_id(f"event id must be a string or an integer, got {kind_of(value)}")
    if len(value) > _MAX_ID:
        raise _too_long()
    return value if value.strip() else None


def join_parts(parts: Iterable[str | None]) -> str:
    """Return parts as one text, each with its length: ``("a", "bc")`` is not ``("ab", "c")``.

    A part that is ``None`` is written as ``-``, which no part with a length can be.
    """
    return ",".join("-" if part is None else f"{len(part)}:{part}" for part in parts)


def bad_id(detail: str) -> RejectedDelivery:
    """Return the refusal of an id that cannot be used."""
    return RejectedDelivery(400, "bad_event_id", detail)


def _decimal(number: int) -> str:
    # Python refuses to print very long integers, so they are measured first.
    if number.bit_length() > 4 * _MAX_ID:
        raise _too_long()
    return str(number)


def kind_of(value: object) -> str:
    """Say what a value is that is no id, in the words of JSON."""
    names = {bool: "a boolean", float: "a fraction", list: "a list", dict: "an object"}
    return names.get(type(value), f"a value of type {type(value).__name__}")


def _too_long() -> RejectedDelivery:
    detail = f"event id must not be longer than {_MAX_ID:,} characters"
    return RejectedDelivery(400, "event_id_too_long", detail)
