"""How often a handler was run."""

from __future__ import annotations

from collections.abc import Iterable

from ..model import Item
from ..observe.history import Entry
from ..observe.record import Kind

__all__ = ["runs_begun"]


def runs_begun(entries: Iterable[Entry], items: Iterable[Item] = ()) -> int:
    """Count the runs that began, also those that nobody told of.

    A process that is killed takes its latest records along. But attempts are numbered in the inbox
    as they begin, so a number tells of those below it. A run that is put off leaves its number to
    the next.
    """
    told: list[tuple[str | None, int]] = []
    numbers: set[tuple[str | None, int]] = {(item.id, item.attempts) for item in items}
    for entry in entries:
        record = entry.record
        if record.kind is Kind.STARTED:
            told.append((record.delivery_id, record.attempt or 1))
        elif record.kind is not Kind.BURIED:  # whose number may be of a run that never began
            numbers.add((record.delivery_id, record.attempt or 0))
    numbers.update(told)
    begun = {(row, number) for row, last in numbers for number in range(1, last + 1)}
    return len(told) + len(begun.difference(told))
