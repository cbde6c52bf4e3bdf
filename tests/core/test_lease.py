"""Leases live as long as their handlers, and a handler learns when its lease is gone."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest

from webhook_dedup.errors import LeaseLost, StoreUnavailable
from webhook_dedup.lease import MAX_BATCH, LeaseKeeper
from webhook_dedup.model import Claim, Outcome, new_token
from webhook_dedup.observe.record import Kind

from .kit import CueStore, a_bid, an_event, floor, turns
from .virtual import LoopClock, freeze, in_virtual_time, now

LEASE = 30.0


def a_claim(key: str = "key") -> Claim:
    return Claim(key, new_token(), Outcome.FRESH)


class Renewing:
    """Renewals as a keeper asks for them.

    An answer is a list, an error, a number of seconds to hang, or a pair of seconds and a list.

    Attributes:
        asked: ``(time, keys)`` of every call.
        script: What the next calls answer; when it is used up, everything is renewed.
    """

    def __init__(self, *script: Any) -> None:
        self.asked: list[tuple[float, list[str]]] = []
        self.script = list(script)
        self.keeper: LeaseKeeper[Claim] = LeaseKeeper(self, lambda claim: claim.key)

    async def __call__(self, claims: Sequence[Claim], lease: float) -> Sequence[bool]:
        self.asked.append((now(), [claim.key for claim in claims]))
        answer = self.script.pop(0) if self.script else None
        if isinstance(answer, BaseException):
            raise answer
        if isinstance(answer, tuple):
            seconds, answer = answer
            await asyncio.sleep(seconds)
        elif isinstance(answer, (int, float)):
            await asyncio.sleep(answer)
        return answer if isinstance(answer, list) else [True] * len(claims)

    async def hold(self, seconds: float, claim: Claim | None = None, lease: float = LEASE) -> Any:
        """Hold a claim for a while; return when it was lost, ``None`` if it was not."""
        lost: list[float] = []
        began = now()
        held = claim or a_claim()
        with self.keeper.hold(held, lease, lambda: lost.append(now() - began), sent=began):
            await asyncio.sleep(seconds)
        assert len(lost) <= 1
        return lost[0] if lost else None


@in_virtual_time
async def test_short_handlers_are_never_renewed():
    """What ends within a quarter of its lease costs no renewal, however much there is of it."""
    renewing = Renewing()
    for number in range(50):
        await asyncio.gather(*(renewing.hold(LEASE / 5, a_claim(f"{number}.{n}")) for n in "abc"))

    assert renewing.asked == []


@in_virtual_time
async def test_long_handlers_are_renewed_before_their_lease_ends():
    """A handler that takes ten leases is renewed about three times in each and never lost."""
    renewing = Renewing()

    assert await renewing.hold(10 * LEASE) is None
    times = [0.0, *(time - 1000 for time, _ in renewing.asked)]
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert 25 <= len(gaps) <= 45
    assert max(gaps) < LEASE / 2


@in_virtual_time
async def test_many_held_claims_are_renewed_in_few_batches():
    """Claims that came due at about the same time go together, none of them twice in a batch."""
    renewing = Renewing()

    async def one(number: int) -> None:
        await asyncio.sleep(number / 1000)
        await renewing.hold(LEASE * 0.6, a_claim(f"key {number}"))

    await asyncio.gather(*(one(number) for number in range(600)))

    assert len(renewing.asked) <= 6
    assert sorted(key for _, keys in renewing.asked for key in keys) == sorted(
        f"key {number}" for number in range(600)
    )
    assert max(len(keys) for _, keys in renewing.asked) == MAX_BATCH


@in_virtual_time
async def test_one_key_held_twice_is_renewed_in_two_batches():
    """A late holder beside a new one does not make a batch that the store must refuse."""
    renewing = Renewing()
    await asyncio.gather(*(renewing.hold(LEASE * 0.6, a_claim("same")) for _ in range(2)))

    assert [keys for _, keys in renewing.asked] == [["same"], ["same"]]


@in_virtual_time
async def test_leases_of_different_lengths_are_renewed_in_their_own_time():
    """A long lease beside a short one neither delays it nor is renewed with it."""
    renewing = Renewing()
    assert await asyncio.gather(
        renewing.hold(10, a_claim("short"), 3.0), renewing.hold(10, a_claim("long"), 300.0)
    ) == [None, None]

    assert {key for _, keys in renewing.asked for key in keys} == {"short"}


@in_virtual_time
async def test_refused_renewal_is_lost_at_once_and_only_that_one():
    """An answer of False ends its own claim; the others of the batch live on."""
    renewing = Renewing([False, True])
    lost, kept = await asyncio.gather(
        renewing.hold(2 * LEASE, a_claim("lost")), renewing.hold(2 * LEASE, a_claim("kept"))
    )

    assert lost is not None
    assert lost <= LEASE / 3 + 1e-6
    assert kept is None
    assert all(keys == ["kept"] for _, keys in renewing.asked[1:])


@in_virtual_time
@pytest.mark.parametrize(
    "fault", [StoreUnavailable("away"), OSError("odd"), 10_000, []], ids=lambda f: type(f).__name__
)
async def test_unconfirmed_lease_is_lost_exactly_at_its_deadline(fault):
    """Renewals that fail, hang or answer short give up the claim when its lease must be over."""
    renewing = Renewing(*[fault] * 100)

    assert await renewing.hold(3 * LEASE) == pytest.approx(LEASE)
    assert len(renewing.asked) > 2, "it is asked again before it is given up"


@in_virtual_time
async def test_deadline_counts_from_the_sending_of_the_last_confirmed_renewal():
    """A slow answer prolongs the lease from when it was asked for, not from when it came."""
    renewing = Renewing(4.0, *[StoreUnavailable("away")] * 100)
    lost = await renewing.hold(3 * LEASE)

    assert lost == pytest.approx(renewing.asked[0][0] - 1000 + LEASE)


@in_virtual_time
async def test_store_that_comes_back_in_time_saves_the_handler():
    """Renewals that fail for most of a lease, and then succeed, cost nothing."""
    renewing = Renewing(StoreUnavailable("away"), 10_000, OSError("odd"))

    assert await renewing.hold(3 * LEASE) is None


@in_virtual_time
async def test_hanging_renewal_of_a_long_lease_does_not_blind_the_short_ones():
    """While one batch hangs for minutes, another lease is renewed, or given up, in time."""
    renewing = Renewing(10_000)
    slow = asyncio.ensure_future(renewing.hold(150, a_claim("long"), 300.0))
    await asyncio.sleep(105)
    assert await renewing.hold(19.5, a_claim("short"), 3.0) is None
    renewing.script = [[False]]
    assert await renewing.hold(20, a_claim("refused"), 3.0) == pytest.approx(1.0)
    assert await slow is None


@in_virtual_time
async def test_frozen_process_gives_up_before_it_renews():
    """After a stop longer than the lease the handler is told first of all."""
    renewing = Renewing()
    holding = asyncio.ensure_future(renewing.hold(LEASE, a_claim()))
    await asyncio.sleep(1)
    freeze(2 * LEASE)

    assert await holding is not None
    assert renewing.asked == []


@in_virtual_time
async def test_lease_that_ends_in_a_block_that_never_waits_is_lost():
    """Nothing could tell it meanwhile, and its end says so."""
    keeper = Renewing().keeper
    with keeper.hold(a_claim(), LEASE, lambda: None, sent=now()) as held:
        freeze(LEASE - 1)
    assert not held.lost
    with keeper.hold(a_claim(), LEASE, lambda: None, sent=now()) as held:
        freeze(LEASE)
    assert held.lost


@in_virtual_time
async def test_nothing_held_leaves_nothing_behind_and_it_begins_again():
    """The timer rings once more at most; the next claim is renewed as the first was."""
    renewing = Renewing()
    for _ in range(2):
        await renewing.hold(0.9 * LEASE)
        await asyncio.sleep(LEASE / 3)
        assert renewing.keeper._timer is None
        assert not renewing.keeper._renewals
    assert len(renewing.asked) == 4


@in_virtual_time
async def test_dropped_claim_is_renewed_and_lost_no_more():
    """A claim settled inside its block is left alone, even by a renewal that is under way."""
    renewing = Renewing((2.0, [False]), [False])
    claim = a_claim()
    lost: list[bool] = []
    with renewing.keeper.hold(claim, LEASE, lambda: lost.append(True), sent=now()):
        await asyncio.sleep(LEASE / 3 + 1)
        renewing.keeper.drop(claim)
        await asyncio.sleep(3 * LEASE)

    assert len(renewing.asked) == 1
    assert lost == []


@in_virtual_time
async def test_closing_ends_a_renewal_under_way():
    """A keeper that is closed leaves no task behind."""
    renewing = Renewing(10_000)
    holding = asyncio.ensure_future(renewing.hold(LEASE))
    await asyncio.sleep(LEASE / 3 + 1)
    assert renewing.keeper._renewals
    began = now()
    await renewing.keeper.aclose()

    assert now() == pytest.approx(began)
    assert not renewing.keeper._renewals
    assert await holding is None


@in_virtual_time
async def test_handler_three_times_as_long_as_its_lease_runs_once():
    """Another bidder is refused all the while, and the event ends done."""
    store = CueStore(clock=LoopClock())
    answers: list[Outcome] = []

    async def long(_: Any) -> int:
        await asyncio.sleep(3 * LEASE)
        return 200

    async with floor(long, store=store, inbox=_inbox()) as made:
        event = an_event()
        run = await made.deliver(event)
        await asyncio.sleep(0.1)
        while not run.done():
            answers.append((await store.claim([a_bid(str(event.key))]))[0].outcome)
            await asyncio.sleep(LEASE / 7)
        [late] = await store.claim([a_bid(str(event.key))])

    assert len(answers) > 20
    assert set(answers) == {Outcome.IN_FLIGHT}
    assert late.outcome is Outcome.DUPLICATE
    assert made.runs == ["evt_1"]


@in_virtual_time
async def test_handler_that_loses_its_claim_is_cancelled_and_recorded():
    """When another token has the key the handler ends with ``lease_lost`` and is not released."""
    store = CueStore(clock=LoopClock())
    ended: list[BaseException] = []

    async def long(_: Any) -> int:
        try:
            await asyncio.sleep(10 * LEASE)
        except asyncio.CancelledError as exc:
            ended.append(exc)
            raise
        return 200

    async with floor(long, store=store, inbox=_inbox()) as made:
        event = an_event()
        run = await made.deliver(event)
        await asyncio.sleep(1)
        await store.forget(str(event.key))
        [thief] = await store.claim([a_bid(str(event.key), lease=1000)])
        await run

        [record] = made.records.of(Kind.LEASE_LOST)
        assert record.attempt == 1
        assert len(ended) == 1
        assert thief.fresh
        assert await store.renew([thief], 1000) == [True]
        assert ("release", [str(event.key)]) not in store.calls


@in_virtual_time
async def test_lost_lease_reaches_the_caller_of_the_engine_as_lease_lost():
    """The engine tells a lost claim from any other cancellation."""
    store = CueStore(clock=LoopClock())
    store.away.add("renew")

    async with floor(_never, store=store, inbox=_inbox()) as made:
        claim, sent = await made.engine.claim(a_bid())
        run = await made.engine.run(lambda: asyncio.sleep(1000), claim, lease=LEASE, sent=sent)

    assert isinstance(run.error, LeaseLost)
    assert run.duration == pytest.approx(LEASE)
    assert not run.cancelled


@in_virtual_time
async def test_cancelled_holder_drops_its_lease():
    """A run whose caller is cancelled is renewed no more once it has ended."""
    store = CueStore(clock=LoopClock())
    async with floor(_never, store=store, inbox=_inbox()) as made:
        claim, sent = await made.engine.claim(a_bid())
        running = asyncio.ensure_future(
            made.engine.run(lambda: asyncio.sleep(1000), claim, lease=LEASE, sent=sent)
        )
        await turns()
        running.cancel()
        run = await running
        await asyncio.sleep(2 * LEASE)

    assert run.cancelled
    assert store.keys_of("renew") == []


async def _never(_: Any) -> int:
    raise AssertionError("no handler runs in this test")


def _inbox() -> Any:
    from webhook_dedup.inbox import MemoryInbox

    return MemoryInbox(clock=LoopClock())
