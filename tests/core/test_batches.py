"""Deliveries that bring several events: each is claimed, and runs once."""

from __future__ import annotations

import asyncio
from itertools import chain

import pytest

from webhook_dedup import Discard, Policy, StoreUnavailable
from webhook_dedup.contracts import Sought
from webhook_dedup.errors import LeaseLost, StoreError
from webhook_dedup.holding import Holding
from webhook_dedup.lane import MAX_BATCH
from webhook_dedup.model import Outcome, Settlement
from webhook_dedup.observe.record import Kind
from webhook_dedup.observe.recorder import Recorder
from webhook_dedup.standing import Job, claim_events

from .batches import BatchWork, a_batch
from .kit import CueStore, Floor, eventually, turns
from .test_runner import STEADY, held_elsewhere, outcome, virtual
from .virtual import LoopClock, in_virtual_time, now

LEASE = 30.0


def told(made: Floor, kind: Kind) -> list[str | None]:
    return [record.event_id for record in made.records.of(kind)]


async def outcomes(made: Floor, *ids: str) -> list[Outcome]:
    return [await outcome(made, name) for name in ids]


async def finished(made: Floor, *ids: str) -> None:
    """Let another process finish events."""
    for name in ids:
        claim = await held_elsewhere(made, name)
        await made.store.complete([Settlement(claim, 3600.0)])


@in_virtual_time
async def test_items_are_handled_in_one_call_and_each_is_done():
    """One call gets all fresh items; its success completes every one and ends the row."""
    work = BatchWork()
    async with virtual(work) as made:
        await (await made.deliver(a_batch("a", "b", "c")))

        assert work.seen == [["a", "b", "c"]]
        assert told(made, Kind.SUCCEEDED) == ["a", "b", "c"]
        assert made.records.kinds.count("started") == 1
        assert await outcomes(made, "a", "b", "c") == [Outcome.DUPLICATE] * 3
        assert len(made.inbox) == 0


@in_virtual_time
async def test_claims_of_a_delivery_go_to_the_store_together():
    """What the items of one delivery ask for goes as one batch."""
    async with virtual(BatchWork()) as made:
        gates = [made.store.shut("claim"), made.store.shut("complete")]
        running = await made.deliver(a_batch(*map(str, range(100))))
        for gate in gates:
            await turns()
            gate.set()
        await running

        assert [len(keys) for keys in made.store.keys_of("claim")] == [100]
        assert [len(keys) for keys in made.store.keys_of("complete")] == [100]


@in_virtual_time
async def test_items_done_elsewhere_are_skipped_and_not_shown():
    """An item that another delivery brought is a recorded skip, and the rest are handled."""
    work = BatchWork()
    async with virtual(work) as made:
        await finished(made, "b")
        await (await made.deliver(a_batch("a", "b", "c")))

        assert work.seen == [["a", "c"]]
        assert told(made, Kind.SKIPPED) == ["b"]
        assert len(made.inbox) == 0


@in_virtual_time
async def test_batch_of_done_items_ends_without_a_run():
    """When every item is done the row ends, with a skip for each."""
    work = BatchWork()
    async with virtual(work) as made:
        await finished(made, "a", "b")
        await (await made.deliver(a_batch("a", "b")))

        assert work.seen == []
        assert told(made, Kind.SKIPPED) == ["a", "b"]
        assert len(made.inbox) == 0


@in_virtual_time
async def test_retry_carries_only_what_is_left():
    """Items that the handler settled stay done when it fails; the others are run again."""
    work = BatchWork(500, settles={"a"})
    async with virtual(work) as made:
        await (await made.deliver(a_batch("a", "b", "c")))
        assert await outcomes(made, "a") == [Outcome.DUPLICATE]
        await made.empty()

        assert work.seen == [["a", "b", "c"], ["b", "c"]]
        assert told(made, Kind.SUCCEEDED) == ["a", "b", "c"]
        assert told(made, Kind.SKIPPED) == told(made, Kind.RECOVERED) == []
        assert await outcomes(made, "a", "b", "c") == [Outcome.DUPLICATE] * 3


@in_virtual_time
async def test_failure_leaves_the_unsettled_items_to_other_deliveries():
    """Between a failure and its retry, an item that was not settled can be claimed by another."""
    work = BatchWork(500, settles={"a"})
    async with virtual(work) as made:
        await (await made.deliver(a_batch("a", "b")))
        await (await made.deliver(a_batch("b", "c")))
        await made.empty()

        assert work.seen == [["a", "b"], ["b", "c"]]
        assert told(made, Kind.SKIPPED) == ["b"]


@in_virtual_time
async def test_items_held_elsewhere_wait_for_the_longest_lease():
    """Fresh items run at once; the row waits for the other holders, uncounted, and runs theirs."""
    work = BatchWork()
    async with virtual(work) as made:
        await held_elsewhere(made, "b", lease=10)
        await held_elsewhere(made, "c", lease=20)
        await (await made.deliver(a_batch("a", "b", "c")))

        [item] = await made.inbox.find(Sought())
        assert work.seen == [["a"]]
        assert (item.attempts, item.deferred) == (0, True)
        assert made.inbox.deferrals == [pytest.approx(20, abs=0.1)]
        assert told(made, Kind.DEFERRED) == ["b", "c"]
        await made.empty()

        assert work.seen == [["a"], ["b", "c"]]
        assert work.starts[1] - work.starts[0] == pytest.approx(20, abs=0.1)
        assert told(made, Kind.SUCCEEDED) == ["a", "b", "c"]
        assert told(made, Kind.RECOVERED) == []


@in_virtual_time
async def test_time_of_the_run_counts_towards_the_wait():
    """A row whose run took as long as the other holder's lease has nothing more to wait for."""
    work = BatchWork()
    async with virtual(work) as made:
        await held_elsewhere(made, "b", lease=20)
        work.gate.clear()
        running = await made.deliver(a_batch("a", "b"))
        await asyncio.sleep(19)
        work.gate.set()
        await running
        await made.empty()

        assert work.starts[1] - work.starts[0] == pytest.approx(20, abs=0.1)


@in_virtual_time
async def test_failed_run_of_the_fresh_items_is_retried_though_others_are_held():
    """A failure counts and backs off as ever; the items held elsewhere come along later."""
    work = BatchWork(500)
    async with virtual(work) as made:
        await held_elsewhere(made, "b", lease=5)
        await (await made.deliver(a_batch("a", "b")))
        await made.empty()

        assert work.seen == [["a"], ["a", "b"]]
        assert work.starts[1] - work.starts[0] == pytest.approx(10, abs=0.1)


@pytest.mark.parametrize("first", [200, 500])
@in_virtual_time
async def test_overlapping_deliveries_wake_each_other(first):
    """Two deliveries at once run what they share once, without waiting for a lease."""
    work = BatchWork(first, 200)
    async with virtual(work) as made:
        work.gate.clear()
        tasks = [await made.deliver(a_batch("a", "b")), await made.deliver(a_batch("b", "c", "a"))]
        await turns()
        began = now()
        assert work.seen == [["a", "b"], ["c"]]
        work.gate.set()
        await asyncio.gather(*tasks)
        await made.empty()

        assert now() - began < (1 if first == 200 else 12)
        assert sorted(told(made, Kind.SUCCEEDED)) == ["a", "b", "c"]


@in_virtual_time
async def test_lost_lease_of_one_item_cuts_the_handler_off():
    """One claim lost cancels the call once, gives back the others, and the row is tried again."""
    work, cuts = BatchWork(), []

    async def handler(event):
        try:
            return await work(event)
        except asyncio.CancelledError:
            cuts.append(now())
            await asyncio.sleep(1)  # cleaning up, which no second cancellation may disturb
            cuts.append(now())
            raise

    async with virtual(handler) as made:
        work.gate.clear()
        running = await made.deliver(a_batch("a", "b", "c"))
        await turns()
        for name in ("a", "c"):
            await made.store.forget(str(a_batch(name).key))
        thief = await held_elsewhere(made, "a", lease=60)
        await held_elsewhere(made, "c", lease=60)
        work.gate = asyncio.Event()
        work.gate.set()
        await running

        [cut, cleaned_up] = cuts
        assert cleaned_up - cut == pytest.approx(1)
        [lost] = made.records.of(Kind.LEASE_LOST)
        assert lost.event_id.startswith("batch:")
        assert (await made.store.renew([thief], 60)) == [True]
        await made.empty()
        assert work.seen == [["a", "b", "c"], ["b"], ["a", "c"]]


@pytest.mark.parametrize(
    ("settle", "left"), [("complete", Outcome.DUPLICATE), ("release", Outcome.FRESH)]
)
@in_virtual_time
async def test_cancellation_stops_no_settlement_before_it_begins(settle, left):
    """Who settles several items and is cancelled in the same breath has settled them all."""
    async with virtual(BatchWork()) as made:
        job = Job(a_batch("a", "b"), Policy(), 3600.0, BatchWork())
        standing = await claim_events(made.engine, job, "")
        holding = Holding(made.engine, made.records.record, job, standing)
        settling = asyncio.ensure_future(getattr(holding, settle)())
        await asyncio.sleep(0)
        settling.cancel()
        await turns()

        assert settling.cancelled()
        assert await outcomes(made, "a", "b") == [left] * 2


@in_virtual_time
async def test_settled_item_is_renewed_no_more():
    """A handler may go on for longer than a lease after it has settled an item."""
    work = BatchWork(settles={"a"})
    async with virtual(work) as made:
        work.gate.clear()
        running = await made.deliver(a_batch("a", "b"))
        await asyncio.sleep(3 * LEASE)
        assert all(str(a_batch("a").key) not in keys for keys in made.store.keys_of("renew"))
        assert made.store.keys_of("renew") != []
        work.gate.set()
        await running

        assert told(made, Kind.SUCCEEDED) == ["a", "b"]


@in_virtual_time
async def test_item_is_settled_once_however_often_it_is_asked_for():
    """``done()`` twice, even at once, completes and records once."""

    async def work(event):
        await asyncio.gather(event.items[0].done(), event.items[0].done())
        await event.items[0].done()
        return 200

    async with virtual(work) as made:
        await (await made.deliver(a_batch("a", "b", "c")))

        keys = [[str(a_batch(name).key) for name in names] for names in ("a", "bc")]
        assert made.store.keys_of("complete") == keys
        assert told(made, Kind.SUCCEEDED) == ["a", "b", "c"]


@pytest.mark.parametrize("end", [200, 500])
@in_virtual_time
async def test_run_whose_items_are_all_settled_is_told_of_with_the_last(end):
    """Each item is told of once, and a success says which attempt it was and how long it took."""
    work = BatchWork(end, settles={"a", "b"})
    async with virtual(work) as made:
        await (await made.deliver(a_batch("a", "b")))
        attempts = [record.attempt for record in made.records.of(Kind.SUCCEEDED)]
        assert attempts == [None, 1 if end == 200 else None]
        await made.empty()

        assert told(made, Kind.SUCCEEDED) == ["a", "b"]


@in_virtual_time
async def test_item_that_cannot_be_settled_before_the_end_of_the_process_says_so():
    """The store was away: nobody else is said to have the item."""
    async with virtual(BatchWork()) as made:
        job = Job(a_batch("a", "b"), Policy(), 3600.0, BatchWork())
        standing = await claim_events(made.engine, job, "")
        holding = Holding(made.engine, made.records.record, job, standing)
        made.store.away.add("complete")
        await made.engine.drain(1)

        with pytest.raises(StoreUnavailable, match="before shutdown"):
            await holding.event.items[0].done()


class Picky(CueStore):
    """A store that cannot complete one key for some time."""

    refused = ""

    async def complete(self, done):
        if self.refused in {each.claim.key for each in done}:
            raise StoreError("told to refuse this one")
        return await super().complete(done)


async def held_for_two(made):
    """Claim a batch of two."""
    job = Job(a_batch("a", "b"), Policy(), 3600.0, BatchWork())
    standing = await claim_events(made.engine, job, "")
    return Holding(made.engine, Recorder((made.records,)), job, standing)


def noted_in(told):
    return lambda event, completed: told.append((event.id, completed))


@pytest.mark.parametrize("cancelled", [False, True])
@in_virtual_time
async def test_completion_in_time_is_told_though_that_of_another_item_is_not(cancelled):
    """Each item of a request is told of once, when it is done, whoever still waits for it."""
    told, store = [], Picky(clock=LoopClock())
    async with virtual(BatchWork(), store=store) as made:
        holding = await held_for_two(made)
        store.refused = str(a_batch("b").key)
        completing = asyncio.ensure_future(holding.complete(patience=5.0, later=noted_in(told)))
        if cancelled:
            await asyncio.sleep(0)
            completing.cancel()
            await eventually(lambda: told)
            assert told == [("a", True)]
        else:
            assert await completing is None
            assert told == []
            holding.tell_done(Kind.SUCCEEDED)
            assert [record.event_id for record in made.records.of(Kind.SUCCEEDED)] == ["a"]

        store.refused = ""
        await eventually(lambda: ("b", True) in told)
        assert told == [("a", True)] * cancelled + [("b", True)]


@pytest.mark.parametrize("answered", [False, True])
@in_virtual_time
async def test_item_that_another_holder_has_is_told_of_though_nobody_waits(answered):
    """Its effect may be repeated, which no other record would say."""
    told, store = [], Picky(clock=LoopClock())
    async with virtual(BatchWork(), store=store) as made:
        holding = await held_for_two(made)
        await made.store.forget(str(a_batch("a").key))
        await held_elsewhere(made, "a", lease=5)
        store.refused = str(a_batch("b").key)
        completing = asyncio.ensure_future(holding.complete(patience=5.0, later=noted_in(told)))
        await asyncio.sleep(1 if answered else 0)
        completing.cancel()
        await eventually(lambda: told)
        store.refused = ""
        await eventually(lambda: len(told) == 2)
        assert told == [("a", False), ("b", True)]


@in_virtual_time
async def test_item_that_another_holder_has_is_not_settled():
    """``done()`` raises when another has the claim, and a handler that hides it wins nothing."""
    raised, stolen = [], asyncio.Event()

    async def work(event):
        await stolen.wait()
        try:
            await event.items[0].done()
        except LeaseLost as exc:
            raised.append(exc)
        return 200

    async with virtual(work) as made:
        running = await made.deliver(a_batch("a", "b"))
        await eventually(lambda: made.records.of(Kind.STARTED))
        await made.store.forget(str(a_batch("a").key))
        await held_elsewhere(made, "a", lease=5)
        stolen.set()
        await running

        assert len(raised) == 1
        assert made.records.kinds[-1] == "lease_lost"
        assert len(made.inbox) == 1
        await made.empty()
        assert told(made, Kind.RECOVERED) == ["b"]
        assert told(made, Kind.SUCCEEDED) == ["a"]


@in_virtual_time
async def test_settlement_under_way_at_the_end_is_waited_for():
    """A handler that fails while it settles an item does not have that item released."""
    async with virtual(None) as made:

        async def work(event):
            gate = made.store.shut("complete")
            settling = asyncio.ensure_future(event.items[0].done())
            await asyncio.sleep(1)
            asyncio.get_running_loop().call_later(1, gate.set)
            made.work = BatchWork()
            settling.add_done_callback(lambda task: task.exception())
            raise RuntimeError("told to fail")

        made.work = work
        await (await made.deliver(a_batch("a", "b")))
        assert made.store.keys_of("release") == [[str(a_batch("b").key)]]
        await made.empty()

        assert sorted(set(told(made, Kind.SUCCEEDED))) == ["a", "b"]
        assert await outcomes(made, "a", "b") == [Outcome.DUPLICATE] * 2


@in_virtual_time
async def test_items_settled_before_a_crash_are_recovered():
    """After a crash a row recognises the items it finished by their claims, and runs the rest."""
    work = BatchWork()
    async with virtual(work) as made:
        event = a_batch("a", "b")
        item = made.item(event)
        await made.runner.accept(item)
        standing = await claim_events(made.engine, made.job(item), item.id)
        await made.inbox.begin([item])
        [(_, claim), _] = standing.granted
        await made.store.complete([Settlement(claim, 3600.0)])
        await made.empty()

        assert work.seen == [["b"]]
        assert told(made, Kind.RECOVERED) == ["a"]
        assert told(made, Kind.SUCCEEDED) == ["b"]


@in_virtual_time
async def test_items_settled_before_a_crash_are_recovered_after_a_replay_too():
    """What a history tells of the time before a replay hides no crash after it."""
    work = BatchWork(500, 400)
    async with virtual(work) as made:
        event = a_batch("a", "b")
        await (await made.deliver(event))
        await made.empty()
        await made.inbox.requeue([event.delivery.id])
        [item] = await made.inbox.take(1, 5.0)
        standing = await claim_events(made.engine, made.job(item), item.id)
        await made.inbox.begin([item])
        [(_, claim), (_, other)] = standing.granted
        await made.store.complete([Settlement(claim, 3600.0)])
        await made.store.release([other])
        await made.empty()

        assert work.seen == [["a", "b"], ["a", "b"], ["b"]]
        assert told(made, Kind.RECOVERED) == ["a"]


class HalfAway(CueStore):
    """A store that does not answer one call for claims: the first of a large batch, or the next."""

    def __init__(self, *, first: bool) -> None:
        super().__init__(clock=LoopClock())
        self.until_refusal = 0 if first else 1

    async def claim(self, bids):
        self.until_refusal -= 1
        if self.until_refusal == -1:
            raise StoreUnavailable("told to be away")
        return await super().claim(bids)


@pytest.mark.parametrize("first", [True, False])
@in_virtual_time
async def test_store_away_for_some_items_leaves_none_held(first):
    """When not all claims are answered, those that were are given back and the row waits."""
    work, store = BatchWork(), HalfAway(first=first)
    names = [f"{number:03}" for number in range(MAX_BATCH + 10)]
    async with virtual(work, store=store) as made:
        await (await made.deliver(a_batch(*names)))

        [deferred] = made.records.of(Kind.DEFERRED)
        assert (work.seen, deferred.reason) == ([], "store_away")
        await turns()
        granted = sorted(chain(*store.keys_of("claim")))
        assert 0 < len(granted) < len(names)
        assert sorted(chain(*store.keys_of("release"))) == granted
        began = now()
        await made.empty()
        assert now() - began < 10
        assert work.seen == [names]


@in_virtual_time
async def test_store_away_is_waited_for_at_completion():
    """Items are completed when the store is back, and are not run again."""
    work = BatchWork()
    async with virtual(work) as made:
        work.gate.clear()
        running = await made.deliver(a_batch("a", "b", "c"))
        await turns()
        made.store.away = {"complete", "renew"}
        work.gate.set()
        await asyncio.sleep(3)
        made.store.away = set()
        await running

        assert len(work.seen) == 1
        assert told(made, Kind.SUCCEEDED) == ["a", "b", "c"]


@in_virtual_time
async def test_policy_may_run_a_batch_while_the_store_is_away():
    """With ``on_store_error="process"`` all items are handled without claims."""
    work, store = BatchWork(settles={"a"}), CueStore(clock=LoopClock())
    store.away = {"claim"}
    policy = Policy(on_store_error="process", retries=STEADY)
    async with virtual(work, store=store, policy=policy) as made:
        await (await made.deliver(a_batch("a", "b")))

        assert work.seen == [["a", "b"]]
        assert told(made, Kind.SUCCEEDED) == ["a", "b"]


@in_virtual_time
async def test_shutdown_gives_back_what_is_not_settled():
    """Cut off at drain, a row is due at once; settled items stay done, the others are free."""
    work = BatchWork(settles={"a"})
    policy = Policy(retries=STEADY, drain_timeout=1)
    async with virtual(work, policy=policy) as made:
        work.gate.clear()
        await made.deliver(a_batch("a", "b"))
        await work.inside.wait()
        await made.stop(1)

        [item] = await made.inbox.find(Sought())
        assert await outcomes(made, "a", "b") == [Outcome.DUPLICATE, Outcome.FRESH]
        assert (item.attempts, await made.inbox.next_due()) == (0, 0)
        assert made.records.kinds[-1] == "deferred"


@in_virtual_time
async def test_cancelled_claims_are_given_back():
    """A row that is cut off while it claims leaves none of its items held."""
    async with virtual(BatchWork()) as made:
        gate = made.store.shut("claim")
        running = await made.deliver(a_batch("a", "b", "c"))
        await turns()
        [run] = made.runner._runs
        run.cancel()
        gate.set()
        await running
        await made.engine.store.drain()

        assert run.cancelled()
        assert await outcomes(made, "a", "b", "c") == [Outcome.FRESH] * 3


@in_virtual_time
async def test_items_without_an_id_run_beside_the_others():
    """An item that the policy runs without a key is handled, and settles nothing."""
    work = BatchWork(settles={"a"})
    async with virtual(work) as made:
        event = a_batch("a", "", "b")
        await (await made.deliver(event))

        assert event.key is None
        assert work.seen == [["a", event.delivery.id, "b"]]
        assert len(made.records.of(Kind.SUCCEEDED)) == 3


@in_virtual_time
async def test_observed_duplicates_are_told_and_handled():
    """With ``observe_only`` a known item is recorded and shown all the same."""
    work = BatchWork()
    async with virtual(work, policy=Policy(observe_only=True)) as made:
        await finished(made, "a")
        await (await made.deliver(a_batch("a", "b")))

        assert work.seen == [["a", "b"]]
        assert [record.detail for record in made.records.of(Kind.SKIPPED)] == [
            "observed only, run anyway"
        ]


@in_virtual_time
async def test_discarded_batch_is_done():
    """``Discard`` ends every item for good, with a skip for each."""
    async with virtual(BatchWork(Discard("not ours"))) as made:
        await (await made.deliver(a_batch("a", "b")))

        assert told(made, Kind.SKIPPED) == ["a", "b"]
        assert await outcomes(made, "a", "b") == [Outcome.DUPLICATE] * 2


@in_virtual_time
async def test_buried_batch_is_one_dead_letter_that_its_redelivery_closes():
    """A batch whose attempts are used up is kept; its items are free, and their success ends it."""
    work = BatchWork(400)
    async with virtual(work) as made:
        await (await made.deliver(a_batch("a", "b")))
        assert await made.inbox.count(Sought(state="dead")) == 1
        await (await made.deliver(a_batch("b", "a")))

        assert work.seen == [["a", "b"], ["b", "a"]]


def test_batches_of_the_same_events_share_a_key():
    """The order does not matter; another event, or one without an id, makes another batch."""
    key = a_batch("a", "b").key
    assert key == a_batch("b", "a").key
    assert key != a_batch("a", "c").key
    assert key != a_batch("a", "b", "c").key
    assert a_batch("a", "").key is None
    assert a_batch("ab", "c").key != a_batch("a", "bc").key


def test_batch_of_one_is_that_event():
    """With one item the delivery's event has its id and its key."""
    alone = a_batch("a")
    assert (alone.id, alone.key) == ("a", alone.items[0].event.key)


class Closing(CueStore):
    """A store whose completions take a while and are lost once it was closed."""

    closed = False

    async def complete(self, done):
        await asyncio.sleep(0.3)
        if self.closed:
            raise StoreUnavailable("closed")
        return await super().complete(done)


@pytest.mark.parametrize("settles", [{"a"}, ()], ids=["by its handler", "by a 2xx"])
@in_virtual_time
async def test_drain_waits_for_what_a_batch_settles(settles):
    """Items whose handler has succeeded are done when the store is closed behind the drain."""
    store = Closing(clock=LoopClock())
    work = BatchWork(settles=settles)
    made = Floor(work, store=store)
    await made.deliver(a_batch("a", "b"))
    await turns()
    await asyncio.sleep(0.05)
    await made.runner.drain(0.01)
    await made.engine.drain(5)
    store.closed = True

    done = Outcome.DUPLICATE
    assert await outcomes(made, "a", "b") == [done, Outcome.FRESH if settles else done]
