"""Pages: what is written of a batch of records at once, and how it is read again.

A page is one row of a ledger. What its entries share (encoding, statements, indexes) is most of the
price of a history, and is paid for once a page and not once a delivery.
"""

from __future__ import annotations

import base64
import itertools
import json
import os
import socket
import traceback
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from operator import attrgetter
from typing import Any, NamedTuple

from msgspec import structs

from ...model import Delivery
from ..masking import masked_headers, masked_query
from ..record import Kind, Record
from .entry import Entry, Request

__all__ = ["LONGEST_PAGE", "Kept", "Page", "Pen", "id_at", "page_of", "read_page"]

LONGEST_PAGE = 60.0
"""Seconds from the first record of a page to its last."""

_MOST_TOGETHER = 200
_LONGEST_TRACEBACK = 8_000
_TIME, _PAGE_ID = 16, 30  # digits
_SHARED = ("source", "delivery_id", "event_id", "event_type", "tenant")
_USUAL = ("kind", "at", "attempt", "duration")
_RARE = {
    field.name: field.default
    for field in structs.fields(Record)
    if field.name not in {*_SHARED, *_USUAL, "error", "delivery"}
}
_NOTHING_RARE = tuple(_RARE.values())
_RECEIVED = Kind.RECEIVED
_shared = attrgetter(*_SHARED)
_usual = attrgetter(*_USUAL)
_rare = attrgetter(*_RARE)
# What is encoded was just built here, and cannot contain itself.
_encoded = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode

_Group = tuple[tuple[Any, ...], list[Record]]
"""What records of one event in one delivery share, and the records."""


class Page(NamedTuple):
    """What a ledger is given to keep.

    Attributes:
        id: Begins with the time of the first record; the entries' ids begin with it.
        size: How many entries there are.
        sources, events, kinds, reasons: Of the entries, as they are. Events are known by their ids.
        data: Everything, as JSON in ASCII.
    """

    id: str
    size: int
    sources: AbstractSet[str]
    events: AbstractSet[str]
    kinds: AbstractSet[str]
    reasons: AbstractSet[str]
    data: str


class Kept(NamedTuple):
    """A page as a ledger gives it back.

    Attributes:
        id, data: As they were given.
        written: When the ledger took it, by its own clock.
    """

    id: str
    data: str
    written: float


class Pen:
    """Makes pages of records.

    Args:
        mask: Names of headers to mask beside the usual ones, in lower case.
        bodies: Keep bodies.
    """

    def __init__(self, mask: frozenset[str] = frozenset(), *, bodies: bool = False) -> None:
        self._mask = mask
        self._bodies = bodies
        self._host = socket.gethostname()
        self._process = 0
        self._nonce = ""
        self._numbers = itertools.count()

    def pages(self, records: Iterable[Record]) -> Iterator[Page]:
        """Make pages of records, those of one delivery together."""
        page: list[_Group] = []
        weight, begin = 0, 0.0
        for group in _groups(records):
            heavier = self._weight(group)
            if page and (weight + heavier > _MOST_TOGETHER or not _within(begin, group)):
                yield self._page(page)
                page, weight = [], 0
            begin = begin if page else group[1][0].at
            weight += heavier
            page.append(group)
        if page:
            yield self._page(page)

    def _weight(self, group: _Group) -> int:
        """Count records, and each KiB of a body that is kept as one more."""
        records = group[1]
        if not self._bodies:
            return len(records)
        return len(records) + sum(
            len(record.delivery.body) // 1024 for record in records if record.delivery is not None
        )

    def _page(self, groups: Sequence[_Group]) -> Page:
        if self._process != os.getpid():  # servers fork after the app was built
            self._process, self._nonce = os.getpid(), os.urandom(4).hex()
        records = [record for _, some in groups for record in some]
        by = f"{self._host}:{self._process}"
        number = next(self._numbers) & 0xFFFFFF
        return Page(
            f"{id_at(min([record.at for record in records]))}{self._nonce}{number:06x}",
            len(records),
            {shared[0] for shared, _ in groups},
            {shared[2] for shared, _ in groups if shared[2]},
            {kind.value for kind in {record.kind for record in records}},
            {record.reason for record in records if record.reason},
            _encoded((by, [self._told(*group) for group in groups])),
        )

    def _told(self, shared: tuple[Any, ...], records: Sequence[Record]) -> tuple[Any, ...]:
        arrival = next((each.delivery for each in records if each.kind is _RECEIVED), None)
        return shared, [*map(_told, records)], arrival and self._request(arrival)

    def _request(self, delivery: Delivery) -> tuple[Any, ...]:
        return (
            delivery.method,
            delivery.path,
            masked_query(delivery.query_string),
            delivery.client[0] if delivery.client else None,
            masked_headers(delivery.headers, self._mask),
            len(delivery.body),
            base64.b64encode(delivery.body).decode() if self._bodies else None,
        )


def _groups(records: Iterable[Record]) -> Iterator[_Group]:
    """Put together what is of one event in one delivery."""
    together: defaultdict[tuple[Any, ...], list[Record]] = defaultdict(list)
    for record in records:
        together[_shared(record)].append(record)
    for shared, some in together.items():
        for start in range(0, len(some), _MOST_TOGETHER):
            yield shared, some[start : start + _MOST_TOGETHER]


def _within(begin: float, group: _Group) -> bool:
    """Whether a page that begins then may hold a group; clocks may have been set in between."""
    moments = group[1][0].at, group[1][-1].at
    return all(abs(moment - begin) < LONGEST_PAGE / 2 for moment in moments)


def _told(record: Record) -> tuple[Any, ...]:
    """Return what is kept of one record: mostly four values, and little is spent on the rest."""
    rare = _rare(record)
    if rare == _NOTHING_RARE and record.error is None:
        return _usual(record)
    told = {
        name: value
        for (name, default), value in zip(_RARE.items(), rare, strict=True)
        if value != default
    }
    if record.error is not None:
        told["traceback"] = _traceback(record.error)
    return (*_usual(record), told)


def _traceback(error: BaseException) -> str:
    text = "".join(traceback.format_exception(error))
    # The end says what was raised.
    return text if len(text) <= _LONGEST_TRACEBACK else f"…{text[-_LONGEST_TRACEBACK:]}"


def id_at(moment: float) -> str:
    """Return what the id of a page begins with whose first record has this Unix time."""
    return f"{max(0, int(moment * 1_000_000)):0{_TIME}x}"


def page_of(entry_id: str) -> str:
    """Return the id of the page an entry stands on."""
    return entry_id[:_PAGE_ID]


def read_page(page: Kept) -> list[Entry]:
    """Read what a :class:`Pen` wrote; what cannot be read becomes an entry that says so."""
    numbers = itertools.count()
    try:
        by, groups = json.loads(page.data)
        return [
            _entry(f"{page.id}{next(numbers):03x}", str(by), shared, told, arrival)
            for shared, records, request in groups
            for arrival in [None if request is None else _read_request(*request)]
            for told in records
        ]
    except (LookupError, TypeError, ValueError, RecursionError):
        unreadable = "this page of the history was written by another release, or damaged"
        moment = int(page.id[:_TIME], 16) / 1_000_000
        record = Record(Kind.STORE_ERROR, "", detail=unreadable, at=moment)
        return [Entry(f"{page.id}000", "", record)]


def _entry(
    entry_id: str, by: str, shared: Sequence[Any], told: Sequence[Any], arrival: Request | None
) -> Entry:
    rare = dict(*told[len(_USUAL) :])
    trace = rare.pop("traceback", None)
    fields = dict(zip((*_SHARED, *_USUAL), (*shared, *told), strict=False))
    record = Record(**{**fields, **rare, "kind": Kind(told[0])})
    return Entry(entry_id, by, record, trace, arrival if record.kind is _RECEIVED else None)


def _read_request(
    method: str,
    path: str,
    query: str,
    client: str | None,
    headers: Sequence[Sequence[str]],
    size: int,
    body: str | None,
) -> Request:
    pairs = tuple((name, value) for name, value in headers)
    kept = None if body is None else base64.b64decode(body)
    return Request(method, path, query, client, pairs, size, kept)
