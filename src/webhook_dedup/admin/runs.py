"""How often a handler was run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from ..model import Item
from ..observe.history import Entry
from ..observe.record import Kind

__all__ = ["REPLAYED", "runs_begun"]

REPLAYED = "replayed"
"""The reason with which a replay is recorded."""

_OF_A_RUN = {Kind.SUCCEEDED, Kind.RECOVERED, Kind.FAILED, Kind.LEASE_LOST}

_Numbered = tuple[str | None, int, int]  # of a delivery, after how many replays, the attempt


def runs_begun(entries: Iterable[Entry], items: Iterable[Item] = ()) -> int:
    """Count the runs that began, also those that nobody told of.

    A process that is killed takes its latest records along. But attempts are numbered in the inbox
    as they begin, so a number tells of those below it. A run that is put off leaves its number to
    the next, and a replay begins to number anew.
    """
    replays: Counter[str | None] = Counter()
    told: list[_Numbered] = []
    numbers: set[_Numbered] = set()
    for entry in entries:
        record = entry.record
        row = record.delivery_id
        if record.kind is Kind.RETRIED and record.reason == REPLAYED:
            replays[row] += 1
        elif record.kind is Kind.STARTED:
            told.append((row, replays[row], record.attempt or 1))
        elif record.kind is not Kind.BURIED:  # whose number may be of a run that never began
            numbers.add((row, replays[row], record.attempt or int(record.kind in _OF_A_RUN)))
    numbers.update(told)
    numbers.update((item.id, replays[item.id], item.attempts) for item in items)
    begun = {(*life, number) for *life, last in numbers for number in range(1, last + 1)}
    return len(told) + len(begun.difference(told))
