"""Identifies the event, or the events, that a verified delivery announces."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .batch import batch_of
from .errors import RejectedDelivery
from .model import BatchItem, Delivery, Event, Key, fingerprint_of
from .policy import Policy
from .providers import Parsed

__all__ = ["Identifier", "data_of", "stand_in_id"]

Text = Callable[[Parsed], str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Identifier:
    """Reads the events of one source.

    Attributes:
        source: Name of the source.
        scope: Who deduplicates: the first part of every key.
        event_id: Reads the event id of a request or an item.
        place: Where it looks for that, in words.
        event_type, subject: Read what else a source says about its events.
        occurred_at: Reads the event's own time.
        items: Finds the items of a delivery; ``None`` where each brings one event.
    """

    source: str
    scope: str
    event_id: Text
    place: str
    event_type: Text
    subject: Text
    occurred_at: Callable[[Parsed], float | None]
    items: Callable[[Parsed], list[Parsed]] | None = None

    def identify(self, parsed: Parsed, delivery: Delivery, tenant: str, policy: Policy) -> Event:
        """Say which event a delivery announces. An empty batch gives an event without items.

        Raises:
            RejectedDelivery: It has no event id and the policy rejects that, or the id is unusable.
        """
        if self.items is None:
            return self._event(parsed, delivery, tenant, policy)
        items = [
            BatchItem(self._event(one, delivery, tenant, policy), data_of(one), index)
            for index, one in enumerate(self.items(parsed))
        ]
        return batch_of(items, delivery)

    def _event(self, parsed: Parsed, delivery: Delivery, tenant: str, policy: Policy) -> Event:
        event_id = self.event_id(parsed)
        if event_id is None:
            place = f"{self.place}, where source {self.source!r} has its ids"
            event_id = stand_in_id(parsed.body, policy, place)
        keyless = event_id is None
        return Event(
            key=None if event_id is None else Key(self.scope, event_id, tenant),
            source=self.source,
            id=delivery.id if event_id is None else event_id,
            type=self.event_type(parsed),
            occurred_at=self.occurred_at(parsed),
            fingerprint=None if keyless else fingerprint_of(parsed.body),
            delivery=delivery,
            subject=self.subject(parsed),
        )


def stand_in_id(
    body: bytes | None, policy: Policy, place: str = "where this function has its ids"
) -> str | None:
    """Answer by policy for a delivery without an event id; ``None`` runs it without a key.

    Args:
        body: What may be hashed.
        policy: In force.
        place: Where the id was looked for, in words.

    Raises:
        RejectedDelivery: The policy rejects it, or would hash a body that is empty: then every
            delivery would pass for a copy of the first.
    """
    if policy.on_missing_id == "process":
        return None
    if policy.on_missing_id == "hash_body" and body:
        return f"sha256:{hashlib.sha256(body).hexdigest()}"
    raise RejectedDelivery(400, "missing_event_id", f"there is no event id {place}")


def data_of(request: Parsed) -> Any:
    """Return the JSON of a request or an item, the fields of a form, else ``None``."""
    for read in (request.json, request.form):
        with contextlib.suppress(RejectedDelivery):
            return read()
    return None
