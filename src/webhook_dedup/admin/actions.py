"""What people do by hand, and how it is recorded."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from ..contracts import OperableInbox
from ..model import Item
from ..observe.record import Kind, Record
from .lookup import tenant_in
from .runs import REPLAYED

__all__ = [
    "BURY",
    "FORGET",
    "PURGE",
    "REPLAY",
    "RESET",
    "Act",
    "Action",
    "Subject",
    "one_by_one",
    "record_of",
    "subject_of_item",
]


Act = Callable[[OperableInbox, Sequence[str]], Awaitable[int]]
"""Acts on items of an inbox by their ids; returns how many were there."""


@dataclass(frozen=True, slots=True)
class Action:
    """Something that can be done.

    Attributes:
        name: What one asks for.
        done: The reason it is recorded with.
        kind: The kind of that record.
    """

    name: str
    done: str
    kind: Kind


REPLAY = Action("replay", REPLAYED, Kind.RETRIED)
BURY = Action("bury", "buried", Kind.BURIED)
PURGE = Action("purge", "purged", Kind.ESCALATED)
FORGET = Action("forget", "forgotten", Kind.ESCALATED)
RESET = Action("reset-budget", "budget_reset", Kind.ESCALATED)


@dataclass(frozen=True, slots=True)
class Subject:
    """What it is done to, or what a page is about.

    Attributes:
        delivery_id: A delivery; empty for an event whose deliveries are not known.
        event_id: Its event.
        source: Where it came from.
        tenant: For whom.
    """

    delivery_id: str = ""
    event_id: str = ""
    source: str = ""
    tenant: str = ""


def subject_of_item(item: Item) -> Subject:
    """Return an item of the inbox as a subject."""
    source = item.delivery.source
    return Subject(item.id, item.event_id, source, tenant_in(item.key, source))


def record_of(action: Action, subject: Subject, by: str, about: str = "") -> Record:
    """Make the record of an action.

    Args:
        action: What was done.
        subject: To what.
        by: Who did it.
        about: What else there is to say.
    """
    return Record(
        action.kind,
        subject.source,
        event_id=subject.event_id or None,
        tenant=subject.tenant or None,
        delivery_id=subject.delivery_id or None,
        reason=action.done,
        detail=f"{about}, by {by}" if about else f"by {by}",
    )


async def one_by_one(
    inbox: OperableInbox,
    subjects: Sequence[Subject],
    act: Act,
    note: Callable[[Subject], None],
) -> int:
    """Act on deliveries in the inbox and note each that was there; say how many.

    One by one, since an inbox says how many were there, and not which.
    """
    number = 0
    for subject in subjects:
        if await act(inbox, [subject.delivery_id]):
            number += 1
            note(subject)
    return number
