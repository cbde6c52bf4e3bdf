"""The cache of keys known done, in front of a store."""

import asyncio

import pytest

from tests.clocked import Clocked
from webhook_dedup.contracts import Startable, never_waits
from webhook_dedup.errors import ConfigError, MissingPower, StoreUnavailable
from webhook_dedup.model import Bid, Outcome, Remembers, Settlement, new_token
from webhook_dedup.stores.bloom import BloomStore
from webhook_dedup.stores.memory import MemoryStore
from webhook_dedup.stores.seen import SeenCache
from webhook_dedup.testing import FakeClock, StoreContract

TTL = 3600.0


class TestSeenCacheOnMemory(Clocked, StoreContract):
    @pytest.fixture
    async def store(self):
        self.clock = FakeClock()
        store = SeenCache(MemoryStore(clock=self.clock), clock=self.clock)
        yield store
        await store.aclose()


class TestTinySeenCache(Clocked, StoreContract):
    """The contract holds as well while nearly every entry has just been dropped."""

    @pytest.fixture
    async def store(self):
        self.clock = FakeClock()
        store = SeenCache(MemoryStore(clock=self.clock), size=1, clock=self.clock)
        yield store
        await store.aclose()


class TestSeenCacheOnBloom(Clocked, StoreContract):
    ttl_slack = StoreContract.ttl / 4

    @pytest.fixture
    async def store(self):
        self.clock = FakeClock()
        store = SeenCache(BloomStore(clock=self.clock), clock=self.clock)
        yield store
        await store.aclose()


class Counting(MemoryStore):
    """Counts the keys it is asked about, and waits at a gate on demand."""

    def __init__(self, clock):
        super().__init__(clock=clock)
        self.claims = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.calls = ()

    async def start(self):
        self.calls += ("start",)

    async def claim(self, bids):
        assert bids, "asked for nothing"
        self.claims += len(bids)
        answers = await super().claim(bids)
        await self.gate.wait()
        return answers

    async def complete(self, done):
        answers = await super().complete(done)
        await self.gate.wait()
        return answers

    async def aclose(self):
        self.calls += ("aclose",)


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def inner(clock):
    return Counting(clock)


@pytest.fixture
def cache(inner, clock):
    return SeenCache(inner, clock=clock)


async def claim(store, key="key", fingerprint=None, token=None):
    (answer,) = await store.claim([Bid(key, token or new_token(), 30.0, fingerprint)])
    return answer


async def complete(store, held, ttl=TTL, result=None):
    (answer,) = await store.complete([Settlement(held, ttl, result)])
    return answer


async def finish(store, key="key", fingerprint=None, ttl=TTL, result=None):
    """Claim and complete a key; return the claim."""
    held = await claim(store, key, fingerprint)
    assert await complete(store, held, ttl, result)
    return held


class TestHits:
    async def test_completed_key_costs_no_question(self, cache, inner):
        """A copy of what was completed through the cache never reaches the store."""
        await finish(cache)
        for _ in range(3):
            assert (await claim(cache)).outcome is Outcome.DUPLICATE
        assert inner.claims == 1

    async def test_answer_is_the_stores(self, cache, inner, clock):
        """The cache says what the store would have said."""
        await finish(cache, fingerprint=b"body")
        clock.advance(10.0)
        for fingerprint in (None, b"body", b"other"):
            cached = await claim(cache, fingerprint=fingerprint, token="token")
            assert cached == await claim(inner, fingerprint=fingerprint, token="token")

    async def test_key_done_elsewhere_is_asked_once(self, cache, inner):
        """What the store calls done is known from then on."""
        held = await finish(inner)
        for _ in range(3):
            answer = await claim(cache)
            assert (answer.outcome, answer.holder) == (Outcome.DUPLICATE, held.token)
        assert inner.claims == 2

    async def test_nine_copies_of_ten(self, cache, inner):
        """Where each event comes ten times, the store is asked once for each."""
        for turn in range(1000):
            answer = await claim(cache, key=f"event {turn % 100}")
            assert answer.fresh == (turn < 100)
            if answer.fresh:
                assert await complete(cache, answer)
        assert inner.claims == 100

    async def test_mixed_batch(self, cache, inner):
        """Only the unknown keys of a batch are asked about, and answers keep their order."""
        await finish(cache, "done")
        await finish(cache, "done too")
        held = await claim(cache, "held")
        asked = ["new", "done", "held", "done too", "newer"]
        before = inner.claims
        answers = await cache.claim([Bid(key, new_token(), 30.0) for key in asked])
        assert [each.key for each in answers] == asked
        fresh, duplicate, flight = Outcome.FRESH, Outcome.DUPLICATE, Outcome.IN_FLIGHT
        expected = [fresh, duplicate, flight, duplicate, fresh]
        assert [each.outcome for each in answers] == expected
        assert inner.claims == before + 3
        assert await complete(cache, held)

    async def test_peek(self, cache, inner):
        """Before any I/O a caller can see whether a key is known done."""
        held = await finish(cache, fingerprint=b"body")
        same = cache.peek("key", b"body")
        assert (same.outcome, same.done, same.holder, same.token) == (
            Outcome.DUPLICATE,
            True,
            held.token,
            "",
        )
        assert cache.peek("key", b"other").outcome is Outcome.MISMATCH
        assert cache.peek("key").outcome is Outcome.DUPLICATE
        assert cache.peek("unknown") is None
        assert inner.claims == 1


class TestFingerprints:
    async def test_changed_body_costs_no_question(self, cache, inner):
        """A changed body under an id completed here is a mismatch without I/O."""
        await finish(cache, fingerprint=b"body")
        answer = await claim(cache, fingerprint=b"other")
        assert (answer.outcome, answer.done) == (Outcome.MISMATCH, True)
        assert inner.claims == 1

    @pytest.mark.parametrize("stored", [None, b"body"])
    @pytest.mark.parametrize("first", [None, b"body"])
    @pytest.mark.parametrize("then", [None, b"body", b"other"])
    async def test_learned_key_answers_as_the_store_would(self, cache, inner, stored, first, then):
        """A key known from a duplicate does not pretend to know the stored fingerprint."""
        await finish(inner, fingerprint=stored)
        await claim(cache, fingerprint=first)
        answer = await claim(cache, fingerprint=then)
        assert answer.outcome is (await claim(inner, fingerprint=then)).outcome

    async def test_mismatch_teaches_nothing(self, cache, inner):
        """A mismatch does not tell the stored fingerprint, so the store is asked again."""
        await finish(inner, fingerprint=b"body")
        for _ in range(2):
            assert (await claim(cache, fingerprint=b"other")).outcome is Outcome.MISMATCH
        assert inner.claims == 3

    async def test_not_compared_where_the_store_does_not(self, clock):
        """In front of a store without fingerprints a changed body is a duplicate."""
        cache = SeenCache(BloomStore(clock=clock), clock=clock)
        await finish(cache, fingerprint=b"body")
        assert (await claim(cache, fingerprint=b"other")).outcome is Outcome.DUPLICATE


class TestBounds:
    async def test_entries_live_for_their_seconds(self, cache, inner, clock):
        """After a minute the store is asked again."""
        await finish(cache)
        clock.advance(59.9)
        await claim(cache)
        assert inner.claims == 1
        clock.advance(0.1)
        assert (await claim(cache)).outcome is Outcome.DUPLICATE
        assert inner.claims == 2

    async def test_seconds_of_its_own(self, inner, clock):
        """A key may be kept for less than a minute, and for less than a second."""
        cache = SeenCache(inner, seconds=0.5, clock=clock)
        await finish(cache)
        clock.advance(0.4)
        assert cache.peek("key") is not None
        clock.advance(0.1)
        assert cache.peek("key") is None

    async def test_time_is_the_stores_unless_given(self, inner, clock):
        """A cache goes by the clock of its store, which decides, or by one of its own."""
        theirs, own = SeenCache(inner), FakeClock()
        mine = SeenCache(inner, clock=own)
        for cache in (theirs, mine):
            await finish(cache, str(cache))
        clock.advance(61.0)
        assert theirs.peek(str(theirs)) is None
        assert mine.peek(str(mine)) is not None
        own.advance(61.0)
        assert mine.peek(str(mine)) is None

    async def test_hits_do_not_prolong_an_entry(self, cache, inner, clock):
        """A key that is asked for all the time is checked each minute all the same."""
        await finish(cache)
        for _ in range(130):
            clock.advance(1.0)
            await claim(cache)
        assert inner.claims == 3

    async def test_completed_key_is_gone_with_its_ttl(self, cache, clock):
        """A key completed here is not known for longer than its TTL."""
        await finish(cache, ttl=10.0)
        clock.advance(10.0)
        assert (await claim(cache)).fresh
        assert len(cache) == 0

    async def test_learned_key_is_gone_with_its_ttl(self, cache, inner, clock):
        """A key learned from a duplicate is not known for longer than the TTL left."""
        await finish(inner, ttl=10.0)
        clock.advance(4.0)
        assert (await claim(cache)).outcome is Outcome.DUPLICATE
        clock.advance(5.9)
        assert cache.peek("key").remaining == pytest.approx(0.1)
        clock.advance(0.1)
        assert (await claim(cache)).fresh

    async def test_repeated_completion_does_not_begin_the_ttl_anew(self, cache, clock):
        """A completion repeated after a lost reply changes nothing here either."""
        held = await finish(cache, ttl=10.0)
        clock.advance(9.0)
        assert await complete(cache, held, ttl=10.0)
        clock.advance(1.0)
        assert (await claim(cache)).fresh

    async def test_size(self, inner, clock):
        """The eldest keys go, and are asked of the store again."""
        cache = SeenCache(inner, size=10, clock=clock)
        for turn in range(100):
            await finish(cache, str(turn))
        assert len(cache) == 10
        assert cache.peek("99") is not None
        assert cache.peek("89") is None
        assert (await claim(cache, "0")).outcome is Outcome.DUPLICATE

    async def test_key_done_anew_is_the_youngest(self, inner, clock):
        """A key that was forgotten elsewhere and done again does not go before its elders."""
        cache = SeenCache(inner, size=2, clock=clock)
        await finish(cache, "again")
        await finish(cache, "other")
        assert await inner.forget("again")
        assert await complete(cache, await claim(inner, "again"))
        await finish(cache, "new")
        kept = [key for key in ("again", "other", "new") if cache.peek(key)]
        assert kept == ["again", "new"]

    async def test_huge_keys_are_not_kept(self, cache, inner):
        """Keys of a megabyte go to the store and do not fill the cache."""
        await finish(cache, "k" * 1_000_000)
        assert (await claim(cache, "k" * 1_000_000)).outcome is Outcome.DUPLICATE
        assert len(cache) == 0

    async def test_store_that_cannot_tell_the_time_left(self, cache, inner, clock, monkeypatch):
        """Without the time that is left a duplicate is not kept."""
        monkeypatch.setattr("webhook_dedup.stores.bloom._RECENT", 0)
        store = BloomStore(clock=clock)
        cache = SeenCache(store, clock=clock)
        await finish(store)
        assert (await claim(cache)).outcome is Outcome.DUPLICATE
        assert len(cache) == 0

    @pytest.mark.parametrize("options", [{"size": 0}, {"seconds": 0}, {"seconds": 61}])
    def test_out_of_range(self, inner, options):
        """A wrong size or time is refused with its value."""
        (name, value) = next(iter(options.items()))
        with pytest.raises(ConfigError, match=f"{name}={value}: give"):
            SeenCache(inner, **options)


class TestNeverKnown:
    async def test_held_and_released_keys(self, cache):
        """Only done keys are kept."""
        held = await claim(cache)
        assert (await claim(cache)).outcome is Outcome.IN_FLIGHT
        await cache.renew([held], 30.0)
        await cache.release([held])
        assert len(cache) == 0

    async def test_refused_completion_removes(self, cache, inner):
        """A completion that another token beat makes the store decide."""
        held = await finish(cache)
        await inner.forget("key")
        assert (await claim(inner)).fresh
        assert not await complete(cache, held)
        assert (await claim(cache)).outcome is Outcome.IN_FLIGHT

    async def test_failed_completion_is_not_kept(self, cache, inner, monkeypatch):
        """While the store is away nothing is known to be done."""

        async def away(done):
            raise StoreUnavailable("away")

        held = await claim(cache)
        monkeypatch.setattr(inner, "complete", away)
        with pytest.raises(StoreUnavailable):
            await complete(cache, held)
        assert (await claim(cache)).outcome is Outcome.IN_FLIGHT

    async def test_results(self, cache, inner):
        """A key with a result is not told from here: the store replays it for each copy."""
        await finish(cache, result=b"result")
        await finish(inner, "other", result=b"")
        assert cache.remembers == inner.remembers
        for _ in range(2):
            assert (await claim(cache)).result == b"result"
            assert (await claim(cache, "other")).result == b""
        assert cache.peek("key") is None


class TestForgetting:
    async def test_forgets_in_both(self, cache, inner):
        """A key forgotten on a person's order runs at once."""
        await finish(cache)
        assert await cache.forget("key")
        assert (await claim(inner)).fresh
        assert (await claim(cache)).outcome is Outcome.IN_FLIGHT

    async def test_answers_from_before_are_not_kept(self, cache, inner):
        """A duplicate that was answered before the key was forgotten does not come back."""
        await finish(inner)
        inner.gate.clear()
        asking = asyncio.ensure_future(claim(cache))
        await asyncio.sleep(0)
        assert await cache.forget("key")
        inner.gate.set()
        assert (await asking).outcome is Outcome.DUPLICATE
        assert (await claim(cache)).fresh

    async def test_completions_from_before_are_not_kept(self, cache, inner):
        """Nor does one whose store had answered before the key was forgotten."""
        held = await claim(cache)
        inner.gate.clear()
        completing = asyncio.ensure_future(complete(cache, held))
        await asyncio.sleep(0)
        assert await cache.forget("key")
        inner.gate.set()
        assert await completing
        assert (await claim(cache)).fresh

    async def test_takes_a_store_that_can(self):
        """In front of a store that cannot forget, nothing pretends to."""

        class Bare:
            name = "bare"
            remembers = Remembers.NOTHING

        for store in (Bare(), BloomStore()):
            with pytest.raises(MissingPower, match=store.name):
                await SeenCache(store).forget("key")


class TestLifecycle:
    async def test_starts_and_closes_the_store(self, cache, inner):
        """The store behind is started and closed with the cache, and nothing is known then."""
        assert isinstance(cache, Startable)
        await cache.start()
        await finish(cache)
        await cache.aclose()
        assert inner.calls == ("start", "aclose")
        assert len(cache) == 0

    async def test_waits_where_its_store_does(self, inner):
        """Calls of a store that never waits need not be gathered, behind a cache either."""
        assert never_waits(SeenCache(MemoryStore()))
        assert not never_waits(SeenCache(inner))

    async def test_is_named_like_the_store(self, cache):
        """Logs name the store that decides."""
        assert cache.name == "memory"
