"""Searches by people in the inbox, read page by page and never with the bodies."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

from ...contracts import Sought
from .page_scripts import PAGE, SIZE
from .rows import decoded, encoded, last_error
from .table import Table

__all__ = ["Pages"]

_PER_PAGE = 250  # a script holds up the server: about 10 microseconds an id
_WITH_ROW = 6  # how long the script's answer is for an id that has a row


@dataclass(frozen=True, slots=True)
class _Summary:
    """What a filter can ask of a row."""

    id: bytes
    score: bytes
    dead: bool
    source: str
    event_id: str
    error: str | None

    @classmethod
    def of(cls, row: list[Any]) -> _Summary:
        item_id, score, dead, source, event_id, last = row
        return cls(
            item_id,
            score,
            dead is not None,
            decoded(source),
            decoded(event_id),
            last_error(last),
        )

    def answers(self, sought: Sought) -> bool:
        return (
            (sought.state is None or self.dead == (sought.state == "dead"))
            and sought.source in {None, self.source}
            and sought.event_id in {None, self.event_id}
            and (sought.error is None or self._failed_with(sought.error))
        )

    def _failed_with(self, text: str) -> bool:
        return self.error is not None and text.casefold() in self.error.casefold()


class Pages:
    """Walks through the ids of one inbox, the first received first."""

    def __init__(self, table: Table) -> None:
        self._table = table

    async def ids(self, sought: Sought, after: str = "") -> AsyncGenerator[bytes, None]:
        """Yield the ids that are sought, behind one that may be gone by now."""
        async for row in self._rows(sought, encoded(after)):
            if _Summary.of(row).answers(sought):
                yield row[0]

    async def count(self, sought: Sought) -> int:
        """Count what is sought."""
        if (sought.source, sought.event_id, sought.error) == (None, None, None):
            return await self._size(sought)
        number = 0
        async for _ in self.ids(sought):
            number += 1
        return number

    async def _size(self, sought: Sought) -> int:
        if sought.state == "dead":
            return await self._size_of("dead", sought)
        every = await self._size_of("received", sought)
        return every if sought.state is None else every - await self._size_of("dead", sought)

    async def _size_of(self, index: str, sought: Sought) -> int:
        size: int = await self._table.call(SIZE, index, *_ages(sought))
        return size

    async def _rows(self, sought: Sought, after: bytes) -> AsyncGenerator[list[Any], None]:
        index = "dead" if sought.state == "dead" else "received"
        score, of_interest = b"", _of_interest(sought)
        while True:
            score, number, page = await self._table.call(
                PAGE, index, *_ages(sought), _PER_PAGE, after, score, *of_interest
            )
            for row in page:
                # Where the id before has left, the script begins with those received just then.
                behind = not score or (float(row[1]), row[0]) > (float(score), after)
                if behind and len(row) == _WITH_ROW:
                    yield row
            if number < _PER_PAGE:
                return
            after, score = page[-1][:2]


def _ages(sought: Sought) -> tuple[str, str]:
    older, younger = sought.older_than, sought.younger_than
    return "" if older is None else repr(older), "" if younger is None else repr(younger)


def _of_interest(sought: Sought) -> tuple[int, bytes, bytes, bytes]:
    """Return what the script is told, so that it passes over most of what is not sought."""
    alive = int(sought.state == "waiting")
    error = sought.error or ""
    # As it stands in an entry. What upper and lower case of other letters are, no script knows.
    written = json.dumps(error)[1:-1].lower().encode() if error.isascii() else b""
    return alive, encoded(sought.source or ""), encoded(sought.event_id or ""), written
