"""What the SQL store sends to its database, and how it reads the clock."""

import time

from tests.stores import sql_support
from tests.stores.sql_support import bids, opened, outcomes, session, statements_of
from webhook_dedup.model import Bid, Outcome, Settlement, new_token
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
