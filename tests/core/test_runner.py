"""What a claim's answer and a handler's end do to an accepted delivery: nothing is lost."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import logging
import math
import sys
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from msgspec import structs

from webhook_dedup import Discard, InProgress, Retry, StoreUnavailable
from webhook_dedup.contracts import Sought
from webhook_dedup.errors import ConfigError, RejectedDelivery, SchemaError
from webhook_dedup.inbox import MemoryInbox
from webhook_dedup.model import Claim, Item, Outcome, Settlement
from webhook_dedup.observe.metrics import ends_run
from webhook_dedup.observe.record import Kind, Record
from webhook_dedup.policy import Policy, Retries
from webhook_dedup.runner import POLL
from webhook_dedup.standing import Standing, claim_events
from webhook_dedup.stores import MemoryStore

from .kit import CueStore, Floor, a_bid, an_event, eventually, floor, turns
from .virtual import LoopClock, in_virtual_time, now

LEASE = 30.0
STEADY = Retries(attempts=4, initial=10, factor=2, jitter=0)


DEAD = Sought(state="dead")
CONTENT = ("_rows", "_graves", "_schedule")


class Inbox(MemoryInbox):
    """A memory inbox in virtual time that fails on cue; durable if the test says so."""

    def __init__(self, *, durable: bool = False, **options: Any) -> None:
        super().__init__(clock=LoopClock(), **options)
        self.durable = durable
        self.away: set[str] = set()
        self.faults: dict[str, BaseException] = {}
        self.deferrals: list[float] = []

    def _enter(self, verb: str) -> None:
        if verb in self.away:
            raise StoreUnavailable(f"the inbox is away for {verb}")
        if verb in self.faults:
            raise self.faults.pop(verb)

    async def put(self, item: Any, lease: float) -> None:
        self._enter("put")
        await super().put(item, lease)

    async def take(self, limit: int, lease: float, *, sources: Any = None) -> Any:
        self._enter("take")
        return await super().take(limit, lease, sources=sources)

    async def renew(self, items: Any, lease: float) -> Any:
        self._enter("renew")
        return await super().renew(items, lease)

    async def begin(self, item: Any) -> bool:
        self._enter("begin")
        return await super().begin(item)

    async def done(self, item: Any) -> None:
        self._enter("done")
        await super().done(item)

    async def bury(self, item: Any, error: str) -> bool:
        self._enter("bury")
        return await super().bury(item, error)

    async def retry(self, item: Any, after: float, attempt: Any) -> bool:
        self._enter("retry")
        return await super().retry(item, after, attempt)

    async def defer(self, item: Any, after: float) -> bool:
        self._enter("defer")
        self.deferrals.append(after)
        return await super().defer(item, after)


class Work:
    """A handler that follows a script, then answers 200.

    Attributes:
        starts: When it was called.
        gate: Runs wait here; open at first.
    """

    def __init__(self, *script: Any) -> None:
        self.script = list(script)
        self.starts: list[float] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self, _: Any) -> int:
        self.starts.append(now())
        outcome = self.script.pop(0) if self.script else 200
        await self.gate.wait()
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome


def virtual(work: Any, **options: Any) -> Any:
    options.setdefault("store", CueStore(clock=LoopClock()))
    options.setdefault("inbox", Inbox())
    options.setdefault("policy", Policy(retries=STEADY, drain_timeout=5))
    return floor(work, **options)


async def held_elsewhere(made: Floor, event_id: str = "evt_1", lease: float = 20.0) -> Claim:
    """Let another process hold an event's key."""
    [claim] = await made.store.claim([a_bid(str(an_event(event_id).key), lease=lease)])
    return claim


async def outcome(made: Floor, event_id: str = "evt_1") -> Outcome:
    return (await made.store.claim([a_bid(str(an_event(event_id).key))]))[0].outcome


# What a claim's answer does


@in_virtual_time
async def test_fresh_event_is_run_completed_and_its_item_ended():
    """FRESH runs; success completes the claim and removes the item."""
    async with virtual(Work()) as made:
        await (await made.deliver())

        assert made.runs == ["evt_1"]
        assert made.records.kinds == ["started", "succeeded"]
        assert len(made.inbox) == 0
        assert await outcome(made) is Outcome.DUPLICATE


@in_virtual_time
async def test_done_event_ends_its_item_as_a_recorded_skip():
    """DUPLICATE runs nothing, and is told once with its reason, first-seen time and age."""
    async with virtual(Work()) as made:
        await (await made.deliver())
        await asyncio.sleep(7)
        await (await made.deliver())

        [skipped] = made.records.of(Kind.SKIPPED)
        assert made.runs == ["evt_1"]
        assert (skipped.reason, skipped.original) == ("duplicate", "done")
        assert skipped.first_seen is not None
        assert skipped.age is not None
        assert len(made.inbox) == 0


@in_virtual_time
async def test_item_that_completed_before_a_crash_is_recovered_not_skipped():
    """A row whose own token finished the event only needed closing."""
    async with virtual(Work()) as made:
        item = made.item(an_event())
        await made.runner.accept(item)
        standing = await claim_events(made.engine, made.job(item), item.id)
        [(_, claim)] = standing.granted
        await made.store.complete([Settlement(claim, 3600.0)])
        await made.empty()

        assert made.runs == []
        [recovered] = made.records.all
        assert (recovered.kind, recovered.first_seen) == (Kind.RECOVERED, claim.first_seen)


@in_virtual_time
async def test_copy_in_flight_elsewhere_is_deferred_and_never_dropped():
    """IN_FLIGHT waits for the end of the holder's lease, again and again, recorded once."""
    async with virtual(Work()) as made:
        holder = await held_elsewhere(made, lease=20.0)
        await (await made.deliver())
        for _ in range(5):
            await asyncio.sleep(15)
            assert await made.store.renew([holder], 20.0) == [True]
        assert made.runs == []
        assert len(made.inbox) == 1
        await made.store.complete([Settlement(holder, 3600.0)])
        await made.empty()

        [deferred] = made.records.of(Kind.DEFERRED)
        assert deferred.reason == "in_flight"
        assert deferred.delay == pytest.approx(20)
        assert made.records.of(Kind.SKIPPED)[0].reason == "duplicate"
        assert made.runs == []


@in_virtual_time
async def test_copy_runs_when_the_holder_died():
    """A holder that goes silent loses the event to the waiting copy when its lease ends."""
    async with virtual(Work()) as made:
        await held_elsewhere(made, lease=20.0)
        began = now()
        await (await made.deliver())
        await made.empty()

        assert made.runs == ["evt_1"]
        assert 20 <= now() - began < 22
        assert made.records.of(Kind.SUCCEEDED)[0].attempt == 1, "waiting is no attempt"


@in_virtual_time
@pytest.mark.parametrize(("first", "runs"), [(200, 1), (500, 2)], ids=["succeeds", "fails"])
async def test_copy_is_woken_when_the_holder_in_this_process_ends(first, runs):
    """Copies do not wait out the lease of a holder that has ended next to them."""
    work = Work(first)
    async with virtual(work) as made:
        work.gate.clear()
        tasks = [await made.deliver(), await made.deliver(), await made.deliver()]
        await turns()
        assert made.runs == ["evt_1"]
        began = now()
        work.gate.set()
        await asyncio.gather(*tasks)
        await eventually(lambda: len(made.inbox) == (1 if first == 500 else 0))

        assert now() - began < 1
        assert len(made.runs) == runs


@in_virtual_time
async def test_copy_refused_by_a_holder_that_ended_before_it_came_to_wait_is_not_left_waiting():
    """The end of the holder between a copy's claim and its deferral wakes it all the same."""
    async with virtual(Work()) as made:
        item = made.item(an_event())
        await made.runner.accept(item)
        sent = now()
        await asyncio.sleep(1)
        await (await made.deliver())
        refused = Claim(str(an_event().key), "t", Outcome.IN_FLIGHT, remaining=LEASE)
        standing = Standing([(made.events[item.id], refused)], sent)
        began = now()
        await made.runner.run(item, made.job(item), standing)
        await made.empty()

        assert now() - began < 1
        assert made.runs == ["evt_1"]


@in_virtual_time
async def test_copy_is_woken_by_a_holder_that_it_met_before_its_run():
    """A claim made before an acknowledgement is known to the copies that come meanwhile."""
    async with virtual(Work()) as made:
        item, standing = await _met_before_its_run(made)
        began = now()
        await made.runner.run(item, made.job(item), standing)
        await made.empty()

        assert now() - began < 1
        assert made.runs == ["evt_1"]


@in_virtual_time
async def test_copies_of_what_is_put_off_come_due_with_it():
    """A claim that is given back for want of room lets nobody wait for its run here."""
    work = Work()
    policy = Policy(retries=STEADY, max_in_flight=1)
    async with virtual(work, policy=policy, inbox=Inbox(durable=True)) as made:
        item, standing = await _met_before_its_run(made)
        work.gate.clear()
        other = await made.deliver(an_event("another"))
        await made.runner.run(item, made.job(item), standing)
        assert len(await made.inbox.take(9, LEASE)) == 2
        work.gate.set()
        await other
        await made.empty()

        assert sorted(made.runs) == ["another", "evt_1"]


async def _met_before_its_run(made: Floor) -> tuple[Item, Standing]:
    """Return what was claimed and waits to be run, after a copy has met it."""
    item = made.item(an_event())
    await made.runner.accept(item)
    standing = await claim_events(made.engine, made.job(item), item.id)
    made.runner.expect(standing)
    await (await made.deliver())
    return item, standing


@in_virtual_time
async def test_released_event_runs_at_once():
    """A redelivery of an event that failed is not held up by the failure."""
    async with virtual(Work(400)) as made:
        await (await made.deliver())
        assert made.records.kinds[-1] == "buried"
        await (await made.deliver())

        assert made.runs == ["evt_1", "evt_1"]
        assert made.records.kinds[-1] == "succeeded"


@in_virtual_time
async def test_claim_made_before_the_acknowledgement_is_used():
    """A delivery that was claimed already is not claimed again."""
    async with virtual(Work()) as made:
        item = made.item(an_event())
        await made.runner.accept(item)
        standing = await claim_events(made.engine, made.job(item), item.id)
        await made.runner.run(item, made.job(item), standing)

        assert made.runs == ["evt_1"]
        assert len(made.store.keys_of("claim")) == 1


@in_virtual_time
async def test_changed_body_of_a_done_event_is_a_skip_that_says_so():
    """A copy with another body is skipped and marked ``body_changed``."""
    async with virtual(Work()) as made:
        await (await made.deliver(an_event(fingerprint=b"1")))
        await (await made.deliver(an_event(fingerprint=b"2")))

        [skipped] = made.records.of(Kind.SKIPPED)
        assert (skipped.reason, skipped.body_changed) == ("duplicate", True)
        assert made.runs == ["evt_1"]


@in_virtual_time
async def test_observing_only_runs_the_copies_and_records_them():
    """``observe_only`` drops nothing, completes nothing twice, and says what it would have done."""
    policy = Policy(retries=STEADY, observe_only=True)
    async with virtual(Work(), policy=policy) as made:
        for _ in range(3):
            await (await made.deliver())

        assert made.runs == ["evt_1"] * 3
        assert [record.detail for record in made.records.of(Kind.SKIPPED)] == [
            "observed only, run anyway"
        ] * 2
        assert len(made.inbox) == 0


@in_virtual_time
async def test_event_without_a_key_runs_without_a_claim():
    """A delivery that has no id is run and retried, and claims nothing."""
    async with virtual(Work(500)) as made:
        await (await made.deliver(an_event(key=None)))
        await made.empty()

        assert made.runs == ["evt_1"] * 2
        assert made.store.calls == []


# What a handler's end does


ENDINGS = [
    (200, ["succeeded"], 0),
    (204, ["succeeded"], 0),
    (301, ["failed", "retried"], 1),
    (404, ["failed", "retried"], 1),
    (409, ["failed", "retried"], 1),
    (429, ["failed", "retried"], 1),
    (500, ["failed", "retried"], 1),
    (503, ["failed", "retried"], 1),
    (400, ["failed", "buried"], 0),
    (401, ["failed", "buried"], 0),
    (422, ["failed", "buried"], 0),
    (ValueError("broken"), ["failed", "retried"], 1),
    (asyncio.CancelledError(), ["failed", "retried"], 1),
    (TimeoutError(), ["failed", "retried"], 1),
    (Discard("not for us"), ["skipped"], 0),
]


@in_virtual_time
@pytest.mark.parametrize(
    ("end", "kinds", "waiting"), ENDINGS, ids=lambda value: repr(value) if value != 1 else None
)
async def test_end_of_a_handler_decides(end, kinds, waiting):
    """Each status and exception has one verdict, and what is not done is released."""
    async with virtual(Work(end)) as made:
        await (await made.deliver())

        assert made.records.kinds == ["started", *kinds]
        assert len(made.inbox) == waiting
        remembered = kinds in (["succeeded"], ["skipped"])
        assert await outcome(made) is (Outcome.DUPLICATE if remembered else Outcome.FRESH)


@in_virtual_time
async def test_error_that_cannot_be_told_is_judged_all_the_same():
    """An exception whose text raises fails the run like any other."""

    class Unspeakable(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no")

    async with virtual(Work(Unspeakable())) as made:
        await (await made.deliver())

        assert made.records.of(Kind.FAILED)[0].detail == "Unspeakable"
        assert made.records.kinds[-1] == "retried"


@pytest.mark.parametrize("after", [math.nan, math.inf, -math.inf])
def test_retry_after_no_time(after):
    """A time that never comes is refused; what the handler then raises is an ordinary failure."""
    with pytest.raises(ConfigError, match="seconds"):
        Retry(after=after)


def test_retry_with_a_time_for_a_reason():
    """``Retry(60)`` would be run again at once, and its reason be a number."""
    with pytest.raises(ConfigError, match=r"takes text, got 60; write Retry\(after=…\)"):
        Retry(60)


@in_virtual_time
async def test_retry_after_overrides_the_back_off():
    """``Retry(after=…)`` says when."""
    work = Work(Retry("soon", after=77))
    async with virtual(work) as made:
        await (await made.deliver())
        await made.empty()

        assert made.records.of(Kind.RETRIED)[0].delay == 77
        assert 77 <= work.starts[1] - work.starts[0] < 78.5


@in_virtual_time
async def test_event_in_progress_elsewhere_is_run_again_uncounted():
    """``InProgress`` from inside a handler waits as told and uses up no attempt."""
    policy = Policy(retries=Retries(attempts=1))
    async with virtual(Work(*[InProgress("k", 3.0)] * 5), policy=policy) as made:
        await (await made.deliver())
        await made.empty()

        assert len(made.runs) == 6
        assert [record.delay for record in made.records.of(Kind.DEFERRED)] == [3.0] * 5
        assert made.records.kinds[-1] == "succeeded"


@in_virtual_time
@pytest.mark.parametrize("wait", [0.1, 5 * LEASE])
async def test_event_that_waits_is_run_when_it_is_due(wait):
    """Neither later, as for one that is still held, nor when the inbox is looked into next."""
    work = Work(InProgress("k", wait))
    async with virtual(work) as made:
        await (await made.deliver())
        await made.empty()

        [first, again] = work.starts
        assert again - first == pytest.approx(wait, abs=0.01)


@in_virtual_time
async def test_failing_event_is_retried_with_growing_waits_then_buried():
    """Back-off between runs, a dead letter with its history at the end."""
    work = Work(*[ValueError(f"no {number}") for number in range(9)])
    async with virtual(work) as made:
        await (await made.deliver())
        await made.empty()

        gaps = [later - earlier for earlier, later in pairwise(work.starts)]
        assert gaps == [pytest.approx(wait, abs=1.1) for wait in (10, 20, 40)]
        assert [record.attempt for record in made.records.of(Kind.FAILED)] == [1, 2, 3, 4]
        [dead] = await made.inbox.find(DEAD)
        errors = [attempt.error for attempt in dead.history]
        assert errors == [f"ValueError: no {number}" for number in range(4)]
        assert made.records.kinds[-1] == "buried"


@in_virtual_time
async def test_attempt_is_counted_before_the_handler_runs():
    """A delivery that kills its process is buried after its attempts, not looped for ever."""
    policy = Policy(lease=LEASE, retries=Retries(attempts=3))
    inbox, store = Inbox(), CueStore(clock=LoopClock())
    event = an_event()
    runs: list[str] = []
    releases: list[Any] = []
    for process in range(5):
        work = Work()
        work.gate.clear()
        made = Floor(work, inbox=inbox, store=store, policy=policy)
        made.item(event)
        if process == 0:
            await made.deliver(event)
        made.runner.start()
        await asyncio.sleep(LEASE + 5)
        runs += made.runs
        releases.append(store.keys_of("release"))
        inbox = as_a_crash_leaves(inbox)
        await made.stop(0)
        store = CueStore(clock=LoopClock())

    assert len(runs) == 3
    [dead] = await inbox.find(DEAD)
    assert dead.attempts == 3
    assert "used up" in dead.history[-1].error
    assert releases == [[], [], [], [[str(event.key)]], []], "copies need not wait for a lease"


def as_a_crash_leaves(inbox: Inbox) -> Inbox:
    left = Inbox()
    vars(left).update(copy.deepcopy({name: vars(inbox)[name] for name in CONTENT}))
    return left


@in_virtual_time
async def test_failure_with_lost_lease_is_retried_without_a_release():
    """A handler whose claim is gone is run again later; the key is its new holder's business."""
    store = CueStore(clock=LoopClock())
    store.away.add("renew")

    async def once_too_long(_: Any) -> int:
        await asyncio.sleep(100 if len(made.runs) == 1 else 0)
        return 200

    async with virtual(once_too_long, store=store) as made:
        await (await made.deliver())
        await made.empty()

        assert made.records.kinds == ["started", "lease_lost", "retried", "started", "succeeded"]
        assert store.keys_of("release") == []


@in_virtual_time
async def test_time_out_is_a_failure_that_names_itself():
    """``handler_timeout`` fails the run."""
    work = Work()
    policy = Policy(retries=STEADY, handler_timeout=2)
    async with virtual(work, policy=policy) as made:
        work.gate.clear()
        await (await made.deliver())

        assert "handler_timeout" in made.records.of(Kind.FAILED)[0].detail
        assert made.records.kinds[-1] == "retried"


@in_virtual_time
async def test_refused_completion_keeps_the_item_until_it_ends_as_a_duplicate():
    """When another holder has the event now, the item stays, and never runs a done event."""
    work = Work()
    async with virtual(work) as made:
        work.gate.clear()
        run = await made.deliver()
        await turns()
        await made.store.forget(str(an_event().key))
        thief = await held_elsewhere(made, lease=20.0)
        work.gate.set()
        await run

        assert made.records.kinds == ["started", "lease_lost"]
        assert len(made.inbox) == 1
        await made.store.complete([Settlement(thief, 3600.0)])
        await made.empty()
        assert made.runs == ["evt_1"]
        assert made.records.kinds[-1] == "skipped"


@in_virtual_time
async def test_success_is_kept_until_the_store_hears_of_it():
    """While the store is away after a success the item neither comes due nor runs again."""
    async with virtual(Work()) as made:
        made.store.away.add("complete")
        run = await made.deliver()
        await asyncio.sleep(10 * LEASE)
        assert not run.done()
        made.store.away.clear()
        await run

        assert made.runs == ["evt_1"]
        assert made.records.kinds[-1] == "succeeded"
        assert len(made.inbox) == 0


# Items whose runs were cut off


async def cut_off(made: Floor, *names: str) -> None:
    """Leave items in the inbox whose runs began twice and never ended."""
    items = [structs.replace(made.item(an_event(name)), attempts=2, cut_off=2) for name in names]
    for item in items:  # in this order
        await made.inbox.put([item], 0.0)


def waits_at_the_gate(*names: str) -> tuple[asyncio.Event, Any]:
    """A handler that hangs for events of these names until a gate opens."""
    gate = asyncio.Event()

    async def work(event: Any) -> int:
        if event.id in names:
            await gate.wait()
        return 200

    return gate, work


@in_virtual_time
async def test_cut_off_items_run_one_at_a_time_and_as_soon_as_they_may():
    """The end of one is the beginning of the next; nothing waits for a lease, all is told once."""
    inside: list[str] = []
    most: list[int] = []

    async def work(event: Any) -> int:
        inside.append(event.id)
        most.append(len(inside))
        await asyncio.sleep(LEASE / 4)
        inside.remove(event.id)
        return 200

    names = [f"e{number}" for number in range(12)]
    async with virtual(work) as made:
        began = now()
        await cut_off(made, *names)
        await made.empty()

        assert max(most) == 1
        assert made.runs == names
        assert now() - began < 12 * LEASE / 4 + 3
        assert [record.event_id for record in made.records.of(Kind.DEFERRED)] == names[1:]
        assert made.inbox.deferrals == []


@in_virtual_time
async def test_cut_off_item_that_hangs_keeps_the_others_for_one_lease(caplog):
    """What kills its process has done so by then; what hangs for ever holds up nobody for ever."""
    gate, work = waits_at_the_gate("a")
    async with virtual(work) as made:
        began = now()
        await cut_off(made, *"abc")
        await asyncio.sleep(LEASE - 1)
        assert made.runs == ["a"]
        await eventually(lambda: len(made.inbox) == 1)
        assert made.runs == ["a", "b", "c"]
        assert now() - began < LEASE + 5
        await asyncio.sleep(10 * LEASE)
        gate.set()
        await made.empty()

        assert made.runs == ["a", "b", "c"]
        assert [record.event_id for record in made.records.of(Kind.DEFERRED)] == ["b", "c"]
        assert made.inbox.deferrals == []
        assert caplog.text.count("still runs after 30 s") == 1


@in_virtual_time
async def test_cut_off_item_that_waited_tells_of_what_else_puts_it_off():
    """That it waited for its turn does not hide that the store is away when its turn comes."""
    gate, work = waits_at_the_gate("a")
    async with virtual(work) as made:
        await cut_off(made, "a", "b")
        await asyncio.sleep(5)
        made.store.away.add("claim")
        gate.set()
        await asyncio.sleep(20)
        made.store.away.clear()
        await made.empty()

        reasons = [(record.event_id, record.reason) for record in made.records.of(Kind.DEFERRED)]
        assert reasons == [("b", None), ("b", "store_away")]


@in_virtual_time
async def test_more_cut_off_items_than_may_run_wait_in_the_inbox():
    """However many were cut off, a process keeps no more of them than it may run."""
    gate, work = waits_at_the_gate("e0")
    policy = Policy(retries=STEADY, max_in_flight=3)
    async with virtual(work, policy=policy) as made:
        names = [f"e{number}" for number in range(9)]
        await cut_off(made, *names)
        await asyncio.sleep(LEASE / 2)
        assert len(made.records.of(Kind.DEFERRED)) == 3
        gate.set()
        await made.empty()

        assert sorted(made.runs) == names


@in_virtual_time
async def test_drain_hands_back_cut_off_items_that_wait_for_their_turn():
    """Another process need not wait for their leases, and they are no more suspect than before."""
    gate, work = waits_at_the_gate("a")
    async with virtual(work) as made:
        await cut_off(made, "a", "b", "c")
        await asyncio.sleep(5)
        draining = asyncio.ensure_future(made.stop(5.0))
        await asyncio.sleep(1)
        left = await made.inbox.take(5, LEASE)
        gate.set()
        await draining

        assert [(item.event_id, item.cut_off, item.deferred) for item in left] == [
            ("", 2, False),
            ("", 2, False),
        ]
        assert made.runs == ["a"]


@in_virtual_time
async def test_drain_lets_handlers_end_though_those_who_wait_cannot_be_handed_back():
    """They come due when their leases end."""
    gate, work = waits_at_the_gate("a")
    async with virtual(work) as made:
        await cut_off(made, "a", "b")
        await asyncio.sleep(5)
        made.inbox.away.add("renew")
        asyncio.get_running_loop().call_later(1, gate.set)
        await made.stop(5.0)

        assert made.runs == ["a"]
        assert made.records.kinds[-1] == "succeeded"


@in_virtual_time
async def test_cut_off_item_is_dropped_where_another_process_has_it_by_now():
    """Who waited past its hold while the loop stood still is left to who took it."""
    gate, work = waits_at_the_gate("a")
    async with virtual(work) as made:
        await cut_off(made, "a", "b")
        await asyncio.sleep(5)
        [b] = [item for item in await made.inbox.find(Sought()) if made.events[item.id].id == "b"]
        made.inbox._hand_over(b.id, 1000.0)
        gate.set()
        await asyncio.sleep(5)

        assert made.runs == ["a"]
        [held] = await made.inbox.find(Sought())
        assert await made.inbox.renew([held], 0.0) == [True]
        await made.empty()
        assert made.runs == ["a", "b"]


# Stores and inboxes that fail


ENDS_TO_NOTE = [
    ("retry", 500, ["started", "failed", "store_error", "retried"], (1, 1)),
    ("bury", 400, ["started", "failed", "store_error", "buried"], (1, 1)),
    ("defer", InProgress("k", 3.0), ["started", "store_error", "deferred"], (0, 0)),
]


@in_virtual_time
@pytest.mark.parametrize(("verb", "end", "kinds", "counts"), ENDS_TO_NOTE)
async def test_end_of_a_run_is_noted_when_the_inbox_is_back(verb, end, kinds, counts):
    """A run whose handler ended while the inbox was away is not taken for one that was cut off."""
    async with virtual(Work(end)) as made:
        made.inbox.away.add(verb)
        ended = await made.deliver()
        await asyncio.sleep(LEASE / 2)
        assert not ended.done()
        made.inbox.away.clear()
        await ended

        assert made.records.kinds == kinds
        [item] = await made.inbox.find(Sought())
        assert (item.attempts, len(item.history)) == counts
        assert item.cut_off == 0


@in_virtual_time
async def test_drain_while_the_end_of_a_run_cannot_be_noted_is_bounded():
    """An inbox that stays away does not hold up the end of the process; the item comes due."""
    async with virtual(Work(500)) as made:
        made.inbox.away.add("retry")
        await made.deliver()
        await asyncio.sleep(1)
        began = now()
        await made.stop(5.0)

        assert now() - began < 8
        [item] = await made.inbox.find(Sought())
        assert (item.attempts, item.cut_off) == (1, 1)


@in_virtual_time
@pytest.mark.parametrize("fault", [StoreUnavailable("away"), SchemaError("no table")])
async def test_store_away_at_the_claim_defers_uncounted(fault):
    """The item waits for the store, is recorded once, and uses up no attempt."""
    policy = Policy(retries=Retries(attempts=1))
    async with virtual(Work(), policy=policy) as made:
        made.store.faults["claim"] = [fault] * 10
        await (await made.deliver())
        await made.empty()

        [deferred] = made.records.of(Kind.DEFERRED)
        assert (deferred.reason, deferred.warning) == ("store_away", True)
        assert (deferred.detail, deferred.delay) == (str(fault), 5.0)
        assert made.records.kinds == ["deferred", "started", "succeeded"]


@in_virtual_time
async def test_store_away_at_the_claim_may_be_ignored():
    """``on_store_error="process"`` runs without a claim, and says so in a warning."""
    policy = Policy(retries=STEADY, on_store_error="process")
    async with virtual(Work(), policy=policy) as made:
        made.store.away.add("claim")
        await (await made.deliver())

        assert made.records.kinds == ["store_error", "started", "succeeded"]
        assert made.records.all[0].warning
        assert made.records.all[0].detail == "run without a claim: told to be away for claim"
        assert len(made.inbox) == 0


@in_virtual_time
async def test_unforeseen_error_of_the_store_loses_nothing(caplog):
    """A store that raises anything at all is survived: the item comes due and runs."""
    async with virtual(Work()) as made:
        made.store.faults["claim"] = [RuntimeError("odd")]
        await (await made.deliver())
        assert made.runs == []
        await made.empty()

        assert made.runs == ["evt_1"]
        assert "stays and will come due again" in caplog.text


@in_virtual_time
@pytest.mark.parametrize("fault", [StoreUnavailable("away"), RuntimeError("odd")])
@pytest.mark.parametrize("verb", ["begin", "done"])
async def test_inbox_that_fails_in_the_middle_leaves_no_claim_and_no_item_behind(verb, fault):
    """Whatever the inbox refuses, the event is run once and its item ends."""
    async with virtual(Work()) as made:
        made.inbox.faults[verb] = fault
        await (await made.deliver())
        assert len(made.inbox) == 1
        if isinstance(fault, StoreUnavailable):
            [failed] = made.records.of(Kind.STORE_ERROR)
            assert (failed.detail, failed.error) == ("away", fault)
        if verb == "begin":
            assert made.store.keys_of("release") == [[str(an_event().key)]]
        await made.empty()

        assert made.runs == ["evt_1"]
        assert made.records.kinds[-1] == ("succeeded" if verb == "begin" else "recovered")


@in_virtual_time
@pytest.mark.parametrize("fault", [StoreUnavailable("away"), RuntimeError("odd")])
@pytest.mark.parametrize("outcome", [200, Discard("no use")])
async def test_end_of_a_run_is_told_whatever_the_inbox_says_of_it(outcome, fault):
    """An item that was removed, though the inbox did not say so, comes no more to tell of it."""

    class Mute(Inbox):
        async def done(self, item: Any) -> None:
            await super().done(item)
            raise fault

    async with virtual(Work(outcome), inbox=Mute()) as made:
        await (await made.deliver())

        assert len(made.inbox) == 0
        ended = Kind.SUCCEEDED if outcome == 200 else Kind.SKIPPED
        assert [record.attempt for record in made.records.of(ended)] == [1]


@in_virtual_time
@pytest.mark.parametrize("fault", [StoreUnavailable("away"), RuntimeError("odd")])
@pytest.mark.parametrize("outcome", [200, Discard("not for us")])
async def test_run_is_seen_to_end_though_its_item_cannot_be_closed(outcome, fault):
    """A run that began has its end on record, so that nobody counts it as running for ever."""
    async with virtual(Work(outcome)) as made:
        made.inbox.faults["done"] = fault
        await (await made.deliver())
        assert len(made.inbox) == 1

        [ended] = [record for record in made.records.all if ends_run(record)]
        assert ended.kind is (Kind.SUCCEEDED if outcome == 200 else Kind.SKIPPED)
        await made.empty()

        assert made.records.kinds.count("started") == 1
        assert made.records.kinds[-1] == "recovered"


@in_virtual_time
@pytest.mark.parametrize("fault", [StoreUnavailable("away"), RuntimeError("odd")])
async def test_inbox_that_fails_to_hand_out_is_asked_again(fault):
    """No fault of the inbox ends the loop that takes what comes due."""
    async with virtual(Work(500)) as made:
        await (await made.deliver())
        made.inbox.faults["take"] = fault
        await made.empty()

        assert made.runs == ["evt_1"] * 2


@in_virtual_time
async def test_item_taken_by_another_process_meanwhile_is_left_to_it():
    """A claim that was won for an item somebody else holds is given back at once."""
    async with virtual(Work()) as made:
        item = made.item(an_event())
        await made.runner.accept(item)
        lost = structs.replace(item, token="another")
        await made.runner.run(lost, made.job(item))

        assert made.runs == []
        assert await outcome(made) is Outcome.FRESH


@in_virtual_time
async def test_item_whose_source_is_unknown_waits_and_the_rest_go_on(caplog):
    """Another process may know its source, or a later configuration: it is kept, and told once."""

    def jobs(item: Any) -> Any:
        if item.id == foreign.id:
            raise ConfigError("source 'gone' is not configured")
        return made.job(item)

    async with virtual(Work(), jobs=jobs) as made:
        foreign = made.item(an_event("foreign"))
        sound = made.item(an_event("sound"))
        await made.inbox.put([foreign, sound], 0.0)
        await asyncio.sleep(200)

        assert made.runs == ["sound"]
        [left] = await made.inbox.find(Sought())
        assert left.id == foreign.id
        assert not left.dead
        warnings = [line.getMessage() for line in caplog.records if foreign.id in line.getMessage()]
        assert len(warnings) == 1
        assert "not configured" in warnings[0]


@in_virtual_time
async def test_item_of_another_app_is_soon_given_back_to_it():
    """An app that got by chance what is another one's does not keep it, and asks ever less."""
    met: list[str] = []

    def jobs(item: Any) -> Any:
        met.append(item.id)
        raise ConfigError("source 'gone' is not configured")

    async with virtual(Work(), jobs=jobs) as made:
        await made.inbox.put([made.item(an_event("foreign"))], 0.0)
        await asyncio.sleep(0.5)
        assert len(met) == 1
        assert await made.inbox.next_due() <= 1.0
        [left] = await made.inbox.find(Sought())
        assert not left.deferred  # or its own app would record no deferral of it

        await asyncio.sleep(300)
        assert 3 < len(met) < 15


class PlainInbox(Inbox):
    """One of a third party, which hands over whatever is due; it counts how often."""

    taken = 0

    async def take(self, limit: int, lease: float) -> Any:
        self.taken += 1
        return await super().take(limit, lease)


class ChoosyInbox(PlainInbox):
    """One that hands over what is wanted."""

    async def take(self, limit: int, lease: float, *, sources: Any = None) -> Any:
        self.taken += 1
        return await Inbox.take(self, limit, lease, sources=sources)


async def left_by_another_app(made: Floor, number: int) -> set[str]:
    """Let so many items of a source that only another app knows be due."""
    items = [made.item(an_event(f"foreign-{n}")) for n in range(number)]
    sent = [structs.replace(item.delivery, source="gone") for item in items]
    foreign = [structs.replace(items[n], delivery=each) for n, each in enumerate(sent)]
    await made.inbox.put(foreign, 0.0)
    return {item.id for item in items}


@pytest.mark.parametrize("kind", [PlainInbox, ChoosyInbox])
@in_virtual_time
async def test_what_another_app_left_is_kept_and_told_of_once(kind, caplog):
    """Whether or not an inbox can choose, own items run, and one line tells of all the others."""
    async with virtual(Work(), inbox=kind(), sources=["shop"]) as made:
        foreign = await left_by_another_app(made, 500)
        await made.inbox.put([made.item(an_event("own"))], 0.0)
        await asyncio.sleep(300)

        assert made.runs == ["own"]
        assert {item.id for item in await made.inbox.find(Sought(), limit=1_000)} == foreign
        [warning] = [line.getMessage() for line in caplog.records if "wait" in line.getMessage()]
        assert "'gone'" in warning


@in_virtual_time
async def test_what_another_app_left_is_passed_by():
    """It is not touched, but for one item a minute, does not delay own items, nor hurry looks."""
    async with virtual(Work(), inbox=ChoosyInbox(), sources=["shop"]) as made:
        foreign = await left_by_another_app(made, 500)
        tokens = {item.id: item.token for item in await made.inbox.find(Sought(), limit=1_000)}
        await asyncio.sleep(300)
        await made.inbox.put([made.item(an_event("own"))], 0.0)
        await asyncio.sleep(1)

        assert made.runs == ["own"]
        kept = await made.inbox.find(Sought(), limit=1_000)
        assert {item.id for item in kept} == foreign
        assert sum(item.token != tokens[item.id] for item in kept) < 10
        assert made.inbox.taken < 400


@in_virtual_time
async def test_unreadable_item_that_cannot_be_buried_now_is_buried_later():
    """An inbox that is away for the burial does not stop the loop or lose the item."""

    def jobs(_: Any) -> Any:
        raise ValueError("unreadable")

    async with virtual(Work(), jobs=jobs) as made:
        made.inbox.faults["bury"] = StoreUnavailable("away")
        await made.inbox.put([made.item(an_event())], 0.0)
        await made.empty()

        [dead] = await made.inbox.find(DEAD)
        assert "unreadable" in dead.history[-1].error


# Back-pressure


@in_virtual_time
async def test_overload_asks_the_sender_of_a_volatile_inbox_to_come_again():
    """Above ``max_in_flight`` what nothing durable holds is refused with 503."""
    work = Work()
    policy = Policy(retries=STEADY, max_in_flight=2)
    async with virtual(work, policy=policy) as made:
        work.gate.clear()
        runs = [await made.deliver(an_event(name)) for name in "ab"]
        await turns()
        with pytest.raises(RejectedDelivery) as caught:
            await made.deliver(an_event("c"))
        work.gate.set()
        await asyncio.gather(*runs)
        await (await made.deliver(an_event("c")))

        assert (caught.value.status, caught.value.code) == (503, "overloaded")
        assert caught.value.retry_after is not None
        assert made.runs == ["a", "b", "c"]


@in_virtual_time
async def test_overload_leaves_deliveries_in_a_durable_inbox():
    """Above ``max_in_flight`` durable deliveries wait, and no more handlers run than may."""
    running: list[int] = []
    most: list[int] = []

    async def work(_: Any) -> int:
        running.append(1)
        most.append(len(running))
        await asyncio.sleep(0.25)
        running.pop()
        return 200

    policy = Policy(retries=STEADY, max_in_flight=3)
    async with virtual(work, policy=policy, inbox=Inbox(durable=True)) as made:
        began = now()
        for number in range(12):
            await made.deliver(an_event(f"e{number}"))
        await made.empty()

        assert max(most) == 3
        assert sorted(made.runs) == sorted(f"e{number}" for number in range(12))
        assert now() - began < 2, "room is used as soon as there is some"


@in_virtual_time
async def test_claim_of_a_delivery_that_must_wait_is_given_back():
    """An event claimed before its acknowledgement is not held while there is no room for it."""
    work = Work()
    policy = Policy(retries=STEADY, max_in_flight=1)
    async with virtual(work, policy=policy, inbox=Inbox(durable=True)) as made:
        work.gate.clear()
        first = await made.deliver(an_event("a"))
        item = made.item(an_event("b"))
        await made.runner.accept(item)
        standing = await claim_events(made.engine, made.job(item), item.id)
        await made.runner.run(item, made.job(item), standing)
        assert await outcome(made, "b") is Outcome.FRESH
        await made.store.forget(str(an_event("b").key))
        work.gate.set()
        await first
        await made.empty()

        assert made.runs == ["a", "b"]


@in_virtual_time
async def test_inbox_that_cannot_record_asks_the_sender_to_come_again():
    """A delivery that was not recorded is not acknowledged."""
    async with virtual(Work()) as made:
        made.inbox.away.add("put")
        with pytest.raises(RejectedDelivery) as caught:
            await made.deliver()
        made.inbox.away.clear()

        assert (caught.value.status, caught.value.code) == (503, "inbox_unavailable")
        [failed] = made.records.of(Kind.STORE_ERROR)
        assert (failed.detail, failed.event_id) == ("the inbox is away for put", None)


class Counted(Inbox):
    """An inbox that notes when it is asked for what is due, and to renew."""

    def __init__(self) -> None:
        super().__init__()
        self.takes: list[float] = []
        self.renewals: list[float] = []

    async def take(self, limit: int, lease: float, *, sources: Any = None) -> Any:
        self.takes.append(now())
        return await super().take(limit, lease, sources=sources)

    async def renew(self, items: Any, lease: float) -> Any:
        self.renewals.append(now())
        return await super().renew(items, lease)


@in_virtual_time
async def test_idle_inbox_is_looked_into_once_a_poll():
    """However often its runner was started."""
    async with virtual(Work(), inbox=Counted()) as made:
        made.runner.start()
        await asyncio.sleep(9.5 * POLL)

        assert len(made.inbox.takes) == 10


# Drain


@in_virtual_time
async def test_drain_lets_running_handlers_end():
    """What ends within the time-out is finished and recorded as ever."""

    async def work(_: Any) -> int:
        await asyncio.sleep(3)
        return 200

    async with virtual(work) as made:
        await made.deliver()
        await turns()
        [turn] = made.runner._runs
        await made.stop(5.0)

        assert not turn.cancelled()
        assert made.records.kinds == ["started", "succeeded"]
        assert len(made.inbox) == 0


@in_virtual_time
async def test_drain_hands_back_what_does_not_end_in_time(caplog):
    """A late handler is cancelled, its event released and its item due at once, uncounted."""
    work = Work()
    async with virtual(work) as made:
        work.gate.clear()
        await made.deliver()
        await turns()
        [turn] = made.runner._runs
        began = now()
        await made.stop(5.0)

        assert turn.cancelled()
        assert now() - began == pytest.approx(5)
        assert await outcome(made) is Outcome.FRESH
        [item] = await made.inbox.take(1, LEASE)
        assert item.attempts == 0
        assert made.records.kinds == ["started", "deferred"]
        assert "1 handlers were cancelled" in caplog.text


@in_virtual_time
async def test_drain_takes_nothing_new():
    """Items that come due during the drain stay for the next process."""
    work = Work()
    async with virtual(work) as made:
        work.gate.clear()
        await made.deliver(an_event("running"))
        await turns()
        draining = asyncio.ensure_future(made.stop(5.0))
        await turns()
        await made.inbox.put([made.item(an_event("waiting"))], 0.0)
        await draining

        assert made.runs == ["running"]


@in_virtual_time
async def test_drain_while_the_store_is_away_is_bounded_and_repeats_nothing():
    """A success that the store never heard of is not thrown away by the drain."""
    async with virtual(Work()) as made:
        made.store.away.add("complete")
        await made.deliver()
        await turns()
        began = now()
        await made.stop(5.0)

        assert now() - began < 8
        assert len(made.inbox) == 1, "it ends as a duplicate, or runs again if it must"


@in_virtual_time
async def test_drain_ends_the_renewals_of_what_does_not_end():
    """An inbox that is closed after the drain is asked for nothing more."""

    async def deaf(_: Any) -> int:
        while True:
            with contextlib.suppress(asyncio.CancelledError):
                await released.wait()
                return 200

    released = asyncio.Event()
    async with virtual(deaf, inbox=Counted()) as made:
        await made.deliver()
        await asyncio.sleep(LEASE)
        assert made.inbox.renewals
        await made.stop()
        made.inbox.renewals.clear()
        await asyncio.sleep(5 * LEASE)

        assert made.inbox.renewals == []
        released.set()


@in_virtual_time
async def test_drain_is_bounded_when_the_inbox_hangs():
    """An inbox that never answers cannot hold up the end of the process."""

    class Hanging(Inbox):
        async def done(self, items: Any) -> None:
            await asyncio.sleep(1 if len(items) == 1 else 1e6)

    async with virtual(Work(), inbox=Hanging()) as made:
        for name in "abc":
            await made.deliver(an_event(name))
        await turns()
        began = now()
        await made.stop(5.0)

        assert now() - began < 10
        assert sorted(made.runs) == ["a", "b", "c"]


class OneLine(Inbox):
    """A durable inbox whose calls go over one connection, and take their time."""

    never_waits = False
    SECONDS = 0.01

    def __init__(self) -> None:
        super().__init__(durable=True)
        self._line = asyncio.Lock()

    async def renew(self, items: Any, lease: float) -> Any:
        async with self._line:
            await asyncio.sleep(self.SECONDS)
            return await super().renew(items, lease)

    async def defer(self, item: Any, after: float) -> bool:
        async with self._line:
            await asyncio.sleep(self.SECONDS)
            return await super().defer(item, after)


@in_virtual_time
async def test_rush_that_must_wait_keeps_no_handler_from_running():
    """What comes beyond ``max_in_flight`` is put off together.

    One by one, thousands would take the places of handlers for as long as more come.
    """
    policy = Policy(retries=STEADY, max_in_flight=2)
    async with virtual(Work(), inbox=OneLine(), policy=policy) as made:
        for number in range(1_000):
            await made.deliver(an_event(f"evt_{number}"))
        began = now()
        await eventually(lambda: len(made.runs) > 2)
        assert now() - began < 1
        await made.empty()
        assert len(set(made.runs)) == len(made.runs) == 1_000


@in_virtual_time
async def test_turn_that_is_cancelled_before_it_began_takes_no_room_for_ever(caplog):
    """What somebody else cancels at once ends too: its waiter, its room, its item comes due."""
    policy = Policy(retries=STEADY, max_in_flight=1)
    async with virtual(Work(), policy=policy) as made:
        ended = await made.deliver()
        [turn] = made.runner._runs
        turn.cancel()
        await asyncio.wait_for(ended, 2)
        assert not made.runner.busy
        await made.empty()
        assert made.runs == ["evt_1"]
        (await made.deliver(an_event("evt_2"))).cancel()
        [turn] = made.runner._runs
        turn.cancel()
        await turns()

    assert "cancelled at shutdown" not in caplog.text, "nothing was running"


@in_virtual_time
@pytest.mark.skipif(sys.version_info < (3, 12), reason="tasks do not begin at once there")
async def test_turn_that_ends_before_its_task_was_made_is_ended():
    """Under an eager task factory a turn that never waits is over at once, and so is its future."""
    made = Floor(Work(), store=MemoryStore())
    item = made.item(an_event())
    await made.runner.accept(item)
    asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)

    assert made.runner.run(item, made.job(item)).done()
    assert made.runs == ["evt_1"]
    assert not made.runner._runs


@in_virtual_time
async def test_drain_without_start_and_twice_is_harmless():
    """A runner that never took anything, or was drained, can be drained."""
    made = Floor(Work())
    await made.stop()
    await made.stop()


async def test_records_name_the_event_and_the_attempt():
    """Every record of a run says which event, delivery and attempt it is about."""
    async with floor(Work(500)) as made:
        event = an_event(type="order.paid")
        await (await made.deliver(event))
        await made.empty()

        def named(record: Record) -> Any:
            return record.event_id, record.event_type, record.delivery_id, record.attempt

        assert event.delivery is not None
        assert [named(record) for record in made.records.all] == [
            ("evt_1", "order.paid", event.delivery.id, attempt) for attempt in (1, 1, 1, 2, 2)
        ]


@pytest.fixture(autouse=True)
def _quiet(caplog):
    caplog.set_level(logging.WARNING, logger="webhook_dedup")


@pytest.mark.skipif(
    sys.version_info < (3, 11), reason="tasks do not tell there whether they were cancelled"
)
def test_loop_that_ends_without_a_drain_is_no_failure_of_the_handler():
    """Where nothing drains, a cut-off run is handed back uncounted, even the last one."""
    only_once = Policy(retries=replace(STEADY, attempts=1))
    made: list[Floor] = []

    async def main() -> None:
        work = Work()
        work.gate.clear()
        made.append(Floor(work, policy=only_once))
        await made[0].deliver()
        await turns()
        assert made[0].runs == ["evt_1"]

    asyncio.run(main())
    [item] = asyncio.run(made[0].inbox.find(Sought()))
    assert (item.dead, item.attempts, item.history) == (False, 0, ())
    assert made[0].records.kinds == ["started", "deferred"]


async def test_handler_that_raises_what_is_no_exception_has_failed():
    """Whatever a handler raises is judged: its event is released and tried again."""

    class Odd(BaseException):
        pass

    async def work(_: Any) -> int:
        raise Odd("odd")

    made = Floor(work)
    await (await made.deliver())

    assert made.records.kinds == ["started", "failed", "retried"]
    assert await outcome(made) is Outcome.FRESH
    await made.stop()
