"""Whatever ends a run or a delivery, its gauge goes back to zero and its spans end."""

import json
from contextlib import asynccontextmanager

import pytest
from opentelemetry.sdk.trace import TracerProvider
from prometheus_client import CollectorRegistry

from tests.asgi.kit import Handler, Records, deliver, living, policy, settled, source
from webhook_dedup import AlreadyDone, Discard, WebhookDedup
from webhook_dedup.guards import Check
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
        self._spans = OtelObserver(tracer_provider=TracerProvider())
        self.all = [self.records, self._spans, PrometheusObserver(self.registry)]

    def figure(self, name):
        return self.registry.get_sample_value(f"webhook_dedup_{name}", {"source": "shop"}) or 0

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
