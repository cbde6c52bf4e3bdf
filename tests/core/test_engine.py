"""Handlers run to their true end, and their claims are settled whatever happens around them."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import gc
import threading
import warnings
from typing import Any

import pytest
from msgspec.structs import replace

from webhook_dedup.coalesce import Coalescer
from webhook_dedup.engine import Engine
from webhook_dedup.errors import LeaseLost, SchemaError, StoreUnavailable
from webhook_dedup.model import Claim, Outcome
from webhook_dedup.observe.record import Kind
from webhook_dedup.observe.recorder import Recorder
from webhook_dedup.threads import THREADS, call

from .kit import CueStore, Records, a_bid, an_event, eventually, turns
from .virtual import LoopClock, in_virtual_time, now

LEASE = 30.0
EVENT = an_event()


class Setting:
    """An engine over a store on cue."""

    def __init__(self, **options: Any) -> None:
        self.store = CueStore(**options)
        self.records = Records()
        self.engine = Engine(Coalescer(self.store), Recorder([self.records]))

    async def claim(self, key: str = "key", lease: float = LEASE) -> tuple[Claim, float]:
        return await self.engine.claim(a_bid(key, lease=lease))

    async def outcome(self, key: str = "key") -> Outcome:
        return (await self.store.claim([a_bid(key)]))[0].outcome


def virtual() -> Setting:
    return Setting(clock=LoopClock())


async def _five() -> int:
    return 5


@in_virtual_time
async def test_run_gives_what_the_handler_returned_and_how_long_it_took():
    """A handler that returns has no error."""
    made = virtual()

    async def work() -> str:
        await asyncio.sleep(7)
        return "done"

    claim, sent = await made.claim()
    run = await made.engine.run(work, claim, lease=LEASE, sent=sent)

    assert (run.value, run.error, run.cancelled) == ("done", None, False)
    assert run.duration == pytest.approx(7)


@in_virtual_time
async def test_handler_does_not_begin_under_a_lease_that_has_ended():
    """After a loop that stood still another may hold the claim: what has not begun must not."""
    made = virtual()
    begun = []

    async def work() -> None:
        begun.append(now())

    claim, sent = await made.claim()
    await asyncio.sleep(LEASE)
    run = await made.engine.run(work, claim, lease=LEASE, sent=sent)

    assert begun == []
    assert isinstance(run.error, LeaseLost)
    assert (run.lost, run.cancelled) == ((claim,), False)


@in_virtual_time
async def test_run_gives_what_the_handler_raised():
    """An exception is told, not raised, so that the caller settles first."""
    made = virtual()

    async def work() -> None:
        raise KeyError("broken")

    run = await made.engine.run(work, None, lease=LEASE, sent=now())

    assert isinstance(run.error, KeyError)


@in_virtual_time
async def test_cancellation_of_the_caller_waits_for_the_handlers_end():
    """A cancelled caller learns how the handler really ended, then raises by itself."""
    made = virtual()
    cleaned_up: list[float] = []

    async def work() -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            await asyncio.sleep(3)
            cleaned_up.append(now())

    claim, sent = await made.claim()
    running = asyncio.ensure_future(made.engine.run(work, claim, lease=LEASE, sent=sent))
    await asyncio.sleep(1)
    running.cancel()
    run = await running

    assert run.cancelled
    assert isinstance(run.error, asyncio.CancelledError)
    assert cleaned_up


@in_virtual_time
async def test_handler_that_succeeds_in_spite_of_the_cancellation_has_succeeded():
    """What ended well is not called cut off, so its claim is completed."""
    made = virtual()

    async def stubborn() -> int:
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            await asyncio.sleep(1)
        return 200

    running = asyncio.ensure_future(made.engine.run(stubborn, None, lease=LEASE, sent=now()))
    await turns()
    running.cancel()
    run = await running

    assert (run.value, run.error, run.cancelled) == (200, None, True)


@in_virtual_time
async def test_caller_cancelled_over_and_over_still_waits():
    """Impatience does not leave a handler running behind its caller's back."""
    made = virtual()
    ended: list[bool] = []

    async def work() -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            for _ in range(5):
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.sleep(2)
            ended.append(True)

    running = asyncio.ensure_future(made.engine.run(work, None, lease=LEASE, sent=now()))
    for _ in range(4):
        await asyncio.sleep(1)
        running.cancel()
    run = await running

    assert ended
    assert run.cancelled


@in_virtual_time
async def test_handler_that_cancels_itself_is_an_error_not_a_cancelled_caller():
    """A stray ``CancelledError`` from inside fails the run and nothing else."""
    made = virtual()

    async def work() -> None:
        raise asyncio.CancelledError

    run = await made.engine.run(work, None, lease=LEASE, sent=now())

    assert isinstance(run.error, asyncio.CancelledError)
    assert not run.cancelled


@in_virtual_time
async def test_time_out_cancels_and_waits_for_the_true_end():
    """The run is over when the handler is, not when its time is."""
    made = virtual()

    async def slow() -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            await asyncio.sleep(4 * LEASE)

    claim, sent = await made.claim()
    running = asyncio.ensure_future(
        made.engine.run(slow, claim, lease=LEASE, sent=sent, timeout=10)
    )
    await asyncio.sleep(10 + 2 * LEASE)
    assert await made.outcome() is Outcome.IN_FLIGHT, "it is still renewed while it cleans up"
    run = await running

    assert isinstance(run.error, TimeoutError)
    assert run.duration == pytest.approx(10 + 4 * LEASE)
    assert not run.cancelled


@in_virtual_time
async def test_time_out_ends_with_the_handler():
    """What settles a handler that was in time, in the same task, is not cut off."""
    made = virtual()
    claim, sent = await made.claim()

    async def turn() -> str:
        await made.engine.run_under([claim], _five, lease=LEASE, sent=sent, timeout=10, apart=False)
        await asyncio.sleep(60)
        return "settled"

    assert await asyncio.create_task(turn()) == "settled"


@in_virtual_time
async def test_handlers_own_time_out_error_is_passed_on():
    """A ``TimeoutError`` of the handler's is what it raised, not what the engine made."""
    made = virtual()
    own = TimeoutError("a call of mine")

    async def work() -> None:
        raise own

    assert (await made.engine.run(work, None, lease=LEASE, sent=now(), timeout=5)).error is own


async def test_thread_keeps_its_lease_past_the_time_out_until_it_ends():
    """A plain handler that runs on after its time-out is renewed until it has ended."""
    made = Setting()
    inside, may_end = threading.Event(), threading.Event()

    def handler() -> str:
        inside.set()
        may_end.wait(30)
        return "late"

    claim, sent = await made.claim(lease=1.5)
    running = asyncio.ensure_future(
        made.engine.run(lambda: call(handler), claim, lease=1.5, sent=sent, timeout=0.1)
    )
    await eventually(inside.is_set)
    await eventually(lambda: len(made.store.keys_of("renew")) >= 4)  # longer than a lease
    assert await made.outcome() is Outcome.IN_FLIGHT
    assert not running.done()
    may_end.set()
    run = await running

    assert (run.value, run.error) == ("late", None), "its effects have happened"
    assert made.store.keys_of("release") == []


async def test_thread_that_waits_for_its_turn_is_never_begun_after_its_time_out():
    """A plain handler whose time is up before a thread is free does not run at all."""
    made = Setting()
    may_end = threading.Event()
    ran: list[str] = []
    begun = threading.Semaphore(0)

    def hog() -> None:
        begun.release()
        may_end.wait(30)

    hogs = [asyncio.ensure_future(call(hog)) for _ in range(THREADS)]
    for _ in hogs:
        await eventually(lambda: begun.acquire(blocking=False))
    run = await made.engine.run(
        lambda: call(ran.append, "late"), None, lease=LEASE, sent=0.0, timeout=0.05
    )
    may_end.set()
    await asyncio.gather(*hogs)
    await call(lambda: None)

    assert isinstance(run.error, TimeoutError)
    assert ran == []


async def test_plain_function_sees_its_callers_context_and_its_exceptions_come_back():
    """A thread has the context variables of the call, and raises to it."""
    var: contextvars.ContextVar[str] = contextvars.ContextVar("var")
    var.set("mine")

    def broken() -> None:
        raise LookupError(var.get())

    with pytest.raises(LookupError, match="mine"):
        await call(broken)


async def test_stop_iteration_from_a_thread_does_not_hang():
    """An exception that no future can carry comes back as a ``RuntimeError``."""
    with pytest.raises(RuntimeError, match="StopIteration"):
        await asyncio.wait_for(call(next, iter(())), 30)


async def test_plain_function_that_returns_an_awaitable_is_awaited():
    """A callable object, or a lambda around a coroutine, works like an ``async def``."""
    assert await call(functools.partial(lambda number: _five(), 1)) == 5


@in_virtual_time
async def test_completion_is_asked_for_until_the_store_is_back():
    """A handler's success outlives a store that is away for minutes, each failure recorded."""
    made = virtual()
    claim, _ = await made.claim()
    made.store.away.add("complete")
    completing = asyncio.ensure_future(made.engine.complete(EVENT, claim, 3600.0))
    await asyncio.sleep(120)
    assert not completing.done()
    made.store.away.clear()

    assert await completing is True
    assert await made.outcome() is Outcome.DUPLICATE
    failures = made.records.of(Kind.STORE_ERROR)
    assert 20 < len(failures) < 60, "it backs off"
    assert all(record.event_id == EVENT.id and record.error is None for record in failures)


@in_virtual_time
async def test_completion_is_in_time_when_the_store_is_back_before_the_lease_ends():
    """Nobody else runs what has succeeded because the next attempt came after a short lease."""
    made = virtual()
    claim, _ = await made.claim(lease=5.0)
    made.store.away.add("complete")
    completing = asyncio.ensure_future(made.engine.complete(EVENT, claim, 3600.0))
    await asyncio.sleep(4.0)
    made.store.away.clear()
    await asyncio.sleep(1.5)

    assert await made.outcome() is Outcome.DUPLICATE
    assert await completing is True


@in_virtual_time
async def test_completion_of_a_lease_that_is_nearly_over_does_not_besiege_the_store():
    """A claim that was recognised late has hardly any lease left to divide."""
    made = virtual()
    claim, _ = await made.claim()
    made.store.away.add("complete")
    nearly_over = replace(claim, remaining=0.006)
    completing = asyncio.ensure_future(made.engine.complete(EVENT, nearly_over, 3600.0))
    await asyncio.sleep(1.0)
    asked = len(made.store.keys_of("complete"))
    made.store.away.clear()

    assert await completing is True
    assert 10 < asked <= 21


@in_virtual_time
@pytest.mark.parametrize("fault", [SchemaError("no table"), RuntimeError("odd"), ValueError("bad")])
async def test_completion_survives_errors_of_any_type(fault):
    """Whatever the store raises, a handler that succeeded is not run again for it."""
    made = virtual()
    claim, _ = await made.claim()
    made.store.faults["complete"] = [fault] * 3

    assert await made.engine.complete(EVENT, claim, 3600.0) is True
    failures = made.records.of(Kind.STORE_ERROR)
    foreseen = isinstance(fault, SchemaError)  # the store's own say which store they are of
    assert [record.detail for record in failures] == [
        str(fault) if foreseen else f"memory: {fault}"
    ] * 3
    assert {record.error for record in failures} == {None if foreseen else fault}


@in_virtual_time
async def test_completion_whose_reply_was_lost_is_true():
    """The repetition of a completion that did happen is no refusal."""
    made = virtual()
    claim, _ = await made.claim()
    made.store.lost["complete"] = [StoreUnavailable("reply lost")]

    assert await made.engine.complete(EVENT, claim, 3600.0) is True


@in_virtual_time
async def test_completion_goes_on_in_the_background_after_patience():
    """Who cannot wait gets ``None``, and the store still hears of it once it is back."""
    made = virtual()
    claim, _ = await made.claim()
    made.store.away.add("complete")

    assert await made.engine.complete(EVENT, claim, 3600.0, patience=5.0) is None
    made.store.away.clear()
    await asyncio.sleep(10)
    assert await made.outcome() is Outcome.DUPLICATE


@in_virtual_time
async def test_completion_that_is_cancelled_before_it_began_leaves_nothing_unawaited():
    """A caller that is cancelled at once, as by a loop that ends, is told of no coroutine left."""
    made = virtual()
    claim, _ = await made.claim()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        completing = asyncio.ensure_future(made.engine.complete(EVENT, claim, 3600.0, patience=5.0))
        completing.cancel()
        await asyncio.wait([completing])
        del completing
        gc.collect()

    assert [str(warning.message) for warning in told] == []


@in_virtual_time
async def test_completion_survives_the_cancellation_of_its_caller():
    """A caller that is cancelled while the store is slow leaves a done event behind."""
    made = virtual()
    claim, _ = await made.claim()
    gate = made.store.shut("complete")
    completing = asyncio.ensure_future(made.engine.complete(EVENT, claim, 3600.0))
    await turns()
    completing.cancel()
    await asyncio.wait([completing])
    gate.set()
    await made.engine.drain(5)

    assert completing.cancelled()
    assert await made.outcome() is Outcome.DUPLICATE


@in_virtual_time
async def test_completion_refused_by_another_holder_is_false():
    """Another token's key stays that token's."""
    made = virtual()
    claim, _ = await made.claim()
    await made.store.forget("key")
    await made.claim()

    assert await made.engine.complete(EVENT, claim, 3600.0) is False
    assert await made.outcome() is Outcome.IN_FLIGHT


@in_virtual_time
@pytest.mark.parametrize("fault", [StoreUnavailable("away"), RuntimeError("odd")])
async def test_release_is_asked_for_once(fault):
    """A store that is away leaves a failed event to its lease."""
    made = virtual()
    claim, _ = await made.claim()
    made.store.faults["release"] = [fault]

    assert await made.engine.release(EVENT, claim) is None
    assert len(made.store.keys_of("release")) == 1
    assert len(made.records.of(Kind.STORE_ERROR)) == 1


@in_virtual_time
async def test_handler_that_succeeds_though_its_lease_was_lost_has_succeeded():
    """Whether its event is done is for the store to say: nobody else may have it."""
    made = virtual()
    claim, sent = await made.claim()
    await made.store.forget("key")

    async def work() -> str:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(5 * LEASE)
        return "done"

    run = await made.engine.run(work, claim, lease=LEASE, sent=sent)

    assert (run.value, run.error, run.lost) == ("done", None, (claim,))


@in_virtual_time
async def test_handler_whose_claims_are_lost_one_after_another_cleans_up():
    """It is cancelled for the first of them only."""
    made = virtual()
    (first, sent), (second, _) = await made.claim("first"), await made.claim("second")
    await made.store.forget("first")
    cleaned_up = False

    async def work() -> None:
        nonlocal cleaned_up
        try:
            await asyncio.sleep(5 * LEASE)
        finally:
            await made.store.forget("second")
            await asyncio.sleep(LEASE)
            cleaned_up = True

    run = await made.engine.run_under([first, second], work, lease=LEASE, sent=sent)

    assert cleaned_up
    assert isinstance(run.error, LeaseLost)
    assert run.lost == (first, second)


@in_virtual_time
@pytest.mark.parametrize("ending", [KeyboardInterrupt, SystemExit, GeneratorExit])
async def test_what_ends_a_process_or_a_coroutine_gets_out(ending):
    """It is no failure of the handler, and its claim is renewed no more."""
    made = virtual()
    claim, sent = await made.claim()

    async def work() -> None:
        raise ending

    with pytest.raises(ending):
        await made.engine.run_under([claim], work, lease=LEASE, sent=sent, apart=False)
    await asyncio.sleep(5 * LEASE)
    assert made.store.keys_of("renew") == []


@in_virtual_time
async def test_settlement_that_is_seen_through_survives_the_cancellation_of_its_caller():
    """And a drain waits for it."""
    made = virtual()
    settled = asyncio.Event()

    async def settle() -> None:
        await asyncio.sleep(1)
        settled.set()

    seeing = asyncio.ensure_future(made.engine.settler.see_through(settle()))
    await turns()
    seeing.cancel()
    await asyncio.wait([seeing])
    await made.engine.drain(5)

    assert seeing.cancelled()
    assert settled.is_set()


@in_virtual_time
async def test_release_survives_the_cancellation_of_its_caller():
    """A caller that is cancelled while the store is slow leaves a free event behind."""
    made = virtual()
    claim, _ = await made.claim()
    made.store.shut("release")
    releasing = asyncio.ensure_future(made.engine.release(EVENT, claim))
    await turns()
    releasing.cancel()
    await asyncio.wait([releasing])
    made.store.gates["release"].set()
    await made.engine.drain(5)

    assert releasing.cancelled()
    assert await made.outcome() is Outcome.FRESH


@in_virtual_time
async def test_claim_settled_inside_its_own_run_is_renewed_no_more():
    """A handler with work left after its event is done is not cancelled for its lease."""
    made = virtual()
    claim, sent = await made.claim()

    async def work() -> str:
        await made.engine.complete(EVENT, claim, 3600.0)
        await asyncio.sleep(5 * LEASE)
        return "unharmed"

    run = await made.engine.run(work, claim, lease=LEASE, sent=sent)

    assert run.value == "unharmed"
    assert made.store.keys_of("renew") == []


@in_virtual_time
async def test_drain_asks_an_absent_store_once_more_and_ends():
    """Shutdown does not wait for a store that is away."""
    made = virtual()
    claim, _ = await made.claim()
    made.store.away.add("complete")
    completing = asyncio.ensure_future(made.engine.complete(EVENT, claim, 3600.0))
    await asyncio.sleep(60)
    began = now()
    await made.engine.drain(20.0)

    assert now() - began < 1
    assert await completing is None


@in_virtual_time
async def test_drain_is_bounded_when_the_store_hangs():
    """A store that never answers cannot hold up the end of the process."""
    made = virtual()
    claim, _ = await made.claim()
    made.store.shut("complete")
    made.store.shut("claim")
    completing = asyncio.ensure_future(made.engine.complete(EVENT, claim, 3600.0))
    claiming = [asyncio.ensure_future(made.claim(key)) for key in "ab"]
    await turns()
    began = now()
    await made.engine.drain(20.0)

    assert now() - began == pytest.approx(20)
    for task in (completing, *claiming):
        task.cancel()


@in_virtual_time
async def test_drain_leaves_no_completion_behind_that_hangs():
    """What was given up is asked for no more when the store comes back."""
    made = virtual()
    claim, _ = await made.claim()
    made.store.shut("complete")
    assert await made.engine.complete(EVENT, claim, 3600.0, patience=5.0, lease=LEASE) is None
    await made.engine.drain(20.0)
    await turns()

    assert not made.engine.settler._settling


@in_virtual_time
async def test_completion_asked_for_after_the_drain_is_tried_once():
    """A thread that ends after the drain does not leave a loop behind."""
    made = virtual()
    claim, _ = await made.claim()
    await made.engine.drain(1.0)
    made.store.away.add("complete")

    assert await made.engine.complete(EVENT, claim, 3600.0) is None
    assert len(made.store.keys_of("complete")) == 1


@in_virtual_time
async def test_nothing_is_begun_for_a_caller_that_is_cancelled_after_the_drain():
    """A thread that ends after the drain leaves no task behind either."""
    made = virtual()
    claim, _ = await made.claim()
    await made.engine.drain(1.0)
    made.store.shut("complete")
    completing = asyncio.ensure_future(made.engine.complete(EVENT, claim, 3600.0))
    await turns()
    completing.cancel()
    await asyncio.wait([completing])

    assert asyncio.all_tasks() == {asyncio.current_task()}


@in_virtual_time
async def test_drain_ends_the_renewals():
    """A store that is closed after the drain is asked for nothing more."""
    made = virtual()
    claim, sent = await made.claim()
    made.engine.hold(claim, LEASE, lambda: None, sent=sent)
    await made.engine.drain(1.0)
    await asyncio.sleep(5 * LEASE)

    assert made.store.keys_of("renew") == []


class Owing(Setting):
    """An engine that owes a completion whose caller has lost patience."""

    def __init__(self) -> None:
        super().__init__(clock=LoopClock())
        self.told: list[bool | None] = []

    async def owe(self) -> None:
        claim, _ = await self.claim()
        self.store.away.add("complete")
        completing = self.engine.complete(
            EVENT, claim, 3600.0, patience=5.0, lease=LEASE, later=self.told.append
        )
        assert await completing is None

    @property
    def details(self) -> list[str]:
        return [record.detail for record in self.records.of(Kind.STORE_ERROR) if record.warning]


@in_virtual_time
async def test_what_becomes_of_a_completion_is_told_after_patience():
    """Who has lost patience hears what the store says in the end, and hears it once."""
    made = Owing()
    await made.owe()
    assert made.told == []
    made.store.away.clear()
    await asyncio.sleep(10)
    await made.engine.drain(20)

    assert made.told == [True]
    assert made.details == []


@in_virtual_time
async def test_refusal_after_patience_is_told():
    """Nor is it taken for done that another holder has it meanwhile."""
    made = Owing()
    await made.owe()
    await made.store.forget("key")
    await made.claim()
    made.store.away.clear()
    await asyncio.sleep(10)

    assert made.told == [False]


@in_virtual_time
async def test_drain_waits_for_a_store_that_comes_back_within_the_lease():
    """An event whose process ends is not run again for an outage shorter than its lease."""
    made = Owing()
    await made.owe()
    asyncio.get_running_loop().call_later(15, made.store.away.clear)
    began = now()
    await made.engine.drain(100)

    assert 15 <= now() - began < 17
    assert made.told == [True]
    assert await made.outcome() is Outcome.DUPLICATE
    assert made.details == []


@in_virtual_time
@pytest.mark.parametrize(("timeout", "waited"), [(100, LEASE - 5), (8, 8)])
async def test_drain_waits_no_longer_than_the_lease_and_its_time(timeout, waited):
    """When the lease is over, or the time, it is told which event may be run again."""
    made = Owing()
    await made.owe()
    began = now()
    await made.engine.drain(timeout)

    assert now() - began == pytest.approx(waited, abs=0.1)
    assert made.told == [None]
    [detail] = made.details
    assert "may be done again" in detail


@in_virtual_time
async def test_completion_outlives_a_loop_that_cancels_everything_before_it_ends():
    """``asyncio.run`` cancels all tasks first, and only then lets this library drain."""
    made = Owing()
    await made.owe()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    made.store.away.clear()
    await made.engine.drain(20)

    assert made.told == [True]
    assert await made.outcome() is Outcome.DUPLICATE


@in_virtual_time
async def test_what_nobody_waits_for_ends_with_a_loop_that_cancels_everything():
    """Without a lease to wait for, nothing is begun anew in a loop that ends."""
    made = virtual()
    claim, _ = await made.claim()
    made.store.away.add("complete")
    assert await made.engine.complete(EVENT, claim, 3600.0, patience=5.0) is None
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)

    assert asyncio.all_tasks() == {asyncio.current_task()}


@in_virtual_time
async def test_settlements_that_have_ended_are_kept_no_longer():
    """A process that lives for months holds what is under way, not what ever was."""
    made = virtual()
    claim, _ = await made.claim()
    assert await made.engine.complete(EVENT, claim, 3600.0, patience=5.0) is True
    await turns()

    assert not made.engine.settler._settling


@in_virtual_time
async def test_cancelled_caller_has_its_answer_told():
    """A caller that is cancelled while the store is asked is told as one without patience is."""
    made = Owing()
    claim, _ = await made.claim()
    gate = made.store.shut("complete")
    completing = asyncio.ensure_future(
        made.engine.complete(
            EVENT, claim, 3600.0, patience=5.0, lease=LEASE, later=made.told.append
        )
    )
    await turns()
    completing.cancel()
    await asyncio.wait([completing])
    gate.set()
    await made.engine.drain(5)

    assert made.told == [True]


@in_virtual_time
@pytest.mark.parametrize("turn", range(12))
async def test_answer_reaches_the_caller_or_is_told_whenever_the_caller_is_cancelled(turn):
    """It may be cancelled in the very turn of the loop in which the store answers."""
    made = Owing()
    claim, _ = await made.claim()
    completing = asyncio.ensure_future(
        made.engine.complete(
            EVENT, claim, 3600.0, patience=5.0, lease=LEASE, later=made.told.append
        )
    )
    await turns(turn + 1)
    completing.cancel()
    await asyncio.wait([completing])
    await made.engine.drain(5)

    assert made.told == ([True] if completing.cancelled() else [])
