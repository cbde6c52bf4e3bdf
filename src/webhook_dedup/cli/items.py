"""How an item of the inbox is shown to people and to machines."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from typing import Any

from ..admin.moments import instant
from ..model import Attempt, Item
from ..observe.masking import masked_headers, masked_query
from .output import print_table, say, shown

__all__ = ["COLUMNS", "cells", "details", "print_details", "summary"]

COLUMNS = ("id", "state", "source", "event id", "received", "attempts", "last error")

_LONGEST_CELL = 80
_LONGEST_BODY = 10_000


def summary(item: Item) -> dict[str, Any]:
    """Return what a list tells machines of an item."""
    return {
        "id": item.id,
        "state": _state(item),
        "source": item.delivery.source,
        "event_id": item.event_id,
        "received_at": _finite(item.delivery.received_at),
        "attempts": item.attempts,
        "deferred": item.deferred,
        "last_error": _last_error(item),
        "body_size": len(item.delivery.body),
    }


def details(item: Item) -> dict[str, Any]:
    """Return everything of an item but its secrets; a body that is no text goes as base64."""
    delivery = item.delivery
    text = _text(delivery.body)
    return {
        **summary(item),
        "key": item.key,
        "method": delivery.method,
        "path": delivery.path,
        "query_string": masked_query(delivery.query_string),
        "client": delivery.client[0] if delivery.client else None,
        "headers": [list(pair) for pair in masked_headers(delivery.headers)],
        "body_text": text,
        "body_base64": base64.b64encode(delivery.body).decode() if text is None else None,
        "history": [_run(attempt) for attempt in item.history],
    }


def cells(item: Item) -> tuple[str, ...]:
    """Return the row of an item in a table of :data:`COLUMNS`."""
    return (
        item.id,
        _state(item),
        shown(item.delivery.source, _LONGEST_CELL),
        shown(item.event_id, _LONGEST_CELL),
        instant(item.delivery.received_at),
        str(item.attempts),
        shown(_last_error(item) or "", _LONGEST_CELL),
    )


def print_details(item: Item) -> None:
    """Print an item for people."""
    told: Mapping[str, Any] = {**details(item), "received": instant(item.delivery.received_at)}
    names = ("id", "state", "source", "event_id", "received", "attempts", "deferred", "client")
    for name in names:
        say(f"{name}: {told[name]}")
    query = told["query_string"]
    say(f"request: {told['method']} {told['path']}{'?' if query else ''}{query}")
    for name, value in told["headers"]:
        say(f"  {name}: {value}")
    _print_body(item.delivery.body, told["body_text"])
    if item.history:
        runs = ((instant(a.at), a.where, f"{a.duration:.3f} s", a.error) for a in item.history)
        print_table(("began", "where", "ran", "error"), runs)


def _print_body(body: bytes, text: str | None) -> None:
    if text is None:
        say(f"body: {len(body)} bytes that are no text; --json has them as base64")
        return
    say(f"body: {len(body)} bytes")
    for line in text[:_LONGEST_BODY].splitlines():
        say(f"  {line}")
    if len(text) > _LONGEST_BODY:
        say("  … the rest is in --json")


def _run(attempt: Attempt) -> dict[str, Any]:
    return {
        "at": _finite(attempt.at),
        "where": attempt.where,
        "duration": _finite(attempt.duration),
        "error": attempt.error,
    }


def _state(item: Item) -> str:
    return "dead" if item.dead else "waiting"


def _last_error(item: Item) -> str | None:
    return item.history[-1].error if item.history else None


def _finite(number: float) -> float | None:
    # JSON has no other numbers
    return number if math.isfinite(number) else None


def _text(body: bytes) -> str | None:
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return None
    return None if "\0" in text else text
