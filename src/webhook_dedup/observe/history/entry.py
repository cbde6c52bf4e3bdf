"""One entry of the history: a record, who made it, and what came with it; and how it is kept."""

from __future__ import annotations

import base64
import itertools
import json
import os
import socket
import traceback
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any, NamedTuple

from ...keys import digest, printable
from ...model import Delivery
from ..masking import masked_headers, masked_query
from ..record import Kind, Record

__all__ = ["Entry", "Pen", "Request", "Row", "id_at", "read_row", "row_of"]

_LONGEST_TRACEBACK = 8_000
_MOST_TOGETHER = 200
_TIME, _ROW_ID = 16, 30  # digits
_SHARED = ("source", "delivery_id", "event_id")
_TOLD = tuple(
    name for name in Record.__dataclass_fields__ if name not in {*_SHARED, "error", "delivery"}
)
_shared = attrgetter(*_SHARED)
_values = attrgetter(*_TOLD)
_encoded = json.JSONEncoder(separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class Request:
    """What is kept of the HTTP arrival.

    Attributes:
        method, path, query, client: As they came; secret fields of the query are masked.
        headers: Pairs in the order they came, secret ones masked.
        size: Bytes of the body.
        body: The body, where the history was asked to keep it.
    """

    method: str
    path: str
    query: str
    client: str | None
    headers: tuple[tuple[str, str], ...]
    size: int
    body: bytes | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """Something that happened, as the history keeps it.

    Attributes:
        id: Ordered by the time of the record.
        by: Host and process that recorded it.
        record: The record; its ``error`` is not kept, its traceback is.
        traceback: Of the exception behind it.
        request: The arrival, with ``received``.
    """

    id: str
    by: str
    record: Record
    traceback: str | None = None
    request: Request | None = None


class Row(NamedTuple):
    """What ledgers keep: the entries of one event in one delivery that were written together.

    Together, because a row costs more than what stands in it, and most deliveries are done before
    the next batch is written.

    Attributes:
        id: The entries' ids begin with it.
        source, event_id: Of the entries, as printable text.
        kinds, reasons: Of the entries, each between commas.
        digest: Of the exact event id; empty without one.
        data: Everything, as JSON in ASCII.
        written: When the ledger took it, by its own clock; unknown to who writes.
    """

    id: str
    source: str
    kinds: str
    reasons: str
    event_id: str
    digest: bytes
    data: str
    written: float = 0.0


class Pen:
    """Makes rows of records.

    Args:
        mask: Names of headers to mask beside the usual ones.
        bodies: Keep bodies.
    """

    def __init__(self, mask: Container[str] = (), *, bodies: bool = False) -> None:
        self._mask = mask
        self._bodies = bodies
        self._by = f"{socket.gethostname()}:{os.getpid()}"
        self._nonce = os.urandom(4).hex()
        self._numbers = itertools.count()

    def rows(self, records: Iterable[Record]) -> Iterator[Row]:
        """Make rows of records. Their ids sort by the time of their first record."""
        together: dict[tuple[str, str | None, str | None], list[Record]] = {}
        for record in records:
            together.setdefault(_shared(record), []).append(record)
        for some in together.values():
            for start in range(0, len(some), _MOST_TOGETHER):
                yield self._row(some[start : start + _MOST_TOGETHER])

    def _row(self, records: Sequence[Record]) -> Row:
        first = records[0]
        told = {
            "by": self._by,
            "of": _shared(first),
            "records": [self._told(record) for record in records],
        }
        return Row(
            f"{id_at(first.at)}{self._nonce}{next(self._numbers) & 0xFFFFFF:06x}",
            printable(first.source),
            f",{','.join(record.kind.value for record in records)},",
            f",{','.join(record.reason or '' for record in records)},",
            printable(first.event_id or ""),
            digest(first.event_id) if first.event_id else b"",
            _encoded(told),
        )

    def _told(self, record: Record) -> dict[str, Any]:
        values = zip(_TOLD, _values(record), strict=True)
        told = {name: value for name, value in values if value is not None}
        if record.error is not None:
            told["traceback"] = _traceback(record.error)
        if record.kind is Kind.RECEIVED and record.delivery is not None:
            told["request"] = self._request(record.delivery)
        return told

    def _request(self, delivery: Delivery) -> dict[str, Any]:
        kept: dict[str, Any] = {
            "method": delivery.method,
            "path": delivery.path,
            "query": masked_query(delivery.query_string),
            "client": delivery.client[0] if delivery.client else None,
            "headers": masked_headers(delivery.headers, self._mask),
            "size": len(delivery.body),
        }
        if self._bodies:
            kept["body"] = base64.b64encode(delivery.body).decode()
        return kept


def id_at(moment: float) -> str:
    """Return what the id of an entry of this Unix time begins with."""
    return f"{max(0, int(moment * 1_000_000)):0{_TIME}x}"


def row_of(entry_id: str) -> str:
    """Return the id of the row an entry stands in."""
    return entry_id[:_ROW_ID]


def read_row(row: Row) -> list[Entry]:
    """Read what a :class:`Pen` wrote; what cannot be read becomes an entry that says so."""
    try:
        told = json.loads(row.data)
        by, of = str(told["by"]), dict(zip(_SHARED, told["of"], strict=True))
        return [
            _entry(f"{row.id}{number:02x}", by, {**of, **each})
            for number, each in enumerate(told["records"])
        ]
    except (LookupError, TypeError, ValueError, RecursionError):
        unreadable = "this entry was written by another release, or damaged"
        record = Record(Kind.STORE_ERROR, row.source, detail=unreadable, at=_at(row.id))
        return [Entry(f"{row.id}00", "", record)]


def _entry(entry_id: str, by: str, told: dict[str, Any]) -> Entry:
    request = _read_request(told["request"]) if "request" in told else None
    known = {name: told[name] for name in (*_SHARED, *_TOLD) if name in told}
    record = Record(**{**known, "kind": Kind(told["kind"])})
    return Entry(entry_id, by, record, told.get("traceback"), request)


def _at(row_id: str) -> float:
    return int(row_id[:_TIME], 16) / 1_000_000


def _traceback(error: BaseException) -> str:
    text = "".join(traceback.format_exception(error))
    # The end says what was raised.
    return text if len(text) <= _LONGEST_TRACEBACK else f"…{text[-_LONGEST_TRACEBACK:]}"


def _read_request(kept: dict[str, Any]) -> Request:
    body = kept.pop("body", None)
    headers = tuple((name, value) for name, value in kept.pop("headers"))
    request = Request(headers=headers, **kept)
    return request if body is None else replace(request, body=base64.b64decode(body))
