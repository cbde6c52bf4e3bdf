"""The Bloom store: exact claims, done keys in a filter, with and without a confirming store."""

import asyncio
import subprocess
import sys

import pytest

from tests.clocked import Clocked
from webhook_dedup.contracts import Startable
from webhook_dedup.errors import ConfigError, MissingPower, StoreUnavailable
from webhook_dedup.model import Bid, Claim, Outcome, Remembers, Settlement, new_token
from webhook_dedup.stores import bloom
from webhook_dedup.stores.bloom import BloomStore
from webhook_dedup.stores.entry import Entry
from webhook_dedup.stores.exact import ExactKeys
from webhook_dedup.stores.memory import MemoryStore
from webhook_dedup.testing import FakeClock, StoreContract

TTL = 3600.0


class TestBloomStore(Clocked, StoreContract):
    ttl_slack = StoreContract.ttl / 4

    @pytest.fixture
    async def store(self):
        self.clock = FakeClock()
        store = BloomStore(clock=self.clock)
        yield store
        await store.aclose()


class TestConfirmedBloomStore(Clocked, StoreContract):
    @pytest.fixture
    async def store(self):
        self.clock = FakeClock()
        store = BloomStore(clock=self.clock, confirm=MemoryStore(clock=self.clock))
        yield store
        await store.aclose()


class EverythingFound:
    """A filter so full that it finds every key."""

    def __contains__(self, ident):
        return True

    def add(self, ident, ttl, now):
        pass

    def drop_past(self, now):
        pass

    def clear(self):
        pass


class TestConfirmedFalsePositives(Clocked, StoreContract):
    """With ``confirm=`` the whole contract holds even if the filter is wrong about every key."""

    @pytest.fixture
    async def store(self):
        self.clock = FakeClock()
        store = BloomStore(clock=self.clock, confirm=MemoryStore(clock=self.clock))
        store._done = EverythingFound()
        yield store
        await store.aclose()


class Unreliable(MemoryStore):
    """Fails on demand, before or after the verb has happened, and waits at a gate on demand."""

    def __init__(self, clock):
        super().__init__(clock=clock)
        self.fails = None
        self.asked = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def _meets(self, verb, *args):
        self.asked.append(verb.__name__)
        fails, self.fails = self.fails, None
        if fails == "before":
            raise StoreUnavailable("not reached")
        await self.gate.wait()
        answers = await verb(*args)
        if fails == "after":
            raise StoreUnavailable("no answer")
        return answers

    async def claim(self, bids):
        return await self._meets(super().claim, bids)

    async def complete(self, done):
        return await self._meets(super().complete, done)

    async def release(self, claims):
        return await self._meets(super().release, claims)

    async def renew(self, claims, lease):
        return await self._meets(super().renew, claims, lease)


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def confirm(clock):
    return Unreliable(clock)


@pytest.fixture
def confirmed(clock, confirm):
    return BloomStore(clock=clock, confirm=confirm)


async def claim(store, key, *, lease=30.0, token=None):
    (answer,) = await store.claim([Bid(key, token or new_token(), lease)])
    return answer


async def complete(store, held, ttl=TTL):
    (answer,) = await store.complete([Settlement(held, ttl)])
    return answer


async def release(store, held):
    (answer,) = await store.release([held])
    return answer


async def renew(store, held, lease=30.0):
    (answer,) = await store.renew([held], lease)
    return answer


async def again(confirm, when, verb, *args):
    """Call a verb whose first try fails."""
    confirm.fails = when
    with pytest.raises(StoreUnavailable):
        await verb(*args)
    return await verb(*args)


async def finish(store, *keys):
    for key in keys:
        assert await complete(store, await claim(store, key))


class TestAlone:
    async def test_remembers_nothing_and_cannot_forget(self):
        """A filter declares no powers, and says what to give it for the missing one."""
        store = BloomStore()
        assert store.remembers is Remembers.NOTHING
        with pytest.raises(MissingPower, match="confirm="):
            await store.forget("key")

    async def test_false_positive_is_a_duplicate(self):
        """The honest exception: a new key the filter finds is not run."""
        store = BloomStore()
        store._done = EverythingFound()
        answer = await claim(store, "new")
        assert (answer.outcome, answer.done, answer.remaining) == (Outcome.DUPLICATE, True, 0)

    async def test_held_key_is_never_asked_of_the_filter(self):
        """A filter that comes to find a held key takes nothing from its holder."""
        store = BloomStore()
        held = await claim(store, "key")
        store._done = EverythingFound()
        assert (await claim(store, "key")).outcome is Outcome.IN_FLIGHT
        assert await renew(store, held)
        assert await complete(store, held)

    async def test_old_completions(self, monkeypatch):
        """Once only the filter knows a key, its own token is still told that it is done."""
        monkeypatch.setattr(bloom, "_RECENT", 10)
        store = BloomStore()
        held = await claim(store, "key")
        assert await complete(store, held)
        await finish(store, *map(str, range(20)))
        assert not await release(store, held)
        assert await complete(store, held)
        assert not await release(store, held)
        assert not await renew(store, held)
        assert (await claim(store, "key")).outcome is Outcome.DUPLICATE

    async def test_late_completion_that_the_filter_finds_is_kept_for_its_ttl(
        self, clock, monkeypatch
    ):
        """A key that was found by mistake, or done before, is remembered from its completion on."""
        monkeypatch.setattr(bloom, "_RECENT", 0)
        store = BloomStore(clock=clock)
        held = await claim(store, "key")
        assert await complete(store, held, ttl=100.0)
        clock.advance(90.0)
        assert await complete(store, held, ttl=100.0)
        clock.advance(99.0)
        assert (await claim(store, "key")).outcome is Outcome.DUPLICATE

    async def test_silent_holders_leave_no_trace(self, clock):
        """Claims of holders that died are swept while others come."""
        store = BloomStore(clock=clock)
        for turn in range(2000):
            await claim(store, f"silent {turn}")
        clock.advance(31.0)
        for turn in range(100):
            await claim(store, f"next {turn}")
        assert len(store._known) == 100

    async def test_renewed_holder_hides_no_silent_ones(self, clock):
        """A claim that lives long by its renewals does not keep others from being swept."""
        store = BloomStore(clock=clock)
        living = await claim(store, "living")
        for turn in range(10):
            await claim(store, f"silent {turn}")
        assert await renew(store, living, 1000.0)
        clock.advance(31.0)
        await claim(store, "next")
        assert len(store._known) == 2

    async def test_repeated_completion_does_not_begin_the_ttl_anew(self, clock):
        """A completion repeated after a lost reply does not make the filter find the key longer."""
        store = BloomStore(clock=clock)
        held = await claim(store, "key")
        assert await complete(store, held, ttl=80.0)
        clock.advance(79.0)
        assert await complete(store, held, ttl=80.0)
        clock.advance(12.0)
        assert (await claim(store, "key")).fresh

    async def test_recent_completions_are_bounded(self):
        """However many events are done, only the last ones cost more than their bits."""
        store = BloomStore(capacity=10_000)
        for turn in range(6000):
            await finish(store, str(turn))
        assert len(store._known) == bloom._RECENT


class TestLedger:
    def test_strangers_change_nothing(self):
        """Only the token that holds a key drops or prolongs it."""
        ledger = ExactKeys(recent=10)
        ledger.put("key", Entry("holder", expires_at=30.0))
        ledger.drop("key", "stranger")
        ledger.extend("key", "stranger", 90.0)
        assert ledger.get("key", 29.0).token == "holder"
        assert ledger.get("key", 30.0) is None


class TestCraftedIds:
    async def test_collisions_do_not_carry_over(self):
        """Ids that one instance takes for done are new to another with the same done keys."""
        mine, theirs = [BloomStore(capacity=64, error_rate=0.1) for _ in range(2)]
        for store in (mine, theirs):
            await finish(store, *(f"done {turn}" for turn in range(64)))
        candidates = (f"candidate {turn}" for turn in range(100_000))
        crafted = []
        while len(crafted) < 20:
            key = next(candidates)
            if (await claim(mine, key)).done:
                crafted.append(key)
        met = [key for key in crafted if (await claim(theirs, key)).done]
        assert len(met) <= 10

    async def test_same_key_is_hashed_apart(self):
        """No two instances hash an id alike, so nothing can be learned from one about another."""
        assert len({BloomStore()._ident("key") for _ in range(10)}) == 10


class TestConfirmed:
    async def test_new_keys_cost_no_question(self, confirmed, confirm):
        """The confirming store is written at completion and asked only about found keys."""
        held = await claim(confirmed, "key")
        assert await renew(confirmed, held)
        assert confirm.asked == []
        assert await complete(confirmed, held)
        assert (await claim(confirmed, "key")).outcome is Outcome.DUPLICATE
        assert await release(confirmed, await claim(confirmed, "other"))
        assert confirm.asked == ["complete", "claim"]

    async def test_takes_over_its_powers(self, confirmed):
        """It remembers what the confirming store remembers."""
        assert confirmed.remembers is MemoryStore.remembers

    async def test_false_positive_runs_and_is_held_in_both(self, confirmed, confirm):
        """A new key that the filter finds is claimed in the confirming store as well."""
        confirmed._done = EverythingFound()
        held = await claim(confirmed, "new")
        assert held.fresh
        assert (await claim(confirm, "new")).outcome is Outcome.IN_FLIGHT
        assert (await claim(confirmed, "new")).outcome is Outcome.IN_FLIGHT
        assert await renew(confirmed, held, 90.0)
        assert (await claim(confirm, "new")).remaining == 90.0
        assert await release(confirmed, held)
        assert (await claim(confirm, "new")).fresh

    async def test_ttl_is_the_confirming_stores(self, confirmed, clock):
        """A key that the filter finds beyond its TTL is claimed again at once."""
        await complete(confirmed, await claim(confirmed, "key"), ttl=80.0)
        await complete(confirmed, await claim(confirmed, "later"), ttl=85.0)
        clock.advance(80.0)
        assert confirmed._ident("key") in confirmed._done
        assert (await claim(confirmed, "key")).fresh

    async def test_key_done_elsewhere_runs_once_more_and_not_for_ever(self, confirmed, confirm):
        """A completion refused by the confirming store makes the next claim ask it."""
        await finish(confirm, "key")
        held = await claim(confirmed, "key")
        assert held.fresh
        assert not await complete(confirmed, held)
        assert (await claim(confirmed, "key")).outcome is Outcome.DUPLICATE

    @pytest.mark.parametrize("when", ["before", "after"])
    async def test_unavailable_while_it_is_asked(self, confirmed, confirm, when):
        """Whether a failed verb happened or not, repeating it gives the answer that was lost."""
        confirmed._done = EverythingFound()
        bids = [Bid(key, "mine", 30.0) for key in ("one", "two")]
        for _ in range(2):
            held = await again(confirm, when, confirmed.claim, bids)
            assert all(each.fresh for each in held)
            assert all(await again(confirm, when, confirmed.renew, held, 30.0))
            assert all(await again(confirm, when, confirmed.release, held))

    @pytest.mark.parametrize("when", ["before", "after"])
    async def test_unavailable_at_completion(self, confirmed, confirm, when):
        """A key whose completion failed stays held until it is completed again."""
        held = await claim(confirmed, "key")
        confirm.fails = when
        with pytest.raises(StoreUnavailable):
            await complete(confirmed, held)
        assert (await claim(confirmed, "key")).outcome is Outcome.IN_FLIGHT
        assert await complete(confirmed, held)
        assert (await claim(confirmed, "key")).outcome is Outcome.DUPLICATE
        assert not confirmed._confirming.is_asked_about("key")

    async def test_claim_beside_a_late_completion(self, confirmed, confirm, clock):
        """While a late completion is written, the confirming store alone orders who else comes."""
        late = await claim(confirmed, "key")
        clock.advance(31.0)
        confirm.gate.clear()
        completing = asyncio.ensure_future(complete(confirmed, late))
        await asyncio.sleep(0)
        claiming = asyncio.ensure_future(claim(confirmed, "key"))
        await asyncio.sleep(0)
        confirm.gate.set()
        assert await completing is not (await claiming).fresh

    async def test_claim_beside_a_question_whose_generation_is_dropped(
        self, confirmed, confirm, clock
    ):
        """A key forgotten by the filter while it is asked about is not granted twice."""
        await finish(confirmed, "key")
        confirm.gate.clear()
        asking = asyncio.ensure_future(claim(confirmed, "key"))
        await asyncio.sleep(0)
        clock.advance(2 * TTL)
        other = asyncio.ensure_future(claim(confirmed, "key"))
        await asyncio.sleep(0)
        confirm.gate.set()
        answers = await asyncio.gather(asking, other)
        assert sorted(each.fresh for each in answers) == [False, True]

    async def test_cancelled_question_is_over(self, confirmed, confirm):
        """A caller that is cancelled while the confirming store is asked leaves nothing behind."""
        await finish(confirmed, "key")
        confirm.gate.clear()
        asking = asyncio.ensure_future(claim(confirmed, "key"))
        await asyncio.sleep(0)
        asking.cancel()
        await asyncio.wait([asking])
        assert not confirmed._confirming.is_asked_about("key")

    async def test_lease_lost_at_the_confirming_store_is_lost(self, confirmed, confirm):
        """A claim that the confirming store gave to another is not renewed here."""
        confirmed._done = EverythingFound()
        held = await claim(confirmed, "key")
        await confirm.forget("key")
        assert (await claim(confirm, "key")).fresh
        assert not await renew(confirmed, held)
        assert not await complete(confirmed, held)

    async def test_claim_that_cannot_be_renewed_is_held_no_longer(self, confirmed, confirm):
        """Once the confirming store has refused a renewal, it alone says who holds the key."""
        confirmed._done = EverythingFound()
        held = await claim(confirmed, "key")
        await confirm.forget("key")
        assert not await renew(confirmed, held)
        assert (await claim(confirmed, "key")).fresh

    async def test_lease_counts_from_its_claim(self, confirmed, confirm, clock):
        """A claim whose answer was lost is held here for what the confirming store has left."""
        confirmed._done = EverythingFound()
        confirm.fails = "after"
        with pytest.raises(StoreUnavailable):
            await claim(confirmed, "key", token="mine", lease=30.0)
        clock.advance(20.0)
        assert (await claim(confirmed, "key", token="mine", lease=30.0)).fresh
        clock.advance(10.0)
        assert (await claim(confirmed, "key")).fresh

    async def test_confirming_store_that_cannot_forget(self):
        """What a store that cannot forget keeps is not said to be forgotten."""

        class Bare:
            remembers = Remembers.NOTHING

        with pytest.raises(MissingPower, match="confirm= a store that can"):
            await BloomStore(confirm=Bare()).forget("key")


class TestLifecycle:
    async def test_starts_and_closes_the_confirming_store(self):
        """The confirming store is checked at start-up and closed at the end."""

        class Startup(MemoryStore):
            calls = ()

            async def start(self):
                self.calls += ("start",)

            async def aclose(self):
                self.calls += ("aclose",)

        confirm = Startup()
        store = BloomStore(confirm=confirm)
        assert isinstance(store, Startable)
        await store.start()
        await store.aclose()
        assert confirm.calls == ("start", "aclose")

    async def test_needs_no_confirming_store(self):
        """Alone it starts and closes too, and has forgotten everything then."""
        store = BloomStore()
        await store.start()
        await finish(store, "key")
        await store.aclose()
        assert len(store._known) == len(store._done) == 0

    async def test_keys_of_past_ttls_leave_as_new_ones_are_done(self, clock):
        """A store that is only told of what is done grows no further after one TTL."""
        store, sizes = BloomStore(capacity=1000, clock=clock), []
        for number in range(64):
            claim = Claim(f"key-{number}", "token", Outcome.FRESH)
            await store.complete([Settlement(claim, TTL)])
            clock.advance(TTL / 8)
            sizes.append(store.bits)
        assert max(sizes[16:]) == max(sizes[:16])


class TestConfiguration:
    @pytest.mark.parametrize(
        "url",
        [
            "bloom://",
            "bloom:",
            "bloom:///",
            "bloom://?capacity=500",
            "bloom://?capacity=500&error_rate=0.001",
            "bloom://?error_rate=1e-6",
        ],
    )
    async def test_urls(self, url, clock, confirm):
        """All parts of the URL are optional, and what no URL can say is given beside it."""
        store = BloomStore.from_url(url, confirm=confirm, clock=clock)
        assert await complete(store, await claim(store, "key"))
        assert (await claim(confirm, "key")).outcome is Outcome.DUPLICATE
        await claim(store, "silent", lease=30.0)
        clock.advance(30.0)
        assert (await claim(store, "silent")).fresh

    def test_url_is_followed(self):
        """The URL's numbers are the store's."""
        store = BloomStore.from_url("bloom://?capacity=500&error_rate=0.001")
        assert (store._done._capacity, store._done._error_rate) == (500, 0.001)

    @pytest.mark.parametrize("limits", [(1, 1e-15), (1_000_000_000, 0.1)])
    def test_limits_are_in_range(self, limits):
        """The least and the most that errors tell of are themselves taken."""
        capacity, error_rate = limits
        assert BloomStore(capacity=capacity, error_rate=error_rate).bits == 0

    def test_bits_are_those_in_use(self):
        """The size that a store tells is that of its filters."""
        store = BloomStore(capacity=1000)
        store._done.add("ident", TTL, 0.0)
        assert store.bits == store._done.bits > 0

    def test_a_password_is_not_shown(self):
        """A URL that was meant for another store is refused without what is secret in it."""
        with pytest.raises(ConfigError, match="'localhost'") as caught:
            BloomStore.from_url("bloom://user:secret@localhost")
        assert "secret" not in str(caught.value)

    @pytest.mark.parametrize(
        ("url", "names"),
        [
            ("bloom://localhost", "localhost"),
            ("bloom:///file.db", "file.db"),
            ("bloom://?size=5", "size=5"),
            ("memory://", "memory://"),
            ("bloom://?capacity=many", "capacity='many' is not a whole number"),
            ("bloom://?capacity=1.5", "capacity='1.5' is not a whole number"),
            ("bloom://?capacity=", "capacity='' is not a whole number"),
            ("bloom://?error_rate=low", "error_rate='low' is not a number"),
            ("bloom://?capacity=0", "capacity=0: give a number from 1 to 1,000,000,000"),
            ("bloom://?capacity=-5", "capacity=-5: give"),
            ("bloom://?error_rate=0", "error_rate=0.0: give a number from 1e-15 to 0.1"),
            ("bloom://?error_rate=0.5", "error_rate=0.5: give"),
            ("bloom://?error_rate=nan", "error_rate=nan: give"),
        ],
    )
    def test_bad_urls(self, url, names):
        """A wrong value is refused with its name, what is expected and what to write."""
        with pytest.raises(ConfigError) as caught:
            BloomStore.from_url(url)
        assert names in str(caught.value)
        assert "write bloom://?" in str(caught.value) or "give a number" in str(caught.value)

    def test_missing_extra(self):
        """Without pybloom-live the error prints what to install."""
        code = "import sys; sys.modules['pybloom_live'] = None; import webhook_dedup.stores.bloom"
        run = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True)
        assert "pip install 'webhook_dedup[bloom]'" in run.stderr.decode()
