"""The object behind both doors: what it refuses, how it starts, stops and starts again."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import Any

import pytest

from webhook_dedup import ConfigError, Dedup, Policy, Source, StoreUnavailable, deduplicate, once
from webhook_dedup.errors import MissingPower
from webhook_dedup.inbox import MemoryInbox
from webhook_dedup.observe.prometheus import PrometheusObserver
from webhook_dedup.stores import MemoryStore
from webhook_dedup.stores.bloom import BloomStore
from webhook_dedup.testing import FailingStore, FakeClock

from ..asgi.kit import SECRET, source
from .kit import CueStore, a_bid, an_event, eventually, turns


class StartStore:
    """A store that notes its starts and its closing, and fails to start on cue."""

    def __init__(self) -> None:
        self._store = CueStore()
        self.starts = 0
        self.closed = 0
        self.gate: asyncio.Event | None = None
        self.refusals: list[BaseException] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def start(self) -> None:
        self.starts += 1
        if self.gate is not None:
            await self.gate.wait()
        if self.refusals:
            raise self.refusals.pop(0)

    async def aclose(self) -> None:
        self.closed += 1


@pytest.fixture
def opened(monkeypatch) -> list[StartStore]:
    """Every store that a ``Dedup`` opens by its URL."""
    stores: list[StartStore] = []

    def open_store(_: str) -> StartStore:
        stores.append(StartStore())
        return stores[-1]

    monkeypatch.setattr("webhook_dedup.dedup.open_store", open_store)
    return stores


# What is refused


@pytest.mark.parametrize(
    ("store", "words"),
    [
        ("mysql://localhost", "no store is named mysql"),
        ("sqlite:/file.db", "named by a URL such as"),
        ("", "named by a URL such as"),
        ("memory://?max_keys=9", r"takes no options; got '\?max_keys=9' behind it"),
        (object(), "a URL or an object with the verbs"),
        (None, "a URL or an object with the verbs"),
    ],
)
def test_what_is_no_store_is_refused_when_built(store, words):
    """The error says what to write instead."""
    with pytest.raises(ConfigError, match=words):
        Dedup(store)


def test_what_is_no_url_is_shown_without_passwords():
    """Neither the one before the host nor one in the query."""
    with pytest.raises(ConfigError, match=r"got '…@localhost/db\?…'$"):
        Dedup("postgresql:/user:hunter2@localhost/db?user=me&password=hunter2")


@pytest.mark.parametrize(
    "observer", [object(), PrometheusObserver, "log"], ids=["object", "class", "text"]
)
def test_what_is_no_observer_is_refused_when_built(observer):
    """Not with the first record, and not by ending the app's start-up."""
    with pytest.raises(ConfigError, match=r"record\(record\) method"):
        Dedup("memory://", observers=[observer])


def test_observers_are_a_list():
    """One alone is refused with what to write."""
    with pytest.raises(ConfigError, match=r"a list such as \[PrometheusObserver\(\)\]"):
        Dedup("memory://", observers=object())


@pytest.mark.parametrize(
    "build",
    [
        lambda policy: Dedup("memory://", policy=policy),
        lambda policy: source(policy=policy),
        lambda policy: deduplicate("memory://", key=str, policy=policy),
    ],
    ids=["dedup", "source", "decorator"],
)
def test_what_is_no_policy_is_refused_when_built(build):
    """Not with the first delivery."""
    with pytest.raises(ConfigError, match=r"a Policy such as Policy\(ttl=3600\), got \{'ttl': 3\}"):
        build({"ttl": 3})


def test_missing_power_is_refused_when_built():
    """A Bloom filter compares no bodies, so it cannot refuse changed ones."""
    policy = Policy(on_mismatch="reject")
    with pytest.raises(MissingPower, match=r"on_mismatch='reject'.*fingerprint.*bloom"):
        Dedup("bloom://", sources=[source(ack="handled", policy=policy)])


def test_sources_are_checked_when_built():
    """Two sources of one name or path are refused."""
    with pytest.raises(ConfigError, match="two sources are named"):
        Dedup("memory://", sources=[source(), source(path="/other")])


# Starting and stopping


async def test_start_may_be_called_again_and_stop_too():
    """Only the first start starts, only the first stop stops."""
    store = StartStore()
    dedup = Dedup(store)
    for _ in range(3):
        await dedup.start()
    assert dedup.running
    engine = dedup.engine
    for _ in range(3):
        await dedup.stop()

    assert not dedup.running
    assert store.starts == 1
    assert dedup.engine is engine


async def test_concurrent_starts_are_one():
    """Requests that arrive together before the start share it."""
    store = StartStore()
    store.gate = asyncio.Event()
    dedup = Dedup(store)
    starts = [asyncio.ensure_future(dedup.start()) for _ in range(5)]
    await asyncio.sleep(0)
    store.gate.set()
    await asyncio.gather(*starts)
    await dedup.stop()

    assert store.starts == 1


async def start_given_up(store: StartStore) -> Dedup:
    """A dedup whose store is connecting still, while he who began it has left."""
    store.gate = asyncio.Event()
    dedup = Dedup(store)
    leaver = asyncio.ensure_future(dedup.start())
    await eventually(lambda: store.starts)
    leaver.cancel()
    await asyncio.wait([leaver])
    assert leaver.cancelled()
    return dedup


async def test_cancelled_starter_does_not_start_it_twice():
    """Who leaves while the store connects neither stops the start nor causes another."""
    store = StartStore()
    dedup = await start_given_up(store)
    stayer = asyncio.ensure_future(dedup.start())
    await asyncio.sleep(0)
    store.gate.set()
    await stayer
    await dedup.stop()

    assert store.starts == 1


@pytest.mark.parametrize("refusal", [StoreUnavailable("away"), ConfigError("no"), OSError()])
async def test_start_that_fails_can_be_tried_again(refusal):
    """Every waiting caller gets the error, and the next start begins anew."""
    store = StartStore()
    store.refusals = [refusal]
    dedup = Dedup(store)
    results = await asyncio.gather(dedup.start(), dedup.start(), return_exceptions=True)
    assert results == [refusal, refusal]
    assert not dedup.running
    await dedup.start()

    assert dedup.running
    await dedup.stop()


async def test_store_of_a_url_is_closed_and_opened_again(opened):
    """What was opened here is closed here, after a failed start as after a stop."""
    dedup = Dedup("some://url")
    opened[0].refusals = [StoreUnavailable("away")]
    with pytest.raises(StoreUnavailable):
        await dedup.start()
    for _ in range(2):
        async with dedup:
            assert dedup.store is opened[-1]

    assert [(store.starts, store.closed) for store in opened] == [(1, 1)] * 3


async def test_store_that_was_passed_in_stays_open():
    """Somebody else may be using it."""
    store = StartStore()
    for _ in range(2):
        async with Dedup(store):
            pass

    assert store.closed == 0


async def test_start_during_a_stop_is_not_undone_by_it(opened):
    """The stop closes the store it was serving, not the one that was opened meanwhile."""
    dedup = Dedup("some://url", policy=Policy(drain_timeout=5))
    await dedup.start()
    gate = opened[0].shut("complete")
    claim, _ = await dedup.engine.claim(a_bid())
    completing = asyncio.ensure_future(dedup.engine.complete(an_event(), claim, 60.0))
    await asyncio.sleep(0)
    stopping = asyncio.ensure_future(dedup.stop())
    await asyncio.sleep(0)
    await dedup.start()
    gate.set()
    await asyncio.gather(stopping, completing)

    assert dedup.running
    assert [store.closed for store in opened] == [1, 0]
    await dedup.stop()


class Life:
    """An observer that notes its beginnings and its ends."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def record(self, record: Any) -> None: ...

    async def start(self) -> None:
        self.told.append("start")

    async def aclose(self) -> None:
        self.told.append("end")


async def test_start_during_a_stop_keeps_memory_and_observers():
    """What both lives share is closed by the end of the second."""
    life = Life()
    dedup = Dedup("memory://", observers=[life])
    await dedup.start()
    gate = asyncio.Event()
    dedup.engine.settler.start(gate.wait())
    stopping = asyncio.ensure_future(dedup.stop())
    await asyncio.sleep(0)
    await dedup.start()
    bid = a_bid()
    await dedup.engine.claim(bid)
    gate.set()
    await stopping

    assert life.told == ["start", "start"]
    assert not (await dedup.engine.claim(a_bid(bid.key)))[0].fresh
    await dedup.stop()
    assert life.told == ["start", "start", "end"]


async def test_stop_during_a_start_waits_for_it():
    """What is told to stop does not run, though its start was given up before it had ended."""
    store = StartStore()
    dedup = await start_given_up(store)
    stopping = asyncio.ensure_future(dedup.stop())
    await asyncio.sleep(0)
    store.gate.set()
    await stopping
    await turns()

    assert not dedup.running


async def test_stop_during_a_start_that_fails_stops_nothing():
    """There is nothing to stop then; the error is for those who start it."""
    store = StartStore()
    store.gate, store.refusals = asyncio.Event(), [StoreUnavailable("away")]
    dedup = Dedup(store)
    starter = asyncio.ensure_future(dedup.start())
    await eventually(lambda: store.starts)
    stopping = asyncio.ensure_future(dedup.stop())
    store.gate.set()
    await stopping

    with pytest.raises(StoreUnavailable):
        await starter
    assert not dedup.running


async def test_a_meter_that_raises_is_isolated(caplog):
    """What counts the calls of the store decides nothing about their answers."""

    class Broken(Life):
        def store_call(self, *_: Any, **__: Any) -> None:
            raise RuntimeError("no room")

    async with Dedup("memory://", observers=[Broken()]) as dedup:
        claim, _ = await dedup.engine.claim(a_bid())
        assert claim.fresh
        assert await dedup.engine.complete(an_event(), claim, 60.0)

    assert "observer Broken failed on a call" in caplog.text


def test_works_on_one_event_loop_after_another(opened):
    """Also when the loop before ended without a stop."""
    dedup = Dedup("some://url")

    async def unfinished() -> None:
        await dedup.start()

    async def finished() -> None:
        async with dedup:
            await dedup.engine.claim(a_bid())

    asyncio.run(unfinished())
    asyncio.run(finished())
    asyncio.run(finished())

    assert [store.starts for store in opened] == [1, 1, 1]


def test_memory_survives_the_end_of_its_event_loop():
    """A loop that ended without a stop takes nothing with it that was done."""
    dedup = Dedup("memory://")
    bid = a_bid()

    async def main() -> bool:
        await dedup.start()
        return (await dedup.store.claim([a_bid(bid.key)]))[0].fresh

    assert [asyncio.run(main()), asyncio.run(main())] == [True, False]


def test_loop_may_go_on_in_another_thread():
    """Started here, run there: it is running all the same, and stops when it is told to."""
    loop = asyncio.new_event_loop()
    dedup = Dedup("memory://")
    loop.run_until_complete(dedup.start())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def use() -> list[bool]:
        await dedup.start()
        running = [dedup.running]
        await dedup.stop()
        return [*running, dedup.running]

    try:
        assert asyncio.run_coroutine_threadsafe(use(), loop).result(30) == [True, False]
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def test_second_event_loop_at_the_same_time_is_refused():
    """One object serves one running loop; another thread must have its own."""
    dedup = Dedup("memory://")
    errors: list[BaseException] = []

    def elsewhere() -> None:
        try:
            asyncio.run(dedup.start())
        except ConfigError as exc:
            errors.append(exc)

    async with dedup:
        thread = threading.Thread(target=elsewhere)
        thread.start()
        await asyncio.to_thread(thread.join)

    assert "another thread" in str(errors[0])


async def test_inbox_that_can_start_is_started_and_an_empty_one_is_kept():
    """An inbox that was passed in is used, though it is empty."""

    class StartInbox(MemoryInbox):
        starts = 0

        async def start(self) -> None:
            self.starts += 1

    inbox = StartInbox()
    async with Dedup("memory://", inbox=inbox) as dedup:
        assert dedup.inbox is inbox
    assert inbox.starts == 1


# The seen-cache


async def test_seen_cache_is_in_front_of_the_store_unless_turned_off():
    """Keys known done cost no I/O; 0 turns it off."""
    async with Dedup(CueStore(), sources=[source()]) as cached:
        assert cached.seen is not None
    async with Dedup(CueStore(), sources=[source()], seen_cache=0) as uncached:
        assert uncached.seen is None


async def test_seen_cache_goes_by_the_clock_of_the_store():
    """A TTL that has passed for the store has passed for what remembers its answers."""
    clock = FakeClock()
    for store in (MemoryStore(clock=clock), FailingStore(BloomStore(clock=clock))):
        async with Dedup(store) as dedup:
            for _ in range(2):
                async with once(dedup, "letter", ttl=10) as first:
                    assert first
                async with once(dedup, "letter", ttl=10) as first:
                    assert not first
                clock.advance(60)


# Warnings at start-up


async def warnings_of(caplog, *sources: Source, **options: Any) -> list[str]:
    with caplog.at_level(logging.WARNING, "webhook_dedup"):
        dedup = Dedup(MemoryStore(), sources=sources, **options)
        dedup.bind(_answer)
        async with dedup:
            pass
    return [record.getMessage() for record in caplog.records]


async def _answer(*_: object) -> int:
    return 200


async def test_volatile_inbox_is_named_once(caplog):
    """Accepted events that a crash would lose are worth a warning, with the remedy."""
    [warning] = await warnings_of(caplog, source(), source(name="b", path="/b", ack="claimed"))

    assert "kept in memory" in warning
    assert "shop, b" in warning
    assert "ack='handled'" in warning


async def test_handled_sources_lose_nothing_and_warn_of_nothing(caplog):
    """What is acknowledged after its handler needs no inbox."""
    assert await warnings_of(caplog, source(ack="handled")) == []


async def test_durable_inbox_warns_of_nothing(caplog):
    """Nor does one that outlives the process."""
    inbox = MemoryInbox()
    inbox.durable = True  # type: ignore[misc]  # constant for users
    assert await warnings_of(caplog, source(), inbox=inbox) == []


async def test_unsigned_source_is_named(caplog):
    """Anyone can send to it, and the log says so at every start."""
    [warning] = await warnings_of(
        caplog, Source("generic", path="/a", event_id="id", verify=False, ack="handled")
    )
    assert "unsigned sources" in warning
    assert "generic" in warning


async def test_ttl_below_the_providers_retry_horizon_is_named(caplog):
    """A retry that comes after the event is forgotten would run twice."""
    [warning] = await warnings_of(
        caplog,
        Source("stripe", path="/s", secret="whsec_x", ack="handled", policy=Policy(ttl=3600)),
    )
    assert "3600 s" in warning
    assert "Stripe" in warning
    assert SECRET not in warning


async def test_unfinished_events_are_counted_at_the_end(caplog):
    """What a volatile inbox still holds at the stop is told, not hidden."""
    inbox = MemoryInbox()
    dedup = Dedup(MemoryStore(), inbox=inbox)
    async with dedup:
        event = an_event()
        await inbox.put([dedup.item(event.delivery, event)], 60.0)

    assert "1 accepted events were not finished" in caplog.text
