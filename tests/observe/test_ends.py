"""Whatever ends a run or a delivery, its gauge goes back to zero and its spans end."""

import asyncio
import json
from contextlib import asynccontextmanager

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry

from tests.asgi.kit import Handler, Records, deliver, living, policy, settled, source, until
from webhook_dedup import AlreadyDone, Discard, StoreUnavailable, WebhookDedup
from webhook_dedup.guards import Check
from webhook_dedup.inbox import MemoryInbox
from webhook_dedup.observe.otel import OtelObserver
from webhook_dedup.observe.prometheus import PrometheusObserver
from webhook_dedup.observe.record import Kind
from webhook_dedup.stores import MemoryStore

ACKS = ["first", "claimed", "handled"]
ITEMS = json.dumps([{"id": "a"}, {"id": "b"}]).encode()


class Watched:
    """What observers of an app have been told so far."""

    def __init__(self):
        self.records = Records()
        self.registry = CollectorRegistry()
        exporter, tracers = InMemorySpanExporter(), TracerProvider()
        tracers.add_span_processor(SimpleSpanProcessor(exporter))
        self.finished = exporter.get_finished_spans
        self._spans = OtelObserver(tracer_provider=tracers)
        self.all = [self.records, self._spans, PrometheusObserver(self.registry)]

    def figure(self, name):
        return self.registry.get_sample_value(f"webhook_dedup_{name}", {"source": "shop"}) or 0

    def outcomes(self):
        """What the spans of deliveries that have ended say of them."""
        ended = [span for span in self.finished() if span.name == "webhook shop"]
        return [span.attributes["webhook_dedup.outcome"] for span in ended]

    def check(self):
        """Compare what runs, by the metrics and the spans, with what is recorded."""
        begun = len(self.records.of(Kind.STARTED))
        assert self.figure("in_flight") == 0, self.records.kinds
        assert self.figure("handler_seconds_count") == begun, self.records.kinds
        assert not self._spans._spans._open, self.records.kinds


@asynccontextmanager
async def watched(handler, ack, *, dedup=None, **options):
    told = Watched()
    app = WebhookDedup(
        handler,
        **{"store": MemoryStore(), "policy": policy(), **(dedup or {})},
        sources=[source(ack=ack, **options)],
        observers=told.all,
    )
    async with living(app):
        yield app, told
    told.check()


class Settling(Handler):
    """Settles every item by itself before it answers."""

    async def __call__(self, scope, receive, send):
        if scope["type"] == "http":
            for item in scope["webhook_dedup.event"].items:
                await item.done()
        await super().__call__(scope, receive, send)


@pytest.mark.parametrize("ack", ACKS)
@pytest.mark.parametrize("outcome", [200, 500, Discard("enough")])
async def test_a_handler_that_settles_every_item_itself(ack, outcome):
    """Its run ends with it, and each item is recorded as a success once."""
    async with watched(Settling(outcome), ack, items="@") as (app, told):
        await deliver(app, ITEMS)
        await settled(app)
        successes = [record.event_id for record in told.records.of(Kind.SUCCEEDED)]
        if not isinstance(outcome, Discard):
            assert successes == ["a", "b"]


@pytest.mark.parametrize("ack", ACKS)
async def test_a_run_that_finds_its_work_done(ack):
    """A run ends that a guard or an error in it ends as done."""
    found = Check(lambda event, _: event.id == "evt_1")
    async with watched(Handler(AlreadyDone("its key")), ack, guards=[found]) as (app, told):
        await deliver(app)
        await deliver(app, b'{"id": "evt_2"}')
        await settled(app)
        assert [record.reason for record in told.records.of(Kind.SKIPPED)] == ["already_done"]
        assert len(told.records.of(Kind.SUCCEEDED)) == 1


async def asked(app, body=b'{"id": "evt_1"}'):
    """Deliver in a task of its own, as every server does."""
    return await asyncio.create_task(deliver(app, body))


async def test_a_delivery_for_workers(tmp_path):
    """What a server only accepts has ended for it when it is answered."""
    dedup = {"store": f"sqlite:///{tmp_path}/webhooks.db", "work": False}
    async with watched(Handler(), "first", dedup=dedup) as (app, told):
        for _ in range(3):
            assert (await asked(app)).status == 200
        await until(lambda: told.outcomes() == ["received"] * 3)
        assert {span.name for span in told.finished()} == {"webhook shop", "webhook claim"}


async def test_a_delivery_that_finds_no_room(tmp_path):
    """One that is left in the inbox ends with its request, and begins anew when it is run."""
    busy = policy(max_in_flight=1)
    dedup = {"store": f"sqlite:///{tmp_path}/webhooks.db", "policy": busy}
    handler = Handler()
    handler.gate.clear()
    async with watched(handler, "first", dedup=dedup) as (app, told):
        first = asyncio.create_task(deliver(app))
        await handler.inside.wait()
        await asked(app, b'{"id": "evt_2"}')
        await until(lambda: told.outcomes() == ["received"])
        handler.gate.set()
        await first
        await until(lambda: len(told.records.of(Kind.SUCCEEDED)) == 2)
        assert told.outcomes() == ["received", "succeeded", "succeeded"]


@pytest.mark.parametrize("ack", ACKS)
async def test_a_delivery_without_events(ack):
    """One that brings nothing has nothing to wait for."""
    async with watched(Handler(), ack, items="@") as (app, told):
        await asked(app, b"[]")
        await until(lambda: told.outcomes() == ["received"])


class Away(MemoryInbox):
    async def put(self, items, lease):
        raise StoreUnavailable("told to be away")


@pytest.mark.parametrize("ack", ["first", "claimed"])
async def test_a_delivery_that_is_refused(ack):
    """A rejection names the event that was refused, and ends its spans."""
    async with watched(Handler(), ack, dedup={"inbox": Away()}) as (app, told):
        assert (await deliver(app)).status == 503
        [arrival], [refusal] = told.records.of(Kind.RECEIVED), told.records.of(Kind.REJECTED)
        assert (refusal.event_id, refusal.reason) == ("evt_1", "inbox_unavailable")
        assert refusal.delivery_id == arrival.delivery_id
        assert told.outcomes() == ["rejected"]


@pytest.mark.parametrize("ack", ACKS)
async def test_a_batch_of_which_some_items_are_known(ack):
    """It is one delivery that runs; only one that brings nothing new is skipped."""
    async with watched(Handler(), ack, items="@") as (app, told):
        for items in (ITEMS, b'[{"id": "b"}, {"id": "c"}, {"id": "c"}]', ITEMS):
            await asked(app, items)
            await settled(app)
        await until(lambda: len(told.outcomes()) == 3)
        assert told.outcomes() == ["succeeded", "succeeded", "skipped"]
        claims = [span for span in told.finished() if span.name == "webhook claim"]
        outcomes = [span.attributes["webhook_dedup.outcome"] for span in claims]
        assert outcomes == ["fresh", "fresh", "done"]
