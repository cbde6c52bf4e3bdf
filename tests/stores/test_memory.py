"""The memory store: the contract, and what only it promises."""

import pytest

from tests.clocked import Clocked
from webhook_dedup.clock import SystemClock
from webhook_dedup.model import Bid, Outcome, Settlement
from webhook_dedup.stores.memory import MemoryStore
from webhook_dedup.testing import FakeClock, StoreContract

LEASE = 30.0
TTL = 3600.0


class TestMemoryStore(Clocked, StoreContract):
    @pytest.fixture
    async def store(self):
        self.clock = FakeClock()
        store = MemoryStore(clock=self.clock)
        yield store
        await store.aclose()


class TestMemoryStoreOnTheSystemClock(StoreContract):
    @pytest.fixture
    async def store(self):
        store = MemoryStore()
        yield store
        await store.aclose()


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def store(clock):
    return MemoryStore(clock=clock)


async def _hold(store, key, *, lease=LEASE, token="holder"):
    (claim,) = await store.claim([Bid(key, token, lease)])
    return claim


async def _finish(store, key, *, ttl=TTL):
    claim = await _hold(store, key)
    assert list(await store.complete([Settlement(claim, ttl)])) == [True]


async def test_time_is_the_injected_clocks(store, clock):
    """First-seen times and leases follow the clock it was given."""
    claim = await _hold(store, "event")
    assert claim.first_seen == clock.time()
    assert claim.remaining == LEASE
    clock.advance(LEASE - 1)
    assert (await _hold(store, "event", token="other")).remaining == 1


async def test_wall_clock_jumps_change_nothing():
    """Leases and TTLs are kept in monotonic time."""

    class JumpingClock(FakeClock):
        def time(self):
            return super().time() + jump

    jump, store = 0.0, MemoryStore(clock=JumpingClock())
    await _hold(store, "held")
    await _finish(store, "done")
    for jump in (10 * TTL, -10 * TTL):  # noqa: B007 - read by the clock
        assert (await _hold(store, "held", token="other")).outcome is Outcome.IN_FLIGHT
        assert (await _hold(store, "done", token="other")).outcome is Outcome.DUPLICATE


async def test_live_keys_are_never_evicted(store, clock):
    """However many keys come, none that is held or done is dropped before its time."""
    for number in range(2_000):
        await _finish(store, f"done {number}")
        await _hold(store, f"held {number}", lease=TTL)
    clock.advance(TTL - 1)
    await store.claim([Bid(f"new {number}", "new", LEASE) for number in range(2_000)])
    for number in range(2_000):
        assert (await _hold(store, f"done {number}", token="other")).done
        assert not (await _hold(store, f"held {number}", token="other")).fresh


@pytest.mark.parametrize("batch", [1, 500])
async def test_expired_keys_do_not_pile_up(store, clock, batch):
    """A stream of short-lived keys keeps what lives and little more, whatever its batches."""
    for turn in range(10_000 // batch):
        keys = [f"event {turn}.{number}" for number in range(batch)]
        claims = await store.claim([Bid(key, "holder", 1.0) for key in keys])
        await store.complete([Settlement(claim, 5.0) for claim in claims[::2]])
        clock.advance(1.0)
    assert len(store) <= 7 * batch


async def test_sweeps_are_bounded(store, clock):
    """A claim after a long silence drops a share of what expired, not all of it at once."""
    await store.claim([Bid(f"event {number}", "holder", LEASE) for number in range(10_000)])
    clock.advance(LEASE)
    before = len(store)
    await _hold(store, "next")
    assert before - 100 < len(store) < before
    for number in range(200):
        await _hold(store, f"later {number}")
    assert len(store) == 201


async def test_renewals_do_not_pile_up(store, clock):
    """A claim renewed for days takes no more memory than one renewed once."""
    claim = await _hold(store, "event")
    for _ in range(10_000):
        clock.advance(LEASE / 3)
        assert list(await store.renew([claim], LEASE)) == [True]
    assert len(store._queue) == 1
    await _hold(store, "other")
    assert len(store._queue) == 2


async def test_released_and_forgotten_keys_leave_nothing_behind(store, clock):
    """What made a key absent early is swept like what expired."""
    for _ in range(1_000):
        await store.release([await _hold(store, "released")])
        await _hold(store, "forgotten")
        assert await store.forget("forgotten")
    assert len(store) == 0
    clock.advance(LEASE)
    for number in range(100):
        await _hold(store, f"event {number}")
    assert len(store._queue) == len(store) == 100


async def test_shortened_life_is_swept_on_time(store, clock):
    """A TTL shorter than the lease before it does not keep the key in memory for the lease."""
    claim = await _hold(store, "event", lease=TTL)
    await store.complete([Settlement(claim, 1.0)])
    clock.advance(1.0)
    await _hold(store, "other")
    assert len(store) == 1


async def test_stores_are_apart():
    """Two stores of one process share no keys."""
    one, other = MemoryStore(), MemoryStore()
    assert (await _hold(one, "event")).fresh
    assert (await _hold(other, "event", token="other")).fresh


def test_system_clock_is_the_default():
    """Without a clock it goes by the machine's."""
    assert isinstance(MemoryStore().clock, SystemClock)
