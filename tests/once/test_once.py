"""``once``: a block or a function whose effect happens once."""

from __future__ import annotations

import asyncio
import sys
import threading
import uuid
from datetime import timedelta

import anyio
import pytest

from webhook_dedup import ConfigError, Dedup, Discard, InProgress, StoreUnavailable, once
from webhook_dedup.errors import LeaseLost
from webhook_dedup.portal import call_in_portal
from webhook_dedup.stores import MemoryStore

from ..core.kit import CueStore, Records, eventually, turns
from ..core.virtual import LoopClock, in_virtual_time, now


class Desk:
    """Sends letters once, over a store that can fail on cue."""

    def __init__(self, **options) -> None:
        self.store = CueStore(**options)
        self.records = Records()
        self.dedup = Dedup(self.store, observers=[self.records], seen_cache=0)
        self.sent: list[str] = []

    async def send(self, key="letter", **options):
        async with once(self.dedup, key, **options) as first:
            if first:
                self.sent.append(first.idempotency_key)
            return bool(first)

    async def hold_and_lose(self, *, cleaning: asyncio.Event | None = None) -> None:
        """Be inside while the key is taken away; with ``cleaning`` take long to leave."""
        async with once(self.dedup, "letter", lease=0.3):
            await self.store.forget(self.store.calls[-1][1][0])
            try:
                await asyncio.Event().wait()
            finally:
                if cleaning:
                    cleaning.set()
                    await asyncio.Event().wait()


@pytest.fixture
async def desk():
    desk = Desk()
    yield desk
    await desk.dedup.stop()


async def test_the_effect_happens_once(store_url, fresh_key):
    """On every store the first block acts, and later ones are told that it is done."""
    sent = []
    for _ in range(3):
        async with once(store_url, fresh_key) as first:
            if first:
                sent.append("letter")
        assert bool(first) == first.first == (len(sent) == 1 and sent.pop() == "letter")


async def test_a_failure_frees_the_key(store_url, fresh_key):
    """On every store a block that raised may be entered again."""
    with pytest.raises(OSError, match="no route"):
        async with once(store_url, fresh_key):
            raise OSError("no route")
    async with once(store_url, fresh_key) as first:
        assert first


async def test_another_holder_is_in_progress(store_url, fresh_key):
    """On every store a second one is told when to try again, never that it is done."""
    async with once(store_url, fresh_key, lease=20):
        with pytest.raises(InProgress) as caught:
            async with once(store_url, fresh_key):
                pytest.fail("two inside")
        assert 0 < caught.value.retry_after <= 20
    async with once(store_url, fresh_key) as first:
        assert not first


async def test_many_at_once(store_url, fresh_key):
    """On every store one of fifty that come at once acts."""
    sent = []

    async def send():
        async with once(store_url, fresh_key) as first:
            if first:
                sent.append(1)
                await asyncio.sleep(0.01)

    ends = await asyncio.gather(*(send() for _ in range(50)), return_exceptions=True)
    assert sent == [1]
    assert {type(end) for end in ends} <= {type(None), InProgress}


async def test_idempotency_key_is_derived(desk):
    """Every try sends the same key; another key or scope has another; any text gives one."""
    keys = {}
    for key in ["a", "b", 7, "\ud800 \0 {x} 'é' " * 100]:
        for scope in ["once", "mail"]:
            side = once(desk.dedup, key, scope=scope)
            keys[scope, key] = side.idempotency_key
            assert str(uuid.UUID(side.idempotency_key)) == side.idempotency_key
    assert len(set(keys.values())) == len(keys)
    pinned = "a7cf31e8-247f-50d0-a918-13b4b551f911"  # what past releases sent must be sent again
    assert keys["once", "a"] == pinned
    assert await desk.send("a")
    assert desk.sent == [keys["once", "a"]]


async def test_scopes_keep_equal_keys_apart(desk):
    """The same key in two scopes stands for two effects."""
    assert await desk.send(scope="mail")
    assert await desk.send(scope="text")
    assert not await desk.send(scope="mail")


@pytest.mark.parametrize("made", [once, once.sync])
def test_not_entered_is_not_first(made):
    """What was not entered has claimed nothing, so it does not pass for the first."""
    with pytest.raises(TypeError, match="before it is entered"):
        bool(made("memory://", "letter"))


@pytest.mark.parametrize("key", ["", " \n", None, 1.5, True, b"bytes"])
async def test_keys_that_name_nothing(desk, key):
    """A key that is blank or no text is refused, with a better one."""
    with pytest.raises(ConfigError, match="build it from business facts"):
        once(desk.dedup, key)
    with pytest.raises(ConfigError):
        await once.call(desk.dedup, key, lambda: None)
    with pytest.raises(ConfigError):
        once.sync(desk.dedup, key)


@pytest.mark.parametrize("options", [{"lease": 0}, {"ttl": -1}, {"lease": "30"}])
async def test_durations_that_make_no_sense(desk, options):
    """A lease or a TTL of nothing is refused by name."""
    with pytest.raises(ConfigError, match=next(iter(options))):
        once(desk.dedup, "key", **options)


async def test_durations_reach_the_store(desk):
    """The lease and the TTL are those given, 30 days where none is."""
    ttls = []
    complete = desk.store.complete

    async def noted(done):
        ttls.extend(settlement.ttl for settlement in done)
        return await complete(done)

    desk.store.complete = noted
    await desk.send("a")
    await desk.send("b", ttl=timedelta(hours=1))
    assert ttls == [30 * 86_400, 3600]


async def test_store_away(desk):
    """While the store is away nothing is sent, and the caller is told."""
    desk.store.away.add("claim")
    with pytest.raises(StoreUnavailable):
        await desk.send()
    assert desk.sent == []
    assert desk.records.kinds == ["store_error"]


async def test_completion_is_asked_again(desk):
    """A sent letter is marked sent although the store was away when it was."""
    desk.store.faults["complete"] = [StoreUnavailable("away"), StoreUnavailable("away")]
    assert await desk.send()
    assert len(desk.store.keys_of("complete")) == 3
    assert not await desk.send()


@in_virtual_time
async def test_success_is_recorded_when_the_store_has_it():
    """A letter that is sent while the store is away counts as sent once the store knows it."""
    desk = Desk(clock=LoopClock())
    desk.store.shut("complete")
    assert await desk.send()
    assert desk.records.kinds == ["started", "store_error"]
    assert desk.records.all[-1].warning
    desk.store.gates.pop("complete").set()
    await asyncio.sleep(1)
    assert desk.records.kinds == ["started", "store_error", "succeeded"]
    assert desk.records.all[-1].duration is not None
    assert desk.records.all[-1].detail is None


@in_virtual_time
async def test_success_that_the_store_never_hears_of_is_no_lost_lease():
    """Nobody else had the key: what is recorded is that the store was away to the end."""
    desk = Desk(clock=LoopClock())
    desk.store.shut("complete")
    assert await desk.send()
    await desk.dedup.stop()
    assert set(desk.records.kinds) == {"started", "store_error"}


@in_virtual_time
async def test_success_that_comes_too_late_is_a_lost_lease():
    """When somebody else had the key before the store came back, that is what is recorded."""
    desk = Desk(clock=LoopClock())
    gate = desk.store.shut("complete")
    assert await desk.send(lease=10)
    await asyncio.sleep(10)
    async with once(desk.dedup, "letter"):
        desk.store.gates.clear()
        gate.set()
        await asyncio.sleep(1)
        assert desk.records.kinds == ["started", "store_error", "started", "lease_lost"]


async def test_cancellation_frees_the_key(desk):
    """A block that is cancelled may be entered again, and its caller sees the cancellation."""
    inside = asyncio.Event()

    async def wait():
        async with once(desk.dedup, "letter"):
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.ensure_future(wait())
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await desk.send()


@in_virtual_time
async def test_a_block_holds_its_key_to_its_end_and_no_longer():
    """However long the block, the key is its own; afterwards nothing is renewed or cancelled."""
    desk = Desk(clock=LoopClock())
    async with once(desk.dedup, "letter", lease=3):
        await asyncio.sleep(100)
        with pytest.raises(InProgress):
            await desk.send()
    renewals = len(desk.store.keys_of("renew"))
    assert renewals > 30
    await asyncio.sleep(100)
    assert len(desk.store.keys_of("renew")) == renewals
    assert not await desk.send()


@in_virtual_time
async def test_store_away_for_longer_than_a_lease():
    """A block that cannot renew is cancelled before somebody else may be let in."""
    desk = Desk(clock=LoopClock())
    desk.store.away.add("renew")
    began = now()
    with pytest.raises(LeaseLost):
        async with once(desk.dedup, "letter", lease=3):
            await asyncio.sleep(100)
    assert now() - began <= 3.001


async def test_lost_lease_ends_the_block(desk):
    """A block whose lease is refused is cancelled and raises ``LeaseLost``; its task goes on."""
    with pytest.raises(LeaseLost):
        await desk.hold_and_lose()
    assert desk.records.kinds == ["started", "lease_lost"]
    await asyncio.sleep(0)  # no cancellation is left behind
    assert await desk.send()


async def test_lost_lease_leaves_the_key_to_its_new_holder(desk):
    """What a block does at its end touches no other's claim."""
    losing = asyncio.ensure_future(desk.hold_and_lose())
    await eventually(lambda: desk.store.keys_of("claim") and not len(desk.store))
    async with once(desk.dedup, "letter"):
        with pytest.raises(LeaseLost):
            await losing
        with pytest.raises(InProgress):
            await desk.send()


@in_virtual_time
async def test_lost_lease_is_told_in_a_task_that_was_cancelled_before():
    """What cleans up after a cancellation may enter a block, and is not taken for cancelled."""
    desk = Desk(clock=LoopClock())

    async def clean_up():
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await desk.hold_and_lose()

    cleaning = asyncio.ensure_future(clean_up())
    await turns()
    cleaning.cancel()
    with pytest.raises(LeaseLost):
        await cleaning


@in_virtual_time
async def test_failed_block_is_renewed_no_more():
    """Nor is its task cancelled for the claim that it gave back."""
    desk = Desk(clock=LoopClock())
    with pytest.raises(OSError, match="no route"):
        async with once(desk.dedup, "letter", lease=3):
            raise OSError("no route")
    await asyncio.sleep(10)
    assert desk.store.keys_of("renew") == []


async def test_loss_of_a_claim_within_frees_the_key(desk):
    """What another claim's loss ends may be done again at once."""
    with pytest.raises(LeaseLost):
        async with once(desk.dedup, "letter"):
            raise LeaseLost("the lock ran out")
    assert await desk.send()


def test_blocking_door_on_its_own_loop():
    """Code on the background loop that would wait for that loop is told so, and does not hang."""
    refused = []

    async def inside():
        with pytest.raises(RuntimeError, match="async") as refusal, once.sync("memory://", "k"):
            pass
        refused.append(refusal)

    def outside():
        call_in_portal("memory://", lambda _: inside())

    thread = threading.Thread(target=outside, daemon=True)
    thread.start()
    thread.join(30)
    assert refused


@pytest.mark.skipif(sys.version_info < (3, 11), reason="no task can tell who cancelled it")
async def test_cancelled_and_lost_is_cancelled(desk):
    """When somebody else cancels too, the block ends cancelled."""
    cleaning = asyncio.Event()
    task = asyncio.ensure_future(desk.hold_and_lose(cleaning=cleaning))
    await cleaning.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_discard_ends_for_good(desk):
    """``Discard`` inside the block marks it done, as in a handler."""
    with pytest.raises(Discard):
        async with once(desk.dedup, "letter"):
            raise Discard("the customer is gone")
    assert not await desk.send()


async def test_discard_in_a_task_group(fresh_key):
    """Out of a group of tasks inside the block it means the same."""

    async def discard():
        raise Discard("the customer is gone")

    with pytest.raises(Exception, match="TaskGroup"):
        async with once("memory://", fresh_key), anyio.create_task_group() as tasks:
            tasks.start_soon(discard)
    async with once("memory://", fresh_key) as first:
        assert not first


async def test_records(desk):
    """Each effect and each skip leaves its records, named by scope and key."""
    await desk.send(scope="mail")
    await desk.send(scope="mail")
    assert desk.records.kinds == ["started", "succeeded", "skipped"]
    assert {(record.source, record.event_id) for record in desk.records.all} == {("mail", "letter")}
    assert desk.records.all[-1].reason == "duplicate"


async def test_call_returns_the_value_once(store_url, fresh_key):
    """``call`` returns what the function returned the first time, and ``None`` from then on."""

    async def send():
        return "sent"

    assert await once.call(store_url, fresh_key, send) == "sent"
    assert await once.call(store_url, fresh_key, send) is None


async def test_call_runs_a_plain_function_in_a_thread(desk):
    """A plain ``def`` does not stop the event loop; its failure frees the key."""
    threads = []

    def send():
        threads.append(threading.current_thread())
        if len(threads) == 1:
            raise OSError("no route")
        return "sent"

    with pytest.raises(OSError, match="no route"):
        await once.call(desk.dedup, "letter", send)
    assert await once.call(desk.dedup, "letter", send) == "sent"
    assert threading.main_thread() not in threads


async def test_cancelled_call_waits_for_its_thread(desk):
    """A thread that goes on when its caller is cancelled keeps the key, and then it is done."""
    inside, leave = threading.Event(), threading.Event()

    def send():
        inside.set()
        leave.wait(30)

    task = asyncio.ensure_future(once.call(desk.dedup, "letter", send))
    await eventually(inside.is_set)
    task.cancel()
    with pytest.raises(InProgress):
        await desk.send()
    leave.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not await desk.send()


def fail_inside(store, key, error):
    with once.sync(store, key) as first:
        assert first
        raise error


def test_sync(tmp_path, fresh_key):
    """From a plain thread: the first acts, a failure frees, a second one waits its turn."""
    store = f"sqlite:///{tmp_path}/store.db"
    with pytest.raises(OSError, match="no route"):
        fail_inside(store, fresh_key, OSError("no route"))
    with once.sync(store, fresh_key) as first:
        assert first
        with pytest.raises(InProgress):
            fail_inside(store, fresh_key, AssertionError("two inside"))
    with once.sync(store, fresh_key) as again:
        assert not again
        assert again.idempotency_key == first.idempotency_key


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_sync_leaves_with_the_worker(fresh_key, error):
    """An exception that ends threads passes, frees the key and leaves the event loop alive."""
    with pytest.raises(error):
        fail_inside("memory://", fresh_key, error())
    with once.sync("memory://", fresh_key) as first:
        assert first


def test_sync_interrupted_at_the_grant(fresh_key, monkeypatch):
    """A time limit that strikes when the claim has just been granted leaves nothing held."""
    module = sys.modules["webhook_dedup.once"]
    store = MemoryStore()
    call = module.call_in_portal
    calls = []

    def struck(*args):
        answer = call(*args)
        calls.append(answer)
        if len(calls) == 1:
            raise TimeoutError("soft time limit")
        return answer

    monkeypatch.setattr(module, "call_in_portal", struck)
    with pytest.raises(TimeoutError), once.sync(store, fresh_key):
        pytest.fail("never inside")
    with once.sync(store, fresh_key) as first:
        assert first


def test_sync_interrupted_at_the_end(fresh_key, monkeypatch):
    """A time limit that strikes when the block has just ended leaves nothing held, either."""
    module = sys.modules["webhook_dedup.once"]
    store = MemoryStore()
    call = module.call_in_portal
    calls = []

    def struck(*args):
        calls.append(args)
        if len(calls) == 2:  # before the portal hears of it
            raise TimeoutError("soft time limit")
        return call(*args)

    monkeypatch.setattr(module, "call_in_portal", struck)
    with pytest.raises(TimeoutError), once.sync(store, fresh_key) as first:
        assert first
    with once.sync(store, fresh_key) as again:
        assert not again


def test_sync_interrupted_as_it_enters(fresh_key, monkeypatch):
    """An entry that a time limit has left to itself leaves again when its claim is granted."""
    module = sys.modules["webhook_dedup.once"]
    call, gate, entries = module.call_in_portal, threading.Event(), []

    class Slow(MemoryStore):
        async def claim(self, bids):
            await asyncio.to_thread(gate.wait)
            return await super().claim(bids)

    def struck(*args):
        if entries:
            return call(*args)
        entries.append(threading.Thread(target=call, args=args))
        entries[0].start()
        raise TimeoutError("soft time limit")

    store = Slow()
    monkeypatch.setattr(module, "call_in_portal", struck)
    with pytest.raises(TimeoutError), once.sync(store, fresh_key):
        pytest.fail("never inside")
    gate.set()
    entries[0].join()
    with once.sync(store, fresh_key) as first:
        assert first


def test_sync_asks_a_store_that_is_away_no_more_than_its_entry_does(fresh_key):
    """Each start that fails may take a whole time-out, and nothing is held that could be left."""
    starts = []

    class Away(MemoryStore):
        async def start(self):
            starts.append(self)
            raise StoreUnavailable("no answer within 5 s")

    with pytest.raises(StoreUnavailable, match="5 s"), once.sync(Away(), fresh_key):
        pytest.fail("never inside")
    assert len(starts) == 1
