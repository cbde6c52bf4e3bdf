"""Records as OpenTelemetry metrics and spans, by its API alone: without an SDK nothing is done."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from ..contracts import OperableInbox
from ..errors import MissingExtra
from .backlog import Backlog, BacklogWatch
from .metrics import BATCHES, COUNTERS, SECONDS, Runs, count
from .record import Kind, Record

try:
    from opentelemetry import metrics, trace
    from opentelemetry.metrics import CallbackOptions, Counter, Meter, MeterProvider, Observation
    from opentelemetry.trace import TracerProvider

    from .spans import Spans
except ImportError as error:
    raise MissingExtra("OpenTelemetry metrics and traces", "otel") from error

__all__ = ["OtelObserver"]

_NAME = "webhook_dedup"


class OtelObserver:
    """Counts, measures and traces through the providers that the app has set up.

    Names begin with ``webhook_dedup.``. Attributes of metrics are sources, reasons and verbs of the
    store; event ids stand in spans only. What waits in the inbox is asked for every ``refresh``
    seconds, and not reported while the inbox does not answer.

    Args:
        meter_provider: In place of the global one.
        tracer_provider: In place of the global one.
        refresh: Seconds between looks into the inbox.

    Raises:
        MissingExtra: ``opentelemetry-api`` is not installed.
    """

    def __init__(
        self,
        meter_provider: MeterProvider | None = None,
        tracer_provider: TracerProvider | None = None,
        *,
        refresh: float = 15.0,
    ) -> None:
        meter = metrics.get_meter(_NAME, meter_provider=meter_provider)
        self._spans = Spans(trace.get_tracer(_NAME, tracer_provider=tracer_provider))
        self._runs = Runs()
        self._backlog: Backlog | None = None
        self._watch = BacklogWatch(self._show_backlog, refresh)
        self._counters: Mapping[str, Counter] = {
            each.name: meter.create_counter(f"{_NAME}.{each.name}", description=each.help)
            for each in COUNTERS.values()
        }
        self._in_flight = meter.create_up_down_counter(
            f"{_NAME}.in_flight", description="Handlers running."
        )
        self._failed = meter.create_counter(
            f"{_NAME}.store.failures", description="Calls to the store that failed."
        )
        self._make_histograms(meter)
        self._make_gauges(meter)

    def record(self, record: Record) -> None:
        counted = count(record)
        if counted is not None:
            counter, labels = counted
            attributes = dict(zip(counter.labels, labels, strict=True))
            self._counters[counter.name].add(1, attributes)
        source = {"source": record.source}
        if record.kind is Kind.STARTED:
            if self._runs.begin(record):
                self._in_flight.add(1, source)
        elif (took := self._runs.end(record)) is not None:
            self._in_flight.add(-1, source)
            self._handler.record(took, source)
        if record.age is not None:
            self._age.record(record.age, source)
        self._spans.note(record)

    def store_call(self, verb: str, size: int, seconds: float, *, failed: bool) -> None:
        by_verb = {"verb": verb}
        self._store.record(seconds, by_verb)
        self._batch.record(size, by_verb)
        if failed:
            self._failed.add(1, by_verb)

    def watch(self, inbox: OperableInbox) -> None:
        """Show what waits in an inbox, from now on and until :meth:`aclose`."""
        self._watch.begin(inbox)

    async def aclose(self) -> None:
        """Look into the inbox no longer."""
        await self._watch.aclose()

    def _show_backlog(self, backlog: Backlog | None) -> None:
        self._backlog = backlog

    def _make_histograms(self, meter: Meter) -> None:
        def seconds(name: str, text: str) -> metrics.Histogram:
            return meter.create_histogram(
                f"{_NAME}.{name}",
                unit="s",
                description=text,
                explicit_bucket_boundaries_advisory=SECONDS,
            )

        self._handler = seconds("handler.duration", "Time a handler ran.")
        self._age = seconds("event.age", "Time from an event's first claim to a copy of it.")
        self._store = seconds("store.duration", "Time of a call to the store.")
        self._batch = meter.create_histogram(
            f"{_NAME}.store.batch_size",
            description="Keys that went to the store together.",
            explicit_bucket_boundaries_advisory=BATCHES,
        )

    def _make_gauges(self, meter: Meter) -> None:
        """Make gauges that are read when they are exported, from what was last asked."""

        def gauge(name: str, text: str, value: Callable[[Backlog], float], unit: str = "") -> None:
            def observe(_: CallbackOptions) -> Iterable[Observation]:
                return [] if self._backlog is None else [Observation(value(self._backlog))]

            meter.create_observable_gauge(f"{_NAME}.{name}", [observe], unit, text)

        gauge("waiting", "Deliveries in the inbox that wait or run.", lambda told: told.waiting)
        gauge("dead", "Dead letters in the inbox.", lambda told: told.dead)
        gauge(
            "oldest_waiting",
            "Age of the oldest delivery that waits or runs.",
            lambda told: told.oldest,
            "s",
        )
