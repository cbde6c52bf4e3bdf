"""What the SQL store sends to its database, and how it reads the clock."""

import time

import pytest
from msgspec.structs import replace

from tests.stores import sql_support
from tests.stores.sql_support import bids, opened, outcomes, session, statements_of
from webhook_dedup.keys import digest
from webhook_dedup.model import Bid, Outcome, Settlement, new_token
from webhook_dedup.stores.sql.rounds import settle
from webhook_dedup.stores.sql.statements import Row
from webhook_dedup.stores.sql.verbs import completing, releasing
from webhook_dedup.testing.store_rules.case import LONG_LEASE, LONG_TTL, a_key, claim, complete

url = sql_support.url

DAY = 86_400.0


async def test_a_batch_is_one_statement(url):
    """Claiming, renewing, releasing and completing 64 keys send one statement each."""
    batch = bids(64)
    async with opened(url) as store:
        await store.start()
        async with statements_of(store) as sent:
            claims = await store.claim(batch)
            await store.renew(claims, LONG_LEASE)
            await store.release(claims[:32])
            await store.complete([Settlement(claim, LONG_TTL) for claim in claims[32:]])
        assert [statement.split()[0] for statement in sent] == [
            "INSERT",
            "UPDATE",
            "DELETE",
            "INSERT",
        ]
        assert outcomes(claims) == {Outcome.FRESH}


async def test_duplicates_cost_one_read_more(url):
    """A batch of known keys is one attempt to write and one read."""
    batch = bids(64)
    async with opened(url) as store:
        await store.claim(batch)
        async with statements_of(store) as sent:
            again = await store.claim([Bid(bid.key, new_token(), LONG_LEASE) for bid in batch])
        assert [statement.split()[0] for statement in sent] == ["INSERT", "SELECT"]
        assert outcomes(again) == {Outcome.IN_FLIGHT}


async def test_a_batch_beyond_every_limit_is_answered_in_order(url):
    """Thousands of keys in one call get their own answers."""
    batch = bids(2_500)
    async with opened(url) as store:
        known = batch[::3]
        await store.claim([Bid(bid.key, "first", LONG_LEASE) for bid in known])
        claims = await store.claim(batch)
        assert [claim.key for claim in claims] == [bid.key for bid in batch]
        assert outcomes(claims[::3]) == {Outcome.IN_FLIGHT}
        assert outcomes(claims[1::3] + claims[2::3]) == {Outcome.FRESH}
        fresh = claims[1::3]
        assert all(await store.complete([Settlement(claim, LONG_TTL) for claim in fresh]))
        assert await store.release(claims) == [i % 3 == 2 for i in range(len(batch))]


class LeftAlone:
    """A database that leaves a held key alone, shows it, and writes it the next time."""

    def __init__(self, held):
        stands = (held.token, False, None, None, held.first_seen, 0.0, LONG_LEASE)
        self.row = Row(digest(held.key), held.key, *stands)
        self.times = 0

    async def count(self, *_):
        self.times += 1
        return self.times - 1

    async def rows(self, *_):
        return [self.row]


@pytest.mark.parametrize("verb", ["complete", "release"])
async def test_what_was_left_alone_and_is_held_is_asked_for_again(url, verb):
    """A claim that was written between the two statements is neither done nor lost yet."""
    async with opened(url) as store:
        held, spoken = await claim(store, a_key()), (store._statements, store._dialect)
        verbs = {
            "complete": (completing(*spoken), Settlement(held, LONG_TTL)),
            "release": (releasing(*spoken), held),
        }
        ask, (asks, asked) = LeftAlone(held), verbs[verb]
        assert await settle(ask, verb=asks, read=store._statements.read, batch=[asked]) == [True]
        assert ask.times == 2


async def test_a_claim_of_unknown_date_is_completed(url):
    """A filter before this store may not know when a key was first seen: it is as of then."""
    async with opened(url) as store:
        undated = replace(await claim(store, a_key()), key=a_key(), first_seen=None)
        assert await complete(store, undated)
        copy = await claim(store, undated.key)
        assert (copy.outcome, copy.first_seen is None) == (Outcome.DUPLICATE, False)


async def test_the_text_of_postgres_statements_never_changes(postgres_url):
    """Batches of different sizes share one prepared statement."""
    async with opened(postgres_url) as store:
        await store.start()
        async with statements_of(store) as sent:
            for size in (1, 2, 64):
                claims = await store.claim(bids(size))
                await store.claim([Bid(claim.key, new_token(), LONG_LEASE) for claim in claims])
                await store.release(claims)
    assert len(set(sent)) == 3


async def test_the_clock_is_the_databases(url, monkeypatch):
    """A process whose clock is a day wrong agrees with the others."""
    async with opened(url) as right, opened(url) as wrong:
        held = await claim(right, a_key())
        done = await claim(right, a_key())
        await complete(right, done)
        true_time = time.time()
        for error in (DAY, -DAY):
            monkeypatch.setattr(time, "time", lambda error=error: true_time + error)
            other = await claim(wrong, held.key)
            assert other.outcome is Outcome.IN_FLIGHT
            assert 0 < other.remaining <= LONG_LEASE
            assert other.first_seen == held.first_seen
            assert (await claim(wrong, done.key)).outcome is Outcome.DUPLICATE
            fresh = await claim(wrong, a_key())
            assert fresh.fresh
            assert abs(fresh.first_seen - true_time) < DAY / 2
            assert abs(fresh.remaining - LONG_LEASE) < DAY / 2


async def test_sweeps_use_the_index(postgres_url):
    """Finding what has expired reads no live rows."""
    async with opened(postgres_url) as store:
        await store.start()
        async with statements_of(store) as sent, session(postgres_url) as connection:
            await store.purge()
            (sweep,) = sent
            await connection.execute("SET enable_seqscan = off")
            plan = await connection.fetch(f"EXPLAIN {sweep.replace('$1::INTEGER', '1000')}")
    text = "\n".join(row[0] for row in plan)
    assert "Index Cond: (expires_at <= $0)" in text or "Index Cond: (expires_at <= (Init" in text
