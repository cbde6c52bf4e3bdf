"""Expired rows are deleted, off the way of claims."""

import asyncio
import logging
from contextlib import suppress

from tests.stores import sql_support
from tests.stores.sql_support import (
    PATIENCE,
    TABLE,
    bids,
    opened,
    outcomes,
    rows_of,
    session,
    until,
)
from webhook_dedup.model import Outcome, Settlement
from webhook_dedup.stores.sql.statements import SWEPT_AT_ONCE
from webhook_dedup.stores.sql.sweeper import Sweeper
from webhook_dedup.testing.store_rules.case import LONG_LEASE, LONG_TTL, a_key, claim

url = sql_support.url

SHORT = 0.25
PAST_SHORT = 0.3


async def test_purge_deletes_what_has_expired_and_nothing_else(url):
    """Expired leases and done marks go, live ones stay, and the count is told."""
    async with opened(url) as store:
        for _ in range(2):
            await store.claim(bids(1_100, lease=SHORT))
        done = await store.claim(bids(10))
        await store.complete([Settlement(claim, SHORT) for claim in done[:5]])
        await store.complete([Settlement(claim, LONG_TTL) for claim in done[5:]])
        await store.claim(bids(10))
        await asyncio.sleep(PAST_SHORT)
        assert await store.purge() == 2_205
        assert await rows_of(store) == 15
        assert await store.purge() == 0


async def test_a_sweep_is_bounded_whatever_has_expired(url):
    """No statement holds the database up for all that expired in a long while."""
    async with opened(url) as store:
        await store.claim(bids(SWEPT_AT_ONCE + 1, lease=SHORT))
        await asyncio.sleep(PAST_SHORT)
        swept = [await store._database.work(store._sweep) for _ in range(3)]
        assert swept == [SWEPT_AT_ONCE, 1, 0]


async def test_sweeps_run_by_themselves(url):
    """Nobody has to call purge."""
    async with opened(url, sweep_every=0.01) as store:
        await store.claim(bids(10, lease=SHORT))

        async def nothing_is_left():
            return await rows_of(store) == 0

        await until(nothing_is_left)


async def test_a_failing_sweep_is_logged_and_tried_again(caplog):
    """A sweep that raises ends neither the next one nor anything else."""
    calls = asyncio.Queue()

    async def sweep():
        calls.put_nowait(None)
        raise RuntimeError("no database")

    sweeper = Sweeper(sweep, 0.01)
    with caplog.at_level(logging.WARNING, "webhook_dedup"):
        sweeper.start()
        await calls.get()
        await calls.get()
        await sweeper.stop()
    assert "no database" in caplog.text


async def test_a_sweep_that_swallows_its_cancellation_is_the_last():
    """Stopping ends the task even when what it called took the cancellation for itself."""
    swept = asyncio.Event()

    async def sweep():
        swept.set()
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()

    sweeper = Sweeper(sweep, 0.01)
    sweeper.start()
    await swept.wait()
    await asyncio.wait_for(sweeper.stop(), PATIENCE)


async def test_a_sweep_passes_by_rows_that_are_locked(postgres_url):
    """A sweep neither waits for a transaction nor deletes under it."""
    async with opened(postgres_url) as store:
        batch = bids(20, lease=SHORT)
        await store.claim(batch)
        await asyncio.sleep(PAST_SHORT)
        async with session(postgres_url) as connection, connection.transaction():
            await connection.execute(
                f"SELECT 1 FROM {TABLE} WHERE key = $1 FOR UPDATE", batch[0].key
            )
            assert await store.purge() == 19
        assert await store.purge() == 1


async def test_claims_go_on_during_a_sweep(url):
    """Keys that expire are granted again while sweeps run, and none is swept after it."""
    async with opened(url) as store, opened(url) as other:
        batches = [bids(500, lease=SHORT) for _ in range(6)]
        for batch in batches:
            await store.claim(batch)
        await asyncio.sleep(PAST_SHORT)
        sweep = asyncio.ensure_future(other.purge())
        again = [[type(bid)(bid.key, "again", LONG_LEASE) for bid in batch] for batch in batches]
        for batch in again:
            assert outcomes(await store.claim(batch)) == {Outcome.FRESH}
        await sweep
        assert await other.purge() == 0
        assert await rows_of(store) == 3_000


async def test_a_cancelled_purge_leaves_the_store_usable(url):
    """Cancelling a purge in any moment blocks nobody."""
    async with opened(url) as store:
        for turns in range(0, 30, 3):
            await store.claim(bids(10, lease=SHORT))
            task = asyncio.ensure_future(store.purge())
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
        assert (await claim(store, a_key())).fresh
