"""Waiting behind other transactions: what is granted after it, and what never deadlocks."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from tests.stores.sql_support import (
    TABLE,
    bids,
    file_locked,
    opened,
    outcomes,
    rows_of,
    session,
    statements_below,
    until,
)
from webhook_dedup.errors import StoreUnavailable
from webhook_dedup.keys import digest
from webhook_dedup.model import Bid, Outcome, new_token
from webhook_dedup.testing.store_rules.case import LONG_LEASE, a_key, claim

CROWD = 200  # more than go together
LEASE = 0.3
INSERT = f"""
    INSERT INTO {TABLE} (digest, key, token, done, first_seen, expires_at)
    VALUES ($1, 'other', 'other', false, 0, $2)
"""
LIVE = f"SELECT expires_at > extract(epoch FROM clock_timestamp()) FROM {TABLE} WHERE digest = $1"
NEVER = 1e10


@asynccontextmanager
async def row_locked(url, key, *, expires_at=NEVER):
    """Hold a row that is not committed until the block ends, then take it back."""
    async with session(url) as connection:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute(INSERT, digest(key), expires_at)
        yield
        await transaction.rollback()


async def waits_for_lock(url):
    async with session(url) as connection:

        async def waits():
            return await connection.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted")

        await until(waits)


async def is_live(url, key):
    async with session(url) as connection:
        return await connection.fetchval(LIVE, digest(key))


async def test_a_lease_that_ran_out_in_a_lock_is_not_granted(postgres_url):
    """A claim that waits longer than its lease is granted a whole new one."""
    key = a_key()
    async with opened(postgres_url) as store:
        await store.start()
        async with row_locked(postgres_url, key):
            waiting = asyncio.ensure_future(claim(store, key, lease=LEASE))
            await waits_for_lock(postgres_url)
            await asyncio.sleep(2 * LEASE)
        granted = await waiting
        assert granted.fresh
        assert 0 < granted.remaining <= LEASE


async def test_a_lease_that_ran_out_while_a_neighbour_waited_is_not_granted(postgres_url):
    """A key of a batch is not granted on a lease that the batch's other keys used up waiting."""
    first, second = sorted((a_key(), a_key()), key=digest)
    async with opened(postgres_url) as store, opened(postgres_url) as other:
        await store.start()
        await other.start()
        asked = [Bid(first, "one", LEASE), Bid(second, "two", LEASE)]
        async with row_locked(postgres_url, second):
            waiting = asyncio.ensure_future(store.claim(asked))
            await waits_for_lock(postgres_url)
            rival = asyncio.ensure_future(claim(other, first, lease=600.0))
            await asyncio.sleep(2 * LEASE)
        holders = [*await waiting, await rival]
        assert sum(each.fresh for each in holders if each.key == first) == 1


async def test_an_expired_row_is_taken_for_a_whole_lease_after_a_wait(postgres_url):
    """Taking over an expired row counts the lease from the moment the lock was granted."""
    async with opened(postgres_url) as store:
        gone = await claim(store, a_key(), lease=0.01)
        async with session(postgres_url) as connection, connection.transaction():
            await connection.execute(f"SELECT 1 FROM {TABLE} FOR UPDATE")
            waiting = asyncio.ensure_future(claim(store, gone.key, lease=LEASE))
            await waits_for_lock(postgres_url)
            await asyncio.sleep(2 * LEASE)
        granted = await waiting
        assert granted.fresh
        assert granted.remaining > 0


@pytest.mark.parametrize("verb", ["release", "renew"])
async def test_who_lost_a_key_while_it_waited_is_refused(postgres_url, verb):
    """A holder whose key is being taken by another neither frees nor prolongs it."""
    async with opened(postgres_url) as store:
        held = await claim(store, a_key())
        async with session(postgres_url) as other, other.transaction():
            taking = f"UPDATE {TABLE} SET token = 'other', expires_at = $2 WHERE digest = $1"
            await other.execute(taking, digest(held.key), NEVER)
            calls = {"release": store.release, "renew": lambda each: store.renew(each, LEASE)}
            waiting = asyncio.ensure_future(calls[verb]([held]))
            await waits_for_lock(postgres_url)
        assert await waiting == [False]
        (stands,) = await store.look([held.key])
        assert stands.holder == "other"
        assert stands.remaining > LONG_LEASE


async def test_a_lock_held_too_long_is_an_outage(postgres_url):
    """A row that stays locked makes the store unavailable, and a repeated bid wins afterwards."""
    key, token = a_key(), new_token()
    async with opened(postgres_url, timeout=2.0) as store:
        await store.start()
        async with row_locked(postgres_url, key):
            with pytest.raises(StoreUnavailable, match="no answer within 2"):
                await claim(store, key, token=token)
        assert (await claim(store, key, token=token)).fresh


@pytest.fixture
def path(tmp_path):
    return tmp_path / "claims.db"


async def test_a_locked_file_is_an_outage(path):
    """A file that another program keeps locked makes the store unavailable for that time."""
    async with opened(f"sqlite:///{path}?timeout=0.1") as store:
        await store.start()
        with file_locked(path), pytest.raises(StoreUnavailable, match="locked"):
            await store.claim(bids(2))
        assert outcomes(await store.claim(bids(2))) == {Outcome.FRESH}


async def test_all_that_wait_for_a_locked_file_wait_once(path):
    """However many callers there are, the file is asked for once before all are told."""
    async with opened(f"sqlite:///{path}?timeout=0.1") as store:
        await store.start()
        async with statements_below(store) as told:
            with file_locked(path):
                calls = [store.claim(bids(1)) for _ in range(CROWD)]
                answers = await asyncio.gather(*calls, return_exceptions=True)
        assert {type(answer) for answer in answers} == {StoreUnavailable}
        assert told == ["BEGIN IMMEDIATE"]
        assert await rows_of(store) == 0


async def test_those_who_come_while_a_locked_file_is_waited_for_wait_for_it_together(path):
    """They are not told with those who have waited for a whole time-out, and then wait once."""
    async with opened(f"sqlite:///{path}?timeout=0.1") as store:
        await store.start()
        async with statements_below(store) as told:
            with file_locked(path):
                calls = [asyncio.ensure_future(store.claim(bids(1))) for _ in range(2)]
                await until(lambda: asyncio.sleep(0, told))
                calls += [asyncio.ensure_future(store.claim(bids(1))) for _ in range(CROWD)]
                answers = await asyncio.gather(*calls, return_exceptions=True)
        assert {type(answer) for answer in answers} == {StoreUnavailable}
        assert told == ["BEGIN IMMEDIATE"] * 2
