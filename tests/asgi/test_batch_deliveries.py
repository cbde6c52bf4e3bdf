"""Deliveries with several events through the middleware."""

from __future__ import annotations

import asyncio
import gzip
import json
from dataclasses import replace

import pytest
from starlette.requests import Request

from webhook_dedup import ConfigError, Source, event_of
from webhook_dedup.asgi import run_then_ack
from webhook_dedup.asgi.scopes import delivery_of
from webhook_dedup.contracts import Sought
from webhook_dedup.errors import StoreError
from webhook_dedup.model import Event, Key
from webhook_dedup.observe.record import Kind
from webhook_dedup.providers import find_preset
from webhook_dedup.stores import MemoryStore

from .kit import (
    SECRET,
    Handler,
    TracedStore,
    deliver,
    http_scope,
    mounted,
    policy,
    settled,
    signed,
    until,
)
from .kit import source as plain_source

ACKS = ["first", "claimed", "handled"]


def source(**options):
    return plain_source(**{"items": "@", "subject": "who", **options})


def body(*items):
    return json.dumps(
        [item if isinstance(item, dict) else {"id": item, "n": 1} for item in items]
    ).encode()


class Batches(Handler):
    """A handler that keeps the events it was called for and settles the items it is told to."""

    def __init__(self, *statuses, settles=()):
        super().__init__(*statuses)
        self.settles = set(settles)
        self.events = []

    async def __call__(self, scope, receive, send):
        if scope["type"] == "http":
            event = scope["webhook_dedup.event"]
            self.events.append(event)
            for item in event.items:
                if item.event.id in self.settles:
                    await item.done()
        await super().__call__(scope, receive, send)

    @property
    def seen(self):
        return [[item.event.id for item in event.items] for event in self.events]


@pytest.mark.parametrize("ack", ACKS)
async def test_handler_gets_the_items_that_are_new(ack):
    """The first delivery is handled whole; an overlapping one only for what it adds."""
    handler = Batches()
    async with mounted(handler, sources=[source(ack=ack)]) as (app, records):
        assert (await deliver(app, body("a", "b"))).status == 200
        assert (await deliver(app, body("b", "c"))).status == 200
        await settled(app)
    assert handler.seen == [["a", "b"], ["c"]]
    assert [record.event_id for record in records.of(Kind.SKIPPED)] == ["b"]
    assert handler.runs == [body("a", "b"), body("b", "c")]


async def test_items_tell_of_their_events():
    """An item has its id, subject and JSON; the delivery's event is made from all of them."""
    handler = Batches()
    async with mounted(handler, sources=[source()]) as (app, _):
        content = body({"id": "a", "who": "x"}, {"id": "b", "who": "y"})
        await deliver(app, content)
        await settled(app)
    [event] = handler.events
    assert event_of(Request(handler.scopes[0])) is event
    assert [item.event.subject for item in event.items] == ["x", "y"]
    assert [item.value for item in event.items] == json.loads(content)
    assert event.id.startswith("batch:")
    assert all(item.event.delivery is event.delivery for item in event.items)


async def test_batch_of_one_is_that_event():
    """A delivery that brings a single item has that item's id, type and subject."""
    handler = Batches()
    async with mounted(handler, sources=[source(event_type="kind")]) as (app, _):
        await deliver(app, body({"id": "a", "who": "x", "kind": "made"}))
        await settled(app)
    [event] = handler.events
    assert (event.id, event.subject, event.type) == ("a", "x", "made")
    assert len(event.items) == 1


@pytest.mark.parametrize("ack", ACKS)
async def test_retry_carries_only_what_is_left(ack):
    """What the handler settled before it failed is not in the next call."""
    handler = Batches(500, settles={"a"})
    async with mounted(handler, sources=[source(ack=ack)]) as (app, _):
        first = await deliver(app, body("a", "b"))
        if ack == "handled":
            assert first.status == 500
            assert (await deliver(app, body("a", "b"))).status == 200
        await settled(app)
    assert handler.seen == [["a", "b"], ["b"]]


@pytest.mark.parametrize("ack", ACKS)
async def test_empty_batch_is_acknowledged_and_recorded(ack):
    """A delivery without events runs nothing and leaves nothing behind."""
    store = TracedStore()
    handler = Batches()
    async with mounted(handler, sources=[source(ack=ack)], store=store) as (app, records):
        reply = await deliver(app, b"[]")
        assert len(app.dedup.inbox) == 0
    assert reply.status == 200
    assert handler.runs == []
    assert store.trace == ["start"]
    [received] = records.all
    assert (received.kind, received.reason) == (Kind.RECEIVED, "empty_batch")
    if ack == "claimed":
        assert reply.json() == {"received": True, "duplicate": False}


async def test_item_that_stands_twice_is_handled_once():
    """The second of two equal ids is a skip, claimed once and shown once."""
    handler = Batches()
    async with mounted(handler, sources=[source()]) as (app, records):
        await deliver(app, body("a", "b", "a"))
        await settled(app)
    [skipped] = records.of(Kind.SKIPPED)
    assert (skipped.event_id, skipped.reason) == ("a", "duplicate")
    assert handler.seen == [["a", "b"]]


async def test_claimed_is_a_duplicate_when_every_item_is():
    """``duplicate`` is told of a delivery that brings nothing new."""
    async with mounted(Batches(), sources=[source(ack="claimed")]) as (app, _):
        told = []
        for content in (body("a", "b"), body("b", "c"), body("c", "a"), body("d", "a")):
            told.append((await deliver(app, content)).json()["duplicate"])
            await settled(app)
    assert told == [False, False, True, False]


async def test_known_items_cost_no_io():
    """A delivery of items that this process has finished is answered from memory."""
    store = TracedStore()
    async with mounted(Batches(), sources=[source()], store=store) as (app, records):
        await deliver(app, body("a", "b"))
        await settled(app)
        store.trace.clear()
        assert (await deliver(app, body("b", "a"))).status == 200
        assert store.trace == []
        await deliver(app, body("b", "c"))
        await settled(app)
        assert "claim" in store.trace
    assert [record.event_id for record in records.of(Kind.SKIPPED)] == ["b", "a", "b"]


async def test_handled_copies_are_acknowledged():
    """A copy of which every item is done gets the acknowledgement, as nothing new was answered."""
    handler = Batches()
    async with mounted(handler, sources=[source(ack="handled")]) as (app, _):
        assert (await deliver(app, body("a", "b"))).body == b"handled"
        copy = await deliver(app, body("b", "a"))
        alone = await deliver(app, body("z"))
        again = await deliver(app, body("z"))
    assert (copy.status, copy.body) == (200, b'{"received": true}')
    assert (alone.body, again.body) == (b"handled", b"handled")
    assert again.headers["idempotent-replayed"] == "true"
    assert len(handler.runs) == 2


async def test_handled_items_are_told_of_as_they_are_done(monkeypatch):
    """One whose completion waits for the store keeps no other from being recorded."""

    class Picky(TracedStore):
        refused = "b"

        async def complete(self, done):
            if any(each.claim.key.endswith(f":{self.refused}") for each in done):
                raise StoreError("told to refuse this one")
            return await super().complete(done)

    monkeypatch.setattr(run_then_ack, "SETTLE_PATIENCE", 0.05)
    sources = [source(ack="handled")]
    async with mounted(Batches(), store=Picky(), sources=sources) as (app, records):
        assert (await deliver(app, body("a", "b"))).status == 200
        assert [each.event_id for each in records.of(Kind.SUCCEEDED)] == ["a"]
        app.dedup.store.refused = ""
        await until(lambda: len(records.of(Kind.SUCCEEDED)) > 1)
        assert [each.event_id for each in records.of(Kind.SUCCEEDED)] == ["a", "b"]


async def test_handled_asks_again_while_an_item_is_in_flight():
    """A delivery with one item in flight runs nothing now, and gives back what it claimed."""
    handler = Batches()
    store = TracedStore()
    async with mounted(handler, sources=[source(ack="handled")], store=store) as (app, _):
        handler.gate.clear()
        first = asyncio.ensure_future(deliver(app, body("a", "b")))
        await handler.inside.wait()
        busy = await deliver(app, body("b", "c"))
        assert busy.status == 503
        assert 25 <= int(busy.headers["retry-after"]) <= 30
        handler.gate.set()
        assert (await first).status == 200
        assert (await deliver(app, body("b", "c"))).status == 200
    assert handler.seen == [["a", "b"], ["c"]]


async def test_handled_asks_again_when_the_last_item_may_be_free():
    """A copy of what several runs hold is told to come when the longest of their leases ends."""
    handler, store = Batches(), MemoryStore()
    handler.gate.clear()
    calls = []
    async with mounted(handler, sources=[source(ack="handled")], store=store) as (app, _):
        for item in ("a", "b"):
            handler.inside.clear()
            calls.append(asyncio.ensure_future(deliver(app, body(item))))
            await handler.inside.wait()
        first, _ = store._entries.values()
        first.expires_at -= 20
        busy = await deliver(app, body("a", "b"))
        assert 15 <= int(busy.headers["retry-after"]) <= 30
        handler.gate.set()
        await asyncio.gather(*calls)


@pytest.mark.parametrize("ack", ACKS)
async def test_handler_may_get_only_its_items(ack):
    """With ``batch="items"`` the body holds what is new, and ``Content-Length`` says so."""
    handler = Batches()
    async with mounted(handler, sources=[source(ack=ack, batch="items")]) as (app, _):
        for content in (b'[ {"id": "a"} ]', b'[{"id": "a"},  {"id": "b"}]'):
            headers = {**signed(content), "content-length": str(len(content))}
            assert (await deliver(app, content, headers=headers)).status == 200
            await settled(app)
    whole, narrowed = handler.runs
    assert whole == b'[ {"id": "a"} ]', "nothing to leave out: the exact bytes"
    assert json.loads(narrowed) == [{"id": "b"}]
    lengths = [dict(scope["headers"])[b"content-length"] for scope in handler.scopes]
    assert lengths == [str(len(run)).encode() for run in handler.runs]


async def test_item_without_an_id_refuses_the_delivery():
    """With ``on_missing_id="reject"`` one item without an id is a 400 for all of them."""
    handler = Batches()
    async with mounted(handler, sources=[source()]) as (app, _):
        reply = await deliver(app, body("a", {"n": 1}))
    assert (reply.status, reply.json()["error"]) == (400, "missing_event_id")
    assert handler.runs == []


async def test_items_without_ids_may_be_hashed_or_run():
    """The policy for a missing id holds for each item."""
    content = body("a", {"n": 1}, {"n": 2})
    for choice, seen in (("hash_body", 3), ("process", 5)):
        handler = Batches()
        chosen = policy(on_missing_id=choice)
        async with mounted(handler, sources=[source()], policy=chosen) as (app, _):
            for _ in range(2):
                await deliver(app, content)
                await settled(app)
        assert sum(map(len, handler.seen)) == seen


async def test_changed_item_is_a_duplicate_that_says_so():
    """An item under a known id with other content is skipped with ``body_changed``."""
    handler = Batches()
    async with mounted(handler, sources=[source()]) as (app, records):
        await deliver(app, body({"id": "a", "attempt": 1}, "b"))
        await settled(app)
        await deliver(app, body({"id": "a", "attempt": 2}, "c"))
        await settled(app)
    [skipped] = records.of(Kind.SKIPPED)
    assert (skipped.event_id, skipped.body_changed) == ("a", True)
    assert handler.seen == [["a", "b"], ["c"]]


@pytest.mark.parametrize("ack", ["claimed", "handled"])
async def test_changed_item_may_refuse_the_delivery(ack):
    """With ``on_mismatch="reject"`` it is a 409, and the other items stay free."""
    handler = Batches()
    chosen = policy(on_mismatch="reject")
    async with mounted(handler, sources=[source(ack=ack)], policy=chosen) as (app, _):
        await deliver(app, body({"id": "a", "attempt": 1}))
        await settled(app)
        assert (await deliver(app, body({"id": "a", "attempt": 2}, "b"))).status == 409
        assert (await deliver(app, body("b"))).status == 200
        await settled(app)
    assert handler.seen == [["a"], ["b"]]


async def test_success_closes_the_dead_letter_of_the_same_batch():
    """A redelivery of a buried batch runs, and its success removes the dead letter."""
    handler = Batches(400)
    async with mounted(handler, sources=[source()]) as (app, _):
        await deliver(app, body("a", "b"))
        inbox = app.dedup.inbox
        assert await inbox.count(Sought(state="dead")) == 1
        assert (await deliver(app, body("a", "b"))).status == 200
        await settled(app)
        assert await inbox.count(Sought()) == 0


async def test_not_a_batch_is_one_event():
    """A delivery of such a source that holds no array is its own and only item."""
    handler = Batches()
    async with mounted(handler, sources=[source(items="data.events")]) as (app, _):
        await deliver(app, b'{"id": "alone"}')
        await settled(app)
    [event] = handler.events
    assert (event.id, handler.seen) == ("alone", [["alone"]])


async def test_single_events_have_no_items():
    """An event of a source without batches is what it always was."""
    handler = Batches()
    async with mounted(handler, sources=[plain_source(subject="who")]) as (app, _):
        await deliver(app, b'{"id": "a", "who": "x"}')
        await settled(app)
    [event] = handler.events
    assert (event.items, event.subject) == ((), "x")


async def test_late_item_is_run_and_told():
    """One item that is older than events are remembered is a warning for its delivery."""
    preset = replace(find_preset("generic"), items="@", event_id="id", occurred_at="at")
    timed = Source(preset, name="shop", path="/hooks", secret=SECRET)
    async with mounted(Batches(), sources=[timed]) as (app, records):
        await deliver(app, body({"id": "a", "at": 1}, "b"))
        await settled(app)
    [received] = records.of(Kind.RECEIVED)
    assert (received.reason, received.warning) == ("after_window", True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"items": "a b"}, "no path to items"),
        ({"batch": "some"}, "batch must be one of"),
        ({"items": None, "batch": "items"}, "batch='items' needs items=…"),
    ],
)
def test_batches_that_cannot_work_are_refused(options, message):
    """What does not fit is told when it is written."""
    with pytest.raises(ConfigError, match=message):
        source(**options)


@pytest.mark.parametrize("batch", ["whole", "items"])
async def test_stored_batch_is_run_though_smaller_bodies_are_accepted_now(batch):
    """A bound is for what arrives: a packed delivery of several events was set aside by it."""
    handler, content = Batches(), body({"id": "a", "note": " " * 2000}, "b")
    small = source(policy=policy(max_body=1000), batch=batch)
    async with mounted(handler, sources=[small]) as (app, records):
        headers = [(b"content-encoding", b"gzip")]
        delivery = delivery_of(http_scope(headers=headers), "shop", gzip.compress(content))
        event = Event(Key("webhook:shop", "a"), "shop", "a")
        await app.dedup.inbox.put([app.dedup.item(delivery, event)], 0)
        await until(lambda: records.of(Kind.SUCCEEDED))
    assert [item.event.id for item in handler.events[0].items] == ["a", "b"]


async def test_stored_batch_that_is_none_any_more_is_set_aside():
    """A row in which a changed configuration finds no events is kept for a person."""
    handler = Batches()
    async with mounted(handler, sources=[source()]) as (app, records):
        delivery = delivery_of(http_scope(), "shop", b"[]")
        route = app.dedup.routes.by_name["shop"]
        event = route.identify(route.parse(delivery), delivery)
        await app.dedup.inbox.put([app.dedup.item(delivery, event)], 0)
        await until(lambda: records.of(Kind.BURIED))
    assert handler.runs == []
