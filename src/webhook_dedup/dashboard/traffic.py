"""What each source did lately, and whether it remembers for as long as its provider retries."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ..observe.history import Entry, History
from ..observe.record import Kind
from ..providers import PRESETS, Preset
from ..routes import Route
from .deployment import Deployment

__all__ = ["Activity", "Sender", "Traffic", "senders", "traffic_of"]

LONGEST = 3_600.0
_MOST_ENTRIES = 5_000
_AT_ONCE = 500


@dataclass(slots=True)
class Activity:
    """What one source did in the time that was looked at.

    Attributes:
        counts: Records by kind.
        skips: Skips by reason.
        last: Unix time of the last arrival.
    """

    counts: Counter[Kind] = field(default_factory=Counter)
    skips: Counter[str] = field(default_factory=Counter)
    last: float | None = None

    @property
    def arrived(self) -> int:
        """Deliveries accepted, or calls where a function is decorated."""
        return self.counts[Kind.RECEIVED] or self.counts[Kind.STARTED] + self.counts[Kind.SKIPPED]

    @property
    def share(self) -> float:
        """Which part of what arrived was skipped as a copy."""
        return min(1.0, self.skips["duplicate"] / self.arrived) if self.arrived else 0.0

    def count(self, kind: str) -> int:
        """Return how many records there are of a kind."""
        return self.counts[Kind(kind)]

    def add(self, entry: Entry) -> None:
        """Count an entry."""
        record = entry.record
        self.counts[record.kind] += 1
        if record.kind is Kind.SKIPPED and record.reason:
            self.skips[record.reason] += 1
        if record.kind in {Kind.RECEIVED, Kind.STARTED}:
            self.last = max(self.last or 0.0, record.at)


@dataclass(frozen=True, slots=True)
class Traffic:
    """What all sources did.

    Attributes:
        sources: By name.
        seconds: Over how long a time.
    """

    sources: Mapping[str, Activity] = field(default_factory=dict)
    seconds: float = LONGEST


async def traffic_of(history: History) -> Traffic:
    """Count the last hour, or as much of it as can be read in a moment."""
    now = time.time()
    sources: dict[str, Activity] = {}
    after, looked_at = "", 0
    while looked_at < _MOST_ENTRIES:
        entries = await history.find(since=now - LONGEST, limit=_AT_ONCE, after=after)
        _count(entries, sources)
        looked_at += len(entries)
        if len(entries) < _AT_ONCE:
            return Traffic(sources)
        after = entries[-1].id
    return Traffic(sources, max(1.0, now - entries[-1].record.at))


def _count(entries: Iterable[Entry], sources: dict[str, Activity]) -> None:
    for entry in entries:
        sources.setdefault(entry.record.source, Activity()).add(entry)


@dataclass(frozen=True, slots=True)
class Sender:
    """One source as its page shows it.

    Attributes:
        name: Its name.
        preset: What is known of its provider, if that is known.
        route: Its configuration, where the app itself shows it.
        activity: What it did; ``None`` without a history.
    """

    name: str
    preset: Preset | None
    route: Route | None
    activity: Activity | None

    @property
    def forgets_early(self) -> bool:
        """Whether a retry may come when its event is forgotten, and then run again."""
        return (
            self.route is not None
            and self.preset is not None
            and self.route.ttl < self.preset.horizon
        )


def senders(deployment: Deployment, traffic: Traffic | None) -> Sequence[Sender]:
    """List the sources of an app, and whatever else its history tells of."""
    routes = deployment.routes or {}
    seen = traffic.sources if traffic else {}
    return [
        Sender(
            name,
            routes[name].source.preset if name in routes else PRESETS.get(name),
            routes.get(name),
            seen.get(name, Activity()) if traffic else None,
        )
        for name in sorted({*routes, *seen})
    ]
