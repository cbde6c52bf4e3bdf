"""A delivery as lists show it, told by its entries in the history or by its item in the inbox."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

from ..admin.lookup import tenant_in
from ..admin.runs import runs_begun
from ..model import Item
from ..observe.history import Entry
from ..observe.record import Kind

__all__ = ["Arrival", "State", "arrival_of", "arrival_of_item", "entries_of", "kinds_of"]


class State(str, enum.Enum):
    """How a delivery stands."""

    HANDLED = "handled"
    SKIPPED = "skipped"
    WAITING = "waiting"
    RUNNING = "running"
    FAILED = "failed"
    DEAD = "dead"
    REJECTED = "rejected"
    RECEIVED = "received"


_STATES = {
    Kind.RECEIVED: State.RECEIVED,
    Kind.REJECTED: State.REJECTED,
    Kind.SKIPPED: State.SKIPPED,
    Kind.DEFERRED: State.WAITING,
    Kind.STARTED: State.RUNNING,
    Kind.SUCCEEDED: State.HANDLED,
    Kind.RECOVERED: State.HANDLED,
    Kind.FAILED: State.FAILED,
    Kind.LEASE_LOST: State.FAILED,
    Kind.RETRIED: State.WAITING,
    Kind.BURIED: State.DEAD,
}


def kinds_of(state: State) -> list[Kind]:
    """Return the kinds of records that put a delivery into a state."""
    return [kind for kind, follows in _STATES.items() if follows is state]


@dataclass(frozen=True, slots=True)
class Arrival:
    """One delivery, or one call of a decorated function.

    Attributes:
        at: Unix time.
        source: Name of the source or of the function.
        state: How it stands.
        event_id: The provider's event id.
        event_type: The provider's event type.
        tenant: The tenant, if the source has tenants.
        delivery_id: Its id; ``None`` for a call.
        reason: Why it was skipped, put off or rejected.
        detail: The same in words, or the last error.
        attempts: Runs begun.
        duration: Seconds of the last run.
        mark: Of the entry or item by which it was found: the next page begins behind it.
    """

    at: float
    source: str
    state: State
    event_id: str = ""
    event_type: str | None = None
    tenant: str = ""
    delivery_id: str | None = None
    reason: str | None = None
    detail: str | None = None
    attempts: int = 0
    duration: float | None = None
    mark: str = ""


def arrival_of_item(item: Item) -> Arrival:
    """Tell what the inbox knows of a delivery."""
    last = item.history[-1] if item.history else None
    return Arrival(
        at=item.delivery.received_at,
        source=item.delivery.source,
        state=State.DEAD if item.dead else State.WAITING,
        event_id=item.event_id,
        tenant=tenant_in(item.key, item.delivery.source),
        delivery_id=item.id,
        detail=last.error if last else None,
        attempts=item.attempts,
        duration=last.duration if last else None,
        mark=item.id,
    )


def entries_of(mark: Entry, story: Sequence[Entry]) -> list[Entry]:
    """Return the entries of the delivery or call that one of them marks, out of a whole story."""
    row, kind = mark.record.delivery_id, mark.record.kind
    if row is not None:
        return [entry for entry in story if entry.record.delivery_id == row] or [mark]
    if kind is not Kind.STARTED:
        return [mark]
    calls = (each for each in story if each.record.delivery_id is None and each.id > mark.id)
    ended = takewhile(lambda each: each.record.kind is not Kind.STARTED, calls)
    return [mark, *(each for each in ended if each.record.kind is not Kind.SKIPPED)]


def arrival_of(mark: Entry, entries: Sequence[Entry]) -> Arrival:
    """Tell what its entries, in their order, say of a delivery or a call."""
    state = State.RECEIVED
    last = mark
    for entry in entries:
        kind = entry.record.kind
        # Of a batch some items may be handled and others skipped: then it is handled.
        if kind in _STATES and not (kind is Kind.SKIPPED and state is State.HANDLED):
            state, last = _STATES[kind], entry
    first, told = entries[0].record, last.record
    return Arrival(
        at=first.at,
        source=first.source,
        state=state,
        event_id=mark.record.event_id or "",
        event_type=mark.record.event_type,
        tenant=mark.record.tenant or "",
        delivery_id=mark.record.delivery_id,
        reason=told.reason or mark.record.reason,
        detail=told.detail,
        attempts=runs_begun(entries),
        duration=_last_duration(entries),
        mark=mark.id,
    )


def _last_duration(entries: Sequence[Entry]) -> float | None:
    durations = (entry.record.duration for entry in reversed(entries))
    return next((each for each in durations if each is not None), None)
