"""Records as Prometheus metrics."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from ..contracts import OperableInbox
from ..errors import ConfigError, MissingExtra
from .backlog import Backlog, BacklogWatch
from .metrics import BATCHES, COUNTERS, SECONDS, Runs, count
from .record import Kind, Record

try:
    from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram
except ImportError as error:
    raise MissingExtra("Prometheus metrics", "prometheus") from error

__all__ = ["PrometheusObserver"]

T = TypeVar("T")

_PREFIX = "webhook_dedup"


class PrometheusObserver:
    """Counts in a registry of ``prometheus-client``; works with its multi-process mode.

    Every name begins with ``webhook_dedup_``. Labels are sources, reasons and verbs of the store,
    never ids. What waits in the inbox is asked for every ``refresh`` seconds, so that a scrape
    waits for nothing; while the inbox does not answer, its gauges are NaN.

    Args:
        registry: Where the metrics are registered; the client's own by default.
        refresh: Seconds between looks into the inbox.

    Raises:
        ConfigError: The registry has these metrics already.
        MissingExtra: ``prometheus-client`` is not installed.
    """

    def __init__(self, registry: CollectorRegistry | None = None, *, refresh: float = 15.0) -> None:
        make = _Maker(REGISTRY if registry is None else registry)
        self._runs = Runs()
        self._watch = BacklogWatch(self._show_backlog, refresh)
        self._counters: Mapping[str, Counter] = {
            each.name: make.counter(each.name, each.help, each.labels) for each in COUNTERS.values()
        }
        self._handler = make.histogram("handler_seconds", "Time a handler ran.", ["source"])
        self._age = make.histogram(
            "event_age_seconds", "Time from an event's first claim to a copy of it.", ["source"]
        )
        self._store = make.histogram("store_seconds", "Time of a call to the store.", ["verb"])
        self._batch = make.histogram(
            "store_batch_size", "Keys that went to the store together.", ["verb"], BATCHES
        )
        self._failed = make.counter(
            "store_call_failures", "Calls to the store that failed.", ["verb"]
        )
        self._in_flight = make.gauge("in_flight", "Handlers running.", "livesum", ["source"])
        self._waiting = make.gauge("waiting", "Deliveries in the inbox that wait or run.")
        self._dead = make.gauge("dead", "Dead letters in the inbox.")
        self._oldest = make.gauge(
            "oldest_waiting_seconds", "Age of the oldest delivery that waits or runs."
        )

    def record(self, record: Record) -> None:
        counted = count(record)
        if counted is not None:
            counter, labels = counted
            self._counters[counter.name].labels(*labels).inc()
        if record.kind is Kind.STARTED:
            if self._runs.begin(record):
                self._in_flight.labels(record.source).inc()
        elif (took := self._runs.end(record)) is not None:
            self._in_flight.labels(record.source).dec()
            self._handler.labels(record.source).observe(took)
        if record.age is not None:
            self._age.labels(record.source).observe(record.age)

    def store_call(self, verb: str, size: int, seconds: float, *, failed: bool) -> None:
        self._store.labels(verb).observe(seconds)
        self._batch.labels(verb).observe(size)
        if failed:
            self._failed.labels(verb).inc()

    def watch(self, inbox: OperableInbox) -> None:
        """Show what waits in an inbox, from now on and until :meth:`aclose`."""
        self._watch.begin(inbox)

    async def aclose(self) -> None:
        """Look into the inbox no longer."""
        await self._watch.aclose()

    def _show_backlog(self, backlog: Backlog | None) -> None:
        self._waiting.set(backlog.waiting if backlog else math.nan)
        self._dead.set(backlog.dead if backlog else math.nan)
        self._oldest.set(backlog.oldest if backlog else math.nan)


class _Maker:
    """Makes metrics in one registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def counter(self, name: str, text: str, labels: Sequence[str]) -> Counter:
        return self._make(Counter, name, text, labels)

    def histogram(
        self,
        name: str,
        text: str,
        labels: Sequence[str],
        buckets: Sequence[float] = SECONDS,
    ) -> Histogram:
        return self._make(Histogram, name, text, labels, buckets=buckets)

    def gauge(
        self, name: str, text: str, mode: str = "livemostrecent", labels: Sequence[str] = ()
    ) -> Gauge:
        return self._make(Gauge, name, text, labels, multiprocess_mode=mode)

    def _make(
        self, kind: Callable[..., T], name: str, text: str, labels: Sequence[str], **options: Any
    ) -> T:
        full = f"{_PREFIX}_{name}"
        try:
            return kind(full, text, labels, registry=self._registry, **options)
        except ValueError as exc:
            raise ConfigError(
                f"{full} is in this registry already; pass one PrometheusObserver to all that "
                "observe, or give each a registry=CollectorRegistry()"
            ) from exc
