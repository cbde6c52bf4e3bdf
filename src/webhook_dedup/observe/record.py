"""One stream of records feeds logs, metrics and everything else that watches."""

from __future__ import annotations

import enum
import time
from operator import attrgetter
from typing import Any

from msgspec import Struct, field

from ..model import Claim, Delivery, Event, Outcome, as_text

__all__ = ["Kind", "Reason", "Record", "about", "skip"]


class Kind(str, enum.Enum):
    """What happened."""

    __hash__ = str.__hash__  # that of an Enum is no built-in one, and every event looks kinds up

    RECEIVED = "received"
    """A delivery was verified, identified and accepted."""
    REJECTED = "rejected"
    """A request was refused with a 4xx or 503 and left no trace."""
    SKIPPED = "skipped"
    """A decision not to run, with its reason."""
    DEFERRED = "deferred"
    """The event waits: another holder runs it, the store is away, or runs of it were cut off and
    another such event has its turn. Not counted as an attempt."""
    STARTED = "started"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    RETRIED = "retried"
    """A failed event will run again after ``delay`` seconds."""
    BURIED = "buried"
    """A delivery used up its attempts, or was refused for good, and is kept for a person."""
    RECOVERED = "recovered"
    """This same delivery had completed before a crash and only needed closing."""
    LEASE_LOST = "lease_lost"
    STORE_ERROR = "store_error"
    ESCALATED = "escalated"


class Reason(str, enum.Enum):
    """Why an event was not run."""

    DUPLICATE = "duplicate"
    IN_FLIGHT = "in_flight"
    SELF_SENT = "self_sent"
    FILTERED = "filtered"
    LOCKED = "locked"
    ALREADY_DONE = "already_done"
    OVER_BUDGET = "over_budget"
    DISCARDED = "discarded"
    """The handler raised ``Discard``."""
    STORE_AWAY = "store_away"


class Record(Struct, frozen=True):
    """One thing that happened. Fields that do not apply are ``None``.

    Attributes:
        kind: What happened.
        source: Name of the source, or the qualified name of the decorated function.
        event_id: The provider's event id.
        event_type: The provider's event type.
        tenant: The tenant, if the source has tenants.
        delivery_id: The id this library gave to the HTTP arrival.
        reason: Why, for skips, deferrals and rejections (there: the rejection's code).
        detail: One sentence for people; never a secret, never a body.
        status: HTTP status told to the sender (rejected) or given by the handler (failed).
        first_seen: Unix time of the event's first claim.
        age: Seconds since ``first_seen``.
        body_changed: True for a copy whose body differs from the first one's.
        original: State of the original of a skipped copy: ``"done"`` or ``"in_flight"``.
        attempt: Which run of the handler this was, from 1.
        delay: Seconds until the next try.
        duration: Seconds the handler ran.
        error: The exception behind it, for tracebacks.
        warning: The record tells of something a person should look at.
        at: Unix time of the record.
        delivery: The arrival, with RECEIVED and STARTED; never logged.
        original_id: Delivery id of the first copy, with skips, where the store tells.
    """

    kind: Kind
    source: str
    event_id: str | None = None
    event_type: str | None = None
    tenant: str | None = None
    delivery_id: str | None = None
    reason: str | None = None
    detail: str | None = None
    status: int | None = None
    first_seen: float | None = None
    age: float | None = None
    body_changed: bool | None = None
    original: str | None = None
    attempt: int | None = None
    delay: float | None = None
    duration: float | None = None
    error: BaseException | None = None
    warning: bool = False
    at: float = field(default_factory=time.time)
    delivery: Delivery | None = None
    original_id: str | None = None

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Show all but the delivery: a record may get into a log, and a body must not."""
        return list(zip(_SHOWN, _shown(self), strict=True))

    def __repr__(self) -> str:
        return as_text(self)

    def __eq__(self, other: object) -> bool:
        return _shown(self) == _shown(other) if isinstance(other, Record) else NotImplemented

    def __hash__(self) -> int:
        return hash(_shown(self))


_SHOWN = tuple(name for name in Record.__struct_fields__ if name != "delivery")
_shown = attrgetter(*_SHOWN)


_WITH_DELIVERY = (Kind.RECEIVED, Kind.STARTED)


def about(kind: Kind, event: Event, **fields: Any) -> Record:
    """Make a record of something that happened to an event."""
    if kind in _WITH_DELIVERY:
        fields["delivery"] = event.delivery
    return Record(
        kind,
        event.source,
        event_id=event.id,
        event_type=event.type,
        tenant=(event.key.tenant or None) if event.key else None,
        delivery_id=event.delivery.id if event.delivery else None,
        **fields,
    )


def skip(kind: Kind, event: Event, claim: Claim, **fields: Any) -> Record:
    """Make a record of a copy that is not run because of an earlier claim."""
    now = time.time()
    reason = Reason.DUPLICATE if claim.done else Reason.IN_FLIGHT
    return about(
        kind,
        event,
        reason=reason.value,
        body_changed=True if claim.outcome is Outcome.MISMATCH else None,
        first_seen=claim.first_seen,
        age=max(0.0, now - claim.first_seen) if claim.first_seen is not None else None,
        original="done" if claim.done else "in_flight",
        original_id=(claim.holder or "").rpartition(".")[0] or None,
        at=now,
        **fields,
    )
