"""Records as OpenTelemetry spans: a delivery, and in it its claim and its handler."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from msgspec.structs import replace
from opentelemetry import context, propagate, trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, Status, StatusCode, Tracer

from .metrics import ends_run
from .record import Kind, Record

__all__ = ["Spans"]

K = TypeVar("K")
V = TypeVar("V")

_MOST_OPEN = 10_000
_MOST_KNOWN = 10_000
_LINKED = {"webhook_dedup.link": "original"}


@dataclass(slots=True)
class _Open:
    """The spans of a delivery that is under way.

    Attributes:
        delivery: From its arrival to the end of its run.
        claim: From its arrival until it is known whether it runs.
        handler: While the handler runs.
        outside: What was current before the handler's span was.
        forget: Called when its request need not be watched any more.
        event_id: Of the delivery, if it is known; the items of a batch have others.
        skipped: An item that was skipped, while it is not known whether others run.
    """

    delivery: Span
    claim: Span | None = None
    handler: Span | None = None
    outside: Context | None = None
    forget: Callable[[], object] = lambda: None
    event_id: str | None = None
    skipped: Record | None = None

    def ends_with(self, record: Record) -> bool:
        """Whether a record tells of the end of the delivery, and not only of one of its items."""
        if self.handler is not None:
            return ends_run(record)
        if record.kind is not Kind.SKIPPED or self.event_id in {None, record.event_id}:
            return True
        self.skipped = record
        return False


class Spans:
    """Makes spans of the records of deliveries.

    The handler's span is current while the handler runs, so that spans of its own are its
    children. A copy of an event that this process has seen is linked to the original; a later run
    of the same delivery continues its trace, in another process by the ``traceparent`` that is
    kept among the headers of the delivery.

    Args:
        tracer: Makes the spans.
    """

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        self._open: OrderedDict[str, _Open] = OrderedDict()
        self._originals: OrderedDict[tuple[str, str | None, str | None], SpanContext] = (
            OrderedDict()
        )
        self._arrivals: OrderedDict[str, SpanContext] = OrderedDict()

    def note(self, record: Record) -> None:
        """Begin or end spans."""
        if record.delivery_id is None:
            return
        if record.kind is Kind.RECEIVED:
            self._received(record, record.delivery_id)
        elif record.kind is Kind.STARTED:
            self._started(record, record.delivery_id)
        elif record.kind in _ENDS:
            opened = self._open.get(record.delivery_id)
            if opened is not None and opened.ends_with(record):
                self._ended(record, self._open.pop(record.delivery_id))

    def _received(self, record: Record, delivery_id: str) -> None:
        event = (record.source, record.tenant, record.event_id)
        original = self._originals.get(event)
        span = self._delivery(record, _parent(record), original)
        if span.get_span_context().is_valid:
            _keep(self._arrivals, delivery_id, span.get_span_context(), _MOST_KNOWN)
            _keep(self._originals, event, original or span.get_span_context(), _MOST_KNOWN)
        claim = self._child(span, "webhook claim", record)
        forget = self._watch_request(record.source, delivery_id)
        opened = _Open(span, claim, forget=forget, event_id=record.event_id)
        evicted = _keep(self._open, delivery_id, opened, _MOST_OPEN)
        if evicted is not None:
            _end_all(evicted, record)

    def _watch_request(self, source: str, delivery_id: str) -> Callable[[], object]:
        """End the spans of a delivery with its request if no record has; return what ends that.

        It waits in the inbox for workers or for room, or all of its items were skipped.
        """
        try:
            request = asyncio.current_task()
        except RuntimeError:  # observed from outside an event loop
            request = None
        if request is None:
            return lambda: None

        def over(_: asyncio.Task[Any]) -> None:
            opened = self._open.get(delivery_id)
            if opened is not None and opened.handler is None:
                last = opened.skipped or Record(Kind.RECEIVED, source)
                _end_all(self._open.pop(delivery_id), replace(last, at=time.time()))

        request.add_done_callback(over)
        return partial(request.remove_done_callback, over)

    def _started(self, record: Record, delivery_id: str) -> None:
        opened = self._open.get(delivery_id)
        if opened is None:
            opened = self._open[delivery_id] = self._run_again(record, delivery_id)
        opened.forget()
        _end(opened.claim, record, outcome="fresh")
        opened.claim = None
        opened.handler = self._child(opened.delivery, "webhook handler", record)
        if record.attempt is not None:
            opened.handler.set_attribute("webhook_dedup.attempt", record.attempt)
        opened.outside = context.get_current()
        # Not detached by its token: the run may end in a task with a copy of this context.
        context.attach(trace.set_span_in_context(opened.handler))

    def _run_again(self, record: Record, delivery_id: str) -> _Open:
        """Continue the trace of a delivery that arrived earlier, perhaps in another process."""
        arrival = self._arrivals.get(delivery_id)
        if arrival is None:
            arrival = trace.get_current_span(_sent(record)).get_span_context()
        parent = trace.set_span_in_context(trace.NonRecordingSpan(arrival), Context())
        return _Open(self._delivery(record, parent, arrival if arrival.is_valid else None))

    def _ended(self, record: Record, opened: _Open) -> None:
        handler = opened.handler
        _end_all(opened, record)
        if (
            handler is not None
            and opened.outside is not None
            and trace.get_current_span() is handler
        ):
            context.attach(opened.outside)

    def _delivery(
        self, record: Record, parent: Context | None, original: SpanContext | None
    ) -> Span:
        return self._tracer.start_span(
            f"webhook {record.source}",
            parent,
            SpanKind.CONSUMER,
            _attributes(record),
            [] if original is None else [Link(original, _LINKED)],
            _nanoseconds(record),
        )

    def _child(self, parent: Span, name: str, record: Record) -> Span:
        return self._tracer.start_span(
            name, trace.set_span_in_context(parent), start_time=_nanoseconds(record)
        )


_ENDS = {
    Kind.REJECTED,
    Kind.SUCCEEDED,
    Kind.FAILED,
    Kind.SKIPPED,
    Kind.DEFERRED,
    Kind.LEASE_LOST,
    Kind.RECOVERED,
    Kind.BURIED,
}


def _end_all(opened: _Open, record: Record) -> None:
    opened.forget()
    if opened.claim is not None:
        _end(opened.claim, record, outcome=record.original or record.reason or record.kind.value)
    if opened.handler is not None:
        _judge(opened.handler, record)
        opened.handler.end(_nanoseconds(record))
    opened.delivery.set_attribute("webhook_dedup.outcome", record.kind.value)
    if record.reason is not None:
        opened.delivery.set_attribute("webhook_dedup.reason", record.reason)
    opened.delivery.end(_nanoseconds(record))


def _end(span: Span | None, record: Record, *, outcome: str) -> None:
    if span is not None:
        span.set_attribute("webhook_dedup.outcome", outcome)
        span.end(_nanoseconds(record))


def _judge(handler: Span, record: Record) -> None:
    if record.kind in {Kind.FAILED, Kind.LEASE_LOST}:
        why = None if record.detail is None else _encodable(record.detail)
        handler.set_status(Status(StatusCode.ERROR, why))
        if record.error is not None:
            handler.record_exception(record.error)


def _parent(record: Record) -> Context | None:
    """Choose what a delivery belongs to: the server's span, or the one its sender names."""
    return None if trace.get_current_span().get_span_context().is_valid else _sent(record)


def _sent(record: Record) -> Context:
    """Return the trace that the headers of a delivery name."""
    headers = () if record.delivery is None else record.delivery.headers
    carrier = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in headers}
    return propagate.extract(carrier, Context())


def _attributes(record: Record) -> dict[str, Any]:
    named = {
        "source": record.source,
        "event_id": record.event_id,
        "event_type": record.event_type,
        "tenant": record.tenant,
        "delivery_id": record.delivery_id,
    }
    return {
        f"webhook_dedup.{name}": _encodable(value)
        for name, value in named.items()
        if value is not None
    }


def _encodable(text: str) -> str:
    """Return text without lone surrogates: exporters lose all spans of a batch with one of them."""
    return text.encode("utf-8", "backslashreplace").decode()


def _nanoseconds(record: Record) -> int:
    return int(record.at * 1_000_000_000)


def _keep(kept: OrderedDict[K, V], key: K, value: V, most: int) -> V | None:
    """Keep a value as the latest of at most ``most``; return the one that had to go."""
    kept[key] = value
    kept.move_to_end(key)
    return kept.popitem(last=False)[1] if len(kept) > most else None
