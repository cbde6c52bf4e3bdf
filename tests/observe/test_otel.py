"""What an OpenTelemetry collector is told equals what was sent, and spans tell how it went."""

from collections import Counter, defaultdict

import pytest
from msgspec import structs
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.asgi.kit import Handler, deliver, until
from tests.observe.collector import figures_of, spans_of
from tests.observe.traffic import EXPECTED, observed, run
from tests.servers import RedisServer
from webhook_dedup.inbox.redis import RedisInbox
from webhook_dedup.model import Delivery
from webhook_dedup.observe.otel import OtelObserver
from webhook_dedup.observe.record import Kind, Record

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


async def test_a_collector_is_told_what_was_sent(collector):
    """Metrics and spans arrive over OTLP with the figures of the run."""
    reader = PeriodicExportingMetricReader(OTLPMetricExporter(f"{collector.url}/v1/metrics"))
    meters, tracers = MeterProvider([reader]), TracerProvider()
    exporter = OTLPSpanExporter(f"{collector.url}/v1/traces")
    tracers.add_span_processor(SimpleSpanProcessor(exporter))
    observer = OtelObserver(meters, tracers, refresh=0.01)
    handler = Handler()
    async with observed(handler, observer) as (app, _):
        await run(app, handler)
        await until(lambda: observer._backlog.dead == 1)
        meters.force_flush()
    figures = figures_of(collector.metrics)
    for name, figure in EXPECTED.items():
        counter, _, reason = name.partition(" ")
        assert figures[(counter, "shop", *([reason] if reason else []))] == figure
    assert figures["in_flight", "shop"] == 0
    assert (figures["dead",], figures["waiting",]) == (1, 0)
    assert figures["handler.duration", "shop"] == EXPECTED["runs"]
    assert 0 < figures["store.batch_size", "claim"] == figures["store.duration", "claim"]
    meters.shutdown()
    tracers.shutdown()
    names = Counter(span.name for span in spans_of(collector.spans))
    assert names["webhook handler"] == EXPECTED["runs"]
    assert names["webhook claim"] == EXPECTED["deliveries"]
    assert names["webhook shop"] >= EXPECTED["deliveries"]


@pytest.fixture
def traced():
    """An observer and what it has told of spans so far."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    reader = InMemoryMetricReader()
    meters = MeterProvider([reader])
    yield OtelObserver(meters, provider), provider, exporter.get_finished_spans
    meters.shutdown()
    provider.shutdown()


def told(kind, delivery_id, *, traceparent=None, at=1_700_000_000.0, **fields):
    headers = () if traceparent is None else ((b"TraceParent", traceparent.encode()),)
    delivery = Delivery(delivery_id, "shop", "POST", "/", headers, b"", at)
    return Record(
        kind, "shop", event_id="evt_1", delivery_id=delivery_id, at=at, delivery=delivery, **fields
    )


def by_name(spans):
    named = defaultdict(list)
    for span in spans:
        named[span.name].append(span)
    return named


async def test_the_handler_is_inside_its_delivery(traced):
    """Claim and handler are children of the delivery; spans of the handler's own are its."""
    observer, provider, finished = traced

    class Inner(Handler):
        async def __call__(self, scope, receive, send):
            if scope["type"] == "http":
                with provider.get_tracer("app").start_as_current_span("the app's own"):
                    return await super().__call__(scope, receive, send)
            return await super().__call__(scope, receive, send)

    async with observed(Inner(), observer) as (app, _):
        await deliver(app)
        await deliver(app)
    spans = by_name(finished())
    first, copy = spans["webhook shop"]
    (handler,) = spans["webhook handler"]
    (own,) = spans["the app's own"]
    assert {span.parent.span_id for span in spans["webhook claim"]} == {
        first.context.span_id,
        copy.context.span_id,
    }
    assert handler.parent.span_id == first.context.span_id
    assert own.parent.span_id == handler.context.span_id
    assert [link.context.span_id for link in copy.links] == [first.context.span_id]
    assert copy.attributes["webhook_dedup.reason"] == "duplicate"
    assert first.attributes["webhook_dedup.event_id"] == "evt_1"
    assert first.start_time <= handler.start_time <= handler.end_time <= first.end_time
    assert not trace.get_current_span().get_span_context().is_valid


async def test_a_failure_is_told_and_its_retry_linked(traced):
    """The run that failed has its exception; the next run is in the same trace, and linked."""
    observer, _, finished = traced
    observer.record(told(Kind.RECEIVED, "d1"))
    observer.record(told(Kind.STARTED, "d1", attempt=1))
    observer.record(told(Kind.FAILED, "d1", attempt=1, error=ValueError("x"), detail="ValueError"))
    observer.record(told(Kind.RETRIED, "d1", attempt=1))
    observer.record(told(Kind.STARTED, "d1", attempt=2))
    observer.record(told(Kind.SUCCEEDED, "d1", attempt=2))
    spans = by_name(finished())
    failed, succeeded = spans["webhook handler"]
    first, again = spans["webhook shop"]
    assert not failed.status.is_ok
    assert failed.events[0].attributes["exception.type"] == "ValueError"
    assert succeeded.attributes["webhook_dedup.attempt"] == 2
    assert {span.context.trace_id for span in finished()} == {first.context.trace_id}
    assert [link.context for link in again.links] == [first.context]


async def test_text_of_any_sender_can_be_exported(traced):
    """Lone surrogates, which JSON may hold, do not keep a batch of spans from being encoded."""
    observer, _, finished = traced
    odd = "evt \ud800"
    for kind, more in ((Kind.RECEIVED, {}), (Kind.STARTED, {}), (Kind.FAILED, {"detail": odd})):
        observer.record(structs.replace(told(kind, "d1", **more), event_id=odd))
    encoded = encode_spans(finished()).SerializeToString()
    assert encoded.count(rb"evt \ud800") == 2


async def test_an_item_that_is_settled_early_ends_no_span(traced):
    """The handler of several events goes on after it has settled one of them."""
    observer, _, finished = traced
    observer.record(told(Kind.RECEIVED, "d1"))
    observer.record(told(Kind.STARTED, "d1", attempt=1))
    observer.record(told(Kind.SUCCEEDED, "d1", detail="settled by its handler"))
    assert set(by_name(finished())) == {"webhook claim"}
    observer.record(told(Kind.SUCCEEDED, "d1", duration=1.0))
    assert len(by_name(finished())["webhook handler"]) == 1
    assert len(by_name(finished())["webhook shop"]) == 1


async def test_a_run_that_is_recovered_has_ended(traced):
    """A run whose end the inbox did not hear of leaves no span open when its row is closed."""
    observer, _, finished = traced
    observer.record(told(Kind.RECEIVED, "d1"))
    observer.record(told(Kind.STARTED, "d1", attempt=1))
    observer.record(told(Kind.RECOVERED, "d1"))
    [delivery] = by_name(finished())["webhook shop"]
    assert delivery.attributes["webhook_dedup.outcome"] == "recovered"
    assert len(by_name(finished())["webhook handler"]) == 1


async def test_another_process_finds_the_trace_in_the_headers(traced):
    """A run in a process that never saw the arrival continues the trace its headers name."""
    observer, _, finished = traced
    observer.record(told(Kind.STARTED, "d1", traceparent=TRACEPARENT))
    observer.record(told(Kind.SUCCEEDED, "d1"))
    again = by_name(finished())["webhook shop"][0]
    _, trace_id, span_id, _ = TRACEPARENT.split("-")
    assert again.parent.span_id == int(span_id, 16)
    assert [link.context.trace_id for link in again.links] == [int(trace_id, 16)]


async def test_the_sender_or_the_server_is_the_parent(traced):
    """A delivery is a child of the server's span, without one of that its headers name."""
    observer, provider, finished = traced
    with provider.get_tracer("server").start_as_current_span("server") as server:
        observer.record(told(Kind.RECEIVED, "d1", traceparent=TRACEPARENT))
    observer.record(told(Kind.RECEIVED, "d2", traceparent=TRACEPARENT))
    observer.record(told(Kind.SKIPPED, "d1", reason="duplicate"))
    observer.record(told(Kind.SKIPPED, "d2", reason="duplicate"))
    by_server, by_sender = by_name(finished())["webhook shop"]
    assert by_server.parent.span_id == server.get_span_context().span_id
    assert f"{by_sender.parent.span_id:016x}" == TRACEPARENT.split("-")[2]


async def test_memory_is_bounded(traced, monkeypatch):
    """Deliveries whose end nobody tells are ended when too many are open."""
    monkeypatch.setattr("webhook_dedup.observe.spans._MOST_OPEN", 5)
    monkeypatch.setattr("webhook_dedup.observe.spans._MOST_KNOWN", 5)
    observer, _, finished = traced
    for number in range(50):
        observer.record(told(Kind.RECEIVED, str(number)))
    spans = observer._spans
    assert (len(spans._open), len(spans._arrivals), len(spans._originals)) == (5, 5, 1)
    assert len(by_name(finished())["webhook shop"]) == 45


async def test_an_inbox_that_is_away_has_no_figures():
    """Gauges of an inbox are not reported while it does not answer, and again when it does."""
    reader = InMemoryMetricReader()
    meters = MeterProvider([reader])
    observer = OtelObserver(meters, refresh=0.01)

    def reported():
        resources = getattr(reader.get_metrics_data(), "resource_metrics", ())
        return {
            metric.name.removeprefix("webhook_dedup.")
            for resource in resources
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }

    gauges = {"waiting", "dead", "oldest_waiting"}
    with RedisServer() as server:
        inbox = RedisInbox.from_url(server.url)
        observer.watch(inbox)
        await until(lambda: gauges <= reported())
        server.stop()
        await until(lambda: not gauges & reported())
        server.start()
        await until(lambda: gauges <= reported())
        await observer.aclose()
        await inbox.aclose()
    meters.shutdown()


async def test_nothing_happens_without_an_sdk():
    """With the API alone everything is accepted and nothing kept."""
    handler = Handler()
    observer = OtelObserver()
    async with observed(handler, observer) as (app, _):
        await run(app, handler)
    assert not observer._spans._open
    assert not observer._spans._originals
