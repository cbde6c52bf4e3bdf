"""One entry of the history: a record, who made it, and what came with it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..record import Record

__all__ = ["Entries", "Entry", "Request"]


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


class Entries(list[Entry]):
    """Entries that were looked for.

    Attributes:
        stopped_at: Where looking stopped before its end, so that more may be behind it; empty if
            it did not.
    """

    def __init__(self, entries: Iterable[Entry] = (), stopped_at: str = "") -> None:
        super().__init__(entries)
        self.stopped_at = stopped_at
