"""Searches by people, as statements."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Double, Select, Table, Text, func, literal, select, tuple_

from ...backends.sql.dialects import Dialect
from ...contracts import Sought
from .rows import escaped

__all__ = ["Search"]


class Search:
    """Makes the statements of one table."""

    def __init__(self, items: Table, row: Sequence[ColumnElement[Any]], dialect: Dialect) -> None:
        self._items = items
        self._row = row
        self._dialect = dialect

    def find(self, sought: Sought, limit: int, after: str) -> Select[Any]:
        """Select a page, the oldest received first, behind an id that may be gone."""
        place = (self._items.c.received_at, self._items.c.id)
        page = select(*self._row).where(*self._conditions(sought)).order_by(*place).limit(limit)
        if after:
            page = page.where(self._behind(escaped(after)))
        return page

    def count(self, sought: Sought) -> Select[Any]:
        """Count what is sought."""
        return select(func.count()).select_from(self._items).where(*self._conditions(sought))

    def _behind(self, item_id: str) -> ColumnElement[bool]:
        last = self._items.alias("last")
        received_at = select(last.c.received_at).where(last.c.id == item_id).scalar_subquery()
        # Negative infinity where the id is gone: everything is behind it.
        begin = func.coalesce(received_at, literal(float("-inf"), Double()))
        return tuple_(self._items.c.received_at, self._items.c.id) > tuple_(
            begin, literal(item_id, Text())
        )

    def _conditions(self, sought: Sought) -> Iterator[ColumnElement[bool]]:
        items = self._items.c
        if sought.source is not None:
            yield items.source == escaped(sought.source)
        if sought.event_id is not None:
            yield items.event_id == escaped(sought.event_id)
        if sought.state is not None:
            dead = sought.state == "dead"
            yield items.due.is_(None) if dead else items.due.is_not(None)
        if sought.older_than is not None:
            yield items.received_at <= self._ago(sought.older_than)
        if sought.younger_than is not None:
            yield items.received_at >= self._ago(sought.younger_than)
        if sought.error is not None:
            part = func.lower(literal(escaped(sought.error), Text()))
            yield self._dialect.position(func.lower(items.last_error), part) > 0

    def _ago(self, seconds: float) -> Any:
        # As a subquery the clock is read once, so that an index serves.
        return select(self._dialect.now - literal(seconds, Double())).scalar_subquery()
