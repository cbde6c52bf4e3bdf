"""Everything about one delivery: the story of its event, its copies, runs, bytes and headers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from ..admin.actions import Subject, subject_of_item
from ..admin.lookup import Storage, stories_of
from ..admin.runs import runs_begun
from ..admin.story import Story
from ..errors import TableAbsent
from ..model import Item
from ..observe.history import Entry, Request
from ..observe.masking import MASK, masked_headers, masked_query
from ..observe.record import Kind
from .arrival import Arrival, arrival_of, arrival_of_item
from .entries import around

__all__ = ["DeliveryDetails", "details_of", "find_item"]

_BATCH = "batch:"
_MOST_COPIES = 200
_MOST_RUNS = 100
_T = TypeVar("_T")
_ENDS = {Kind.SUCCEEDED, Kind.FAILED, Kind.LEASE_LOST, Kind.DEFERRED, Kind.SKIPPED}


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the handler.

    Attributes:
        at: Unix time of its begin.
        where: Host and process.
        ending: How it ended; empty if nobody told.
        duration: Seconds it ran.
        error: What went wrong.
        traceback: Of that.
    """

    at: float
    where: str
    ending: str = ""
    duration: float | None = None
    error: str | None = None
    traceback: str | None = None


@dataclass(frozen=True, slots=True)
class DeliveryDetails:
    """What one page shows.

    Attributes:
        subject: What it is about.
        story: Of the event.
        item: The delivery as the inbox has it.
        copies: Deliveries of the event: the first one, and the latest in their order.
        arrived: How many there are.
        entries: What was recorded of this delivery.
        runs: Of the handler, for this delivery: the first one, and the latest.
        begun: How many there are.
        unrecorded: How many began besides, of which nothing else is known.
        request: What is kept of the HTTP arrival.
    """

    subject: Subject
    story: Story
    item: Item | None
    copies: Sequence[Arrival]
    arrived: int
    entries: Sequence[Entry]
    runs: Sequence[Run]
    begun: int
    unrecorded: int
    request: Request | None


async def find_item(storage: Storage, delivery_id: str) -> Item | None:
    """Return a delivery that waits or is dead."""
    try:
        return await storage.inbox.get(delivery_id) if delivery_id else None
    except TableAbsent:  # an app without sources has none
        return None


async def details_of(
    storage: Storage, subject: Subject, mask: frozenset[str]
) -> DeliveryDetails | None:
    """Put together what is known; ``None`` if that is nothing.

    Args:
        storage: Where to look.
        subject: What to look for.
        mask: Names of headers to mask beside the usual ones, in lower case.
    """
    item = await find_item(storage, subject.delivery_id)
    if item is not None:
        subject = subject_of_item(item)
    story = await _story(storage, subject)
    if item is None and not story.known:
        return None
    copies, arrived = _copies(story)
    if not subject.delivery_id and copies:
        latest = copies[-1].delivery_id or ""
        subject = Subject(latest, subject.event_id, subject.source, subject.tenant)
    entries = await _entries(storage, subject, story)
    runs = _in_full(_runs(entries), item) or _runs_of(item)
    return DeliveryDetails(
        subject=subject,
        story=story,
        item=item,
        copies=copies,
        arrived=arrived,
        entries=entries,
        runs=_first_and_latest(runs, _MOST_RUNS),
        begun=len(runs),
        unrecorded=max(0, runs_begun(entries, [item] if item else ()) - len(runs)),
        request=_request(item, entries, mask),
    )


async def _story(storage: Storage, subject: Subject) -> Story:
    if not subject.event_id:
        return Story("", subject.source, subject.tenant)
    stories = await stories_of(storage, subject.event_id, subject.source, subject.tenant)
    return next(story for story in stories if story.tenant == subject.tenant)


def _copies(story: Story) -> tuple[list[Arrival], int]:
    """Return deliveries of an event, and how many there are.

    Those the history does not know are told from the inbox.
    """
    by_delivery: defaultdict[str | None, list[Entry]] = defaultdict(list)
    for entry in story.entries:
        by_delivery[entry.record.delivery_id].append(entry)
    came: list[Entry | Item] = [e for e in story.entries if e.record.kind is Kind.RECEIVED]
    came += [item for item in story.items if item.id not in by_delivery]
    shown = _first_and_latest(sorted(came, key=_moment), _MOST_COPIES)
    return [
        arrival_of_item(each)
        if isinstance(each, Item)
        else arrival_of(each, by_delivery[each.record.delivery_id])
        for each in shown
    ], len(came)


def _moment(came: Entry | Item) -> float:
    return came.delivery.received_at if isinstance(came, Item) else came.record.at


def _first_and_latest(rows: list[_T], most: int) -> list[_T]:
    return rows if len(rows) <= most else [rows[0], *rows[1 - most :]]


async def _entries(storage: Storage, subject: Subject, story: Story) -> list[Entry]:
    row = subject.delivery_id or None
    entries = [entry for entry in story.entries if entry.record.delivery_id == row]
    if entries and subject.event_id.startswith(_BATCH) and storage.history is not None:
        beside = await around(storage.history, entries[0])
        together = {entry.id: entry for entry in (*entries, *beside)}
        return sorted(together.values(), key=lambda entry: entry.record.at)
    return entries


def _runs(entries: Sequence[Entry]) -> list[Run]:
    """Match each begin of a run with the end that follows it."""
    runs: list[Run] = []
    begun: Entry | None = None
    for entry in entries:
        if entry.record.kind is Kind.STARTED:
            if begun is not None:
                runs.append(Run(begun.record.at, begun.by))
            begun = entry
        elif begun is not None and entry.record.kind in _ENDS:
            runs.append(_run(begun, entry))
            begun = None
    if begun is not None:
        runs.append(Run(begun.record.at, begun.by))
    return runs


def _run(begun: Entry, ended: Entry) -> Run:
    record = ended.record
    return Run(
        at=begun.record.at,
        where=begun.by,
        ending=record.kind.value,
        duration=record.duration,
        error=record.detail,
        traceback=ended.traceback,
    )


def _in_full(runs: Sequence[Run], item: Item | None) -> list[Run]:
    """Say of failed runs what the inbox has beyond the history: the beginning of an answer."""
    attempts = list(item.history) if item else []
    told: list[Run] = []
    for run in reversed(runs):
        error = run.error
        for index in reversed(range(len(attempts))):
            if error and attempts[index].error.startswith(error):
                error = attempts[index].error
                del attempts[index:]
                break
        told.append(replace(run, error=error))
    return told[::-1]


def _runs_of(item: Item | None) -> list[Run]:
    """Return what the inbox knows of runs: those that failed."""
    history = item.history if item else ()
    return [Run(each.at, each.where, "failed", each.duration, each.error) for each in history]


def _request(item: Item | None, entries: Sequence[Entry], mask: frozenset[str]) -> Request | None:
    request = next((entry.request for entry in entries if entry.request is not None), None)
    if request is not None:  # masked as the app wants it
        headers = tuple((n, MASK if n.lower() in mask else v) for n, v in request.headers)
        return replace(request, headers=headers, body=item.delivery.body if item else request.body)
    if item is None:
        return None
    delivery = item.delivery
    return Request(
        delivery.method,
        delivery.path,
        masked_query(delivery.query_string),
        delivery.client[0] if delivery.client else None,
        masked_headers(delivery.headers, mask),
        len(delivery.body),
        delivery.body,
    )
