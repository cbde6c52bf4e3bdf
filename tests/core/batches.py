"""Batches without HTTP: their events, and handlers that settle items by a script."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from webhook_dedup.batch import batch_of
from webhook_dedup.model import BatchItem, Delivery, Event, Key, new_token

from .virtual import now

__all__ = ["BatchWork", "a_batch"]


def a_batch(*ids: str) -> Event:
    """An event of the source ``shop`` whose delivery brings items of these ids."""
    delivery = Delivery(new_token(), "shop", "POST", "/hooks", (), b"[]", 0.0)
    return batch_of([_item(name, index, delivery) for index, name in enumerate(ids)], delivery)


def _item(name: str, index: int, delivery: Delivery) -> BatchItem:
    key = Key("webhook:shop", name) if name else None
    event = Event(key=key, source="shop", id=name or delivery.id, delivery=delivery)
    return BatchItem(event, {"id": name}, index)


class BatchWork:
    """A handler that settles some items itself and follows a script, then answers 200.

    Attributes:
        settles: Ids of the items that it settles before anything else.
        seen: For each call, the ids of the items it was given.
        starts: When it was called.
        gate: Calls wait here after they have settled; open at first.
        inside: Set when a call has come to the gate.
    """

    def __init__(self, *script: Any, settles: Iterable[str] = ()) -> None:
        self.script = list(script)
        self.settles = set(settles)
        self.seen: list[list[str]] = []
        self.starts: list[float] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.inside = asyncio.Event()

    async def __call__(self, event: Event) -> int:
        self.starts.append(now())
        self.seen.append([item.event.id for item in event.items])
        outcome = self.script.pop(0) if self.script else 200
        for item in event.items:
            if item.event.id in self.settles:
                await item.done()
        self.inside.set()
        await self.gate.wait()
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome
