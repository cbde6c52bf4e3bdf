"""Metrics counted from records, under names that every exporter shares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from .record import Kind, Reason, Record

__all__ = ["BATCHES", "COUNTERS", "SECONDS", "Count", "Runs", "count", "ends_run"]

SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 3600, 86400)
"""Bounds of histograms of seconds: from a claim to an event that is days old."""
BATCHES: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256)
"""Bounds of the histogram of batch sizes."""

_MOST_OPEN = 100_000


@dataclass(frozen=True, slots=True)
class Count:
    """One counter.

    Attributes:
        name: In the plural.
        help: What it counts.
        by_reason: Whether it tells reasons apart, beside sources.
    """

    name: str
    help: str
    by_reason: bool = False

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of its labels. They are few and bounded, never an event's id."""
        return ("source", "reason") if self.by_reason else ("source",)


COUNTERS: Final = {
    Kind.RECEIVED: Count("deliveries", "Deliveries accepted."),
    Kind.REJECTED: Count("rejections", "Requests refused with a 4xx or 503.", by_reason=True),
    Kind.SKIPPED: Count("skips", "Decisions not to run an event.", by_reason=True),
    Kind.DEFERRED: Count("deferrals", "Decisions to run an event later.", by_reason=True),
    Kind.STARTED: Count("runs", "Handler runs begun."),
    Kind.SUCCEEDED: Count("successes", "Events whose handler succeeded."),
    Kind.FAILED: Count("failures", "Handler runs that failed."),
    Kind.RETRIED: Count("retries", "Runs scheduled after a failure."),
    Kind.BURIED: Count("dead_letters", "Deliveries set aside for a person."),
    Kind.RECOVERED: Count("recoveries", "Deliveries done before a crash and closed after it."),
    Kind.LEASE_LOST: Count("lease_losses", "Claims lost while their handler ran."),
    Kind.STORE_ERROR: Count("store_errors", "Calls that the store did not answer."),
    Kind.ESCALATED: Count("escalations", "Events handed to a person."),
}
"""The counter of each kind of record."""


def count(record: Record) -> tuple[Count, tuple[str, ...]] | None:
    """Return the counter of a record and the values of its labels; ``None`` for a handshake."""
    if record.kind is Kind.RECEIVED and record.reason == "handshake":
        return None
    counter = COUNTERS[record.kind]
    if counter.by_reason:
        return counter, (record.source, record.reason or "other")
    return counter, (record.source,)


class Runs:
    """Knows from the records which handlers run, and for how long they ran."""

    def __init__(self) -> None:
        self._begun: dict[tuple[str, str | None], list[float]] = {}

    def begin(self, record: Record) -> bool:
        """Note a run that began; ``False`` if it is known already."""
        if len(self._begun) >= _MOST_OPEN:  # ends that nobody told of
            del self._begun[next(iter(self._begun))]
        begun = self._begun.setdefault(_key(record), [])
        if begun and record.delivery_id is not None:  # whose run before ended unheard
            begun[:] = [record.at]
            return False
        begun.append(record.at)
        return True

    def end(self, record: Record) -> float | None:
        """Return the seconds a run took if this record ends one that began."""
        if not ends_run(record):
            return None
        key = _key(record)
        begun = self._begun.get(key)
        if begun is None:
            return None
        began = begun.pop(0)
        if not begun:
            del self._begun[key]
        return max(0.0, record.at - began) if record.duration is None else record.duration


def _key(record: Record) -> tuple[str, str | None]:
    # By the delivery, because the items of a batch end under ids of their own. Calls have none, and
    # several of one id may run at once: those without an id, or those of several callers.
    return record.source, record.delivery_id or record.event_id


def ends_run(record: Record) -> bool:
    """Whether this is the end of a run that began, and not of something before or inside it."""
    kind = record.kind
    if kind is Kind.SUCCEEDED:
        # An item that its handler settles early has a detail; the handler goes on.
        return record.detail is None or record.duration is not None
    if kind in {Kind.SKIPPED, Kind.DEFERRED}:
        ran = record.attempt is not None or record.duration is not None
        return ran or record.reason == Reason.DISCARDED.value
    # One that is recovered had ended unheard: the inbox was away when it was to be told.
    return kind in {Kind.FAILED, Kind.LEASE_LOST, Kind.RECOVERED}
